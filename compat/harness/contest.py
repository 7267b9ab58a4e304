"""A contest for locks: of each library three programs, one at each node, contend for one lock, while the check stops
one of them for longer than its TTL and kills the cluster's leader.

All libraries run at the same time. What is judged: never two holders at once (or more than may share), nobody loses
within its TTL, who was stopped for longer is told that its lock is lost, somebody goes on when the leader is gone,
everybody does when it is back, and clients of other nodes see no error.
"""

from dataclasses import dataclass, field

from . import expect, holders
from .process import Process, end_all
from .waiting import boot_time_s, until

TTL_S = 3
# From starting all programs until each has held its lock, on a machine that has two cores for fifty interpreters.
START_BOUND_S = 90
# Until somebody takes a lock that is free or whose holder died with its node; or until each of three contenders does.
PROGRESS_BOUND_S = TTL_S + 20
# A client whose node was down, or that was stopped, may still stumble over its old connection just afterwards; some
# libraries wait for up to two seconds before they connect again.
AFTERMATH_S = 3.0
# Its release may have been under way when a holder was stopped, so that it lost nothing. Then it is stopped again.
STOPS_MAX = 10


@dataclass(eq=False)
class Library:
    """A library, its program, and what it cannot do."""

    name: str
    command: list
    # Why one that lost its lock need not be told; empty if it must be.
    silent: str = ""
    # Whether waiters are woken by a message.
    wakes: bool = False
    # How many may hold a lock at once that is taken as a shared one.
    shared_max: float = 1
    # By how much sooner than its TTL a lock may end that is kept by TIME, which promises less than a TTL does.
    early_s: float = 0


@dataclass
class Contender:
    """One program of a library: its process and its journal."""

    process: Process
    journal: object
    # When it or its node was away, as pairs of instants, each with its aftermath.
    away: list = field(default_factory=list)

    def lines(self):
        return holders.read(self.journal)[0]

    def has_held_since(self, instant):
        return any(is_taking(line) and line["answered"] > instant for line in self.lines())

    def holds(self):
        """Whether its last word is that it holds the lock."""
        last = self.lines()[-1:]
        return bool(last) and last[0]["action"] in ("acquire", "extend") and last[0].get("answer") is True

    def was_away(self, sent, answered):
        return any(sent <= back and answered >= gone for gone, back in self.away)


def is_taking(line):
    return line["action"] == "acquire" and line.get("answer") is True


class Contest:
    """The programs of some libraries. As a context it ends them."""

    def __init__(self, context, cluster, libraries):
        self.context = context
        self.cluster = cluster
        self.contenders = {library: self._contenders(library) for library in libraries}

    def _contenders(self, library):
        found = []
        for place, node in enumerate(self.cluster.nodes):
            path = self.context.folder / f"{library.name}-{place}"
            journal = path.with_suffix(".jsonl")
            journal.touch()
            arguments = [*library.command, "--url", node.url, "--name", f"client {place}"]
            arguments += ["--log", journal, "--ttl", TTL_S]
            found.append(Contender(Process(path.name, arguments, path.with_suffix(".out")), journal))
        return found

    @property
    def everybody(self):
        return [contender for contenders in self.contenders.values() for contender in contenders]

    def __enter__(self):
        begun = boot_time_s()
        for contender in self.everybody:
            contender.process.start()
        self.await_everybody(begun, START_BOUND_S)
        return self

    def __exit__(self, *_):
        end_all(contender.process for contender in self.everybody)

    def await_everybody(self, since, bound_s=PROGRESS_BOUND_S):
        """Waits until each program has taken its lock after an instant."""
        for contender in self.everybody:
            until(lambda: self._has_held(contender, since), bound_s, f"{contender.process.name} to take its lock")

    def await_anybody(self, since):
        """Waits until of each library somebody has taken the lock after an instant."""
        for library, contenders in self.contenders.items():
            taken = lambda: any(self._has_held(contender, since) for contender in contenders)
            until(taken, PROGRESS_BOUND_S, f"somebody to take the lock of {library.name}")

    def _has_held(self, contender, since):
        process = contender.process
        expect(process.is_running(), f"{process.name} ended by itself: {process.last_words()}")
        return contender.has_held_since(since)

    def kill_leader(self):
        """Kills the leader's process, waits until others hold the locks, and starts it again."""
        leader = self.cluster.leader()
        killed_at = boot_time_s()
        leader.process.kill()
        self.await_anybody(killed_at)
        self.cluster.restart(leader)
        back_at = boot_time_s()
        for contenders in self.contenders.values():
            contenders[self.cluster.nodes.index(leader)].away.append((killed_at, back_at + AFTERMATH_S))
        self.await_everybody(back_at)
        return boot_time_s() - killed_at

    def lose_locks(self, place):
        """Stops each library's program of one place while it holds its lock, until somebody else has taken it. What it
        asks for then must be refused."""
        left = dict(self.contenders)
        for _ in range(STOPS_MAX):
            stopped = {library: self._stop_holder(contenders[place]) for library, contenders in left.items()}
            for library, contenders in left.items():
                self._await_rival(library, contenders, place, stopped[library])
            for library, contenders in left.items():
                contenders[place].process.resume()
                contenders[place].away.append((stopped[library], boot_time_s() + AFTERMATH_S))
            left = {
                library: contenders
                for library, contenders in left.items()
                if not self._was_told(library, contenders[place], stopped[library])
            }
            if not left:
                return
        names = [library.name for library in left]
        expect(False, f"stopped {STOPS_MAX} times while they held their locks, and never told of the loss: {names}")

    def _stop_holder(self, contender):
        """Stops a program that holds its lock; answers when it stood still."""

        def stands_still():
            if not contender.holds():
                return False
            contender.process.pause()
            if contender.holds():
                return True
            contender.process.resume()
            return False

        until(stands_still, PROGRESS_BOUND_S, f"{contender.process.name} to hold its lock")
        return boot_time_s()

    def _await_rival(self, library, contenders, place, since):
        """Waits until somebody has the lock for itself, which proves that the one who stands still has lost it."""
        rivals = [contender for contender in contenders if contender is not contenders[place]]

        def taken():
            lines = [line for rival in rivals for line in rival.lines()]
            return any(is_taking(line) and line["answered"] > since and not line.get("shared") for line in lines)

        until(taken, PROGRESS_BOUND_S, f"a rival to take the lock of {library.name}, whose holder stands still")

    def _was_told(self, library, contender, since):
        """Whether a program that goes on was told that its lock is lost. Not if it held none when it was stopped."""
        turn = until(lambda: turn_after(contender.lines(), since), PROGRESS_BOUND_S, f"{library.name} to go on")
        asked = [line for line in turn if line["action"] in ("extend", "release") and line["sent"] > since]
        name = contender.process.name
        kept = [line["action"] for line in asked if line.get("answer")]
        expect(library.silent or not kept, f"{name} stood still until others had its lock, and was allowed to {kept}")
        # A silent library says nothing worth waiting for; another may have lost its connection meanwhile.
        return bool(asked) and (bool(library.silent) or any(map(holders.refused, asked)))

    def stop(self):
        for contender in self.everybody:
            code = contender.process.stop()
            expect(code == 0, f"{contender.process.name} exited with {code}: {contender.process.last_words()}")

    def check(self):
        """Judges the journals of programs that have ended."""
        for library, contenders in self.contenders.items():
            verdict = holders.judge(
                {place: one.journal for place, one in enumerate(contenders)}, TTL_S - library.early_s
            )
            check(library, contenders, verdict)
            counts = [sum(holding.who == place for holding in verdict.holdings) for place in range(len(contenders))]
            self.context.note(f"{library.name}: held by clients {counts} times, {len(verdict.errors)} errors")


def turn_after(lines, since):
    """What a program did after an instant, up to its next attempt to take the lock; None until it made one."""
    later = [line for line in lines if line["answered"] > since]
    ends = [at for at, line in enumerate(later) if line["action"] == "acquire"]
    return later[: ends[0] + 1] if ends else None


def check(library, contenders, verdict):
    """One holder at any time, none lost, and no error but at clients that were away."""
    name = library.name
    expect(not verdict.cut, f"{name}: the journals of {verdict.cut} end within a line")
    overlaps = verdict.overlaps(library.shared_max)
    expect(not overlaps, f"{name}: {len(overlaps)} times too many holders: {overlaps[:3]}")
    disorder = verdict.tokens_out_of_order()
    expect(not disorder, f"{name}: fencing tokens fell: {disorder[:3]}")
    # A library that hides its connection's loss takes it for a refusal.
    for what, found in ("lost", verdict.lost), ("errors", verdict.errors):
        bad = [one for one in found if not contenders[one[0]].was_away(*one[1:3])]
        expect(not bad, f"{name}: {what} at clients that were not away: {len(bad)}: {bad[:3]}")
    if library.wakes:
        woken = [line for one in contenders for line in one.lines() if line["action"] == "wake" and line.get("answer")]
        expect(woken, f"{name}: nobody was ever woken by a message")


def run(context, libraries, kills):
    """One contest, from the first lock to the verdict."""
    with context.cluster() as cluster:
        begun = boot_time_s()
        with Contest(context, cluster, libraries) as contest:
            took_s = boot_time_s() - begun
            context.note(f"{len(contest.everybody)} programs hold their locks in turn after {took_s:.1f} s")
            contest.lose_locks(0)
            context.note(f"at each of {len(contest.contenders)} a holder stood still and lost its lock")
            for _ in range(0 if context.against_redis else kills):
                context.note(f"killed the leader; everybody went on within {contest.kill_leader():.1f} s")
            contest.stop()
            contest.check()
