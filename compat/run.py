"""Runs the black-box checks: each in a process group of its own, within its bound, with a table at the end.

Called by `cargo xtask compat`, which builds and fetches what this needs. A check is a module below `checks/`;
`compat/README.md` says what one looks like.
"""

import argparse
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from harness import Failure, cluster
from harness.waiting import boot_time_s

# In the order of how soon they fail when something fundamental is wrong.
CHECKS = [
    "redis_cli",
    "comparison",
    "redis_py",
    "redis_rs",
    "native",
    "lock_libraries",
    "client_redis",
    "lock_scripts",
    "bad_input",
    "slow_clients",
    "idle_connections",
    "blocking",
    "failover",
    "sentinel",
    "observe",
    "dashboard",
    "paused_nodes",
    "killed_all",
    "recovery",
    "upgrade",
    "backup",
    "disk_full",
    "deploy",
    "judge",
    "killed_leaders",
]
# The consensus engines. Checks run against clusters of the first, and these against the others, too: what the loss of leaders
# and of all nodes at once must not do is what an engine is for.
ENGINES = ["raft", "paxos"]
FOR_EACH_ENGINE = ["failover", "killed_all"]
# Open files that the harness asks for: ten thousand connections, and some.
OPEN_FILES = 12_000


@dataclass
class Context:
    """What a check is given."""

    options: argparse.Namespace
    folder: Path

    @property
    def long(self):
        return self.options.long

    @property
    def against_redis(self):
        return self.options.against_redis

    @property
    def cache(self):
        return Path(self.options.cache).absolute()

    @property
    def examples(self):
        """The folder of the Rust programs."""
        return Path(self.options.examples).absolute()

    def cluster(self, name="cluster", **settings):
        """A fresh cluster of three, or what the command line named instead."""
        if self.options.addr:
            return cluster.running(self.options.addr)
        if self.against_redis:
            return cluster.redis(self.folder / name)
        return cluster.quorate(self.options.binary, self.folder / name, engine=self.options.engine, **settings)

    def reference(self):
        """Debian's redis-server."""
        return cluster.redis(self.folder / "reference")

    def note(self, text):
        """A line for the one who reads the run."""
        print(f"    {text}", flush=True)


def load(name):
    return importlib.import_module(f"checks.{name}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--next-binary", required=True)
    parser.add_argument("--examples", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--addr", action="append", default=[])
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--against-redis", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def raise_open_files():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
            return
        except (ValueError, PermissionError):
            pass
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run_child(options):
    """Runs one check in this process."""
    raise_open_files()
    folder = Path(options.output) / title(options.child, options.engine)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        load(options.child).run(Context(options, folder))
    except Failure as failure:
        print(f"    FAILED: {failure}", flush=True)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def why_not(check, engine, options):
    """Why a check cannot run with these options; None if it can."""
    if options.against_redis and not getattr(check, "WORKS_AGAINST_REDIS", True):
        return "Redis cannot stand in for a cluster here"
    if engine != ENGINES[0] and (options.addr or options.against_redis):
        return "what runs there has its engine already"
    if options.addr and getattr(check, "NEEDS_PROCESSES", False):
        return "it must start and kill its own nodes"
    return None


def title(name, engine):
    """What a check is called that runs against clusters of an engine."""
    return name if engine == ENGINES[0] else f"{name}-{engine}"


def schedule(options):
    """What runs, against clusters of which engine."""
    for name in options.only or CHECKS:
        if options.engine:
            yield name, options.engine
        else:
            yield from ((name, engine) for engine in (ENGINES if name in FOR_EACH_ENGINE else ENGINES[:1]))


def run_check(name, engine, check, options):
    """Runs one check as a process group, so that nothing outlives it; answers its verdict and duration."""
    begun = boot_time_s()
    child = subprocess.Popen([sys.executable, *sys.argv, "--engine", engine, "--child", name], start_new_session=True)
    try:
        code = child.wait(check.BOUND_S * (3 if options.long else 1))
        verdict = "passed" if code == 0 else "FAILED"
    except subprocess.TimeoutExpired:
        verdict = "FAILED: over its bound"
    finally:
        # The group is of our own making: the check, its nodes, its programs.
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
    return verdict, boot_time_s() - begun


def main():
    options = arguments()
    if options.child:
        return run_child(options)
    unknown = set(options.only) - set(CHECKS)
    if unknown:
        print(f"no such check: {', '.join(sorted(unknown))}; there are: {', '.join(CHECKS)}")
        return 2
    checks = {name: load(name) for name in CHECKS}
    if options.list:
        for name, check in checks.items():
            print(f"{name:<18} {check.__doc__.splitlines()[0]}")
        return 0
    # Asked to end, it ends what it has started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rows = []
    for name, engine in schedule(options):
        check, called = checks[name], title(name, engine)
        print(f"--- {called}: {check.__doc__.splitlines()[0]}", flush=True)
        reason = why_not(check, engine, options)
        outcome = (f"left out: {reason}", 0.0) if reason else run_check(name, engine, check, options)
        rows.append((called, *outcome))
    print(f"\n{'check':<18} {'took':>9}  outcome")
    for name, verdict, took in rows:
        print(f"{name:<18} {took:>7.1f} s  {verdict}")
    failed = [name for name, verdict, _ in rows if verdict.startswith("FAILED")]
    if failed:
        print(f"what failed left its data and logs below {options.output}")
    (Path(options.output)).mkdir(parents=True, exist_ok=True)
    (Path(options.output) / "outcome.json").write_text(json.dumps(rows))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
