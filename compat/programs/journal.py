"""What the programs share: their options, an orderly stop, and a journal of what they did and when.

The programs in other languages take the same options and write the same lines; `compat/README.md` says which.
"""

import argparse
import json
import signal
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

_stop = threading.Event()


def parse(argv):
    parser = argparse.ArgumentParser(description="one process of a black-box check")
    parser.add_argument("--url", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--ttl", type=int, required=True)
    parser.add_argument("--renew", type=float, default=1)
    options = parser.parse_args(argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: _stop.set())
    return options


def client(options):
    """A client that tries once: a silent second attempt would hide the errors that are looked for."""
    return redis.Redis.from_url(options.url, decode_responses=True, retry=Retry(NoBackoff(), 0))


def stopped():
    return _stop.is_set()


def wait(seconds):
    """Lets time pass, as the original programs do, unless the program is stopped."""
    _stop.wait(seconds)


class Journal:
    """Append-only lines of JSON. Times are of CLOCK_BOOTTIME, which all processes of a machine share."""

    def __init__(self, path):
        self.file = open(path, "a", buffering=1, encoding="utf-8")

    @contextmanager
    def call(self, action, me):
        """Notes a request: when it was sent, when it was answered, and the answer or the error. What else the caller
        sets on the call is noted with the answer."""
        call = SimpleNamespace(answer=None)
        line = {"action": action, "id": me, "sent": time.clock_gettime(time.CLOCK_BOOTTIME)}
        try:
            yield call
            line |= vars(call)
        except Exception as error:
            line["error"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            line["answered"] = time.clock_gettime(time.CLOCK_BOOTTIME)
            self.file.write(json.dumps(line) + "\n")
