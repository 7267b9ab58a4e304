"""two builds side by side: a cluster rolls from one to the next and back under load, then rises, and refuses the old one"""

import json
import subprocess
from pathlib import Path

from harness import expect
from harness.cluster import Node
from harness.load import Load
from harness.ports import free_ports
from harness.process import Process, end_all
from harness.resp import ask, bulk
from harness.waiting import boot_time_s, until

BOUND_S = 240
WORKS_AGAINST_REDIS = False
NEEDS_PROCESSES = True

OLD, NEW = 1, 2
# A node tells its version several times a second; a busy machine may take its time.
RISE_BOUND_S = 30
REFUSAL_BOUND_S = 30
# Acknowledged writes of each client between two restarts: what runs side by side is used.
WRITES = 20


def status(node):
    return json.loads(bulk(ask(node.address, "QUORATE", "STATUS")))


def version(node):
    return status(node)["cluster_version"]


def give(node, program, *extra):
    """Has a node run this program from its next start on."""
    node.process.arguments = [str(word) for word in (program, *node.settings, *extra)]


def leader_last(cluster):
    leader = cluster.leader()
    return [*cluster.others(leader), leader]


def roll(cluster, program, name, extra=None):
    """Gives each node the program, the leader last, while clients of the others go on without an error."""
    extra = extra or {}
    for node in leader_last(cluster):
        with Load(cluster.others(node), each=2, name=f"{name}:{node.port}") as load:
            code = node.process.stop()
            expect(code == 0, f"{node.process.name} exited with {code}: {node.process.last_words()}")
            give(node, program, *extra.get(node, ()))
            cluster.restart(node)
            load.wait_for_more(WRITES)
            load.stop()
            load.check_clean()
            for writer in load.writers:
                for address in cluster.addresses:
                    writer.check_kept(address)


def check_versions(cluster, active, known):
    """What each node says of itself and of the others."""
    for node in cluster.nodes:
        told = status(node)
        expect(told["cluster_version"] == active, f"{node.process.name} runs {told['cluster_version']}, not {active}")
        expect(told["cluster_version_max"] == known[node], f"{node.process.name} tells {told['cluster_version_max']}")
        wanted = sorted(known[other] for other in cluster.others(node))
        peers = sorted(peer["cluster_version_max"] for peer in told["peers"])
        expect(peers == wanted, f"{node.process.name} has heard {peers} of the others, not {wanted}")
        expect(all(peer["version"] for peer in told["peers"]), f"{node.process.name} knows no builds of the others")


def output_since(process, before):
    return process.output.read_text(errors="replace")[before:]


def check_refused(cluster, node, program):
    """A node that gets its old program back after the rise is refused, in words on both sides; with the new one it is
    well again, and nobody else has noticed."""
    others = cluster.others(node)
    marks = {other: other.process.output.stat().st_size for other in cluster.nodes}
    with Load(others, each=1, name="refused") as load:
        node.process.stop()
        newer = node.process.arguments[0]
        give(node, program)
        node.process.start()

        def said():
            text = output_since(node.process, marks[node])
            return "run a newer program" in text and "cluster" in text

        until(said, REFUSAL_BOUND_S, f"{node.process.name} to say that its program is too old")
        text = "\n".join(line for line in output_since(node.process, marks[node]).splitlines() if "newer" in line)
        load.wait_for_more(WRITES)
        if node.process.is_running():
            node.process.kill()
        give(node, newer)
        cluster.restart(node)
        load.wait_for_more(WRITES)
        load.stop()
        load.check_clean()
    return text.splitlines()[0][-160:]


def check_stranger_refused(context, cluster, program):
    """A machine with the old program does not become a member."""
    any_node = cluster.nodes[0]
    members = len(status(any_node)["members"])
    folder = context.folder / "stranger"
    arguments = [
        program, "serve", "--join", f"127.0.0.1:{any_node.port}", "--data-dir", folder,
        "--listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0",
    ]  # fmt: skip
    stranger = Process("stranger", arguments, context.folder / "stranger.log")
    stranger.start()
    try:
        until(lambda: not stranger.is_running(), REFUSAL_BOUND_S, "the stranger to end")
        words = stranger.last_words()
        expect("run a newer program" in words, f"the stranger was not told why: {words}")
        expect(len(status(any_node)["members"]) == members, "the stranger became a member")
    finally:
        end_all([stranger])


def check_late_hold(context, cluster, program):
    """A new machine that is held below what is active, which it does not know yet, is let in and goes along."""
    any_node = cluster.nodes[0]
    port = free_ports(1)
    arguments = [
        program, "serve", "--join", f"127.0.0.1:{any_node.port}", "--join-as", "learner", "--hold-version", OLD,
        "--listen", f"127.0.0.1:{port}", "--data-dir", context.folder / "held",
    ]  # fmt: skip
    held = Process("held", arguments, context.folder / "held.log")
    held.start()
    try:
        newcomer = Node(("127.0.0.1", port), held)
        cluster.wait_until_ready([newcomer])
        until(lambda: version(newcomer) == NEW, RISE_BOUND_S, "the newcomer to know the version")
        words = output_since(held, 0)
        expect("newer program" not in words, f"it was refused at first: {words}")
        done = output_of(program, "member", "remove", status(newcomer)["node_id"], "--addr", f"127.0.0.1:{any_node.port}")
        expect(done.returncode == 0, f"it cannot be removed: {done.stderr}")
        until(lambda: not held.is_running(), REFUSAL_BOUND_S, "the newcomer to end, since it was removed")
    finally:
        end_all([held])


def check_backup_refused(context, cluster, old, new):
    """A backup of the newer version is nothing for the old program, which says so."""
    backup = context.folder / "newer.backup"
    host, port = cluster.nodes[0].address
    saved = output_of(new, "snapshot", "save", backup, "--addr", f"{host}:{port}")
    expect(saved.returncode == 0, f"no backup was made: {saved.stderr}")
    restored = output_of(old, "snapshot", "restore", backup, "--data-dir", context.folder / "restored-by-old")
    words = restored.stderr
    expect(restored.returncode != 0 and "run a newer program" in words, f"the old program said: {words}")
    restored = output_of(new, "snapshot", "restore", backup, "--data-dir", context.folder / "restored-by-new")
    expect(restored.returncode == 0, f"the newer program said: {restored.stderr}")


def output_of(binary, *words):
    words = [str(word) for word in (binary, *words)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def rise(cluster, holder, program):
    """Takes the hold away: the version rises by itself, under load."""
    with Load(cluster.others(holder), each=2, name="rise") as load:
        holder.process.stop()
        give(holder, program)
        cluster.restart(holder)
        begun = boot_time_s()
        until(lambda: all(version(node) == NEW for node in cluster.nodes), RISE_BOUND_S, "the version to rise")
        took = boot_time_s() - begun
        load.wait_for_more(WRITES)
        load.stop()
        load.check_clean()
    return took


def run(context):
    old = Path(context.options.binary)
    new = Path(context.options.next_binary)
    expect(new.exists(), f"there is no build of the next version at {new}")
    with context.cluster() as cluster:
        for node in cluster.nodes:
            node.settings = node.process.arguments[1:]
        check_versions(cluster, OLD, dict.fromkeys(cluster.nodes, OLD))

        # There and back: one node holds the version, so that all can run the newer program.
        holder = cluster.nodes[0]
        begun = boot_time_s()
        roll(cluster, new, "forth", {holder: ("--hold-version", OLD)})
        check_versions(cluster, OLD, {node: OLD if node is holder else NEW for node in cluster.nodes})
        roll(cluster, old, "back")
        check_versions(cluster, OLD, dict.fromkeys(cluster.nodes, OLD))
        roll(cluster, new, "again", {holder: ("--hold-version", OLD)})
        context.note(f"nine restarts, three rolls between two builds, in {boot_time_s() - begun:.1f} s: no error, no count lost")

        took = rise(cluster, holder, new)
        check_versions(cluster, NEW, dict.fromkeys(cluster.nodes, NEW))
        context.note(f"without the hold the version is {NEW} on all nodes after {took:.2f} s")

        text = check_refused(cluster, cluster.others(cluster.leader())[0], old)
        context.note(f"the old program says: {text}")
        check_stranger_refused(context, cluster, old)
        check_late_hold(context, cluster, new)
        check_backup_refused(context, cluster, old, new)
        check_versions(cluster, NEW, dict.fromkeys(cluster.nodes, NEW))
        cluster.stop()
