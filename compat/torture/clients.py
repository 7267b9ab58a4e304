"""The clients of one process: threads of redis-py, which write down each operation, as `judge_history` reads it.

Called as a program: it writes until SIGTERM, and exits with 0. What it writes is flushed at its end, by whole lines.
"""

import argparse
import json
import random
import signal
import sys
import threading
import time
from collections import Counter

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

# How long clients use keys before they move on: short, so that a history of a key is short, too.
WINDOW_S = 1.0
REGISTERS, COUNTERS, ACCOUNTS = 4, 2, 3
REPLY_BOUND_S = 4.0
# Between two operations of a client, and before it connects again.
PAUSE_S, RETRY_S = 0.008, 0.05
TTL_MS = 1500
# The codes of errors that say that nothing was applied.
REFUSALS = ("CLUSTERDOWN", "LOADING", "MISCONF", "BUSY", "UNBLOCKED", "EXECABORT")

COMPARE_AND_SET = """if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) return 1 end
    return 0"""
TRANSFER = """if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then return false end
    return {redis.call('DECRBY', KEYS[1], ARGV[1]), redis.call('INCRBY', KEYS[2], ARGV[1])}"""


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def connect(address):
    """A connection of redis-py that never sends anything twice."""
    host, port = address.rsplit(":", 1)
    return redis.Redis(
        host=host,
        port=int(port),
        decode_responses=True,
        single_connection_client=True,
        socket_timeout=REPLY_BOUND_S,
        socket_connect_timeout=REPLY_BOUND_S,
        retry=Retry(NoBackoff(), 0),
    )


def window_keys(window):
    """All keys of a window: registers, counters, accounts."""
    kinds = (("register", REGISTERS), ("counter", COUNTERS), ("account", ACCOUNTS))
    return {kind: [f"{kind}:{window}:{number}" for number in range(count)] for kind, count in kinds}


class Client(threading.Thread):
    """One client of one node."""

    def __init__(self, name, address, seed, journal, ended):
        super().__init__(name=name)
        self.address = address
        self.random = random.Random(seed)
        self.journal = journal
        self.ended = ended
        self.count = 0
        self.redis = None

    def run(self):
        while not self.ended.is_set():
            try:
                if self.redis is None:
                    self.redis = connect(self.address)
            except (redis.RedisError, OSError):
                self.ended.wait(RETRY_S)
                continue
            self.step(int(now_ns() / 1e9 / WINDOW_S))
            self.ended.wait(self.random.uniform(0, 2 * PAUSE_S))
        self.lose()

    def lose(self):
        if self.redis is not None:
            self.redis.close()
        self.redis = None

    def call(self, command, send, **more):
        """Does something, and writes down what came of it; answers the reply, or None."""
        line = {"client": self.name, "invoked_ns": now_ns(), "completed_ns": None, "command": command, **more}
        try:
            reply = send(self.redis)
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            self.lose()
            # One of these errors is a refusal. A lost read tells nothing.
            if isinstance(error, redis.exceptions.BusyLoadingError):
                self.journal.refusals["LOADING"] += 1
            elif command[0] not in ("GET", "MGET"):
                self.journal.add(line)
            return None
        except redis.RedisError as error:
            self.refused(error, line)
            return None
        line |= {"completed_ns": now_ns(), "reply": reply}
        self.journal.add(line)
        return reply

    def refused(self, error, line):
        kinds = {redis.exceptions.ClusterDownError: "CLUSTERDOWN", redis.exceptions.ExecAbortError: "EXECABORT"}
        code = kinds.get(type(error), str(error).split(" ")[0])
        self.journal.refusals[code] += 1
        if code not in REFUSALS:
            self.violated(f"{line['command']} was answered {type(error).__name__}: {error}")
        self.ended.wait(RETRY_S)

    def violated(self, text):
        self.journal.violations.append(text)
        print(f"VIOLATION: {self.name}: {text}", flush=True)

    def plain(self, *words):
        return self.call(list(words), lambda client: raw(client, *words))

    def unique(self):
        self.count += 1
        return f"{self.name}.{self.count}"

    def step(self, window):
        keys = window_keys(window)
        {"register": self.use_register, "counter": self.use_counter, "account": self.use_accounts}[
            self.random.choice(["register", "register", "counter", "account", "account"])
        ](keys)

    def use_register(self, keys):
        key = self.random.choice(keys["register"])
        kind = self.random.randrange(10)
        if kind < 4:
            self.plain("GET", key)
        elif kind < 6:
            self.plain("SET", key, self.unique())
        elif kind == 6:
            self.plain("SET", key, self.unique(), "NX")
        elif kind == 7:
            self.plain("DEL", key)
        elif kind == 8:
            self.plain("GETSET", key, self.unique())
        elif (old := self.plain("GET", key)) is not None:
            new = self.unique()
            self.call(["CAS", key, old, new], lambda client: client.eval(COMPARE_AND_SET, 1, key, old, new))

    def use_counter(self, keys):
        key = self.random.choice(keys["counter"])
        self.plain(*self.random.choice([("INCR", key), ("INCR", key), ("GET", key)]))

    def use_accounts(self, keys):
        source, target = self.random.sample(keys["account"], 2)
        amount = str(self.random.randint(1, 40))
        kind = self.random.randrange(10)
        if kind < 3:
            self.plain("MGET", *keys["account"])
        elif kind < 5:
            self.plain("INCRBY", source, amount)
        elif kind < 7:
            send = lambda client: client.eval(TRANSFER, 2, source, target, amount)
            self.call(["TRANSFER", source, target, amount], send)
        elif kind < 9:
            commands = [["DECRBY", source, amount], ["INCRBY", target, amount]]
            self.call(["MULTI", *commands], lambda client: transaction(client, commands))
        else:
            self.move_watched(source, target, int(amount))

    def move_watched(self, source, target, amount):
        """Under WATCH: read both, and set both if nobody else has changed them."""
        if self.plain_watch(source, target) is None or self.redis is None:
            return
        held = self.plain("MGET", source, target)
        if held is None or self.redis is None:
            return
        commands = [
            ["SET", source, str(int(held[0] or 0) - amount)],
            ["SET", target, str(int(held[1] or 0) + amount)],
        ]
        watched = dict(zip((source, target), held))
        self.call(["MULTI", *commands], lambda client: transaction(client, commands), watched=watched)

    def plain_watch(self, *keys):
        try:
            return raw(self.redis, "WATCH", *keys)
        except (redis.RedisError, OSError):
            self.lose()
            return None


def raw(client, *words):
    """Sends a command as it is, and takes the reply as it is, on the client's one connection."""
    connection = client.connection
    connection.send_command(*words)
    return connection.read_response()


def transaction(client, commands):
    """MULTI, the commands, EXEC; as one piece, so that nothing of it is left on a connection that goes on."""
    connection = client.connection
    connection.send_packed_command(connection.pack_commands([("MULTI",), *map(tuple, commands), ("EXEC",)]))
    replies, errors = [], []
    for _ in range(len(commands) + 2):
        try:
            replies.append(connection.read_response())
        except redis.ResponseError as error:
            errors.append(error)
    if errors:
        raise errors[0] if str(errors[0]).startswith(REFUSALS) else errors[-1]
    return replies[-1]


class Keeper(Client):
    """Sets keys that expire, and looks until they are gone: none may go too early, and none comes back."""

    def step(self, _):
        key = f"lease:{self.unique()}"
        sent_ns = now_ns()
        try:
            self.redis.set(key, "held", px=TTL_MS)
            is_gone = False
            while not is_gone and not self.ended.is_set():
                held = self.redis.get(key)
                answered_ns = now_ns()
                is_gone = held is None
                if is_gone and answered_ns < sent_ns + TTL_MS * 1_000_000:
                    self.violated(f"{key} expired {(answered_ns - sent_ns) / 1e6:.1f} ms after it was set")
                self.ended.wait(PAUSE_S)
            if is_gone and self.redis.get(key) is not None:
                self.violated(f"{key} had expired, and came back")
            self.journal.leases += is_gone
        except redis.ResponseError as error:
            self.refused(error, {"command": "SET or GET"})
        except (redis.RedisError, OSError):
            self.lose()


class Journal:
    """What all threads of this process have seen."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="utf-8")
        self.lock = threading.Lock()
        self.leases = 0
        self.refusals = Counter()
        self.violations = []

    def add(self, line):
        with self.lock:
            self.file.write(json.dumps(line) + "\n")


def main():
    parser = argparse.ArgumentParser()
    for name in ("address", "name", "journal", "seed"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    journal = Journal(options.journal)
    kinds = [Client] * options.threads + [Keeper]
    clients = [
        kind(f"{options.name}{number}", options.address, f"{options.seed}.{number}", journal, ended)
        for number, kind in enumerate(kinds)
    ]
    for client in clients:
        client.start()
    ended.wait()
    for client in clients:
        client.join()
    journal.file.close()
    print(json.dumps({"leases": journal.leases, "refused": journal.refusals}), flush=True)
    return 1 if journal.violations else 0


if __name__ == "__main__":
    sys.exit(main())
