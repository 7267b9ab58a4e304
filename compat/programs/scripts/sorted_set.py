"""A lock in a sorted set, of the shape that symfony/lock uses: members are the holders, scores the ends of their time
by the server's own clock. A plain string of the same name, as an older release of such a library left it, is a holder,
too."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..contend import Contender, contend

# Moves an old string into the set, drops whose time is over.
REVIEW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('TYPE', KEYS[1]).ok == 'string' then
    local holder, left = redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])
    redis.call('DEL', KEYS[1])
    redis.call('ZADD', KEYS[1], now + left, holder)
    redis.call('PEXPIRE', KEYS[1], left)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
"""
# Taking what one holds is extending it.
TAKE = (
    REVIEW
    + """
if redis.call('ZCARD', KEYS[1]) > 0 and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
)
EXTEND = (
    REVIEW
    + """
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
)
GIVE = REVIEW + "return redis.call('ZREM', KEYS[1], ARGV[1])"


class SortedSet(Contender):
    def __init__(self, options):
        super().__init__(options)
        self.client = redis.Redis.from_url(options.url, retry=Retry(NoBackoff(), 0))
        self.turns = 0

    def script(self, text):
        return self.client.eval(text, 1, "compat:sorted-set", self.me, self.ttl_ms) == 1

    def acquire(self):
        """Now and then with the older release's way to take it."""
        self.turns += 1
        if self.turns % 5 == 0:
            return self.client.set("compat:sorted-set", self.me, nx=True, px=self.ttl_ms) is True
        return self.script(TAKE)

    def extend(self):
        return self.script(EXTEND)

    def release(self):
        return self.script(GIVE)


if __name__ == "__main__":
    contend(SortedSet)
