"""Writers in the background, each a client of one node, which notice every error, gap and wrong reply."""

import threading

from . import expect
from .resp import Closed, Connection, ask, bulk
from .waiting import boot_time_s, until

# Between two attempts to reach a node that is down.
RETRY_PAUSE_S = 0.02


class Writer(threading.Thread):
    """Increments a counter of its own, one command after the other. Each reply must be one more than the last:
    a command that is lost, or applied twice, shows at once."""

    def __init__(self, node, key):
        super().__init__(daemon=True, name=f"writer of {key}")
        self.node = node
        self.key = key
        self.last = 0
        self.unknown = 0
        self.acknowledged_at = []
        self.errors = []
        self.violations = []
        self.ended = threading.Event()
        self.connection = None

    def run(self):
        while not self.ended.is_set():
            try:
                if self.connection is None:
                    self.connection = Connection(self.node.address)
                self.unknown += 1
                self._take(self.connection.call("INCR", self.key))
            except (OSError, Closed) as error:
                self._lost(error)
        if self.connection:
            self.connection.close()

    def _take(self, reply):
        if reply.startswith(b"-"):
            # An error reply promises that the command was not applied.
            self.unknown -= 1
            self.errors.append((boot_time_s(), reply.decode(errors="replace").strip()))
            self.ended.wait(RETRY_PAUSE_S)
            return
        value = int(reply[1:-2])
        if not self.last < value <= self.last + self.unknown:
            expected = f"{self.last + 1} to {self.last + self.unknown}"
            self.violations.append(f"INCR {self.key} answered {value} where {expected} was due")
        self.last, self.unknown = value, 0
        self.acknowledged_at.append(boot_time_s())

    def _lost(self, error):
        if self.connection:
            self.connection.close()
        self.connection = None
        self.errors.append((boot_time_s(), f"{type(error).__name__}: {error}"))
        self.ended.wait(RETRY_PAUSE_S)

    def wait_for_more(self, count, bound_s=30):
        """Waits until that many further writes were acknowledged."""
        goal = len(self.acknowledged_at) + count
        until(lambda: len(self.acknowledged_at) >= goal, bound_s, f"{self.name} to write on")

    def longest_gap_s(self, since):
        """The longest time between two acknowledgements, from the last one before an instant on."""
        times = self.acknowledged_at[:]
        start = max((time for time in times if time <= since), default=since)
        times = [start] + [time for time in times if time > start]
        return max((later - earlier for earlier, later in zip(times, times[1:])), default=float("inf"))

    def check_kept(self, address):
        """Everything acknowledged is there, and nothing twice."""
        value = int(bulk(ask(address, "GET", self.key)) or 0)
        wanted = f"{self.last} to {self.last + self.unknown}"
        expect(self.last <= value <= self.last + self.unknown, f"{self.key} is {value}, expected {wanted}")


class Load:
    """Writers at some nodes. As a context it ends them."""

    def __init__(self, nodes, each=1, name="load"):
        self.writers = [
            Writer(node, f"{name}:{number}:{place}")
            for place, node in enumerate(nodes)
            for number in range(each)
        ]

    def __enter__(self):
        for writer in self.writers:
            writer.start()
        self.wait_for_more(20)
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        for writer in self.writers:
            writer.ended.set()
        for writer in self.writers:
            writer.join()

    def wait_for_more(self, count, bound_s=30):
        for writer in self.writers:
            writer.wait_for_more(count, bound_s)

    def longest_gap_s(self, since):
        return max(writer.longest_gap_s(since) for writer in self.writers)

    def check_clean(self):
        """No client saw an error, and no command was lost or applied twice."""
        self.check_exact()
        for writer in self.writers:
            errors = [text for _, text in writer.errors]
            expect(not errors, f"a client of port {writer.node.port} saw {len(errors)} errors: {errors[:3]}")

    def check_exact(self):
        """No command was lost or applied twice."""
        for writer in self.writers:
            expect(not writer.violations, f"at port {writer.node.port}: {writer.violations[:3]}")
