"""lock scripts of the shapes that Redisson, Spring and symfony use, three programs each, as leaders die"""

import math
import sys

from harness import contest
from harness.contest import Library

BOUND_S = 150
NEEDS_PROCESSES = True

KILLS_SHORT, KILLS_LONG = 2, 8


def shape(name, **features):
    return Library(name, [sys.executable, "-m", f"programs.scripts.{name}"], **features)


SHAPES = [
    shape("reentrant", wakes=True),
    shape("fair", wakes=True),
    shape("read_write", wakes=True, shared_max=math.inf),
    shape("semaphore", wakes=True, shared_max=2),
    shape("registry", wakes=True),
    shape("sorted_set"),
]


def run(context):
    contest.run(context, SHAPES, KILLS_LONG if context.long else KILLS_SHORT)
