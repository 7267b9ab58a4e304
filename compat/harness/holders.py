"""Judges the journals of lock programs: who was entitled to hold when, and whether that was ever two.

A holder may count on its lock from the answer to its acquisition until its TTL has passed since it *sent* the last
acquisition or extension that succeeded, or until it sends its release. These intervals must not overlap, on one
clock. An extension or release that is refused within the interval says that the lock was lost.

Journals may be read while their programs write. Of a line that crosses a page of the file a reader may see the
beginning alone, so only what ends in a newline is a line. What else is there is told: of a program that still runs it
is the next line, of one that ended by itself it is a request of which nobody knows what became.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Holding:
    """One successful acquisition and what became of it."""

    who: str
    begun: float
    until: float
    doubtful: bool = False


@dataclass
class Verdict:
    """What the journals say."""

    holdings: list = field(default_factory=list)
    lost: list = field(default_factory=list)
    errors: list = field(default_factory=list)
    # Whose journal ends within a line.
    cut: list = field(default_factory=list)

    def overlaps(self):
        """Pairs of holdings that were both entitled at some instant. It takes journals whose programs have ended: of
        a running one a release may be missing that made room for the next holder."""
        held = sorted(self.holdings, key=lambda holding: holding.begun)
        found, longest = [], None
        for holding in held:
            if longest and holding.begun < longest.until:
                both_s = min(longest.until, holding.until) - holding.begun
                found.append(f"{longest.who} and {holding.who} both held for {both_s:.3f} s")
            if not longest or holding.until > longest.until:
                longest = holding
        return found


def judge(journals, ttl_s):
    """Reads the journals, by the name of the client, and judges them."""
    verdict = Verdict()
    for who, path in journals.items():
        holding = None
        *lines, rest = Path(path).read_bytes().split(b"\n")
        if rest:
            verdict.cut.append(who)
        for line in map(json.loads, lines):
            if "error" in line:
                verdict.errors.append((who, line["sent"], line["answered"], line["error"]))
            if line["action"] == "acquire":
                holding = _acquired(verdict, who, line, ttl_s)
            elif holding:
                _continued(verdict, holding, line, ttl_s)
    return verdict


def _acquired(verdict, who, line, ttl_s):
    if not line.get("answer"):
        return None
    holding = Holding(who, line["answered"], line["sent"] + ttl_s)
    verdict.holdings.append(holding)
    return holding


def _continued(verdict, holding, line, ttl_s):
    in_time = line["answered"] < holding.until
    if "error" not in line and not line["answer"] and in_time and not holding.doubtful:
        left_s = holding.until - line["answered"]
        verdict.lost.append(f"{holding.who} was refused its {line['action']} with {left_s:.2f} s left")
    if line["action"] == "release":
        # From here on the holder claims nothing, whatever becomes of the request.
        holding.until = min(holding.until, line["sent"])
    elif line.get("answer"):
        holding.until = line["sent"] + ttl_s
    # An extension or release whose outcome is unknown makes later refusals mean nothing.
    holding.doubtful |= "error" in line
