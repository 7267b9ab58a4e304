"""A program on a terminal of its own: what it shows, what is typed, and how it leaves the terminal behind."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios

from . import expect
from .waiting import boot_time_s, until

# What a program asks a terminal for: a screen of its own, and the one before back; the cursor hidden, and shown.
ENTERS, LEAVES = b"\x1b[?1049h", b"\x1b[?1049l"
HIDES, SHOWS = b"\x1b[?25l", b"\x1b[?25h"
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]")
END_BOUND_S = 20


class Terminal:
    """A pseudo-terminal with a program on it. As a context it ends the program."""

    def __init__(self, arguments, columns=132, lines=24):
        self.ours, theirs = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(theirs)
        self.output = b""
        self.theirs = theirs
        self.child = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            os.kill(self.child.pid, signal.SIGKILL)
            self.child.wait()
        os.close(self.ours)
        os.close(self.theirs)

    def resize(self, columns, lines):
        self.columns, self.lines = columns, lines
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type_in(self, text):
        os.write(self.ours, text.encode())

    def read(self):
        """Takes what was written since; answers all of it without what moves the cursor."""
        while select.select([self.ours], [], [], 0)[0]:
            self.output += os.read(self.ours, 65536)
        return ESCAPES.sub(b" ", self.output).decode(errors="replace")

    def forget(self):
        """From here on only what is written anew counts."""
        self.read()
        self.output = b""

    def await_text(self, text, bound_s=20):
        until(lambda: text in self.read(), bound_s, f"the terminal to show {text!r}; it shows {self.read()[-2000:]!r}")

    def await_drawn(self, text, foot, bound_s=20):
        """Waits for a picture with this text. What has not changed of a picture is not written again; so the program is made
        to draw all of it, down to its foot, by another size of the terminal."""

        def shown():
            self.columns += 1 if self.columns % 2 == 0 else -1
            self.forget()
            self.resize(self.columns, self.lines)
            self.await_text(foot, bound_s)
            return text in self.read()

        until(shown, bound_s, f"a picture with {text!r}")

    def await_end(self):
        """Waits for the program's end; answers its exit code. The terminal must be as it was."""
        deadline = boot_time_s() + END_BOUND_S
        until(lambda: (self.read(), self.child.poll() is not None)[1], END_BOUND_S, "the program to end")
        expect(boot_time_s() <= deadline, "the program ended late")
        self.read()
        expect(termios.tcgetattr(self.theirs) == self.before, "the terminal's settings are not as they were")
        for what, on, off in [("its own screen", ENTERS, LEAVES), ("the cursor hidden", HIDES, SHOWS)]:
            left = self.output.rfind(off) >= self.output.rfind(on)
            expect(left, f"the program left {what} behind")
        return self.child.returncode
