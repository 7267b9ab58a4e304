"""queues: each element goes to one who waits, in order, also while the leader is killed; who is gone takes nothing"""

import socket
import threading
from contextlib import ExitStack, suppress

from harness import expect
from harness.resp import CRLF, Closed, Connection, ask, encode, information
from harness.waiting import until

BOUND_S = 150
NEEDS_PROCESSES = True
WORKS_AGAINST_REDIS = False

RACES = 200
KILLS = 3
KILLS_LONG = 10
CONSUMERS_A_NODE = 2
# How many elements pass through the queue between two kills.
ELEMENTS_A_ROUND = 200
WAITERS = 3


def waiting(node):
    """How many commands wait: in the whole cluster, as this node knows it."""
    return int(information(node.address, "clients")["cluster_blocked_clients"])


def await_waiting(cluster, count, node=None):
    """By what `node` knows, or each node: what one has heard of is news to another for some milliseconds."""
    nodes = [node] if node else cluster.nodes
    until(lambda: all(waiting(node) == count for node in nodes), 30, f"{count} commands to wait in the cluster")


def begin_to_wait(held, node, key, count):
    connections = [held.enter_context(Connection(node.address)) for _ in range(count)]
    for connection in connections:
        connection.send(encode(["BLPOP", key, "0"]))
    return connections


def check_departed_clients(cluster):
    """Who has closed his connection is passed over, whichever node he was connected to."""
    for number, node in enumerate(cluster.nodes):
        key = f"departed:{number}"
        with ExitStack() as held:
            gone = begin_to_wait(held, node, key, WAITERS)
            await_waiting(cluster, WAITERS)
            (patient,) = begin_to_wait(held, cluster.others(node)[0], key, 1)
            await_waiting(cluster, WAITERS + 1)
            for connection in gone:
                connection.close()
            await_waiting(cluster, 1)
            expect(ask(node.address, "RPUSH", key, "element") == b":1\r\n", "RPUSH was not answered")
            reply = patient.reply()
            expect(b"element" in reply, f"the one who still waited got {reply!r}")


def check_departed_with_much_behind(cluster):
    """Nor does it help to have sent so much behind the command that nobody reads on."""
    node = cluster.others(cluster.leader())[0]
    with Connection(node.address) as gone:
        gone.send(encode(["BLPOP", "much", "0"]) + encode(["PING"]) * 2_500)
        await_waiting(cluster, 1)
    await_waiting(cluster, 0)


def check_unblocked(cluster):
    """CLIENT UNBLOCK ends the waiting of one client of the node; an element that comes at once goes to one or stays."""
    node, other = cluster.others(cluster.leader())
    with Connection(node.address) as waits, Connection(node.address) as ends, Connection(other.address) as puts:
        number = waits.call("CLIENT", "ID")[1:-2].decode()
        expect(ends.call("CLIENT", "UNBLOCK", number) == b":0\r\n", "who does not wait was unblocked")
        for reason, told in [
            ([], b"*-1\r\n"),
            (["TIMEOUT"], b"*-1\r\n"),
            (["ERROR"], b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
        ]:
            waits.send(encode(["BLPOP", "ended", "0"]))
            await_waiting(cluster, 1, node)
            expect(ends.call("CLIENT", "UNBLOCK", number, *reason) == b":1\r\n", "who waits was not unblocked")
            expect(waits.reply() == told, f"who was unblocked was not told {told!r}")
            expect(ends.call("CLIENT", "UNBLOCK", number, *reason) == b":0\r\n", "who was unblocked was so again")
            await_waiting(cluster, 0)
        outcomes = {b":0\r\n": 0, b":1\r\n": 0}
        for turn in range(RACES):
            waits.send(encode(["BLPOP", "ended", "0"]))
            await_waiting(cluster, 1, node)
            first, second = [(puts, ["RPUSH", "ended", str(turn)]), (ends, ["CLIENT", "UNBLOCK", number])][:: 1 - turn % 2 * 2]
            first[0].send(encode(first[1]))
            second[0].send(encode(second[1]))
            expect(puts.reply() == b":1\r\n", "RPUSH was not answered")
            outcome, told = ends.reply(), waits.reply()
            outcomes[outcome] += 1
            left = puts.call("LPOP", "ended")
            element = f"${len(str(turn))}\r\n{turn}\r\n".encode()
            right = (b"*-1\r\n", element) if outcome == b":1\r\n" else (b"*2\r\n$5\r\nended\r\n" + element, b"$-1\r\n")
            expect((told, left) == right, f"UNBLOCK answered {outcome!r}, the client {told!r}, and {left!r} was left")
    return outcomes


def check_dead_node(cluster):
    """The clients of a node that was killed take nothing once the leader has missed it."""
    leader = cluster.leader()
    victim = cluster.others(leader)[0]
    with ExitStack() as held:
        begin_to_wait(held, victim, "dead", WAITERS)
        await_waiting(cluster, WAITERS, leader)
        victim.process.kill()
        await_waiting(cluster, 0, leader)
        expect(ask(leader.address, "RPUSH", "dead", "element") == b":1\r\n", "RPUSH was not answered")
        expect(ask(leader.address, "LLEN", "dead") == b":1\r\n", "a client of a dead node has taken an element")
    cluster.restart(victim)


def check_stopped_node(cluster):
    """A node that is told to stop ends the waiting of its clients first: they take nothing from then on."""
    victim, other = cluster.leader(), cluster.others(cluster.leader())[0]
    with ExitStack() as held:
        connections = begin_to_wait(held, victim, "stopped", WAITERS)
        await_waiting(cluster, WAITERS, other)
        code = victim.process.stop()
        expect(code == 0, f"a node with waiting clients exited with {code}")
        for connection in connections:
            reply = connection.reply()
            expect(reply.startswith(b"-UNBLOCKED "), f"a client of a stopped node was told {reply!r}")
        expect(ask(other.address, "RPUSH", "stopped", "element") == b":1\r\n", "RPUSH was not answered")
        expect(ask(other.address, "LLEN", "stopped") == b":1\r\n", "a client of a stopped node has taken an element")
    cluster.restart(victim)


def check_half_closed(cluster):
    """Who has said his last is given what there is, and waits for nothing."""
    node = cluster.nodes[0]
    for there, expected in [(False, b""), (True, b"*2\r\n$4\r\nhalf\r\n$7\r\nelement\r\n+PONG\r\n")]:
        if there:
            ask(node.address, "RPUSH", "half", "element")
        with Connection(node.address) as connection:
            connection.send(encode(["BLPOP", "half", "0"]) + encode(["PING"]))
            connection.socket.shutdown(socket.SHUT_WR)
            reply = connection.rest()
            expect(reply == expected, f"a half-closed client was told {reply!r}")


def check_paused_node(cluster):
    """The clients of a node that was out of contact are told that they have taken nothing."""
    victim = cluster.others(cluster.leader())[0]
    witness = cluster.leader()
    with ExitStack() as held:
        connections = begin_to_wait(held, victim, "paused", WAITERS)
        await_waiting(cluster, WAITERS, witness)
        victim.process.pause()
        try:
            await_waiting(cluster, 0, witness)
        finally:
            victim.process.resume()
        for connection in connections:
            reply = connection.reply()
            expect(reply.startswith(b"-UNBLOCKED "), f"a client of a paused node was told {reply!r}")
            expect(connection.call("PING") == b"+PONG\r\n", "its connection is not of use any more")


class Consumer(threading.Thread):
    """Takes elements until it is told to end, and notes how often it cannot know what became of a request."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address = address
        self.taken = []
        self.unknown = 0
        self.ending = threading.Event()

    def run(self):
        while not self.ending.is_set():
            with suppress(OSError), Connection(self.address) as connection:
                self.consume(connection)

    def consume(self, connection):
        while not self.ending.is_set():
            try:
                reply = connection.call("BLPOP", "queue", "0.5")
            except (Closed, OSError):
                self.unknown += 1
                return
            if reply.startswith(b"*2"):
                self.taken.append(int(reply.split(CRLF)[4]))


class Producer:
    """Puts numbers into the queue, each once, and knows which of them are surely there."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.acknowledged = []
        self.next = 0

    def put(self, count):
        while count > 0:
            for node in self.cluster.nodes:
                with suppress(OSError, Closed), Connection(node.address, bound_s=20) as connection:
                    while count > 0:
                        number, self.next = self.next, self.next + 1
                        if connection.call("RPUSH", "queue", number).startswith(b":"):
                            self.acknowledged.append(number)
                            count -= 1


def check_queue(context, cluster, kills):
    consumers = [Consumer(node.address) for node in cluster.nodes for _ in range(CONSUMERS_A_NODE)]
    producer = Producer(cluster)
    for consumer in consumers:
        consumer.start()
    for _ in range(kills):
        producer.put(ELEMENTS_A_ROUND)
        leader = cluster.leader()
        killing = threading.Thread(target=leader.process.kill)
        killing.start()
        producer.put(ELEMENTS_A_ROUND)
        killing.join()
        cluster.restart(leader)
    producer.put(ELEMENTS_A_ROUND)
    until(lambda: ask(cluster.addresses[0], "LLEN", "queue") == b":0\r\n", 30, "the queue to be empty")
    for consumer in consumers:
        consumer.ending.set()
    for consumer in consumers:
        consumer.join(30)
        expect(not consumer.is_alive(), "a consumer hangs")
    judge(context, consumers, producer)


def judge(context, consumers, producer):
    taken = [number for consumer in consumers for number in consumer.taken]
    expect(len(taken) == len(set(taken)), "an element was taken twice")
    for consumer in consumers:
        expect(consumer.taken == sorted(consumer.taken), f"out of order: {consumer.taken}")
    lost = set(producer.acknowledged) - set(taken)
    unknown = sum(consumer.unknown for consumer in consumers)
    expect(len(lost) <= unknown, f"{len(lost)} elements are gone, {unknown} replies were cut off")
    context.note(
        f"{len(producer.acknowledged)} elements put, {len(taken)} taken; {unknown} replies cut off, with {len(lost)} elements"
    )


def run(context):
    with context.cluster() as cluster:
        check_departed_clients(cluster)
        check_departed_with_much_behind(cluster)
        outcomes = check_unblocked(cluster)
        context.note(f"of {RACES} races UNBLOCK won {outcomes[b':1' + CRLF]}")
        check_dead_node(cluster)
        check_stopped_node(cluster)
        check_half_closed(cluster)
        check_paused_node(cluster)
        check_queue(context, cluster, KILLS_LONG if context.long else KILLS)
