"""What the locks made of scripts share: a client that tries once, and waiting for a message from whoever releases."""

import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..contend import Contender, wait
from ..journal import stopped

# A waiter looks this often whether it was told to stop.
LOOK_S = 0.25
# Messages that one attempt drops at most: more than two rivals publish while a contender holds or stands still.
BACKLOG_MAX = 1000


class Listening(Contender):
    """A contender that hears a channel. It subscribes before its first attempt, so that no release falls between the
    attempt and the waiting."""

    def __init__(self, options, name):
        super().__init__(options)
        # A silent second attempt would enter a lock twice.
        self.client = redis.Redis.from_url(options.url, decode_responses=True, retry=Retry(NoBackoff(), 0))
        self.name = name
        # How long the present holder may still be there, as it was told with a refusal.
        self.left_ms = 0
        self.pubsub = None

    def subscribe(self, pubsub):
        pubsub.subscribe(f"{self.name}:released")

    def script(self, text, keys, *arguments):
        return self.client.eval(text, len(keys), *keys, *arguments)

    def listen(self):
        """Before an attempt: subscribes, unless it has, and drops what was published earlier."""
        if not self.pubsub:
            pubsub = self.client.pubsub(ignore_subscribe_messages=True)
            self.subscribe(pubsub)
            self.pubsub = pubsub
        for _ in range(BACKLOG_MAX):
            if not self.pubsub.get_message():
                return

    def await_turn(self):
        """Waits until somebody releases, or the present holder's time is over."""
        deadline = time.monotonic() + max(self.left_ms, 0) / 1000 + 0.01
        while (left_s := deadline - time.monotonic()) > 0 and not stopped():
            if self.pubsub.get_message(timeout=min(left_s, LOOK_S)):
                return True
        return False

    def give_up(self):
        """The subscription's connection broke with the other one, and might be noticed only much later."""
        if self.pubsub:
            self.pubsub.close()
        self.pubsub = None
