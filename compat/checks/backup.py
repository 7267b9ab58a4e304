"""backups under load, onto full disks, restored, recovered: nobody waits, nothing is half, redis-py's locks go on"""

import json
import os
import pty
import subprocess
import time

import redis
from harness import expect
from harness.cluster import Node
from harness.disks import fill, small_disk
from harness.load import Load
from harness.ports import free_ports
from harness.process import Process
from harness.resp import Connection, ask
from harness.waiting import boot_time_s, until

BOUND_S = 150
WORKS_AGAINST_REDIS = False
NEEDS_PROCESSES = True

KEYS, KEYS_PER_COMMAND = 150_000, 1000
DISK_MIB = 4
# A heartbeat is 100 ms, and a machine that is busy with a backup besides everything else may be late: what clients wait
# for anyhow comes on top.
GAP_BOUND_S = 1.0
START_BOUND_S = 60
# How long a node without a majority looks for one before it refuses.
SETTINGS = ["--command-timeout", "3s"]


def run_quorate(context, *arguments):
    """Runs the program to its end: exit status, standard output, standard error."""
    line = [context.options.binary, *(str(argument) for argument in arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def answer_on_terminal(context, question, answer, *arguments):
    """Runs the program on a terminal, and types an answer to its question: exit status, and what it showed."""
    ours, its = pty.openpty()
    line = [context.options.binary, *(str(argument) for argument in arguments)]
    child = subprocess.Popen(line, stdin=its, stdout=its, stderr=its)
    os.close(its)
    shown = b""
    try:
        while question not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, answer + b"\n")
        while True:
            shown += os.read(ours, 4096)
    except OSError:
        pass  # The other end is closed: the program has ended.
    finally:
        os.close(ours)
    return child.wait(), shown.decode(errors="replace")


def addresses(nodes):
    return ",".join(f"{node.address[0]}:{node.port}" for node in nodes)


def value(number):
    return f"value of {number:060}"


def populate(node):
    with Connection(node.address) as connection:
        for first in range(0, KEYS, KEYS_PER_COMMAND):
            pairs = [text for number in range(first, first + KEYS_PER_COMMAND) for text in (f"key:{number}", value(number))]
            answer = connection.call("MSET", *pairs)
            expect(answer == b"+OK\r\n", f"MSET answered {answer!r}")


def save_under_load(context, cluster, file):
    """Saves from the leader while clients of each node write; nobody may be held up."""
    leader = cluster.leader()
    with Load(cluster.nodes) as load:
        begin = boot_time_s()
        load.wait_for_more(200)
        usual_s = load.longest_gap_s(begin)
        known = {writer.key: writer.last for writer in load.writers}
        begin = boot_time_s()
        code, _, error = run_quorate(context, "snapshot", "save", file, "--addr", addresses([leader]))
        took_s = boot_time_s() - begin
        expect(code == 0, f"snapshot save ended with {code}: {error}")
        load.wait_for_more(20)
        gap_s = load.longest_gap_s(begin)
        load.stop()
        load.check_clean()
    expect(gap_s < GAP_BOUND_S + 3 * usual_s, f"a client waited for {gap_s:.3f} s during a backup")
    context.note(
        f"{file.stat().st_size >> 20} MiB in {took_s:.2f} s; longest wait of a client {gap_s * 1000:.0f} ms meanwhile, "
        f"{usual_s * 1000:.0f} ms before"
    )
    return known


def check_contents(context, file):
    code, text, error = run_quorate(context, "snapshot", "inspect", file, "--json")
    expect(code == 0, f"snapshot inspect ended with {code}: {error}")
    keys = json.loads(text)["keys"]
    expect(keys >= KEYS, f"{keys} keys are in the backup, not {KEYS}")


def check_full_disk(context, cluster, file):
    """Saving to a full disk and restoring onto one leave nothing half."""
    with small_disk(context.folder / "small", DISK_MIB) as disk:
        code, _, error = run_quorate(context, "snapshot", "save", disk / "b", "--addr", addresses(cluster.nodes))
        told = "No space left" in error and str(disk / "b") in error
        expect(code == 1 and told, f"saving to a full disk ended with {code}: {error}")
        expect(not os.listdir(disk), f"it left {os.listdir(disk)}")
        restore = ["snapshot", "restore", file, "--data-dir", disk / "data"]
        code, _, error = run_quorate(context, *restore)
        told = "the disk is full" in error and str(disk / "data") in error
        expect(code == 1 and told, f"restoring onto a full disk ended with {code}: {error}")
        left = sorted(os.listdir(disk / "data"))
        expect(left == ["lock", "snapshots"] and not os.listdir(disk / "data" / "snapshots"), f"it left {left}")
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        code, _, error = run_quorate(context, *restore)
        expect(code == 0, f"with room again it ended with {code}: {error}")
        context.note("full disks: refused by name, and nothing is left over")
        check_survivor(context, disk)


def check_survivor(context, disk):
    """`recover` without room leaves the node as it is."""
    process, node = start(context, disk / "data")
    process.kill()
    recover = ["recover", "--force-new-cluster", "--data-dir", disk / "data"]
    # To look costs nothing, and gives back what the node had reserved for its log.
    code, _, error = run_quorate(context, *recover)
    expect(code == 1 and "nobody is there to confirm it" in error, f"unconfirmed, it ended with {code}: {error}")
    ballast = fill(disk)
    code, _, error = run_quorate(context, *recover, "--yes")
    expect(code == 1 and "the disk is full" in error, f"recovering on a full disk ended with {code}: {error}")
    ballast.unlink()
    process.start()
    until(node.answers, START_BOUND_S, "the node that was not recovered to go on")
    process.kill()


def start(context, data):
    """A node alone, on data that are there."""
    port = free_ports(1)
    arguments = [context.options.binary, "serve", "--listen", f"127.0.0.1:{port}", "--data-dir", data]
    process = Process("restored node", arguments, context.folder / "restored.log")
    process.start()
    node = Node(("127.0.0.1", port), process)
    until(node.answers, START_BOUND_S, f"the restored node to serve: {process.last_words()}")
    return process, node


def check_dead_node(context, cluster, file):
    """The next node is asked when the first is dead."""
    dead, *others = cluster.nodes
    dead.process.kill()
    code, _, error = run_quorate(context, "snapshot", "save", file, "--force", "--addr", addresses(cluster.nodes))
    expect(code == 0 and f"from node {cluster.nodes.index(others[0]) + 1}" in error, f"it ended with {code}: {error}")
    others[0].process.kill()
    # One node of three: it cannot know what was acknowledged.
    code, _, error = run_quorate(context, "snapshot", "save", file, "--force", "--addr", addresses(others[1:]))
    expect(code == 1 and "CLUSTERDOWN" in error, f"without a majority it ended with {code}: {error}")


def check_confirmation(context, data, kept):
    """`recover` asks whoever is at the terminal, and does nothing before a yes."""
    recover = ["recover", "--force-new-cluster", "--data-dir", data]
    question = b"Type yes to go on:"
    for answer in (b"", b"y"):
        code, shown = answer_on_terminal(context, question, answer, *recover)
        expect(code == 1 and "nothing was changed" in shown, f"to {answer!r} it ended with {code}: {shown}")
    code, shown = answer_on_terminal(context, question, b"yes", *recover)
    expect(code == 0 and "the only member" in shown, f"to yes it ended with {code}: {shown}")
    process, node = start(context, data)
    answer = ask(node.address, "EXISTS", kept)
    expect(answer == b":1\r\n", f"EXISTS {kept} answered {answer!r} after recovering")
    process.stop()
    context.note("recovering asks at the terminal, and keeps what there is")


def run(context):
    expect(os.geteuid() == 0, "backup must mount a tmpfs, which needs root")
    file = context.folder / "saved"
    with context.cluster(extra=SETTINGS) as cluster:
        populate(cluster.nodes[0])
        lock = redis.Redis.from_url(cluster.nodes[1].url).lock("lock", timeout=600)
        expect(lock.acquire(blocking=False), "redis-py did not get its lock")
        known = save_under_load(context, cluster, file)
        check_contents(context, file)
        check_full_disk(context, cluster, file)
        check_dead_node(context, cluster, context.folder / "other")
    begin = time.monotonic()
    code, _, error = run_quorate(context, "snapshot", "restore", file, "--data-dir", context.folder / "data")
    expect(code == 0, f"snapshot restore ended with {code}: {error}")
    process, node = start(context, context.folder / "data")
    context.note(f"restored and started in {time.monotonic() - begin:.2f} s")
    for key, least in known.items():
        kept = int(redis.Redis.from_url(node.url).get(key) or 0)
        expect(kept >= least, f"{key} is {kept}, and {least} was acknowledged before")
    # Another contender waits, and the holder goes on as if nothing had been.
    client = redis.Redis.from_url(node.url)
    expect(not client.lock("lock", timeout=600).acquire(blocking=False), "a lock was given twice")
    lock.redis = client
    lock.register_scripts()
    lock.extend(60)
    lock.release()
    expect(client.lock("lock", timeout=600).acquire(blocking=False), "a released lock was not given")
    expect(ask(node.address, "GET", f"key:{KEYS - 1}").endswith(value(KEYS - 1).encode() + b"\r\n"), "the last key is wrong")
    process.stop()
    check_confirmation(context, context.folder / "data", "lock")
