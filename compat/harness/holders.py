"""Judges the journals of lock programs: who was entitled to hold when, and whether that was ever two.

A holder may count on its lock from the answer to its acquisition until its TTL has passed since it *sent* the last
acquisition or extension that succeeded, or until it sends its release. These intervals must not overlap, on one
clock. An extension or release that is refused within the interval says that the lock was lost. One that succeeds after
it began the next interval: some libraries extend a lock anew that nobody has taken. Shared holdings may overlap each
other, up to a number.

Journals may be read while their programs write. Of a line that crosses a page of the file a reader may see the
beginning alone, so only what ends in a newline is a line. What else is there is told: of a program that still runs it
is the next line, of one that ended by itself it is a request of which nobody knows what became.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Holding:
    """One successful acquisition and what became of it."""

    who: str
    begun: float
    until: float
    shared: bool = False
    token: int | None = None
    doubtful: bool = False


@dataclass
class Verdict:
    """What the journals say."""

    holdings: list = field(default_factory=list)
    lost: list = field(default_factory=list)
    errors: list = field(default_factory=list)
    # Whose journal ends within a line.
    cut: list = field(default_factory=list)

    def overlaps(self, shared_max=math.inf):
        """Holdings that began while the lock was not to be had. It takes journals whose programs have ended: of a
        running one a release may be missing that made room for the next holder."""
        found, held = [], []
        for holding in self.in_order():
            held = [other for other in held if other.until > holding.begun]
            for other in held:
                if len(held) >= shared_max or not (holding.shared and other.shared):
                    both_s = min(other.until, holding.until) - holding.begun
                    found.append(f"{other.who} and {holding.who} both held for {both_s:.3f} s")
            held.append(holding)
        return found

    def in_order(self):
        """The holdings by their beginning, without those that were over when their holder heard of them."""
        alive = [holding for holding in self.holdings if holding.begun < holding.until]
        return sorted(alive, key=lambda holding: holding.begun)

    def tokens_out_of_order(self):
        """Fencing tokens that are not greater than the one of the holding before."""
        tokens = [holding.token for holding in self.in_order() if holding.token is not None]
        return [f"{later} after {earlier}" for earlier, later in zip(tokens, tokens[1:]) if later <= earlier]


def read(path):
    """The whole lines of a journal, and what follows the last of them."""
    *lines, rest = Path(path).read_bytes().split(b"\n")
    return [json.loads(line) for line in lines], rest


def judge(journals, ttl_s):
    """Reads the journals, by the name of the client, and judges them."""
    verdict = Verdict()
    for who, path in journals.items():
        holding = None
        lines, rest = read(path)
        if rest:
            verdict.cut.append(who)
        for line in lines:
            if "error" in line:
                verdict.errors.append((who, line["sent"], line["answered"], line["error"]))
            if line["action"] == "acquire":
                holding = _acquired(verdict, who, line, ttl_s)
            elif holding and line["action"] in ("extend", "release"):
                holding = _continued(verdict, holding, line, ttl_s)
    return verdict


def _acquired(verdict, who, line, ttl_s):
    if not line.get("answer"):
        return None
    until = line["sent"] + ttl_s
    holding = Holding(who, line["answered"], until, bool(line.get("shared")), line.get("token"))
    verdict.holdings.append(holding)
    return holding


def _continued(verdict, holding, line, ttl_s):
    """Takes an extension or a release into account; answers the holding that it belongs to or makes."""
    in_time = line["answered"] < holding.until
    if refused(line) and in_time and not holding.doubtful:
        left_s = holding.until - line["answered"]
        text = f"{holding.who} was refused its {line['action']} with {left_s:.2f} s left"
        verdict.lost.append((holding.who, line["sent"], line["answered"], text))
    if line["action"] == "release":
        # From here on the holder claims nothing, whatever becomes of the request.
        holding.until = min(holding.until, line["sent"])
    elif line.get("answer") and not in_time:
        holding = Holding(holding.who, line["answered"], line["sent"] + ttl_s, holding.shared)
        verdict.holdings.append(holding)
    elif line.get("answer"):
        holding.until = line["sent"] + ttl_s
    # An extension or release whose outcome is unknown makes later refusals mean nothing.
    holding.doubtful |= "error" in line
    return holding


def refused(line):
    """Whether a request was answered by a no. Null says that the library does not tell."""
    return "error" not in line and line["answer"] is not None and not line["answer"]
