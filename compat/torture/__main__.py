"""Tortures three nodes while clients write down what they see, and has the whole history judged.

Called by `cargo xtask torture`, which builds and fetches what this needs, in namespaces of its own; `torture/` says how.
"""

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

from harness import Failure, expect
from harness.process import Process, end_all
from harness.resp import Closed, ask
from harness.waiting import boot_time_s, until
from torture import clients
from torture.arena import Arena, check_alive
from torture.faults import FAULTS, Hand

THREADS = 3
# How long the judge may take: a second for a second of history is far more than it has needed.
JUDGE_BOUND_S = 600
CLIENTS_BOUND_S = 60
# Between two faults clients must get through again.
PROGRESS_BOUND_S = 60


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--judge", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--only", action="append", default=[], choices=FAULTS)
    return parser.parse_args()


class Crowd:
    """A process of clients at each node. As a context it ends them."""

    def __init__(self, arena, folder, seed):
        self.journals = [folder / f"clients-{number + 1}.jsonl" for number in range(len(arena.nodes))]
        self.processes = []
        for number, (node, journal) in enumerate(zip(arena.nodes, self.journals)):
            words = [sys.executable, "-m", "torture.clients", "--address", f"{node.address[0]}:{node.port}"]
            words += ["--name", "abc"[number], "--journal", journal, "--seed", f"{seed}.{number}"]
            words += ["--threads", THREADS]
            self.processes.append(Process(f"clients of node {number + 1}", words, journal.with_suffix(".out")))

    def __enter__(self):
        for process in self.processes:
            process.start()
        return self

    def __exit__(self, *_):
        end_all(self.processes)

    def size(self):
        """How much they have written down, in bytes that have left their buffers."""
        return sum(journal.stat().st_size for journal in self.journals if journal.exists())

    def stop(self):
        """Ends them, and answers how many leases they have seen to their end, and how often they were refused."""
        leases, refused = 0, Counter()
        for process in self.processes:
            code = process.stop()
            expect(code == 0, f"{process.name} ended with {code}: {process.last_words()}")
            told = json.loads(process.last_words(1))
            leases += told["leases"]
            refused.update(told["refused"])
        return leases, refused


def faults(chosen, chance):
    """The kinds of faults in an order of chance, each as often as the others."""
    while True:
        bag = list(chosen)
        chance.shuffle(bag)
        yield from bag


def torment(arena, crowd, options, chance):
    """One fault after the other, until the time is over; answers how many there were of each kind."""
    counts = Counter()
    begun_s = boot_time_s()
    hand = Hand(arena, chance)
    for name in faults(options.only or FAULTS, chance):
        passed_s = boot_time_s() - begun_s
        if passed_s >= options.seconds:
            return counts
        print(f"{passed_s:7.1f} s  {name}: {FAULTS[name].__doc__}", flush=True)
        FAULTS[name](hand)
        counts[name] += 1
        check_alive(arena)
        for node in arena.nodes:
            until(lambda: is_written(node), PROGRESS_BOUND_S, f"{node.process.name} to take writes after {name}")
        written = crowd.size()
        until(lambda: crowd.size() > written, PROGRESS_BOUND_S, f"clients to go on after {name}")


def is_written(node):
    with suppress(OSError, Closed):
        return ask(node.address, "SET", "torture:goes-on", "yes", bound_s=5) == b"+OK\r\n"
    return False


def audit(arena, journals, path):
    """Reads every key that any client has used, at a node each: what was acknowledged and is gone shows here."""
    keys = sorted({key for journal in journals for line in journal.open() for key in keys_of(json.loads(line))})
    with path.open("w") as file:
        for place, key in enumerate(keys):
            invoked_ns = clients.now_ns()
            reply = read(arena.nodes[place % len(arena.nodes)].address, key)
            line = {"client": "audit", "invoked_ns": invoked_ns, "completed_ns": clients.now_ns()}
            file.write(json.dumps(line | {"command": ["GET", key], "reply": reply}) + "\n")
    return len(keys)


def keys_of(line):
    """The keys of an operation: all words of it that look like those of `clients.window_keys`."""
    words = [word for part in line["command"] for word in (part if isinstance(part, list) else [part])]
    return [word for word in words if re.match(r"(register|counter|account):\d+:\d+$", word)]


def read(address, key):
    raw = ask(address, "GET", key)
    expect(raw.startswith(b"$"), f"GET {key} was answered {raw!r}")
    return None if raw == b"$-1\r\n" else raw.split(b"\r\n", 1)[1][:-2].decode()


def check_judge(judge):
    """A judge that lets a lost write pass would let anything pass."""
    write = {"invoked_ns": 1, "completed_ns": 2, "command": ["SET", "k", "1"], "reply": "OK"}
    lost = {"invoked_ns": 3, "completed_ns": 4, "command": ["GET", "k"], "reply": None}
    history = "\n".join(map(json.dumps, (write, lost)))
    done = subprocess.run([judge], input=history, capture_output=True, text=True, timeout=JUDGE_BOUND_S, check=False)
    expect(done.returncode == 1, f"the judge was told of a lost write, and ended with {done.returncode}: {done.stderr}")


def judge(options, folder, journals):
    """The verdict of the simulator's checker on the whole history."""
    history = folder / "history.jsonl"
    with history.open("wb") as whole:
        for journal in journals:
            with journal.open("rb") as part:
                shutil.copyfileobj(part, whole)
    with history.open("rb") as lines:
        done = subprocess.run(
            [options.judge], stdin=lines, capture_output=True, text=True, timeout=JUDGE_BOUND_S, check=False
        )
    expect(done.returncode == 0, f"the history of clients is not linearizable:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def torture(options, folder):
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print(f"torture: seed {seed}, {options.seconds} s", flush=True)
    check_judge(options.judge)
    with Arena(options.binary, folder) as arena, Crowd(arena, folder, seed) as crowd:
        until(lambda: crowd.size() > 0, CLIENTS_BOUND_S, "clients to begin")
        counts = torment(arena, crowd, options, random.Random(seed))
        leases, refused = crowd.stop()
        found = folder / "audit.jsonl"
        keys = audit(arena, crowd.journals, found)
        verdict = judge(options, folder, [*crowd.journals, found])
        arena.cluster.stop()
    print(f"faults: {listed(counts)}\nrefused: {listed(refused)}")
    print(f"{leases} leases ended, none early; {keys} keys read once more")
    print(f"torture: linearizable: {verdict}")


def listed(counts):
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def main():
    options = arguments()
    folder = Path(options.output)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        torture(options, folder)
    except (Failure, Closed, OSError, subprocess.TimeoutExpired) as failure:
        print(f"torture: FAILED: {failure}\ndata, logs and histories are below {folder}", flush=True)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
