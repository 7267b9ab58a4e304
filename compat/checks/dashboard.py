"""the dashboard and the alerts: Grafana's schemas, promtool, and a Prometheus that scrapes a cluster and answers each panel"""

import json
import subprocess
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path

from harness import expect
from harness.load import Load
from harness.ports import free_ports
from harness.process import Process, end_all
from harness.resp import ask
from harness.waiting import until

BOUND_S = 180
WORKS_AGAINST_REDIS = False
NEEDS_PROCESSES = True

DEPLOY = Path(__file__).parents[2] / "deploy"
JOB = "quorate"
# Grafana puts them in place of its variables. The interval has to hold some scrapes, of a second each.
VARIABLES = {"$job": JOB, "$instance": ".*", "$__rate_interval": "10s"}
START_BOUND_S = 60
# A rate needs two scrapes, and a busy machine may be late with them.
DATA_BOUND_S = 60

# Run by the environment that has Grafana's schemas: names each field of the dashboard that a Grafana would not read.
UNREAD = """
import importlib, json, sys
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

def unread(given, read, place):
    if isinstance(given, dict) and isinstance(read, dict):
        for name, value in given.items():
            yield from unread(value, read[name], f"{place}.{name}") if name in read else [f"{place}.{name}"]
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for number, pair in enumerate(zip(given, read)):
            yield from unread(*pair, f"{place}[{number}]")
    elif given != read:
        yield f"{place}: {given!r} is read as {read!r}"

register_default_plugins()
given = json.load(open(sys.argv[1]))
for kind in {panel["type"] for panel in given["panels"]} - {"row"}:
    importlib.import_module(f"grafana_foundation_sdk.models.{kind}")
read = json.loads(JSONEncoder().encode(Dashboard.from_json(given)))
print("\\n".join(unread(given, read, "dashboard")))
"""

# Run by an environment that reads YAML: answers the rules as JSON.
RULES = """
import json, sys, yaml
groups = yaml.safe_load(open(sys.argv[1]))["groups"]
print(json.dumps([rule for group in groups for rule in group["rules"]]))
"""


def command(*words):
    """What a program prints; it must not fail."""
    words = [str(word) for word in words]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"{Path(words[0]).name}: {done.stdout}{done.stderr}")
    return done.stdout


def tool(context, name):
    """A program of Debian's package prometheus, which `cargo xtask compat` has unpacked."""
    path = context.cache / "prometheus" / "usr" / "bin" / name
    expect(path.is_file(), f"{name} is missing at {path}: it is needed to check the dashboard and the alerts")
    return path


def python(context):
    return context.cache / "python-deploy" / "bin" / "python"


def panels():
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries():
    """The title of each panel, with each of its expressions as Grafana would send it."""
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield panel["title"], expression


def check_schema(context):
    """A Grafana reads every field of the dashboard, and knows each kind of panel."""
    unread = command(python(context), "-c", UNREAD, DEPLOY / "grafana.json").split("\n")
    unread = [line for line in unread if line]
    expect(not unread, f"Grafana does not read {unread}")


def check_rules(context):
    """The alerts, and the dashboard's expressions as rules, are what Prometheus takes."""
    rules = json.loads(command(python(context), "-c", RULES, DEPLOY / "alerts.yml"))
    for rule in rules:
        allowed = {"alert", "expr", "for", "labels", "annotations"}
        expect(set(rule) <= allowed and rule["annotations"]["summary"], f"a rule of another shape: {rule}")
        expect(rule["labels"]["severity"] in ("critical", "warning"), f"severity of {rule['alert']}")
    names = {rule["alert"] for rule in rules}
    expect(len(names) == len(rules), "an alert has the name of another")
    recorded = [{"record": f"query:{number}", "expr": query} for number, (_, query) in enumerate(queries())]
    file = context.folder / "dashboard.yml"
    # JSON is YAML.
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": recorded}]}))
    command(tool(context, "promtool"), "check", "rules", DEPLOY / "alerts.yml", file)
    context.note(f"{len(rules)} alerts and {len(recorded)} expressions of the dashboard, checked by promtool")


def check_exposition(context, cluster):
    """promtool finds nothing in what a node answers that it would advise against."""
    for node in cluster.nodes:
        with urllib.request.urlopen(f"http://127.0.0.1:{node.port + 11_000}/metrics", timeout=10) as answer:
            figures = answer.read()
        words = [str(tool(context, "promtool")), "check", "metrics"]
        done = subprocess.run(words, input=figures, capture_output=True, check=False)
        expect(done.returncode == 0, f"promtool: {done.stdout.decode()}{done.stderr.decode()}")


class Prometheus:
    """One that scrapes the nodes each second, with the alerts as its rules."""

    def __init__(self, context, cluster):
        self.port = free_ports(1)
        folder = context.folder / "prometheus"
        folder.mkdir()
        file = folder / "prometheus.yml"
        targets = [f"127.0.0.1:{node.port + 11_000}" for node in cluster.nodes]
        scrape = {"job_name": JOB, "static_configs": [{"targets": targets}]}
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [scrape],
            "rule_files": [str(DEPLOY / "alerts.yml")],
        }
        file.write_text(json.dumps(settings))
        arguments = [
            tool(context, "prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn",
        ]  # fmt: skip
        self.process = Process("prometheus", arguments, context.folder / "prometheus.log")

    def ask(self, path, **parameters):
        """What its API answers; None while it does not."""
        expect(self.process.is_running(), f"Prometheus ended: {self.process.last_words()}")
        query = urllib.parse.urlencode(parameters)
        with suppress(OSError, ValueError):
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}", timeout=10) as answer:
                return json.load(answer)["data"]
        return None

    def finds(self, expression):
        """Whether the expression has a value now."""
        data = self.ask("query", query=expression)
        return bool(data and data["result"])


def check_panels(prometheus):
    """Each expression of each panel has values while a cluster works; answers how many there are."""
    wanted = list(queries())
    for title, expression in wanted:
        until(lambda: prometheus.finds(expression), DATA_BOUND_S, f"a value of the panel {title}: {expression}")
    return len(wanted)


def check_alerts(prometheus):
    """Prometheus evaluates all rules, and not one fires for a cluster that is well."""
    def evaluated():
        data = prometheus.ask("rules") or {"groups": []}
        rules = [rule for group in data["groups"] for rule in group["rules"]]
        return rules if rules and all(rule["health"] != "unknown" for rule in rules) else None

    rules = until(evaluated, DATA_BOUND_S, "Prometheus to evaluate all rules")
    for rule in rules:
        expect(rule["health"] == "ok", f"{rule['name']}: {rule.get('lastError')}")
        expect(rule["state"] != "firing", f"{rule['name']} fires for a cluster that is well: {rule['alerts']}")


def check_loss(cluster, prometheus):
    """When a node dies, those who watch it are about to be told."""
    follower = cluster.others(cluster.leader())[0]
    follower.process.kill()

    def pending():
        data = prometheus.ask("alerts") or {"alerts": []}
        return {"QuorateNodeDown", "QuorateBareMajority"} <= {alert["labels"]["alertname"] for alert in data["alerts"]}

    until(pending, DATA_BOUND_S, "the alerts about a dead node and a bare majority to be pending")


def run(context):
    check_schema(context)
    check_rules(context)
    with context.cluster() as cluster:
        prometheus = Prometheus(context, cluster)
        try:
            prometheus.process.start()
            until(lambda: prometheus.ask("status/runtimeinfo"), START_BOUND_S, "Prometheus to answer")
            with Load(cluster.nodes, each=1, name="dashboard") as load:
                for address in cluster.addresses:
                    ask(address, "SET", "lock", "me", "NX", "PX", "60000")
                check_exposition(context, cluster)
                count = check_panels(prometheus)
                check_alerts(prometheus)
                load.stop()
            check_loss(cluster, prometheus)
            context.note(f"a Prometheus has values for {count} expressions, no alert for a cluster that is well, and two for a loss")
        finally:
            end_all([prometheus.process])
