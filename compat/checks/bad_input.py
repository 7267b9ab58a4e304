"""garbage, oversized and half commands, at every port: an error or a closed connection, and nobody else is harmed"""

import random
import socket
from contextlib import ExitStack

from harness import expect
from harness.resp import Closed, Connection
from harness.witnesses import unharmed

BOUND_S = 120

SEED = 20_261_122
GARBAGE_CONNECTIONS = 200
HALF_CONNECTIONS = 300
MEMORY_MIB = 64
# A server that says nothing for this long to a broken frame has accepted it.
ANSWER_BOUND_S = 10

# Frames that break a limit as soon as they are announced: an error, then the end.
OVERSIZED = [
    b"*1\r\n$2000000000\r\n",
    b"*2147483647\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000000\r\n",
    b"*1\r\n$9223372036854775807\r\n",
    b"*-9223372036854775809\r\n",
    b"x" * 200_000,
    b"*" + b"9" * 200_000,
]
# Beyond all limits; sent in pieces, since the writers beside are threads of this process: making it in one piece would
# hold them up, not the server.
LARGER_BYTES, PIECE = 600_000_000, b"x" * 1_000_000
# Requests that only want their rest. Each announces much and sends little.
HALVES = [
    b"*2\r\n$3\r\nGET\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10000000\r\nabc",
    b"*1000\r\n$4\r\nMGET\r\n",
    b"*1\r\n$4\r\nPI",
    b"PIN",
    b"*",
]


def garbage(context, cluster):
    """Random bytes, to every port of every node."""
    generator = random.Random(SEED)
    offsets = (0,) if context.against_redis else (0, 10_000, 11_000)
    with ExitStack() as held:
        for number in range(GARBAGE_CONNECTIONS):
            host, port = cluster.addresses[number % len(cluster.addresses)]
            target = (host, port + generator.choice(offsets))
            connection = held.enter_context(socket.create_connection(target, timeout=ANSWER_BOUND_S))
            try:
                connection.sendall(generator.randbytes(generator.randrange(1, 4096)) + b"\r\n")
            except (BrokenPipeError, ConnectionResetError):
                pass  # It was closed before all was sent: just so.


def oversized(cluster):
    """Each breach is answered by an error or by the end, soon."""
    for number, frame in enumerate(OVERSIZED):
        with Connection(cluster.addresses[number % len(cluster.addresses)], bound_s=ANSWER_BOUND_S) as connection:
            try:
                connection.send(frame)
                answer = connection.rest()
            except TimeoutError:
                answer = None
            except (BrokenPipeError, ConnectionResetError):
                answer = b""
            shown = frame[:40]
            expect(answer is not None, f"{shown!r} was neither refused nor was its connection closed")
            expect(answer[:1] in (b"-", b""), f"{shown!r} was answered by {answer[:100]!r}")


def halves(cluster, check):
    """Half commands on many connections cost nearly nothing while they wait, and nothing when they leave."""
    with ExitStack() as held:
        for number in range(HALF_CONNECTIONS):
            connection = Connection(cluster.addresses[number % len(cluster.addresses)])
            held.enter_context(connection)
            connection.send(HALVES[number % len(HALVES)])
        check()


def large_value(cluster):
    """A value of some megabytes is kept as it is or refused clearly, and one beyond all limits is refused."""
    value = random.Random(SEED).randbytes(4_000_000)
    with Connection(cluster.addresses[-1]) as connection:
        answer = connection.call("SET", "large", value)
        if answer == b"+OK\r\n":
            kept = connection.call("GET", "large") == b"$4000000\r\n" + value + b"\r\n"
            expect(kept, "GET answers something else than the 4,000,000 bytes that SET took")
        else:
            expect(answer.startswith(b"-"), f"SET of 4,000,000 bytes answered {answer[:100]!r}")
    with Connection(cluster.addresses[-1]) as connection:
        try:
            connection.send(b"*3\r\n$3\r\nSET\r\n$6\r\nlarger\r\n$%d\r\n" % LARGER_BYTES)
            for _ in range(LARGER_BYTES // len(PIECE)):
                connection.send(PIECE)
            answer = connection.reply()
        except TimeoutError:
            answer = b"(nothing, and did not close)"
        except (OSError, Closed):
            answer = b"-closed"
        expect(answer.startswith(b"-"), f"SET of {LARGER_BYTES} bytes answered {answer[:100]!r}")


def run(context):
    with context.cluster() as cluster:
        with unharmed(context, cluster, "garbage", MEMORY_MIB) as check:
            garbage(context, cluster)
            check()
        with unharmed(context, cluster, "oversized frames", MEMORY_MIB) as check:
            if not context.against_redis:
                oversized(cluster)
            check()
        with unharmed(context, cluster, "half commands", MEMORY_MIB) as check:
            halves(cluster, check)
            check()
        with unharmed(context, cluster, "large values", 2 * MEMORY_MIB) as check:
            large_value(cluster)
            check()
