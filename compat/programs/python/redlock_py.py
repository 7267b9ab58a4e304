"""PyPI `redlock-py`, with the one server that a cluster is. It cannot extend, and what it could not release it does not
say."""

import logging

from redlock import MultipleRedlockException, Redlock

from ..contend import RETRY_S, Contender, contend


class RedlockPy(Contender):
    errors = (*Contender.errors, MultipleRedlockException)

    def __init__(self, options):
        super().__init__(options)
        host, port = self.address
        self.manager = Redlock([{"host": host, "port": port}], retry_count=1, retry_delay=RETRY_S)
        # It logs each error with a trace, and answers as if there had been none.
        logging.disable()

    def acquire(self):
        self.lock = self.manager.lock("compat:redlock-py", self.ttl_ms)
        return bool(self.lock)

    def release(self):
        self.manager.unlock(self.lock)


if __name__ == "__main__":
    contend(RedlockPy)
