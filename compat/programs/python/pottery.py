"""PyPI `pottery`: its `Redlock`, with the one master that a cluster is."""

import redis
from pottery import ExtendUnlockedLock, QuorumIsImpossible, Redlock, ReleaseUnlockedLock

from ..contend import Contender, contend, unless


class PotteryLock(Contender):
    # It tells with which master it could not speak, and not only that it has no majority.
    errors = (*Contender.errors, QuorumIsImpossible)

    def __init__(self, options):
        super().__init__(options)
        self.masters = {redis.Redis.from_url(options.url)}

    def acquire(self):
        named = {"auto_release_time": self.options.ttl, "raise_on_redis_errors": True}
        self.lock = Redlock(key="compat:pottery", masters=self.masters, **named)
        return self.lock.acquire(blocking=False)

    def extend(self):
        return unless(ExtendUnlockedLock, self.lock.extend)

    def release(self):
        return unless(ReleaseUnlockedLock, self.lock.release)


if __name__ == "__main__":
    contend(PotteryLock)
