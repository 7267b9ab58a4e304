"""redis-cli, command by command, at each of the nodes"""

import subprocess

from harness import expect

BOUND_S = 90

EXTEND = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

# What is typed, and what redis-cli must print for it (--no-raw).
CONVERSATION = [
    (["PING"], "PONG"),
    (["FLUSHALL"], "OK"),
    (["SET", "my_lock", "me", "NX", "EX", "60"], "OK"),
    (["SET", "my_lock", "you", "NX", "EX", "60"], "(nil)"),
    (["GET", "my_lock"], '"me"'),
    (["EVAL", EXTEND, "1", "my_lock", "you", "90000"], "(integer) 0"),
    (["EVAL", EXTEND, "1", "my_lock", "me", "90000"], "(integer) 1"),
    (["EVAL", RELEASE, "1", "my_lock", "you"], "(integer) 0"),
    (["EVAL", RELEASE, "1", "my_lock", "me"], "(integer) 1"),
    (["GET", "my_lock"], "(nil)"),
    (["MSET", "a", "1", "b", "2"], "OK"),
    (["MGET", "a", "b", "c"], '1) "1"\n2) "2"\n3) (nil)'),
    (["INCRBY", "a", "41"], "(integer) 42"),
    (["-n", "3", "EXISTS", "a"], "(integer) 0"),
    (["NONSENSE"], "(error) ERR unknown command 'NONSENSE', with args beginning with: "),
    (["GET"], "(error) ERR wrong number of arguments for 'get' command"),
    (["SET", "a", "1", "EX", "0"], "(error) ERR invalid expire time in 'set' command"),
]

# What needs one connection is typed into one redis-cli.
SESSION = """MULTI
SET t 1
INCR t
EXEC
WATCH t
MULTI
INCR t
DISCARD
GET t
HELLO 3
GET missing
SELECT 5
GET t
"""
SESSION_STARTS = ["OK", "QUEUED", "QUEUED", "1) OK", "2) (integer) 2", "OK", "OK", "QUEUED", "OK", '"2"']


def type_in(node, words, text=None):
    command = ["redis-cli", "-h", node.address[0], "-p", str(node.port), "--no-raw", *words]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.rstrip("\n") + done.stderr


def run(context):
    with context.cluster() as cluster:
        for node in cluster.nodes:
            for words, wanted in CONVERSATION:
                got = type_in(node, words)
                # A blank line follows an error; redis-cli 7 keeps trailing blanks of the text.
                expect(got.strip() == wanted.strip(), f"redis-cli {words}: expected {wanted!r}, got {got!r}")
            lines = type_in(node, [], SESSION).splitlines()
            opening = lines[: len(SESSION_STARTS)]
            expect(opening == SESSION_STARTS, f"a session with redis-cli: expected {SESSION_STARTS}, got {opening}")
            expect(lines[-3:] == ["(nil)", "OK", "(nil)"], f"the session's end: got {lines[-3:]}")
    context.note(f"{len(CONVERSATION)} commands and a session, at {len(cluster.nodes)} nodes")
