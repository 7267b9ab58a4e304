"""redis-py, newest and 5.x: the client's own lock, pipeline and script tests, sync and asyncio"""

import re
import subprocess

from harness import expect

BOUND_S = 300

VERSIONS = ["8.1.0", "5.3.1"]
LOCK_TESTS = ["tests/test_lock.py", "tests/test_asyncio/test_lock.py"]
OTHER_TESTS = [
    "tests/test_pipeline.py",
    "tests/test_asyncio/test_pipeline.py",
    "tests/test_scripting.py",
    "tests/test_asyncio/test_scripting.py",
]
# Tests that are about something Quorate does not have, by a part of their name. Lock tests: none, ever.
LEFT_OUT = {
    "test_eval_crossslot": "is about Redis Cluster",
}


def pytest(context, version, node, tests, left_out):
    """Runs tests of the client's source archive against a node; answers pytest's last line."""
    python = context.cache / f"python-{version}" / "bin" / "python"
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
    command += ["-W", "ignore", "--tb", "short", "--timeout", "60", "--redis-url", node.url, "-m", "not onlycluster"]
    command += ["--redis-mod-url", node.url]
    if left_out:
        command += ["-k", " and ".join(f"not {name}" for name in left_out)]
    folder = context.cache / f"redis-{version}"
    done = subprocess.run(command + tests, cwd=folder, capture_output=True, text=True, check=False)
    summary = (done.stdout.strip().splitlines() or [done.stderr])[-1]
    if done.returncode != 0:
        failed = re.findall(r"^(?:FAILED|ERROR) .*", done.stdout, re.MULTILINE)
        (context.folder / f"redis-py-{version}.txt").write_text(done.stdout + done.stderr)
        expect(False, f"redis-py {version} at port {node.port}: {summary}\n      " + "\n      ".join(failed))
    return summary


def run(context):
    with context.cluster() as cluster:
        for number, version in enumerate(VERSIONS):
            # A different node for each run: any node must do, the leader or not.
            node = cluster.nodes[number]
            context.note(f"{version} locks: {pytest(context, version, node, LOCK_TESTS, [])}")
            node = cluster.nodes[number + 1]
            context.note(f"{version} others: {pytest(context, version, node, OTHER_TESTS, LEFT_OUT)}")
