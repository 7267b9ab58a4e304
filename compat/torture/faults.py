"""What goes wrong. Each fault is a function that makes it, lets clients go on under it, and takes it back; what it must
do at the nodes is checked there, what clients may see is judged at the end (hazards 15, 20, 24, 30)."""

import os
import subprocess
import time
from contextlib import suppress

from harness import expect
from harness.cluster import ELECTION_BOUND_S
from harness.resp import Closed, ask
from harness.waiting import until

# From a failed fdatasync until the node has ended.
STOP_BOUND_S = 30
# What is written while disks are full: more than fits into what nodes have preallocated, and few keys.
FLOOD_MAX, FLOOD_KEYS, FLOOD_VALUE = 400, 8, b"v" * 100_000
# How far wall clocks jump: seconds, an hour, ten years.
JUMPS_S = [7, 3600, 315_360_000]


class Hand:
    """The one who makes the faults."""

    def __init__(self, arena, random):
        self.arena = arena
        self.random = random

    def hold(self, least_s=0.5, most_s=3.0):
        """Lets clients go on under the fault for a while: its length is part of what is tried, and nothing is hoped for
        at its end."""
        time.sleep(self.random.uniform(least_s, most_s))

    def anybody(self):
        return self.random.choice(self.arena.nodes)

    def leader_or_anybody(self):
        return self.arena.cluster.leader() if self.random.random() < 0.5 else self.anybody()

    def numbers_beside(self, node):
        number = self.arena.number_of(node)
        return number, [other for other in range(len(self.arena.nodes)) if other != number]

    def cut(self, links, meanwhile=lambda: None):
        """Cuts links for a while, and waits for something before they are back."""
        for sender, receiver in links:
            self.arena.network.cut(sender, receiver)
        meanwhile()
        self.hold(2, 6)
        self.arena.network.heal()

    def around(self, node):
        """All links between a node and the others."""
        number, others = self.numbers_beside(node)
        return [link for other in others for link in ((number, other), (other, number))]


def kill_one(hand):
    """kill -9 of a node"""
    node = hand.leader_or_anybody()
    node.process.kill()
    hand.hold()
    hand.arena.start_again([node])


def kill_all(hand):
    """kill -9 of all nodes at once"""
    for node in hand.arena.nodes:
        node.process.kill()
    hand.arena.start_again(hand.arena.nodes)


def pause_one(hand):
    """SIGSTOP and SIGCONT of a node"""
    node = hand.leader_or_anybody()
    node.process.pause()
    hand.hold()
    node.process.resume()


def isolate_leader(hand):
    """the leader is cut off from both others"""
    leader = hand.arena.cluster.leader()
    replaced = lambda: any(node.is_leader() for node in hand.arena.cluster.others(leader))
    what = f"another leader than {leader.process.name}, which is cut off"
    hand.cut(hand.around(leader), lambda: until(replaced, ELECTION_BOUND_S, what))


def isolate_one(hand):
    """a node is cut off from both others"""
    hand.cut(hand.around(hand.anybody()))


def cut_link(hand):
    """two nodes are cut off from each other, and both see the third"""
    one, other = hand.random.sample(range(len(hand.arena.nodes)), 2)
    hand.cut([(one, other), (other, one)])


def one_way(hand):
    """a node hears nobody, or nobody hears it"""
    node, others = hand.numbers_beside(hand.leader_or_anybody())
    is_deaf = hand.random.random() < 0.5
    hand.cut([(other, node) if is_deaf else (node, other) for other in others])


def sync_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def full_disk(hand):
    """a disk is full, or all are: then writes must be refused, and by a clear error"""
    disks = hand.arena.disks if hand.random.random() < 0.5 else [hand.random.choice(hand.arena.disks)]
    ballasts = [disk.fill() for disk in disks]
    is_refused = flood(hand)
    expect(is_refused or disks is not hand.arena.disks, "all disks were full, and no write was refused for that")
    hand.hold()
    for ballast in ballasts:
        ballast.unlink()
        # Or the next power cut brings it back, and the disk is full again.
        sync_folder(ballast.parent)


def flood(hand):
    """Writes until it is refused; answers whether it was."""
    for number in range(FLOOD_MAX):
        node = hand.arena.nodes[number % len(hand.arena.nodes)]
        with suppress(OSError, Closed):
            answer = ask(node.address, "SET", f"flood:{number % FLOOD_KEYS}", FLOOD_VALUE)
            if answer.startswith(b"-MISCONF"):
                return True
    return False


def failed_sync(hand):
    """fdatasync fails: the node must stop"""
    node = hand.leader_or_anybody()
    calls = "fdatasync,fsync"
    inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:error=EIO"]
    with node.process.output.open("ab") as log:
        tracer = subprocess.Popen(
            ["strace", "--quiet=all", "-f", "-p", str(node.process.pid), *inject, "-o", "/dev/null"], stderr=log
        )
        try:
            has_ended = lambda: not node.process.is_running()
            until(has_ended, STOP_BOUND_S, f"{node.process.name} to stop, whose fdatasync fails")
        finally:
            tracer.kill()
            tracer.wait()
    code = node.process.child.returncode
    words = node.process.last_words()
    expect(code > 0 and "could not sync" in words, f"{node.process.name} ended with {code} after a failed fdatasync: {words}")
    hand.hold()
    hand.arena.start_again([node])


def wall_jump(hand):
    """wall clocks jump, each to another time"""
    for clock in hand.arena.clocks:
        clock.set(hand.random.choice([-1, 1]) * hand.random.choice(JUMPS_S))
    hand.hold(2, 4)


def cut_power_of(hand, numbers):
    for number in numbers:
        hand.arena.disks[number].cut_power()
    nodes = [hand.arena.nodes[number] for number in numbers]
    for node in nodes:
        # Its disk is gone, which it may have noticed before.
        if node.process.is_running():
            node.process.kill()
    for number in numbers:
        hand.arena.disks[number].restore_power()
    hand.arena.start_again(nodes)


def power_cut_one(hand):
    """the power cut of a node and its file system"""
    cut_power_of(hand, [hand.arena.number_of(hand.leader_or_anybody())])


def power_cut_all(hand):
    """the power cut of all nodes and file systems at once"""
    cut_power_of(hand, range(len(hand.arena.nodes)))


FAULTS = {
    fault.__name__: fault
    for fault in (
        kill_one,
        kill_all,
        pause_one,
        isolate_leader,
        isolate_one,
        cut_link,
        one_way,
        full_disk,
        failed_sync,
        wall_jump,
        power_cut_one,
        power_cut_all,
    )
}
