"""PyPI `aioredlock`, with the one instance that a cluster is. Nobody maintains it any more, and many still run it.

Its extension takes a lock that is free, and its release is content with one, so that neither always says when a lock
was lost.
"""

import asyncio
import logging

from aioredlock import Aioredlock, LockAcquiringError, LockError

from ..contend import Contender, contend


# Its client waits without end for a reply. A server that keeps its promises has answered or closed by then.
PATIENCE_S = 16


class AioredlockLock(Contender):
    errors = (*Contender.errors, LockError, asyncio.TimeoutError)

    def __init__(self, options):
        super().__init__(options)
        logging.disable()
        self.loop = asyncio.new_event_loop()
        self.manager = self.loop.run_until_complete(self.connect())

    async def connect(self):
        return Aioredlock([self.address], retry_count=1)

    def tell(self, attempt):
        """The attempt's outcome; None if the server refused."""
        try:
            return self.loop.run_until_complete(asyncio.wait_for(attempt, PATIENCE_S)) or True
        except LockAcquiringError:
            return None

    def acquire(self):
        self.lock = self.tell(self.manager.lock("compat:aioredlock", lock_timeout=self.options.ttl))
        return self.lock is not None

    def extend(self):
        return self.lock.valid and self.tell(self.lock.extend()) is not None

    def release(self):
        return self.tell(self.lock.release()) is not None


if __name__ == "__main__":
    contend(AioredlockLock)
