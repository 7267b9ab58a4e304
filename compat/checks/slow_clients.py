"""clients that send and never read: their output is bounded, and nobody else waits for them"""

from contextlib import ExitStack

from harness import expect
from harness.resp import Connection, ask, encode
from harness.waiting import until
from harness.witnesses import unharmed

BOUND_S = 90
WORKS_AGAINST_REDIS = False

CLIENTS = 8
VALUE_BYTES = 1_000_000
# What each asks for: far more than its share of the server's memory.
REQUESTS = 400
OUTPUT_MIB = 4
# For each client its output limit and the socket's own buffers; for all of them what an allocator keeps.
MEMORY_MIB = CLIENTS * (OUTPUT_MIB + 8) + 64


def ask_on(connections, request):
    """Sends on each connection until the server takes no more; answers how many were cut off."""
    closed = 0
    for connection in connections:
        connection.socket.setblocking(False)
        try:
            for _ in range(REQUESTS):
                connection.send(request)
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            closed += 1
    return closed


def run(context):
    with context.cluster(extra=["--max-output-bytes", f"{OUTPUT_MIB}mb"]) as cluster:
        target = cluster.nodes[0]
        expect(ask(target.address, "SET", "value", b"x" * VALUE_BYTES) == b"+OK\r\n", "SET of the value failed")
        with unharmed(context, cluster, "clients that never read", MEMORY_MIB) as check, ExitStack() as held:
            connections = [held.enter_context(Connection(target.address)) for _ in range(CLIENTS)]
            closed = ask_on(connections, encode(["GET", "value"]))
            check()
            # One that pipelines small commands without reading: the server stops reading it, or cuts it off.
            flood = held.enter_context(Connection(target.address))
            flood.socket.setblocking(False)

            def stuck():
                try:
                    flood.socket.send(encode(["ECHO", b"y" * 1000]) * 100)
                except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                    return True
                return False

            until(stuck, 30, "the server to stop taking commands whose replies nobody reads")
            check()
        context.note(f"{closed} of {CLIENTS} clients were cut off while they still sent")
