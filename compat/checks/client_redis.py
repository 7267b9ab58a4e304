"""the Rust client's classic locks against Redis itself, while a holder stands still"""

from harness.contest import Contest, Library

BOUND_S = 120
NEEDS_PROCESSES = True


def run(context):
    library = Library("quorate-client, classic", [context.examples / "lock_client", "--classic"])
    with context.reference() as cluster, Contest(context, cluster, [library]) as contest:
        contest.lose_locks(0)
        contest.stop()
        contest.check()
