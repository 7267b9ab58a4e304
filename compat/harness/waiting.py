"""Waiting for a condition, within a bound. No check sleeps for a while and hopes."""

import time

from . import Failure

# Between two looks at a condition. Short against everything that is waited for, long enough to cost nothing.
PAUSE_S = 0.01


def boot_time_s():
    """The clock that Quorate's promises are about: it runs on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def until(condition, bound_s, what):
    """Looks until the condition answers something true, and answers that. Fails at the bound."""
    deadline = boot_time_s() + bound_s
    while True:
        answer = condition()
        if answer:
            return answer
        if boot_time_s() > deadline:
            raise Failure(f"waited {bound_s} s in vain for: {what}")
        time.sleep(PAUSE_S)
