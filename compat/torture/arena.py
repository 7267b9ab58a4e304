"""Where the nodes live: addresses that can be cut off from each other, disks that lose power, wall clocks that jump."""

import fcntl
import os
import struct
import subprocess
import time
from pathlib import Path

from harness import Failure, expect
from harness.cluster import Cluster, Node
from harness.disks import fill
from harness.process import Process

COUNT = 3
PORT, PEER_PORT = 7379, 17379
# What a node sends is known by its group: all connections within one machine may have the same address.
FIRST_GROUP = 52_000
DISK_MIB = 160
SETTINGS = ["--max-request-bytes", "1mb", "--segment-bytes", "3mb", "--snapshot-log-bytes", "8mb"]
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
# FS_IOC_SHUTDOWN of linux/fs.h: _IOR('X', 125, __u32), with EXT4_GOING_FLAGS_NOLOGFLUSH: as a power cut would leave it.
FS_IOC_SHUTDOWN, NO_FLUSH = 0x8004587D, 2


def command(*words):
    """Runs a program of the system, which must succeed."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"`{' '.join(map(str, words))}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


class Network:
    """Cuts between nodes, by what the kernel lets out of them."""

    def __init__(self):
        command("ip", "link", "set", "lo", "up")
        command("nft", "add", "table", "inet", "torture")
        command("nft", "add chain inet torture cuts { type filter hook output priority 0; }")

    def cut(self, sender, receiver):
        """Nothing that one node sends reaches the other; the way back stays open."""
        group, address = FIRST_GROUP + sender, f"127.0.0.{11 + receiver}"
        command("nft", f"add rule inet torture cuts meta skgid {group} ip daddr {address} drop")

    def heal(self):
        command("nft", "flush chain inet torture cuts")


class Disk:
    """A file system of a node's own, on a loop device."""

    def __init__(self, folder, number):
        self.image = folder / f"disk-{number + 1}.img"
        self.root = folder / f"disk-{number + 1}"
        self.root.mkdir()
        with self.image.open("wb") as image:
            image.truncate(DISK_MIB << 20)
        command("mkfs.ext4", "-q", "-F", self.image)
        self.mount()

    @property
    def data(self):
        return self.root / "data"

    def mount(self):
        command("mount", "-o", "loop", self.image, self.root)

    def cut_power(self):
        """From now on nothing reaches the device, not even what the file system has in its journal."""
        handle = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, FS_IOC_SHUTDOWN, struct.pack("I", NO_FLUSH))
        finally:
            os.close(handle)

    def unmount(self):
        command("umount", self.root)

    def restore_power(self):
        """As after a boot: what had reached the device is there."""
        self.unmount()
        self.mount()

    def fill(self):
        return fill(self.root)


class WallClock:
    """The wall clock of a node, which can be set while it runs; its other clocks are the machine's."""

    def __init__(self, folder, number):
        self.file = folder / f"wall-clock-{number + 1}"
        self.set(0)

    def set(self, offset_s):
        # At one instant the new one takes the place of the old one: a reader never sees half of it.
        new = self.file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n")
        new.rename(self.file)

    @property
    def environment(self):
        return {
            "LD_PRELOAD": FAKETIME,
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }


def check_wall_clock(clock):
    """The fake clock must move wall clocks, and no other one: else a run would prove nothing, or accuse us of nothing."""
    clocks = (time.CLOCK_REALTIME, time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME)
    program = f"import time; print(*(time.clock_gettime(clock) for clock in {clocks}))"
    clock.set(86_400)
    environment = {**os.environ, **clock.environment}
    told = subprocess.run(["python3", "-c", program], env=environment, capture_output=True, text=True, check=True)
    clock.set(0)
    moved = [float(faked) - time.clock_gettime(real) for faked, real in zip(told.stdout.split(), clocks)]
    is_right = 86_000 < moved[0] < 87_000 and abs(moved[1]) < 600 and abs(moved[2]) < 600
    expect(is_right, f"libfaketime set to a day ahead moved wall clock, monotonic and boot time by {moved}")


class Arena:
    """Three nodes and what surrounds them. As a context it ends what it started."""

    def __init__(self, binary, folder):
        expect(os.geteuid() == 0, "torture makes namespaces and mounts file systems, which needs root")
        expect(Path(FAKETIME).is_file(), f"{FAKETIME} is missing; install the package libfaketime")
        self.network = Network()
        self.disks = [Disk(folder, number) for number in range(COUNT)]
        self.clocks = [WallClock(folder, number) for number in range(COUNT)]
        check_wall_clock(self.clocks[0])
        self.cluster = Cluster([self._node(binary, folder, number) for number in range(COUNT)])

    def _node(self, binary, folder, number):
        address = f"127.0.0.{11 + number}"
        peers = ",".join(f"{other + 1}=127.0.0.{11 + other}:{PEER_PORT}" for other in range(COUNT))
        arguments = [
            binary, "serve", "--bootstrap",
            "--node-id", number + 1,
            "--listen", f"{address}:{PORT}",
            "--peer-listen", f"{address}:{PEER_PORT}",
            "--peers", peers,
            "--data-dir", self.disks[number].data,
            *SETTINGS,
        ]  # fmt: skip
        environment = {**os.environ, **self.clocks[number].environment}
        log = folder / f"node-{number + 1}.log"
        process = Process(f"node {number + 1}", arguments, log, group=FIRST_GROUP + number, env=environment)
        return Node((address, PORT), process, self.disks[number].data)

    @property
    def nodes(self):
        return self.cluster.nodes

    def __enter__(self):
        self.cluster.__enter__()
        self.cluster.start()
        return self

    def __exit__(self, *exception):
        self.cluster.__exit__(*exception)
        for disk in self.disks:
            disk.unmount()

    def number_of(self, node):
        return self.nodes.index(node)

    def start_again(self, nodes):
        """Starts nodes that have ended, and waits until each serves."""
        for node in nodes:
            node.process.start()
        self.cluster.wait_until_ready()


def check_alive(arena):
    """Nobody may have ended by itself."""
    for node in arena.nodes:
        if not node.process.is_running():
            raise Failure(f"{node.process.name} ended by itself: {node.process.last_words()}")
