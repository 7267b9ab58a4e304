"""redis-py, newest and 5.x: the client's own tests of locks, pipelines, scripts and channels, sync and asyncio"""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

from harness import expect

BOUND_S = 600

VERSIONS = ["8.1.0", "5.3.1"]
LOCK_TESTS = ["tests/test_lock.py", "tests/test_asyncio/test_lock.py"]
OTHER_TESTS = {
    "sync": ["tests/test_pipeline.py", "tests/test_scripting.py", "tests/test_pubsub.py"],
    "asyncio": [
        "tests/test_asyncio/test_pipeline.py",
        "tests/test_asyncio/test_scripting.py",
        "tests/test_asyncio/test_pubsub.py",
    ],
}
# How often a test that fails is run. The client's tests measure times with a tolerance of 50 ms, which a busy machine
# exceeds now and then; what is wrong with the server goes wrong again.
RUNS_MAX = 3
# Tests that must fail on Quorate, since they need what it does not have. One that passes has to go from this list.
# No lock test stands here, ever.
MISSING = {
    "test_pipeline_with_bitfield": "bit fields",
    "test_watch_exec_no_unwatch": "MONITOR",
    "test_watch_reset_unwatch": "MONITOR",
}


def pytest(context, version, kind, tests, node):
    """Runs tests of the client's source archive against a node; answers pytest's last line and what failed: the path
    of each test, its name, and why."""
    python = context.cache / f"python-{version}" / "bin" / "python"
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
    # The one test about Redis Cluster that lacks its marker is named; RedisDown has no server at all.
    command += ["-m", "not onlycluster", "-k", "not test_eval_crossslot and not RedisDown", "--redis-url", node.url]
    command += ["--redis-mod-url", node.url, "-W", "ignore", "--tb", "short", "--timeout", "60"]
    folder = context.cache / f"redis-{version}"
    # A line of pytest's summary must not be cut.
    environment = os.environ | {"COLUMNS": "1000"}
    done = subprocess.run(command + tests, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    expect(done.returncode in (0, 1), f"pytest of redis-py {version} ended with {done.returncode}: {done.stdout}")
    with (context.folder / f"redis-py-{version}-{kind}.txt").open("a") as report:
        report.write(done.stdout + done.stderr)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S*::(\w+))\S*(.*)", done.stdout, re.MULTILINE)
    return done.stdout.strip().splitlines()[-1], failed


def run_tests(context, version, kind, tests, node, allowed):
    """Runs tests, and again those that fail and may not; answers the names of all that failed at first. One that fails
    in every run fails the check."""
    summary, failed = pytest(context, version, kind, tests, node)
    context.note(f"{version}, {kind}: {summary}")
    names = {name for _, name, _ in failed}
    for _ in range(1, RUNS_MAX):
        again = sorted({path for path, name, _ in failed if name not in allowed})
        if not again:
            return names
        context.note(f"{version}, {kind}: once more: {' '.join(again)}")
        _, failed = pytest(context, version, kind, again, node)
    unexpected = sorted({name + why for _, name, why in failed if name not in allowed})
    expect(not unexpected, f"redis-py {version}: failed {RUNS_MAX} times: " + "\n      ".join(unexpected))
    return names


def run_others(context, place, version, kind):
    """One version's other tests of one kind, on a cluster of their own, since they flush it; answers what is missing."""
    allowed = set() if context.against_redis else set(MISSING)
    with context.cluster(f"{version}-{kind}") as cluster:
        node = cluster.nodes[place % len(cluster.nodes)]
        return run_tests(context, version, kind, OTHER_TESTS[kind], node, allowed) & allowed


def run(context):
    # A different node for each run: any node must do, the leader or not.
    with context.cluster() as cluster:
        for version, node in zip(VERSIONS, cluster.nodes):
            run_tests(context, version, "locks", LOCK_TESTS, node, set())
    # The other tests measure no times, and wait more than they work. A cluster that is not ours is one for all.
    streams = [(version, kind) for version in VERSIONS for kind in OTHER_TESTS]
    with ThreadPoolExecutor(1 if context.options.addr else len(streams)) as pool:
        running = [pool.submit(run_others, context, place, *stream) for place, stream in enumerate(streams)]
        missed = set().union(*(stream.result() for stream in running))
    if missed:
        context.note(f"{len(missed)} tests fail for want of: {', '.join(sorted({MISSING[name] for name in missed}))}")
    stale = set() if context.against_redis else set(MISSING) - missed
    expect(not stale, f"tests that pass now must go from the list of what is missing: {sorted(stale)}")
