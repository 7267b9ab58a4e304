"""redis-py: `Sentinel(..).master_for(..)` with a retry of its own, or the next endpoint after an error."""

import argparse
import json
import signal
import threading
import time

import redis
from redis.backoff import ConstantBackoff, NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

PAUSE_S = 0.01
# An election, ten times a second. By itself redis-py tries three times, and waits for up to seconds in between; also at a
# Sentinel that is dead, although there are others. And a command whose connection broke is tried again at the same node
# only (redis-py#3874), so that more would be lost time.
RETRY_S, RETRIES = 0.1, 10
# Longer than an election.
TIMEOUT_S = 5


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sentinels", default="")
    parser.add_argument("--master", default="quorate")
    parser.add_argument("--endpoints", default="")
    parser.add_argument("--name", required=True)
    parser.add_argument("--log", required=True)
    return parser.parse_args()


def pairs(text):
    """Host and port of each."""
    found = (address.rsplit(":", 1) for address in text.split(","))
    return [(host, int(port)) for host, port in found]


class BySentinel:
    def __init__(self, options):
        doors = Sentinel(
            pairs(options.sentinels), sentinel_kwargs={"socket_timeout": 1, "retry": Retry(NoBackoff(), 0)}
        )
        patient = Retry(ConstantBackoff(RETRY_S), RETRIES)
        self.client = doors.master_for(
            options.master, client_name=options.name, socket_timeout=TIMEOUT_S, retry=patient
        )

    def failed(self):
        """The library finds the next leader by itself."""


class ByEndpoints:
    def __init__(self, options):
        self.endpoints = pairs(options.endpoints)
        self.name = options.name
        self.place = 0
        self.client = self._connected()

    def failed(self):
        self.client.close()
        self.client = self._connected()

    def _connected(self):
        """A client of the next node that answers."""
        while True:
            host, port = self.endpoints[self.place % len(self.endpoints)]
            self.place += 1
            once = Retry(NoBackoff(), 0)
            client = redis.Redis(host, port, client_name=self.name, socket_timeout=TIMEOUT_S, retry=once)
            try:
                client.ping()
                return client
            except redis.RedisError:
                client.close()
                time.sleep(RETRY_S)


def main():
    options = parse()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    way = BySentinel(options) if options.sentinels else ByEndpoints(options)
    number = 0
    with open(options.log, "a", buffering=1, encoding="utf-8") as journal:
        while not stop.wait(PAUSE_S):
            number += 1
            line = {"number": number, "sent": time.clock_gettime(time.CLOCK_BOOTTIME), "error": None}
            try:
                way.client.set(options.name, number)
            except redis.RedisError as error:
                line["error"] = f"{type(error).__name__}: {error}"
            line["answered"] = time.clock_gettime(time.CLOCK_BOOTTIME)
            journal.write(json.dumps(line) + "\n")
            if line["error"]:
                way.failed()


if __name__ == "__main__":
    main()
