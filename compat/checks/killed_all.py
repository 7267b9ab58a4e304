"""kill -9 of all three nodes at once, and a restart: nothing acknowledged is lost, nothing is there twice"""

from harness.load import Load

BOUND_S = 120
WORKS_AGAINST_REDIS = False
NEEDS_PROCESSES = True

ROUNDS_SHORT, ROUNDS_LONG = 3, 15


def run(context):
    rounds = ROUNDS_LONG if context.long else ROUNDS_SHORT
    acknowledged = 0
    with context.cluster() as cluster:
        for number in range(rounds):
            with Load(cluster.nodes, each=3, name=f"killed:{number}") as load:
                load.wait_for_more(50)
                for node in cluster.nodes:
                    node.process.kill()
            for node in cluster.nodes:
                node.process.start()
            cluster.wait_until_ready()
            load.check_exact()
            for writer in load.writers:
                for address in cluster.addresses:
                    writer.check_kept(address)
            acknowledged += sum(writer.last for writer in load.writers)
        cluster.stop()
    context.note(f"{rounds} rounds, {acknowledged} acknowledged writes, all kept; then a clean stop")
