"""A semaphore whose permits expire, of the shape that Redisson uses: a counter of the permits that are free, and a
sorted set of those taken, each with the end of its time. Now and then a contender takes all permits at once."""

import random

from ..contend import contend
from .listening import Listening

PERMITS = 2
# Permits whose time is over are free again.
REVIEW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], ARGV[3], 'NX')
local over = redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if over > 0 then redis.call('INCRBY', KEYS[1], over) end
"""
TAKE = (
    REVIEW
    + """
local wanted = tonumber(ARGV[4])
if tonumber(redis.call('GET', KEYS[1])) < wanted then
    local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
    return {0, first[2] - now}
end
redis.call('DECRBY', KEYS[1], wanted)
for number = 1, wanted do
    redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1] .. ':' .. number)
end
return {1, 0}
"""
)
EXTEND = (
    REVIEW
    + """
for number = 1, tonumber(ARGV[4]) do
    if not redis.call('ZSCORE', KEYS[2], ARGV[1] .. ':' .. number) then return 0 end
end
for number = 1, tonumber(ARGV[4]) do
    redis.call('ZADD', KEYS[2], 'XX', now + ARGV[2], ARGV[1] .. ':' .. number)
end
return 1
"""
)
GIVE = (
    REVIEW
    + """
local given = 0
for number = 1, tonumber(ARGV[4]) do
    given = given + redis.call('ZREM', KEYS[2], ARGV[1] .. ':' .. number)
end
if given > 0 then
    redis.call('INCRBY', KEYS[1], given)
    redis.call('PUBLISH', KEYS[1] .. ':released', given)
end
return given
"""
)


class Semaphore(Listening):
    def __init__(self, options):
        super().__init__(options, "compat:semaphore")
        self.wanted = 1

    def call(self, text):
        keys = [self.name, f"{self.name}:taken"]
        return self.script(text, keys, self.me, self.ttl_ms, PERMITS, self.wanted)

    def acquire(self):
        self.listen()
        self.wanted = random.randint(1, PERMITS)
        self.shared = self.wanted < PERMITS
        taken, self.left_ms = self.call(TAKE)
        return taken == 1

    def extend(self):
        return self.call(EXTEND) == 1

    def release(self):
        return self.call(GIVE) == self.wanted


if __name__ == "__main__":
    contend(Semaphore)
