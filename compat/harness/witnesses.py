"""What must stay as it was while somebody misbehaves: everybody else's service, and the servers' memory."""

from contextlib import contextmanager

from . import expect
from .load import Load
from .waiting import boot_time_s

# The longest that another client may wait on a busy machine while somebody misbehaves.
GAP_BOUND_S = 4.0
MIB = 1 << 20


@contextmanager
def unharmed(context, cluster, what, memory_mib):
    """Runs its body beside writers at each node. Afterwards they must have seen no error and no long gap, and no
    process may have grown by more than the given memory, which is looked at before the body's clients leave."""
    processes = [node.process for node in dict.fromkeys(cluster.nodes) if node.process]
    with Load(cluster.nodes, name=what) as load:
        before = [process.resident_bytes() for process in processes]
        since = boot_time_s()

        def check():
            load.wait_for_more(20)
            grown = [process.resident_bytes() - old for process, old in zip(processes, before)]
            grown_mib = max(grown, default=0) / MIB
            expect(grown_mib <= memory_mib, f"{what}: a node grew by {grown_mib:.0f} MiB, of {memory_mib} at most")
            gap = load.longest_gap_s(since)
            expect(gap <= GAP_BOUND_S, f"{what}: another client waited for {gap:.2f} s")
            load.check_clean()
            context.note(f"{what}: others' longest wait {gap * 1000:.0f} ms, memory {grown_mib:+.1f} MiB")

        yield check
