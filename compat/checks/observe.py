"""what operators look at: redis-cli --stat, INFO as redis-py reads it, /metrics, and status --watch on a terminal"""

import re
import signal
import subprocess
import urllib.request
from contextlib import suppress

import redis

from harness import expect
from harness.resp import ask
from harness.terminal import Terminal
from harness.waiting import until

BOUND_S = 180
WORKS_AGAINST_REDIS = False
NEEDS_PROCESSES = True

WRITES = 200
SECTIONS = [
    "server", "clients", "memory", "persistence", "stats", "replication", "cpu", "errorstats", "keyspace", "commandstats",
]  # fmt: skip
# A line of the text format: a name, perhaps labels, a value.
SAMPLE = re.compile(r'^([a-z_]+)(?:\{([a-z_]+="[^"\\]*"(?:,[a-z_]+="[^"\\]*")*)\})? (-?[0-9.]+(?:e-?[0-9]+)?)$')


def http_port(node):
    """Where a node of the harness serves HTTP: beside its RESP port."""
    return node.port + 11_000


def samples_of(node):
    """The samples at a node, by name and labels, as Prometheus would read them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{http_port(node)}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found, kinds = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            expect(name not in kinds, f"{name} is described twice")
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = SAMPLE.match(line)
            expect(match, f"no sample: {line!r}")
            name, labels, value = match.groups()
            base = re.sub("_(bucket|sum|count)$", "", name)
            expect(name in kinds or kinds.get(base) == "histogram", f"{name} is not described")
            expect((name, labels) not in found, f"twice: {line!r}")
            found[name, labels] = float(value)
    return found


def check_metrics(cluster):
    """What was done shows, on the right nodes."""
    leader = cluster.leader()
    figures = {node: samples_of(node) for node in cluster.nodes}
    roles = [node for node in cluster.nodes if figures[node]["quorate_role", 'role="leader"'] == 1]
    expect(roles == [leader], f"{len(roles)} nodes show the role of the leader")
    for node, found in figures.items():
        commits = found["quorate_commit_seconds_count", None]
        # On a busy machine somebody else may have led before.
        expect(commits > 0 or node is not leader, f"port {node.port} leads and has measured no commits")
        stood = found["quorate_elections_total", None] > 0
        expect(commits == 0 or stood, f"port {node.port} never led and has measured {commits} commits")
        expect(found["quorate_log_sync_seconds_count", None] > 0, f"port {node.port} has measured no fdatasync")
        expect(found["quorate_voters_connected", None] == 3, f"port {node.port} reaches not all voters")
        lags = [name for name, _ in found if name == "quorate_peer_lag_entries"]
        expect(len(lags) == (2 if node is leader else 0), f"port {node.port} shows {len(lags)} lags of peers")
    asked = figures[cluster.nodes[0]]
    writes = asked["quorate_command_seconds_count", 'kind="write"']
    expect(writes >= WRITES, f"{writes} writes were measured of {WRITES}")
    locks = [asked["quorate_lock_attempts_total", f'outcome="{outcome}"'] for outcome in ("taken", "refused")]
    expect(locks == [1, 1], f"locks taken and refused: {locks}")
    expect(asked["quorate_errors_total", 'code="WRONGTYPE"'] == 1, "an error of type is not counted")
    return len(asked)


def check_info(node):
    """redis-py reads every section, and what it reads is true."""
    client = redis.Redis(port=node.port, decode_responses=True)
    # A node tells how many keys it has a moment after the writes.
    until(lambda: client.info("keyspace").get("db0", {}).get("keys") == 3, 10, "INFO to count 3 keys")
    everything = client.info("all")
    for section in SECTIONS:
        expect(client.info(section), f"redis-py finds nothing in the section {section}")
    calls = everything["cmdstat_incrby"]["calls"]
    expect(calls == WRITES, f"INCRBY was called {WRITES} times, INFO says {calls}")
    expect(everything["errorstat_WRONGTYPE"]["count"] == 1, f"errors: {everything.get('errorstat_WRONGTYPE')}")
    expect(everything["db0"]["expires"] == 1, f"keys: {everything['db0']}")
    expect(everything["used_cpu_user"] > 0 and everything["used_memory_rss"] > 1 << 20, "the process takes nothing")
    expect(everything["total_commands_processed"] >= WRITES, "too few commands were processed")
    expect(everything["total_net_input_bytes"] > everything["total_commands_processed"], "too few bytes came")
    client.config_resetstat()
    left = client.info("commandstats")
    expect("cmdstat_incrby" not in left, f"CONFIG RESETSTAT leaves {left}")
    names = [entry["name"] for entry in redis.Redis(port=node.port, client_name="somebody").client_list()]
    expect("somebody" in names, f"CLIENT LIST names {names}")


def check_stat(node):
    """redis-cli --stat, for two lines."""
    command = ["redis-cli", "-p", str(node.port), "-i", "0.1", "--stat"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        try:
            lines = [child.stdout.readline() for _ in range(5)]
        finally:
            child.send_signal(signal.SIGKILL)
    rows = [line.split() for line in lines if line[:1].isdigit()]
    expect(len(rows) >= 2 and rows[-1][0] == "3", f"redis-cli --stat shows {lines}")


def check_watch(context, cluster):
    """The live view: it outlives the node that it was begun at, follows the terminal's size, and tidies up."""
    binary = context.options.binary
    given = ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes[:2])
    command = [binary, "status", "--watch", "--interval", "200ms", "--addr", given]
    with Terminal(command) as terminal:
        terminal.await_text("3 of 3 nodes answer")
        terminal.forget()
        terminal.resize(70, 20)
        terminal.await_text("every 200ms")
        cluster.nodes[0].process.kill()
        terminal.await_drawn("no answer", "every 200ms")
        terminal.await_drawn("the leader reaches 2 of 3 voters", "every 200ms")
        cluster.restart(cluster.nodes[0])
        terminal.type_in("q")
        code = terminal.await_end()
        expect(code == 0, f"it ended with {code}")
    for end in ["\x1b", "\x03", signal.SIGTERM, signal.SIGHUP]:
        with Terminal(command) as terminal:
            terminal.await_text("nodes answer")
            if isinstance(end, str):
                terminal.type_in(end)
            else:
                terminal.child.send_signal(end)
            code = terminal.await_end()
            expect(code == 0, f"ended by {end!r} it answers {code}")


def check_lines(context, cluster):
    """Where there is no terminal, each look is a line."""
    address = f"127.0.0.1:{cluster.nodes[0].port}"
    command = [context.options.binary, "status", "--watch", "--interval", "100ms", "--addr", address]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as child:
        lines = [child.stdout.readline() for _ in range(3)]
        child.stdout.close()
        code = child.wait(20)
    expect(all(line.startswith("leader=") and "nodes=3/3" in line for line in lines), f"lines: {lines}")
    expect(code == 0, f"with nobody to read it ended with {code}")


def run(context):
    with context.cluster() as cluster:
        node = cluster.nodes[0]
        client = redis.Redis(port=node.port)
        client.flushall()
        client.config_resetstat()
        for _ in range(WRITES):
            client.incr("counter")
        expect(client.set("lock", "me", nx=True, px=60_000) and not client.set("lock", "you", nx=True), "the lock")
        client.lpush("list", "a")
        with suppress(redis.ResponseError):
            client.get("list")
        count = check_metrics(cluster)
        check_info(node)
        check_stat(node)
        context.note(f"{count} samples at a node, {len(SECTIONS)} sections of INFO, redis-cli --stat")
        check_watch(context, cluster)
        check_lines(context, cluster)
        context.note("status --watch: two endpoints, one dies; resized; ended by q, Esc, Ctrl-C, SIGTERM, SIGHUP")
