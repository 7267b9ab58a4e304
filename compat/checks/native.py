"""native sessions, locks, semaphores, barriers, elections and fenced writes, by redis-py and redis-cli, in RESP2 and RESP3"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import redis
from checks.redis_cli import type_in
from harness import expect
from harness.resp import CRLF, Connection, bulk
from harness.waiting import until

BOUND_S = 90
WORKS_AGAINST_REDIS = False

# Longer than anything here takes: what ends in a case is ended by it.
TTL, WAIT = "TTL 60000", "WAIT 60000"
# Longer than a command waits.
TIMEOUT_S = 70


class Client:
    """A redis-py client at one node, to which a command is what one types."""

    def __init__(self, node, protocol):
        host, port = node.address
        self.redis = redis.Redis(host, port, protocol=protocol, decode_responses=True, socket_timeout=TIMEOUT_S)

    def ask(self, line):
        return self.redis.execute_command(*line.split())

    def fields(self, line):
        """A reply that has fields: a dictionary in RESP3, and in RESP2 one after another."""
        reply = self.ask(line)
        return dict(zip(reply[::2], reply[1::2])) if isinstance(reply, list) else reply

    def waiting(self, kind, name):
        """How many wait for a lock, or for permits."""
        return self.fields(f"{kind} INFO {name}")["waiting"]

    def must_answer(self, line, wanted):
        got = self.ask(line)
        expect(got == wanted, f"{line}: expected {wanted!r}, got {got!r}")

    def must_refuse(self, line, code):
        try:
            got = self.ask(line)
        except redis.ResponseError as error:
            got = str(error)
            if got.startswith(f"{code} "):
                return
        expect(False, f"{line}: expected {code}, got {got!r}")

    @contextmanager
    def waits(self, line, looks):
        """Has it wait while something else is done, which begins once `looks` says so; with what it gets in the end."""
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(self.ask, f"{line} {WAIT}")
            until(looks, TIMEOUT_S, f"{line} to wait")
            yield answer


def sessions(one, other, name):
    """A session is anybody's who knows its number, at any node; what it holds is free when it ends."""
    session = one.ask("SESSION OPEN 60000 NAME compat")
    token = one.ask(f"LOCK ACQUIRE {name} SESSION {session}")
    known = other.fields(f"SESSION INFO {session}")
    expect((known["name"], known["locks"]) == ("compat", 1), f"SESSION INFO answered {known}")
    other.must_answer(f"SESSION KEEPALIVE {session}", "OK")
    with other.waits(f"LOCK ACQUIRE {name} OWNER b {TTL}", lambda: one.waiting("LOCK", name)) as answer:
        one.must_answer(f"SESSION CLOSE {session}", 1)
        later = answer.result()
    expect(later > token, f"{name} was given under {later} after {token}")
    one.must_refuse(f"SESSION KEEPALIVE {session}", "NOSESSION")
    one.must_refuse(f"LOCK ACQUIRE {name} SESSION {session}", "NOSESSION")
    other.must_answer(f"LOCK RELEASE {name} {later}", 0)


def locks(one, other, name):
    """A lock has one holder, and earlier tokens are refused; a request that is asked again takes effect once."""
    ask = f"LOCK ACQUIRE {name} OWNER a {TTL} REQUEST {name}-1"
    token = one.ask(ask)
    other.must_answer(ask, token)
    other.must_answer(f"LOCK ACQUIRE {name} OWNER b {TTL}", None)
    one.must_answer(f"LOCK EXTEND {name} {token} 60000", "OK")
    with other.waits(f"LOCK ACQUIRE {name} OWNER b {TTL}", lambda: one.waiting("LOCK", name)) as answer:
        one.must_answer(f"LOCK RELEASE {name} {token}", 0)
        later = answer.result()
    expect(later > token, f"{name} was given under {later} after {token}")
    one.must_refuse(f"LOCK RELEASE {name} {token}", "STALE")
    one.must_answer(f"LOCK FORCE-RELEASE {name} BY compat", later)
    forced = other.fields(f"LOCK INFO {name}")
    expect((forced["state"], forced["token"]) == ("free", None), f"after FORCE-RELEASE, LOCK INFO answered {forced}")


def shared_locks(one, other, name):
    """Readers share a lock and its token; a writer has it behind the last of them."""
    session = one.ask("SESSION OPEN 60000")
    token = one.ask(f"LOCK ACQUIRE {name} OWNER a {TTL} SHARED")
    one.must_answer(f"LOCK ACQUIRE {name} SESSION {session} SHARED", token)
    known = other.fields(f"LOCK INFO {name}")
    expect((known["readers"], known["reader-sessions"]) == (["a"], [session]), f"LOCK INFO answered {known}")
    with other.waits(f"LOCK ACQUIRE {name} OWNER b {TTL}", lambda: one.waiting("LOCK", name)) as answer:
        one.must_answer(f"LOCK ACQUIRE {name} OWNER c {TTL} SHARED", None)
        one.must_answer(f"LOCK RELEASE {name} {token} OWNER a", 0)
        expect(not answer.done(), f"{name} was written while a session read")
        one.must_answer(f"LOCK RELEASE {name} {token} SESSION {session}", 0)
        later = answer.result()
    other.must_answer(f"LOCK RELEASE {name} {later}", 0)
    one.must_answer(f"SESSION CLOSE {session}", 1)


def several_locks(one, other, name):
    """All are taken or none, each under a token of its own."""
    first, second = f"{name}-1", f"{name}-2"
    taken = one.ask(f"LOCK ACQUIRE {second} OWNER a {TTL}")
    both = f"LOCK ACQUIREALL 2 {first} {second} OWNER b {TTL}"
    other.must_answer(both, None)
    one.must_answer(f"LOCK INFO {first}", None)
    with other.waits(both, lambda: one.waiting("LOCK", second)) as answer:
        one.must_answer(f"LOCK RELEASE {second} {taken}", 0)
        tokens = answer.result()
    expect(len(tokens) == 2 and taken < tokens[0] < tokens[1], f"ACQUIREALL answered {tokens} after {taken}")
    for lock, token in zip([first, second], tokens):
        other.must_answer(f"LOCK RELEASE {lock} {token}", 0)


def semaphores(one, other, name):
    """So many have permits, and the next one gets his when one is returned."""
    tokens = [one.ask(f"SEMAPHORE ACQUIRE {name} 2 OWNER {owner} {TTL}") for owner in "ab"]
    other.must_answer(f"SEMAPHORE ACQUIRE {name} 2 OWNER c {TTL}", None)
    other.must_refuse(f"SEMAPHORE ACQUIRE {name} 3 OWNER c {TTL}", "the semaphore has 2 permits, not")
    known = other.fields(f"SEMAPHORE INFO {name}")
    expect((known["permits"], known["free"]) == (2, 0), f"SEMAPHORE INFO answered {known}")
    with other.waits(f"SEMAPHORE ACQUIRE {name} 2 OWNER c {TTL}", lambda: one.waiting("SEMAPHORE", name)) as answer:
        one.must_answer(f"SEMAPHORE RELEASE {name} {tokens.pop(0)}", "OK")
        tokens.append(answer.result())
    for token in tokens:
        other.must_answer(f"SEMAPHORE RELEASE {name} {token}", "OK")
    one.must_answer(f"SEMAPHORE INFO {name}", None)


def barriers(one, other, name):
    one.must_answer(f"BARRIER ARRIVE {name} 3 a {TTL}", None)
    with other.waits(f"BARRIER ARRIVE {name} 3 b", lambda: one.redis.sismember(name, "b")) as answer:
        one.must_answer(f"BARRIER ARRIVE {name} 3 b", None)
        one.must_answer(f"BARRIER ARRIVE {name} 3 c {WAIT}", 3)
    expect(answer.result() == 3, f"a party that waited was answered {answer.result()!r}")
    other.must_answer(f"BARRIER AWAIT {name} 3", 3)
    other.must_answer(f"BARRIER AWAIT {name} 4 WAIT 1", None)
    other.must_answer(f"SREM {name} a b c", 3)


def elections(one, other, name):
    """One leads and says where, others are candidates; he hands over to one of them."""
    token = one.ask(f"ELECTION CAMPAIGN {name} OWNER a {TTL} VALUE host-a")

    def has_candidates():
        return one.fields(f"ELECTION LEADER {name}")["candidates"]

    with other.waits(f"ELECTION CAMPAIGN {name} OWNER b {TTL} VALUE host-b PRIORITY 3", has_candidates) as answer:
        listed = other.ask(f"ELECTION CANDIDATES {name}")
        expect(len(listed) == 1, f"ELECTION CANDIDATES answered {listed}")
        one.must_answer(f"ELECTION PROCLAIM {name} {token} host-c", "OK")
        known = one.fields(f"ELECTION LEADER {name}")
        expect((known["owner"], known["value"]) == ("a", "host-c"), f"ELECTION LEADER answered {known}")
        one.must_answer(f"ELECTION TRANSFER {name} {token} OWNER b", "OK")
        later = answer.result()
    one.must_refuse(f"ELECTION RESIGN {name} {token}", "STALE")
    other.must_answer(f"ELECTION RESIGN {name} {later}", "OK")
    one.must_answer(f"ELECTION LEADER {name}", None)


def fenced_writes(one, other, name):
    """Only the holder writes, from whichever node."""
    token = one.ask(f"LOCK ACQUIRE {name} OWNER a {TTL}")
    other.must_answer(f"FENCE {name}", token)
    other.must_answer(f"FENCE CHECK {name} {token}", "OK")
    other.must_answer(f"FENCED {name} {token} SET {name}:written by-{token}", "OK")
    one.must_answer(f"LOCK RELEASE {name} {token}", 0)
    other.must_refuse(f"FENCED {name} {token} SET {name}:written late", "STALE")
    other.must_refuse(f"FENCE CHECK {name} {token}", "STALE")
    one.must_answer(f"GETDEL {name}:written", f"by-{token}")


CASES = [sessions, locks, shared_locks, several_locks, semaphores, barriers, elections, fenced_writes]


def message(connection, protocol):
    """The words of the next message to a subscriber. In RESP3 it is pushed."""
    raw = connection.reply()
    kind = b">3" if protocol == 3 else b"*3"
    words = raw.split(CRLF)
    expect(words[0] == kind and words[2] == b"message", f"no message in RESP{protocol}: {raw!r}")
    return words[6].decode().split()


def notices(cluster, protocol):
    """Who watches a lock or observes an election is told of each change, by a command of its own or by SUBSCRIBE."""
    one = Client(cluster.nodes[0], protocol)
    name, seat = f"watched-{protocol}", f"observed-{protocol}"
    subscriber = Client(cluster.nodes[2], protocol).redis.pubsub()
    with Connection(cluster.nodes[1].address, protocol) as watcher, subscriber:
        for command in (["LOCK", "WATCH", name], ["ELECTION", "OBSERVE", seat]):
            confirmed = watcher.call(*command)
            expect(b"subscribe" in confirmed, f"{command} answered {confirmed!r}")
            begins = message(watcher, protocol)
            expect(begins[:2] == ["watching", "0"], f"{command} was told {begins} first")
        subscriber.subscribe(f"__lock@0__:{name}")
        until(lambda: (subscriber.get_message(timeout=1) or {}).get("type") == "subscribe", TIMEOUT_S, "SUBSCRIBE")
        token = one.ask(f"LOCK ACQUIRE {name} OWNER a {TTL} VALUE note")
        one.ask(f"LOCK RELEASE {name} {token}")
        term = one.ask(f"ELECTION CAMPAIGN {seat} OWNER a {TTL} VALUE host-a")
        one.ask(f"ELECTION PROCLAIM {seat} {term} host-b")
        one.ask(f"ELECTION RESIGN {seat} {term}")
        told = [message(watcher, protocol) for _ in range(5)]
        wanted = [
            ["acquired", str(token), "note"],
            ["released", str(token)],
            ["acquired", str(term), "host-a"],
            ["value", str(term), "host-b"],
            ["released", str(term)],
        ]
        got = [[event, under, *value] for event, under, _, *value in told]
        expect(got == wanted, f"in RESP{protocol} a watcher was told {told}")
        positions = [int(position) for _, _, position, *_ in told]
        expect(positions == sorted(set(positions)), f"positions of changes one after another: {positions}")
        heard = []

        def listen():
            notice = subscriber.get_message(timeout=1)
            heard.extend([notice["data"].split()] if notice else [])
            return len(heard) == 2

        until(listen, TIMEOUT_S, "two notices by SUBSCRIBE")
        expect(heard == told[:2], f"a subscriber was told {heard}, and a watcher {told[:2]}")
        goes_on(cluster.nodes[0], protocol, name, told[:2])
        # In RESP3 the connection goes on answering commands.
        if protocol == 3:
            expect(bulk(watcher.call("LOCK", "INFO", name)) is None, f"{name} is held still")


def goes_on(node, protocol, name, told):
    """Who was cut off goes on at another node from the position that he was told last, or before; not from before the cluster was."""
    for begin in range(len(told)):
        with Connection(node.address, protocol) as watcher:
            confirmed = watcher.call("LOCK", "WATCH", name, "FROM", told[begin][2])
            expect(b"subscribe" in confirmed, f"LOCK WATCH FROM answered {confirmed!r}")
            again = [message(watcher, protocol) for _ in told[begin:]]
            expect(again == told[begin:], f"from {told[begin]} on another node tells {again}")
            ends = message(watcher, protocol)
            expect(ends[0] == "watching" and int(ends[2]) > int(told[-1][2]), f"what was told ends with {ends}")
    with Connection(node.address, protocol) as watcher:
        refused = watcher.call("LOCK", "WATCH", name, "FROM", "0")
        expect(refused.startswith(b"-ERR a position"), f"LOCK WATCH FROM 0 answered {refused!r}")


def typed(node, name):
    """redis-cli shows what has fields as lists and as maps."""
    token = type_in(node, ["LOCK", "ACQUIRE", name, "OWNER", "cli", *TTL.split()])
    expect(token.startswith("(integer) "), f"LOCK ACQUIRE by redis-cli: {token!r}")
    for options, line in ([[], '2) "held"'], [["-3"], '1# "state" => "held"']):
        got = type_in(node, [*options, "LOCK", "INFO", name])
        expect(line in got, f"LOCK INFO by redis-cli {options}: expected {line!r}, got {got!r}")
    released = type_in(node, ["LOCK", "RELEASE", name, token.split()[1]])
    expect(released == "(integer) 0", f"LOCK RELEASE by redis-cli: {released!r}")


def run(context):
    with context.cluster() as cluster:
        for protocol in (2, 3):
            one, other = (Client(node, protocol) for node in cluster.nodes[:2])
            for case in CASES:
                case(one, other, f"{case.__name__}-{protocol}")
            notices(cluster, protocol)
        typed(cluster.nodes[2], "typed")
    context.note(f"{len(CASES)} cases and notices, in RESP2 and RESP3, and redis-cli")
