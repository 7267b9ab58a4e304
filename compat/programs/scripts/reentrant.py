"""A re-entrant lock in a hash, of the shape that Redisson uses: the field names the holder, its value counts how often
it has entered. Each first entry takes the next value of a fencing counter; the last exit publishes."""

from ..contend import contend
from .listening import Listening

ENTER = """
if redis.call('EXISTS', KEYS[1]) == 0 then
    local token = redis.call('INCR', KEYS[2])
    redis.call('HSET', KEYS[1], ARGV[1], 1)
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return {1, token}
end
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
    redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return {1, tonumber(redis.call('GET', KEYS[2]))}
end
return {0, redis.call('PTTL', KEYS[1])}
"""
EXTEND = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
# How many entries are left; nil if the caller holds nothing.
EXIT = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return nil end
local left = redis.call('HINCRBY', KEYS[1], ARGV[1], -1)
if left > 0 then return left end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[2], 'released')
return 0
"""
ENTRIES = 2


class Reentrant(Listening):
    def __init__(self, options):
        super().__init__(options, "compat:reentrant")
        self.keys = [self.name, f"{self.name}:token"]

    def enter(self):
        entered, number = self.script(ENTER, self.keys, self.me, self.ttl_ms)
        if entered:
            self.token = number
        else:
            self.left_ms = number
        return entered == 1

    def acquire(self):
        """Enters, and enters again, as a function does that calls another one."""
        self.listen()
        if not self.enter():
            return False
        first = self.token
        for _ in range(ENTRIES - 1):
            if not self.enter():
                return False
            if self.token != first:
                # On a machine that stood still it has expired in between, and was taken anew with a single entry.
                self.exit()
                return False
        return True

    def exit(self):
        return self.script(EXIT, self.keys[:1], self.me, f"{self.name}:released")

    def extend(self):
        return self.script(EXTEND, self.keys[:1], self.me, self.ttl_ms) == 1

    def release(self):
        wanted = list(range(ENTRIES))[::-1]
        return [self.exit() for _ in wanted] == wanted


if __name__ == "__main__":
    contend(Reentrant)
