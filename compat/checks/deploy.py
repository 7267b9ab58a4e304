"""the files of deploy/: the systemd unit, the image's root file system run by hand, the Kubernetes objects"""

import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from harness import Failure, expect
from harness.ports import free_ports
from harness.process import Process, end_all
from harness.resp import Closed, ask
from harness.waiting import boot_time_s, until

BOUND_S = 120
WORKS_AGAINST_REDIS = False
NEEDS_PROCESSES = True

DEPLOY = Path(__file__).parents[2] / "deploy"
# What `systemd-analyze security` may find at most: 0 is a service that may do nothing, 10 one that may do everything.
EXPOSURE_MAX = 2.0
# The oldest Kubernetes in which the pods of a StatefulSet can be counted from 1, and the newest that is known.
KUBERNETES = ["1.31", "1.37"]
# The account of the image, from its Dockerfile.
ACCOUNT = "10001"
START_BOUND_S = 60


def command(*words, **options):
    """Runs a program to its end; a program that is missing is a failure like any other."""
    words = [str(word) for word in words]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False, **options)
    except FileNotFoundError:
        raise Failure(f"the program {words[0]} is missing: it is needed to check deploy/") from None


def as_root():
    """What comes before a command that only root may run."""
    if os.geteuid() == 0:
        return []
    allowed = shutil.which("sudo") and command("sudo", "-n", "true").returncode == 0
    expect(allowed, "the image is checked in a chroot, which takes root, or a sudo that asks for nothing")
    return ["sudo", "-n"]


def settings_of(text):
    """The words of a unit by its settings' names; one that is repeated has several."""
    found = {}
    for name, value in re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def check_unit(context):
    """systemd understands the unit, finds it narrow, and gives the node more time to end than it takes."""
    text = (DEPLOY / "systemd" / "quorate.service").read_text()
    unit = context.folder / "quorate.service"
    # The program is not installed here.
    unit.write_text(text.replace("/usr/bin/quorate", context.options.binary))
    done = command("systemd-analyze", "verify", unit)
    expect(done.returncode == 0 and not done.stderr.strip(), f"systemd-analyze verify: {done.stdout}{done.stderr}")
    done = command("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}", unit)
    summary = next((line for line in done.stdout.splitlines() if "exposure level" in line), done.stderr)
    expect(done.returncode == 0, f"the unit is too open: {summary}")
    stop_s = int(settings_of(text)["TimeoutStopSec"][0].removesuffix("s"))
    default_s = int(default_of(context, "shutdown-timeout").removesuffix("s"))
    expect(stop_s >= default_s + 5, f"TimeoutStopSec of {stop_s} s is too little for shutdown-timeout of {default_s} s")
    context.note(summary.strip("→ "))


def default_of(context, setting):
    """A setting's default, as the program prints it."""
    done = command(context.options.binary, "serve", "--print-config", cwd=context.folder)
    found = re.search(rf'^{setting} = "?([^"\s]+)', done.stdout, re.MULTILINE)
    expect(found, f"--print-config shows no {setting}: {done.stdout}{done.stderr}")
    return found[1]


def check_settings(context):
    """The example's settings are read, and each is of the file."""
    file = DEPLOY / "systemd" / "quorate.toml"
    done = command(context.options.binary, "serve", "--config", file, "--print-config", cwd=context.folder)
    expect(done.returncode == 0, f"{file.name}: {done.stderr}")
    given = re.findall(r"^([a-z-]+) = ", file.read_text(), re.MULTILINE)
    read = re.findall(r"^([a-z-]+) = .*# file ", done.stdout, re.MULTILINE)
    expect(sorted(given) == sorted(read), f"{file.name} gives {given}, and the program reads {read}")


def check_dockerfile(context):
    hadolint = context.cache / "python-deploy" / "bin" / "hadolint"
    # The steps of a build are apart so that each is cached by itself.
    done = command(hadolint, "--ignore", "DL3059", DEPLOY / "docker" / "Dockerfile")
    expect(done.returncode == 0, f"hadolint: {done.stdout}{done.stderr}")
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    expect(f"USER {ACCOUNT}:{ACCOUNT}" in text, "the image does not run as its account")


class Image:
    """The root file system of the image, made as the Dockerfile makes it, and a node that runs in it as its account."""

    def __init__(self, context):
        self.root = context.folder / "image"
        done = command(*as_root(), DEPLOY / "docker" / "rootfs.sh", context.options.binary, self.root)
        expect(done.returncode == 0, f"rootfs.sh: {done.stderr}")
        self.port = free_ports(1)
        environment = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        environment += ["QUORATE_DATA_DIR=/var/lib/quorate", f"QUORATE_LISTEN=0.0.0.0:{self.port}"]
        inside = ["chroot", f"--userspec={ACCOUNT}:{ACCOUNT}", self.root, "/usr/bin/quorate", "serve"]
        arguments = [*environment, *as_root(), *inside]
        # As the unit has it: no memory that can be written is ever executed.
        arguments = ["python3", "-c", DENY_WRITE_EXECUTE, *arguments]
        self.process = Process("node of the image", arguments, context.folder / "image.log")

    def http(self, path):
        """The status of an answer of the HTTP door; None without any."""
        with suppress(OSError):
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{self.port + 11_000}{path}", timeout=2).status
            except urllib.error.HTTPError as error:
                return error.code
        return None

    def serves(self):
        expect(self.process.is_running(), f"the node in its chroot ended: {self.process.last_words()}")
        return self.http("/readyz") == 200

    def ask(self, *words):
        with suppress(OSError, Closed):
            return ask(("127.0.0.1", self.port), *words)
        return b""


# PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN, which systemd's MemoryDenyWriteExecute= comes to. Older kernels have none.
DENY_WRITE_EXECUTE = """
import ctypes, os, sys
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0) != 0:
    print("this kernel cannot deny memory that is written and executed", file=sys.stderr)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def check_image(context):
    """In its chroot, without rights, a node serves, runs scripts, keeps its data, and ends in order by STOPSIGNAL."""
    image = Image(context)
    try:
        for start in (1, 2):
            image.process.start()
            until(image.serves, START_BOUND_S, "/readyz of the node in its chroot to answer 200")
            expect(image.http("/healthz") == 200, "/healthz")
            reply = image.ask("EVAL", "return redis.call('INCR', KEYS[1])", "1", "starts")
            expect(reply == b":%d\r\n" % start, f"start {start}: {reply!r}: {image.process.last_words()}")
            begun = boot_time_s()
            code = image.process.stop()
            expect(code == 0, f"SIGTERM ended it with {code}: {image.process.last_words()}")
            context.note(f"in its chroot: served, and ended in {boot_time_s() - begun:.2f} s")
    finally:
        end_all([image.process])
    libraries = [file for folder in ("lib", "lib64") for file in (image.root / folder).rglob("*.so*")]
    size = sum(file.stat().st_size for file in libraries)
    context.note(f"beside the program the image has {len(libraries)} libraries of {size / 2**20:.1f} MiB")
    done = command(*as_root(), "rm", "-rf", image.root)
    expect(done.returncode == 0, f"rm: {done.stderr}")


# Run by the environment that has the schemas: answers the objects as JSON, one a line.
VALIDATE = """
import json, sys, kubernetes_validate, yaml
for document in yaml.safe_load_all(open(sys.argv[1])):
    for version in sys.argv[2:]:
        kubernetes_validate.validate(document, version, strict=True)
    print(json.dumps(document))
"""


def check_kubernetes(context):
    """The objects fit the schemas, and each other: ports, probes, selectors, time to end, settings."""
    python = context.cache / "python-deploy" / "bin" / "python"
    done = command(python, "-c", VALIDATE, DEPLOY / "kubernetes" / "quorate.yaml", *KUBERNETES)
    expect(done.returncode == 0, f"kubernetes: {done.stderr}")
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    by_kind = {found["kind"]: found for found in objects}
    expect(set(by_kind) == {"Service", "PodDisruptionBudget", "StatefulSet"}, f"kinds: {sorted(by_kind)}")
    stateful = by_kind["StatefulSet"]["spec"]
    labels, pod = stateful["template"]["metadata"]["labels"], stateful["template"]["spec"]
    container = pod["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for found in objects:
        selector = found["spec"].get("selector", {})
        expect(selector.get("matchLabels", selector) == labels, f"{found['kind']} selects {selector}")
        for port in found["spec"].get("ports", []):
            expect(ports[port["name"]] == port["port"], f"{found['kind']}: no container has the port {port}")
    headless = {found["metadata"]["name"] for found in objects if found["spec"].get("clusterIP") == "None"}
    expect(stateful["serviceName"] in headless, "the StatefulSet names no headless Service")
    check_pod(context, stateful, pod, container, ports)
    context.note(f"{len(objects)} objects fit the schemas of Kubernetes {' and '.join(KUBERNETES)}")


def check_pod(context, stateful, pod, container, ports):
    """What the first pod's container is started with is a node that the program takes."""
    for probe in ("livenessProbe", "readinessProbe"):
        expect(container[probe]["httpGet"]["port"] in ports, f"{probe} asks no port of the container")
    seconds = int(default_of(context, "shutdown-timeout").removesuffix("s"))
    expect(pod["terminationGracePeriodSeconds"] >= seconds + 5, "the pod is killed before it has ended")
    first = stateful["ordinals"]["start"]
    fields = {
        "metadata.labels['apps.kubernetes.io/pod-index']": str(first),
        "metadata.name": f"quorate-{first}",
        "metadata.namespace": "default",
    }
    environment = {}
    for variable in container["env"]:
        value = variable.get("value") or fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        environment[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda name: environment[name[1]], value)
    arguments = [*container["args"], "--print-config"]
    done = command(context.options.binary, *arguments, env=environment, cwd=context.folder)
    expect(done.returncode == 0, f"the container's settings: {done.stderr}")
    for line in (
        f"node-id = {first}",
        f'advertise = "quorate-{first}.quorate-nodes.default.svc:{ports["resp"]}"',
        f'peer-listen = "0.0.0.0:{ports["peers"]}"',
        f'http-listen = "0.0.0.0:{ports["http"]}"',
        f'sentinel-listen = "0.0.0.0:{ports["sentinel"]}"',
        "bootstrap = true",
    ):
        expect(line in done.stdout, f"the container has no {line}: {done.stdout}")
    peers = dict(peer.split("=") for peer in environment["QUORATE_PEERS"].split(","))
    ids = [str(first + number) for number in range(stateful["replicas"])]
    expect(list(peers) == ids, f"peers are {list(peers)}, and pods are {ids}")
    for number, address in peers.items():
        expect(address == f"quorate-{number}.{stateful['serviceName']}:{ports['peers']}", f"peer {number} at {address}")


def run(context):
    check_unit(context)
    check_settings(context)
    check_dockerfile(context)
    check_image(context)
    check_kubernetes(context)
