"""A fair lock, of the shape that Redisson uses: beside the hash a list of those who wait, in their order, and a sorted
set that says until when each of them is believed to be still there. Only the first in the list may take the lock, and
only it is woken, by a channel of its own."""

import uuid

from ..contend import contend
from .listening import Listening

# Those at the head whose patience is over are gone; then the first in the list may take what is free.
TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
while true do
    local first = redis.call('LINDEX', KEYS[2], 0)
    if not first or tonumber(redis.call('ZSCORE', KEYS[3], first)) > now then break end
    redis.call('LPOP', KEYS[2])
    redis.call('ZREM', KEYS[3], first)
end
local first = redis.call('LINDEX', KEYS[2], 0)
if redis.call('EXISTS', KEYS[1]) == 0 and (not first or first == ARGV[1]) then
    redis.call('LREM', KEYS[2], 1, ARGV[1])
    redis.call('ZREM', KEYS[3], ARGV[1])
    redis.call('HSET', KEYS[1], ARGV[1], 1)
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return {1, 0}
end
if not redis.call('ZSCORE', KEYS[3], ARGV[1]) then
    redis.call('RPUSH', KEYS[2], ARGV[1])
end
redis.call('ZADD', KEYS[3], now + ARGV[2] + ARGV[3], ARGV[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then left = tonumber(redis.call('ZSCORE', KEYS[3], first)) - now end
return {0, left}
"""
EXTEND = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
GIVE = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('DEL', KEYS[1])
local first = redis.call('LINDEX', KEYS[2], 0)
if first then redis.call('PUBLISH', ARGV[2] .. first, 'your turn') end
return 1
"""
# What is added to the TTL until a waiter that was not heard of any more has lost its place.
PATIENCE_MS = 500


class Fair(Listening):
    def __init__(self, options):
        super().__init__(options, "compat:fair")
        # Its place in the queue is the client's own, over all attempts.
        self.place = str(uuid.uuid4())
        self.keys = [self.name, f"{self.name}:queue", f"{self.name}:patience"]

    def subscribe(self, pubsub):
        pubsub.subscribe(f"{self.name}:{self.place}")

    def acquire(self):
        self.listen()
        taken, self.left_ms = self.script(TAKE, self.keys, self.place, self.ttl_ms, PATIENCE_MS)
        return taken == 1

    def extend(self):
        return self.script(EXTEND, self.keys[:1], self.place, self.ttl_ms) == 1

    def release(self):
        return self.script(GIVE, self.keys[:2], self.place, f"{self.name}:") == 1


if __name__ == "__main__":
    contend(Fair)
