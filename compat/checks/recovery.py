"""a restart with much data: LOADING until it is there, then the same connection is served; redis-py waits by itself"""

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from harness import expect
from harness.resp import Closed, Connection
from harness.waiting import boot_time_s, until

BOUND_S = 180
WORKS_AGAINST_REDIS = False
NEEDS_PROCESSES = True

KEYS, KEYS_PER_COMMAND = 400_000, 1000
# Small, so that recovery is that of a snapshot and of a log behind it.
SETTINGS = ["--snapshot-log-bytes", "16mb"]
LOADING = b"-LOADING Quorate is recovering its data; the command was not applied\r\n"
RECOVERY_BOUND_S = 60
# redis-py's own retrying: it knows LOADING as an error that passes.
PATIENCE = Retry(ConstantBackoff(0.05), int(RECOVERY_BOUND_S / 0.05))


def value(number):
    return f"value of {number:060}"


def fill(cluster):
    with Connection(cluster.addresses[0]) as connection:
        for first in range(0, KEYS, KEYS_PER_COMMAND):
            pairs = [text for number in range(first, first + KEYS_PER_COMMAND) for text in (f"key:{number}", value(number))]
            answer = connection.call("MSET", *pairs)
            expect(answer == b"+OK\r\n", f"MSET answered {answer!r}")


def connect(node):
    """The first connection that a starting node takes."""

    def taken():
        expect(node.process.is_running(), f"{node.process.name} ended at its start: {node.process.last_words()}")
        try:
            return Connection(node.address)
        except OSError:
            return None

    return until(taken, RECOVERY_BOUND_S, f"port {node.port} to take a connection")


def watch_recovery(node):
    """Asks a starting node on one connection until it serves; answers how often it said LOADING. Meanwhile a client of
    redis-py must get through."""
    refusals = 0
    with connect(node) as connection:
        while (answer := connection.call("PING")) != b"+PONG\r\n":
            expect(answer == LOADING, f"PING answered {answer!r} while the node recovered")
            if refusals == 0:
                client = redis.Redis.from_url(node.url, decode_responses=True, retry=PATIENCE)
                got = client.get(f"key:{KEYS - 1}")
                expect(got == value(KEYS - 1), f"redis-py read {got!r}")
            refusals += 1
        try:
            got = connection.call("GET", "key:0")
        except (OSError, Closed) as error:
            got = error
        wanted = value(0).encode()
        expect(got == b"$%d\r\n%s\r\n" % (len(wanted), wanted), f"after LOADING the connection answered {got!r}")
    return refusals


def run(context):
    with context.cluster(extra=SETTINGS) as cluster:
        fill(cluster)
        for node in cluster.nodes:
            node.process.kill()
        for node in cluster.nodes:
            node.process.start()
        since = boot_time_s()
        refusals = watch_recovery(cluster.nodes[0])
        took_s = boot_time_s() - since
        expect(refusals, f"a node with {KEYS} keys never answered LOADING")
        cluster.wait_until_ready()
    context.note(f"{KEYS} keys: {took_s:.1f} s of LOADING, through which redis-py waited, then served")
