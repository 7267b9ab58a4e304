"""What is under test: three `quorate serve` processes, a cluster that runs already, or, to test the checks
themselves, one Redis that stands for every node."""

import itertools
import shutil
from contextlib import suppress
from pathlib import Path

from . import Failure, expect
from .ports import SENTINEL_OFFSET, free_ports
from .process import Process, end_all
from .resp import Closed, ask, information
from .waiting import until

# From starting the processes until each node answers: election time-outs are far below a second, but a machine that is
# busy with something else may take long over a few processes.
START_BOUND_S = 60
# From the loss of a leader until there is another one, on a busy machine.
ELECTION_BOUND_S = 30
# Between looking for free ports and taking them somebody else may take one.
PORT_ATTEMPTS = 3


class Node:
    """One node: an address, and a process unless it is somebody else's."""

    def __init__(self, address, process=None, data=None):
        self.address = address
        self.process = process
        self.data = data

    @property
    def port(self):
        return self.address[1]

    @property
    def url(self):
        return f"redis://{self.address[0]}:{self.port}/0"

    @property
    def sentinel(self):
        """Its Sentinel door, if it was given one."""
        return (self.address[0], self.port + SENTINEL_OFFSET)

    def answers(self):
        """Whether it serves a linearizable read now."""
        with suppress(OSError, Closed):
            return ask(self.address, "GET", "compat:ready", bound_s=2) in (b"$-1\r\n", b"$5\r\nready\r\n")
        return False

    def is_leader(self):
        """Whether it believes to lead. A deposed leader may be late in noticing."""
        with suppress(OSError, Closed):
            return information(self.address, "replication", bound_s=2).get("role") == "master"
        return False


class Cluster:
    """Nodes that serve one keyspace. As a context it ends what it started."""

    def __init__(self, nodes, keeps_running=False):
        self.nodes = nodes
        self.keeps_running = keeps_running

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.keeps_running:
            end_all(node.process for node in self.nodes)

    @property
    def addresses(self):
        return [node.address for node in self.nodes]

    def start(self):
        for node in self.nodes:
            node.process.start()
        self.wait_until_ready()

    def wait_until_ready(self, nodes=None):
        for node in nodes or self.nodes:
            self._wait_until_ready(node)

    def restart(self, node):
        """Starts a node that was killed, and waits until it serves again."""
        node.process.start()
        self._wait_until_ready(node)

    def leader(self):
        """The node that leads, and is believed by nobody else to be deposed."""

        def only_one():
            leaders = [node for node in self.nodes if node.is_leader()]
            return leaders[0] if len(leaders) == 1 else None

        return until(only_one, ELECTION_BOUND_S, "exactly one node to call itself master in INFO")

    def others(self, node):
        return [other for other in self.nodes if other is not node]

    def stop(self):
        """Ends all nodes politely; each must exit with 0."""
        for node in self.nodes:
            code = node.process.stop()
            expect(code == 0, f"{node.process.name} exited with {code}: {node.process.last_words()}")

    def _wait_until_ready(self, node):
        def ready():
            if node.process is not None and not node.process.is_running():
                raise Failure(f"{node.process.name} ended at its start: {node.process.last_words()}")
            return node.answers()

        try:
            until(ready, START_BOUND_S, f"port {node.port} to serve reads")
        except Failure as failure:
            words = node.process.last_words() if node.process else ""
            raise Failure(f"{failure}\n{words}") from None


def quorate(binary, folder, count=3, extra=(), data_of=None, sentinels=False, engine=None):
    """Starts a cluster of `quorate serve` processes below a folder. `data_of` may put a node's data elsewhere, and with
    `sentinels` each node has a Sentinel door. Without an `engine` it has the default one."""
    extra = [*extra, *(["--engine", engine] if engine else [])]
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for attempt in itertools.count(1):
        cluster = _nodes(binary, folder / f"attempt-{attempt}", count, extra, data_of or {}, sentinels)
        try:
            cluster.start()
            return cluster
        except BaseException as error:
            end_all(node.process for node in cluster.nodes)
            if "cannot listen on" not in str(error) or attempt == PORT_ATTEMPTS:
                raise


def _nodes(binary, folder, count, extra, data_of, sentinels):
    folder.mkdir()
    first = free_ports(count)
    peers = ",".join(f"{number + 1}=127.0.0.1:{first + number + 10_000}" for number in range(count))
    nodes = []
    for number in range(count):
        port = first + number
        data = data_of.get(number, folder / f"data-{number + 1}")
        arguments = [
            binary, "serve",
            "--node-id", number + 1,
            "--listen", f"127.0.0.1:{port}",
            "--peer-listen", f"127.0.0.1:{port + 10_000}",
            "--peers", peers,
            "--bootstrap",
            "--data-dir", data,
            *(["--sentinel-listen", f"127.0.0.1:{port + SENTINEL_OFFSET}"] if sentinels else []),
            *extra,
        ]  # fmt: skip
        process = Process(f"node {number + 1}", arguments, folder / f"node-{number + 1}.log")
        nodes.append(Node(("127.0.0.1", port), process, data))
    return Cluster(nodes)


def redis(folder):
    """Debian's redis-server, as reference and as a stand-in for the nodes: all of them are the one process."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    port = free_ports(1)
    arguments = ["redis-server", "--port", port, "--save", "", "--dir", folder, "--bind", "127.0.0.1"]
    process = Process("redis-server", arguments, folder / "redis.log")
    node = Node(("127.0.0.1", port), process, folder)
    cluster = Cluster([node] * 3)
    process.start()
    cluster.wait_until_ready([node])
    return cluster


def running(addresses):
    """A cluster that somebody else runs."""
    nodes = [Node((host, int(port))) for host, port in (address.rsplit(":", 1) for address in addresses)]
    cluster = Cluster(nodes, keeps_running=True)
    cluster.wait_until_ready()
    return cluster
