"""ten thousand idle connections to one node, and those beyond its limit"""

import resource
from contextlib import ExitStack

from harness import expect
from harness.resp import Closed, Connection
from harness.waiting import until
from harness.witnesses import unharmed

BOUND_S = 120
WORKS_AGAINST_REDIS = False
NEEDS_PROCESSES = True

IDLE = 10_000
# The node's limit: the idle ones, and some for the witnesses.
LIMIT = IDLE + 50
BEYOND = 100
# Per connection: the server's state and buffers. Ten thousand may cost this together.
MEMORY_MIB = 250


def refused(address):
    """Whether a new connection is refused, by an error and its end."""
    try:
        with Connection(address) as connection:
            answer = connection.call("PING")
    except (Closed, ConnectionResetError, BrokenPipeError):
        return True
    expect(answer in (b"+PONG\r\n", b"-ERR max number of clients reached\r\n"), f"PING answered {answer!r}")
    return answer.startswith(b"-")


def run(context):
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    expect(open_files > LIMIT + 500, f"needs {LIMIT + 500} open files, `ulimit -n` allows {open_files}")
    with context.cluster(extra=["--max-clients", LIMIT]) as cluster:
        target = cluster.nodes[1]
        with unharmed(context, cluster, f"{IDLE} idle connections", MEMORY_MIB) as check:
            with ExitStack() as held:
                connections = [held.enter_context(Connection(target.address)) for _ in range(IDLE)]
                for connection in connections:
                    expect(connection.call("PING") == b"+PONG\r\n", "an idle connection does not answer PING")
                check()
                more = [held.enter_context(Connection(target.address)) for _ in range(LIMIT - IDLE)]
                expect(any(refused(target.address) for _ in range(BEYOND)), f"no connection beyond {LIMIT} was refused")
                expect(connections[0].call("PING") == b"+PONG\r\n", "an old connection suffers from refused ones")
                del more
                check()
            until(lambda: not refused(target.address), 30, "new connections to be taken again")
            check()
