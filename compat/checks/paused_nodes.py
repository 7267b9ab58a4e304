"""SIGSTOP of a follower and of the leader: the others go on, and nobody reads stale data afterwards"""

from harness import expect
from harness.load import Load
from harness.resp import Connection, bulk
from harness.waiting import boot_time_s

BOUND_S = 90
WORKS_AGAINST_REDIS = False
NEEDS_PROCESSES = True

# While a follower is stopped nothing needs it; while the leader is, there must be an election.
FOLLOWER_GAP_S = 2.0
LEADER_GAP_S = 5.0
ROUNDS_SHORT, ROUNDS_LONG = 2, 8


def pause(context, cluster, node, what, gap_bound_s, number):
    """Stops a node while the others' clients write, and looks at what it says first when it wakes up."""
    with Load(cluster.others(node), each=2, name=f"paused:{what}:{number}") as load:
        witness = load.writers[0]
        with Connection(node.address) as early:
            since = boot_time_s()
            node.process.pause()
            load.wait_for_more(100)
            known = witness.last
            node.process.resume()
            # The node may still believe what it believed when it was stopped: that must not show.
            value = int(bulk(early.call("GET", witness.key)))
        expect(value >= known, f"{what}, just woken, answered {value} for a counter known to be at {known}")
        cluster.wait_until_ready([node])
        load.wait_for_more(20)
        load.stop()
        load.check_clean()
        gap = load.longest_gap_s(since)
        expect(gap <= gap_bound_s, f"with {what} stopped a client waited for {gap:.2f} s, of {gap_bound_s}")
        context.note(f"{what} stopped: longest wait {gap * 1000:.0f} ms")


def run(context):
    with context.cluster() as cluster:
        for number in range(ROUNDS_LONG if context.long else ROUNDS_SHORT):
            pause(context, cluster, cluster.others(cluster.leader())[0], "a follower", FOLLOWER_GAP_S, number)
            pause(context, cluster, cluster.leader(), "the leader", LEADER_GAP_S, number)
