"""A lock of the shape that Spring's RedisLockRegistry uses: one script takes or renews a string, releasing unlinks it
and publishes, and waiters hear all locks of the registry through a pattern."""

from ..contend import contend
from .listening import Listening

OBTAIN = """
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return -1
elseif not holder then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return -1
end
return redis.call('PTTL', KEYS[1])
"""
RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('UNLINK', KEYS[1])
redis.call('PUBLISH', ARGV[2], KEYS[1])
return 1
"""


class Registry(Listening):
    def __init__(self, options):
        super().__init__(options, "compat:registry:orders")

    def subscribe(self, pubsub):
        pubsub.psubscribe("compat:registry:released:*")

    def acquire(self):
        self.listen()
        self.left_ms = self.script(OBTAIN, [self.name], self.me, self.ttl_ms)
        return self.left_ms == -1

    def extend(self):
        return self.script(RENEW, [self.name], self.me, self.ttl_ms) == 1

    def release(self):
        return self.script(RELEASE, [self.name], self.me, "compat:registry:released:orders") == 1


if __name__ == "__main__":
    contend(Registry)
