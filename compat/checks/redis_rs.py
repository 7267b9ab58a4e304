"""the Rust crate `redis`: typed calls, pipelines, transactions, scripts, in RESP2 and RESP3"""

import subprocess

from harness import expect

BOUND_S = 90


def run(context):
    with context.cluster() as cluster:
        for node in cluster.nodes:
            for protocol in ("resp2", "resp3"):
                url = f"redis://{node.address[0]}:{node.port}/?protocol={protocol}"
                done = subprocess.run([context.examples / "redis_rs", url], capture_output=True, text=True, check=False)
                expect(done.returncode == 0, f"at {url}: {done.stdout}{done.stderr}")
        context.note(f"the program passed at {len(cluster.nodes)} nodes in both protocols")
