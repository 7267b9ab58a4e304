"""disks that fill up, one and then all: writes and starts are refused clearly, reads go on, and it recovers"""

import os
from contextlib import ExitStack

from harness import expect
from harness.disks import fill, small_disk
from harness.resp import Closed, Connection, ask
from harness.waiting import until

BOUND_S = 150
WORKS_AGAINST_REDIS = False
NEEDS_PROCESSES = True

DISK_MIB = 96
VALUE = b"v" * 100_000
# More than the disks hold, so that refusal must come.
WRITES_MAX = 3 * DISK_MIB * 10
SETTINGS = ["--max-request-bytes", "1mb", "--segment-bytes", "3mb", "--snapshot-log-bytes", "8mb"]
RECOVERY_BOUND_S = 40


def write(address, key, value=VALUE):
    """The reply to a SET; None if the connection closed, so that the outcome is unknown."""
    try:
        return ask(address, "SET", key, value)
    except (Closed, OSError):
        return None


def write_until_refused(cluster, acknowledged):
    """Writes to all nodes in turn until one refuses; answers the refusal."""
    for number in range(WRITES_MAX):
        key = f"full:{number % 500}:{number}"
        answer = write(cluster.addresses[number % 3], key)
        if answer == b"+OK\r\n":
            acknowledged.append(key)
        elif answer is not None:
            return answer
        for node in cluster.nodes:
            expect(node.process.is_running(), f"{node.process.name} ended: {node.process.last_words()}")
    expect(False, f"{WRITES_MAX} writes of {len(VALUE)} bytes were taken by disks of {DISK_MIB} MiB that are full")


def check_reads(cluster, acknowledged):
    """Every node reads everything that was acknowledged."""
    for address in cluster.addresses:
        with Connection(address) as connection:
            for key in acknowledged:
                answer = connection.call("STRLEN", key)
                expect(answer == b":%d\r\n" % len(VALUE), f"at port {address[1]} STRLEN {key} answered {answer!r}")


def check_start(node, disk):
    """A node that is started on a full disk says that it is full, where, and what is needed, and ends."""
    node.process.kill()
    fill(disk)
    node.process.start()
    until(lambda: not node.process.is_running(), RECOVERY_BOUND_S, f"{node.process.name} to end on its full disk")
    code, words = node.process.child.returncode, node.process.last_words(1)
    expect(code == 3, f"{node.process.name} ended with {code} on a full disk: {words}")
    told = "the disk is full" in words and str(node.data) in words and "free at least 67 MiB" in words
    expect(told, f"{node.process.name} ended on a full disk with {words!r}")


def run(context):
    expect(os.geteuid() == 0, "disk_full must mount a tmpfs, which needs root")
    with ExitStack() as held:
        disks = {number: held.enter_context(small_disk(context.folder / f"disk-{number}", DISK_MIB)) for number in range(3)}
        data = {number: disk / "data" for number, disk in disks.items()}
        cluster = held.enter_context(context.cluster(extra=SETTINGS, data_of=data))
        acknowledged = []
        one = cluster.nodes.index(cluster.others(cluster.leader())[0])
        ballasts = [fill(disks[one])]
        for number in range(20):
            key = f"one:{number}"
            answer = write(cluster.nodes[(one + 1) % 3].address, key)
            expect(answer == b"+OK\r\n", f"with one follower's disk full, SET answered {answer!r}")
            acknowledged.append(key)
        context.note("one follower's disk full: writes go on")
        ballasts += [fill(disks[number]) for number in disks if number != one]
        refusal = write_until_refused(cluster, acknowledged)
        expect(refusal.startswith(b"-"), f"a write was refused by {refusal!r}, not by an error")
        context.note(f"all disks full: {len(acknowledged)} writes, then {refusal.decode().strip()!r}")
        check_reads(cluster, acknowledged)
        check_start(cluster.nodes[one], disks[one])
        for ballast in ballasts:
            ballast.unlink()
        cluster.restart(cluster.nodes[one])
        taken = lambda: write(cluster.addresses[0], "room again") == b"+OK\r\n"
        until(taken, RECOVERY_BOUND_S, "writes to be taken again when there is room")
        check_reads(cluster, acknowledged)
        context.note("room again: writes are taken, and all that was acknowledged is there")
