"""A leader election in the plainest redis-py, as teams have it in production.

Each candidate tries to create the key; the one that did leads, and renews at a fixed pace; on stop it deletes the
key. So that there is something to see, a leader also resigns after a while. What it does and believes goes into an
event log.
"""

import sys
import uuid

import redis

from .journal import Journal, client, parse, stopped, wait

KEY = "compat:leader"
# A leader resigns after this many renewals; a candidate looks this often.
TERM_RENEWALS = 4
LOOK_S = 0.05


def lead(connection, journal, me, options):
    """Leads until the term is over, leadership is lost, or the program is stopped."""
    for _ in range(TERM_RENEWALS):
        wait(options.renew)
        if stopped():
            break
        with journal.call("extend", me) as call:
            call.answer = connection.expire(KEY, options.ttl)
        if not call.answer or connection.get(KEY) != me:
            return
    with journal.call("release", me) as call:
        call.answer = connection.delete(KEY)
    # Somebody else's turn.
    wait(options.renew)


def main():
    options = parse(sys.argv)
    journal, connection = Journal(options.log), client(options)
    while not stopped():
        try:
            # A new name for each attempt: an attempt whose outcome is unknown is nobody's later.
            me = f"{options.name}-{uuid.uuid4()}"
            with journal.call("acquire", me) as call:
                call.answer = connection.set(KEY, me, nx=True, ex=options.ttl)
            if call.answer:
                lead(connection, journal, me, options)
            else:
                wait(LOOK_S)
        except redis.RedisError:
            wait(LOOK_S)


if __name__ == "__main__":
    main()
