"""A lock in the plainest redis-py, as teams have it in production.

Takes the lock in a retry loop, works a little, extends it on the way, releases it, and begins again, until it is
told to stop. What it does and believes goes into an event log.
"""

import random
import sys
import uuid

import redis

from .journal import Journal, client, parse, stopped, wait

NAME = "compat:lock"
EXTEND = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('EXPIRE', KEYS[1], ARGV[2]) end return 0"
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
# Between two attempts to take the lock, and how often and long it works while it holds it.
RETRY_S, WORK_S, EXTENSIONS_MAX = 0.02, 0.05, 3


def hold_once(connection, journal, ttl_s):
    me = str(uuid.uuid4())
    with journal.call("acquire", me) as call:
        call.answer = connection.set(NAME, me, nx=True, ex=ttl_s)
    if not call.answer:
        return wait(RETRY_S)
    for _ in range(random.randrange(EXTENSIONS_MAX + 1)):
        wait(WORK_S)
        with journal.call("extend", me) as call:
            call.answer = connection.eval(EXTEND, 1, NAME, me, ttl_s)
    with journal.call("release", me) as call:
        call.answer = connection.eval(RELEASE, 1, NAME, me)
    return wait(RETRY_S)


def main():
    options = parse(sys.argv)
    journal, connection = Journal(options.log), client(options)
    while not stopped():
        try:
            hold_once(connection, journal, options.ttl)
        except redis.RedisError:
            wait(RETRY_S)  # It is in the journal. What was held runs out by itself.


if __name__ == "__main__":
    main()
