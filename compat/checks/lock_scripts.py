"""lock scripts of the shapes that Redisson, Spring and symfony use, three programs each, as leaders die"""

import math
import sys

from harness import contest
from harness.contest import Library

BOUND_S = 150
NEEDS_PROCESSES = True

KILLS_SHORT, KILLS_LONG = 2, 8


# Those that compare TIME themselves. The calendar follows what nodes tell of their clocks, which on an overloaded
# machine comes late, and differently late at each leader: 128 ms were seen.
EARLY_S = 0.5


def shape(name, **features):
    return Library(name, [sys.executable, "-m", f"programs.scripts.{name}"], **features)


SHAPES = [
    shape("reentrant", wakes=True),
    shape("fair", wakes=True),
    shape("read_write", wakes=True, shared_max=math.inf, early_s=EARLY_S),
    shape("semaphore", wakes=True, shared_max=2, early_s=EARLY_S),
    shape("registry", wakes=True),
    shape("sorted_set", early_s=EARLY_S),
]


def run(context):
    contest.run(context, SHAPES, KILLS_LONG if context.long else KILLS_SHORT)
