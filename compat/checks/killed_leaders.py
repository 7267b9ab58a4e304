"""the plain lock and election, three processes each at three nodes, while the leader is killed -9 ten times"""

import sys

from harness import expect, holders
from harness.process import Process, end_all
from harness.waiting import boot_time_s, until

BOUND_S = 240
NEEDS_PROCESSES = True

KILLS = 10
# The issue's own programs use 10 s and 30 s, renewed each 5 s; the short form goes faster through the same.
SHORT = {"lock": (4, 1), "election": (5, 1)}
LONG = {"lock": (10, 2), "election": (30, 5)}
# Until each program has begun, on a busy machine.
START_BOUND_S = 60
# A client of a node that was killed may still stumble over its old connection just after the node is back.
AFTERMATH_S = 2.0


class Programs:
    """The three processes of each of the two programs, and their journals."""

    def __init__(self, context, cluster, times):
        self.times = times
        self.journals = {name: {} for name in times}
        self.processes = []
        for name, (ttl_s, renew_s) in times.items():
            for place, node in enumerate(cluster.nodes):
                journal = context.folder / f"{name}-{place}.jsonl"
                journal.touch()
                self.journals[name][place] = journal
                arguments = [sys.executable, "-m", f"programs.{name}", "--url", node.url, "--name", f"candidate {place}"]
                arguments += ["--log", journal, "--ttl", ttl_s, "--renew", renew_s]
                self.processes.append(Process(f"{name} {place}", arguments, context.folder / f"{name}-{place}.out"))

    def __enter__(self):
        for process in self.processes:
            process.start()
        self.wait_for_progress(boot_time_s())
        # A program that has written a line can be told to stop.
        journals = [journal for places in self.journals.values() for journal in places.values()]
        until(lambda: all(journal.stat().st_size for journal in journals), START_BOUND_S, "each program to begin")
        return self

    def __exit__(self, *_):
        end_all(self.processes)

    def wait_for_progress(self, since):
        """Waits until the lock and the leadership were taken anew, by anybody, after an instant."""
        for name, (ttl_s, renew_s) in self.times.items():
            bound_s = 2 * ttl_s + 10 * renew_s + 10
            taken = lambda: any(holding.begun > since for holding in self.judge(name).holdings)
            until(taken, bound_s, f"somebody to take the {name} after a kill")

    def judge(self, name):
        return holders.judge(self.journals[name], self.times[name][0])

    def stop(self):
        for process in self.processes:
            code = process.stop()
            expect(code == 0, f"{process.name} exited with {code}: {process.last_words()}")


def kill_leaders(cluster, programs):
    """Kills the cluster's leader again and again; answers for each place when its node was down."""
    down = {place: [] for place in range(len(cluster.nodes))}
    for _ in range(KILLS):
        leader = cluster.leader()
        killed_at = boot_time_s()
        leader.process.kill()
        programs.wait_for_progress(killed_at)
        cluster.restart(leader)
        down[cluster.nodes.index(leader)].append((killed_at, boot_time_s() + AFTERMATH_S))
    return down


def check(context, name, verdict, down):
    """One holder at any time, none lost, and no error but at clients whose own node was down."""
    # The programs ended by themselves, so that each wrote its last line whole.
    expect(not verdict.cut, f"{name}: the journals of {verdict.cut} end within a line, so that a request is missing")
    overlaps = verdict.overlaps()
    expect(not overlaps, f"{name}: {len(overlaps)} double holders: {overlaps[:3]}")
    expect(not verdict.lost, f"{name}: {len(verdict.lost)} lost: {verdict.lost[:3]}")

    def own_node_was_down(place, sent, answered):
        return any(sent <= back and answered >= killed for killed, back in down[place])

    unexpected = [error for error in verdict.errors if not own_node_was_down(*error[:3])]
    expect(not unexpected, f"{name}: clients of surviving nodes saw {len(unexpected)} errors: {unexpected[:3]}")
    by_place = [sum(holding.who == place for holding in verdict.holdings) for place in down]
    context.note(f"{name}: held {len(verdict.holdings)} times, by client {by_place}, never by two")
    context.note(f"{name}: {len(verdict.errors)} errors at clients whose own node was down")


def run(context):
    times = LONG if context.long else SHORT
    with context.cluster() as cluster, Programs(context, cluster, times) as programs:
        if context.against_redis:
            programs.wait_for_progress(boot_time_s())
            down = {place: [] for place in range(len(cluster.nodes))}
        else:
            down = kill_leaders(cluster, programs)
        programs.stop()
        for name in times:
            check(context, name, programs.judge(name), down)
