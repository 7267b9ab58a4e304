"""A read-write lock, of the shape that Redisson uses: a hash with the mode and the holders, each with the end of its
own time, so that a reader that died leaves when its time is over, however long the others stay."""

import random

from ..contend import contend
from .listening import Listening

# Drops holders whose time is over; `holders` counts the others and `last` is the end of the last one's time.
REVIEW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local holders, last = 0, now
local fields = redis.call('HGETALL', KEYS[1])
for at = 1, #fields, 2 do
    local until_ms = tonumber(fields[at + 1])
    if fields[at] ~= 'mode' then
        if until_ms <= now then
            redis.call('HDEL', KEYS[1], fields[at])
        else
            holders = holders + 1
            last = math.max(last, until_ms)
        end
    end
end
local mode = redis.call('HGET', KEYS[1], 'mode')
"""
TAKE = (
    REVIEW
    + """
if holders > 0 and (mode ~= 'read' or ARGV[3] ~= 'read') then return {0, last - now} end
redis.call('HSET', KEYS[1], 'mode', ARGV[3], ARGV[1], now + ARGV[2])
redis.call('PEXPIRE', KEYS[1], math.max(last - now, tonumber(ARGV[2])))
return {1, 0}
"""
)
EXTEND = (
    REVIEW
    + """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], now + ARGV[2])
redis.call('PEXPIRE', KEYS[1], math.max(last - now, tonumber(ARGV[2])))
return 1
"""
)
GIVE = (
    REVIEW
    + """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
if holders == 1 then redis.call('DEL', KEYS[1]) end
redis.call('PUBLISH', ARGV[2], 'released')
return 1
"""
)
# Of ten attempts so many are for writing.
WRITES_OF_TEN = 5


class ReadWrite(Listening):
    def __init__(self, options):
        super().__init__(options, "compat:read-write")

    def acquire(self):
        self.listen()
        self.shared = random.randrange(10) >= WRITES_OF_TEN
        mode = "read" if self.shared else "write"
        taken, self.left_ms = self.script(TAKE, [self.name], self.me, self.ttl_ms, mode)
        return taken == 1

    def extend(self):
        return self.script(EXTEND, [self.name], self.me, self.ttl_ms) == 1

    def release(self):
        return self.script(GIVE, [self.name], self.me, f"{self.name}:released") == 1


if __name__ == "__main__":
    contend(ReadWrite)
