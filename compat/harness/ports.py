"""Free ports on the loopback address, below the range that the system hands out by itself."""

import random
import socket

from . import Failure

# A node on port P takes P + 10000 for its peers and P + 11000 for HTTP; its Sentinel door, if it has one, is at P + 12000.
SENTINEL_OFFSET = 12_000
OFFSETS = (0, 10_000, 11_000, SENTINEL_OFFSET)
LOWEST, HIGHEST, ATTEMPTS = 11_000, 19_900, 200


def _is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count):
    """The first of `count` consecutive ports that are free with all their offsets."""
    for _ in range(ATTEMPTS):
        first = random.randrange(LOWEST, HIGHEST)
        wanted = (first + number + offset for number in range(count) for offset in OFFSETS)
        if all(_is_free(port) for port in wanted):
            return first
    raise Failure("no free ports found")
