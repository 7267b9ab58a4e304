"""PyPI `redis`: the client's own class `Lock`, with the client's own retries."""

import redis
from redis.exceptions import LockError

from ..contend import Contender, contend, unless


class RedisPyLock(Contender):
    def __init__(self, options):
        super().__init__(options)
        self.client = redis.Redis.from_url(options.url)

    def make(self):
        return self.client.lock("compat:redis-py", timeout=self.options.ttl)

    def acquire(self):
        self.lock = self.make()
        return self.lock.acquire(blocking=False)

    def extend(self):
        return unless(LockError, self.lock.extend, self.options.ttl, replace_ttl=True)

    def release(self):
        return unless(LockError, self.lock.release)


if __name__ == "__main__":
    contend(RedisPyLock)
