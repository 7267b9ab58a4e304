"""every line of cases/, byte for byte against Debian's redis-server, in RESP2 and RESP3"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from harness import Failure, cases, expect
from harness.resp import Closed, Connection, ask, encode, information
from harness.waiting import until

BOUND_S = 240

FOLDER = Path(__file__).parent.parent / "cases"
# How long a key may live on after its expiry in one of the two servers.
EXPIRY_BOUND_S = 20
# How long a client may take to begin to wait.
BLOCKED_BOUND_S = 20
# A report of more differences than this is read by nobody; all of them are in the file.
SHOWN = 60


@dataclass
class Difference:
    """A line that the two servers answer differently."""

    section: str
    line: str
    protocol: int
    wanted: object
    got: object

    def __str__(self):
        return f"[{self.section}, RESP{self.protocol}] {self.line}\n        Redis   {self.wanted!r}\n        Quorate {self.got!r}"


class Accepted:
    """Differences that are meant, each with its reason; one that no longer shows is itself a failure."""

    def __init__(self, path):
        self.rules = tomllib.loads(path.read_text())["accept"]
        self.used = set()
        for rule in self.rules:
            expect({"section", "line", "quorate", "reason"} <= rule.keys(), f"an accepted difference lacks a field: {rule}")

    def covers(self, difference):
        for number, rule in enumerate(self.rules):
            right_place = (rule["section"], rule["line"]) == (difference.section, difference.line)
            right_place = right_place and difference.protocol in rule.get("protocols", [2, 3])
            if right_place and cases.pattern(rule["quorate"]).fullmatch(difference.got):
                self.used.add(number)
                return True
        return False

    def unused(self):
        return [rule["line"] for number, rule in enumerate(self.rules) if number not in self.used]


class Side:
    """One of the two servers, with the numbered connections of a section."""

    def __init__(self, addresses, protocol):
        self.addresses = addresses
        self.protocol = protocol
        self.connections = {}

    def connection(self, number):
        if number not in self.connections:
            # Several connections of a section are to different nodes.
            address = self.addresses[number % len(self.addresses)]
            self.connections[number] = Connection(address, self.protocol)
        return self.connections[number]

    def run(self, line):
        """What the server answers to a line: raw bytes, or what went wrong, as bytes too."""
        connection = self.connection(line.connection)
        try:
            if line.raw is not None:
                connection.send(line.raw)
                answer = connection.rest()
                self.close(line.connection)
                return answer
            if not line.answer_only:
                connection.send(encode(line.words))
            return b"" if line.unanswered else connection.reply()
        except Closed as closed:
            self.close(line.connection)
            return f"({closed})".encode()
        except TimeoutError:
            self.close(line.connection)
            return b"(no reply)"

    def close(self, number=None):
        for key in [number] if number is not None else list(self.connections):
            self.connections.pop(key).close()

    def blocked(self):
        """How many clients wait for something, at all nodes."""
        return sum(int(information(address, "clients")["blocked_clients"]) for address in set(self.addresses))

    def is_gone(self, key):
        return ask(self.addresses[0], "EXISTS", key) == b":0\r\n"


def equal(line, wanted, got):
    """Whether two replies are the same as far as the line asks."""
    if line.type_only:
        return wanted[:1] == got[:1]
    if line.tolerance is not None:
        return _close(line.tolerance, wanted, got)
    if line.unordered:
        return sorted(wanted.split(b"\r\n")) == sorted(got.split(b"\r\n"))
    return wanted == got


def _close(tolerance, wanted, got):
    """Equal but for numbers, which may be that far from each other."""
    number = re.compile(rb"-?\d+")
    if number.sub(b"#", wanted) != number.sub(b"#", got):
        return False
    pairs = zip(number.findall(wanted), number.findall(got))
    # A TTL's sentinels (-1, -2) are close to nothing but themselves.
    return all(a == b or (int(a) >= 0 and int(b) >= 0 and abs(int(a) - int(b)) <= tolerance) for a, b in pairs)


def run_section(section, protocol, reference, subject):
    """The differences of a section, one by one."""
    ask(reference.addresses[0], "FLUSHALL")
    ask(subject.addresses[0], "FLUSHALL")
    for line in section.lines:
        if line.await_gone:
            both = (reference, subject)
            until(lambda: all(side.is_gone(line.await_gone) for side in both), EXPIRY_BOUND_S, line.text)
            continue
        if line.await_blocked is not None:
            both, count = (reference, subject), line.await_blocked
            until(lambda: all(side.blocked() == count for side in both), BLOCKED_BOUND_S, line.text)
            continue
        got = subject.run(line)
        if line.documented:
            wanted = line.documented[min(protocol - 2, len(line.documented) - 1)]
            same = wanted.fullmatch(got) is not None
        else:
            wanted = reference.run(line)
            same = equal(line, wanted, got)
        if not same:
            yield Difference(section.name, line.text, protocol, wanted, got)


def run(context):
    accepted = Accepted(FOLDER / "accepted.toml")
    sections = [section for path in sorted(FOLDER.glob("*.txt")) for section in cases.read(path)]
    differences, compared = [], 0
    with context.reference() as redis, context.cluster() as quorate:
        for protocol in (2, 3):
            for number, section in enumerate(sections):
                turn = number % len(quorate.addresses)
                nodes = quorate.addresses[turn:] + quorate.addresses[:turn]
                reference, subject = Side(redis.addresses[:1], protocol), Side(nodes, protocol)
                try:
                    if not (context.against_redis and section.is_newer):
                        for difference in run_section(section, protocol, reference, subject):
                            differences.append(difference)
                        compared += len(section.lines)
                except (Failure, OSError, Closed) as failure:
                    cut_short = f"the section was cut short: {failure}"
                    differences.append(Difference(section.name, cut_short, protocol, b"", b""))
                finally:
                    reference.close()
                    subject.close()
    report(context, compared, differences, accepted)


def report(context, compared, differences, accepted):
    unmeant = [difference for difference in differences if not accepted.covers(difference)]
    context.note(f"{compared} lines compared, {len(differences) - len(unmeant)} differ as accepted")
    (context.folder / "differences.txt").write_text("\n".join(map(str, unmeant)))
    listed = "\n      ".join(str(difference) for difference in unmeant[:SHOWN])
    expect(not unmeant, f"{len(unmeant)} differences:\n      {listed}")
    stale = [] if context.against_redis else accepted.unused()
    expect(not stale, f"accepted differences that do not show: {stale}")
