"""One contender for one lock, whatever library it takes it with.

It tries to take the lock, works a little, extends it on the way, releases it, and begins again, until it is told to
stop. A library's own program only says how these three things are done with it. What the contender did and was told
goes into its journal.
"""

import random
import sys
import uuid

import redis

from .journal import Journal, parse, stopped, wait

# Between two attempts to take the lock, and how often and long it works while it holds it.
RETRY_S, WORK_S, EXTENSIONS_MAX = 0.05, 0.05, 3


class Contender:
    """A lock as one library offers it. Each of the three answers True for yes, False for no, and None where the
    library does not say; what is neither is one of `errors`."""

    # What the library raises when it does not know. It is in the journal; what was held runs out by itself.
    errors = (redis.RedisError, OSError)
    # Whether others may hold the lock, too, and the fencing token that came with it. An attempt may set both.
    shared = False
    token = None

    def __init__(self, options):
        self.options = options
        self.ttl_ms = options.ttl * 1000
        host, port = options.url.removeprefix("redis://").split("/")[0].split(":")
        self.address = (host, int(port))
        # The holder's own name, a new one for each attempt.
        self.me = ""

    def acquire(self):
        """One attempt to take the lock, for the TTL."""
        raise NotImplementedError

    def extend(self):
        """Sets the lock's TTL anew."""
        return None

    def release(self):
        """Gives the lock back. It is called also when an extension was refused, as careless users do: that must not
        harm the next holder."""
        raise NotImplementedError

    def await_turn(self):
        """Lets time pass after an attempt in vain; answers whether somebody woke us up. None where nobody does."""
        wait(RETRY_S)

    def give_up(self):
        """Lets go, after an error, of what may have broken together with it."""


def hold_once(lock, journal):
    lock.me = str(uuid.uuid4())
    with journal.call("acquire", lock.me) as call:
        call.answer = lock.acquire()
        call.shared, call.token = lock.shared, lock.token
    if not call.answer:
        with journal.call("wake", lock.me) as call:
            call.answer = lock.await_turn()
        return
    for _ in range(random.randint(1, EXTENSIONS_MAX)):
        wait(WORK_S)
        with journal.call("extend", lock.me) as call:
            call.answer = lock.extend()
    with journal.call("release", lock.me) as call:
        call.answer = lock.release()
    wait(RETRY_S)


def contend(make):
    """Runs a program: `make` makes the contender from the options."""
    options = parse(sys.argv)
    journal, lock = Journal(options.log), make(options)
    while not stopped():
        try:
            hold_once(lock, journal)
        except lock.errors:
            lock.give_up()
            wait(RETRY_S)


def unless(refusals, call, *arguments, **named):
    """What a library tells by an exception, as an answer: False if it raises one of the refusals."""
    try:
        call(*arguments, **named)
        return True
    except refusals:
        return False
