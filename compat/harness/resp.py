"""RESP at the level of bytes: the checks see what a server really sent, not what a client makes of it."""

import socket

from . import Failure

# A reply that takes longer than this counts as none. Longer than the server's own time-out of a command.
REPLY_BOUND_S = 20
CRLF = b"\r\n"


class Closed(Exception):
    """The server closed the connection before the reply was complete."""


def encode(arguments):
    """A request: an array of bulk strings."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        if isinstance(argument, str):
            argument = argument.encode()
        elif not isinstance(argument, bytes):
            argument = str(argument).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(argument), argument))
    return b"".join(parts)


class Connection:
    """One connection to one address, which sends requests and reads replies as raw bytes."""

    def __init__(self, address, protocol=2, bound_s=REPLY_BOUND_S):
        self.socket = socket.create_connection(address, timeout=bound_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        if protocol == 3:
            reply = self.call("HELLO", "3")
            if not reply.startswith(b"%"):
                raise Failure(f"HELLO 3 answered {reply!r}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def call(self, *arguments):
        """Sends one request and answers its raw reply."""
        self.send(encode(arguments))
        return self.reply()

    def reply(self):
        """The next reply, raw, whatever its type."""
        line = self._line()
        kind, rest = line[:1], line[1:-2]
        if kind in b"+-:,#_(":
            return line
        if kind in b"$=!":
            return line + (self._exactly(int(rest) + 2) if int(rest) >= 0 else b"")
        if kind in b"*~>":
            return line + b"".join(self.reply() for _ in range(max(int(rest), 0)))
        if kind in b"%|":
            pairs = line + b"".join(self.reply() for _ in range(2 * int(rest)))
            # An attribute only precedes the reply that it belongs to.
            return pairs + self.reply() if kind == b"|" else pairs
        raise Failure(f"not a reply: {line!r}")

    def rest(self):
        """Everything up to the end of the connection."""
        data = self.buffer
        self.buffer = b""
        try:
            while piece := self.socket.recv(65536):
                data += piece
        except ConnectionResetError:
            pass
        return data

    def _more(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise Closed(f"closed after {self.buffer!r}")
        self.buffer += piece

    def _line(self):
        while (end := self.buffer.find(CRLF)) < 0:
            self._more()
        line, self.buffer = self.buffer[: end + 2], self.buffer[end + 2 :]
        return line

    def _exactly(self, count):
        while len(self.buffer) < count:
            self._more()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data


def ask(address, *arguments, bound_s=REPLY_BOUND_S):
    """One request on a connection of its own."""
    with Connection(address, bound_s=bound_s) as connection:
        return connection.call(*arguments)


def bulk(raw):
    """The bytes inside a raw bulk reply; None for null."""
    return None if raw in (b"$-1\r\n", b"_\r\n") else raw.split(CRLF, 1)[1][:-2]


def information(address, section="all", bound_s=REPLY_BOUND_S):
    """INFO as a dictionary."""
    lines = bulk(ask(address, "INFO", section, bound_s=bound_s)).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
