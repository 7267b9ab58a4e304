"""A server as a process of ours: started with its output in a file, ended by its id alone."""

import os
import signal
import subprocess
from pathlib import Path

from . import Failure, expect
from .waiting import until

# How long a process may take to end once it was asked to. Quorate promises 5 s, on a machine that has the time.
STOP_BOUND_S = 20


class Process:
    """One program, restarted on the same arguments. Its output is appended to one file. `settings` are Popen's own, such
    as `env` and `group`."""

    def __init__(self, name, arguments, output, **settings):
        self.name = name
        self.arguments = [str(argument) for argument in arguments]
        self.output = Path(output)
        self.settings = settings
        self.child = None

    @property
    def pid(self):
        return self.child.pid

    def start(self):
        with self.output.open("ab") as log:
            self.child = subprocess.Popen(
                self.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.settings
            )

    def is_running(self):
        return self.child is not None and self.child.poll() is None

    def signal(self, number):
        expect(self.is_running(), f"{self.name} ended by itself: {self.last_words()}")
        self.child.send_signal(number)

    def kill(self):
        """As power is lost for a process: at once, without a word."""
        self.signal(signal.SIGKILL)
        self.child.wait()

    def stop(self):
        """Ends it politely, within the bound; answers the exit code."""
        if not self.is_running():
            return self.child.returncode if self.child else 0
        self.child.send_signal(signal.SIGCONT)
        self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(STOP_BOUND_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure(f"{self.name} did not end within {STOP_BOUND_S} s of SIGTERM") from None

    def pause(self):
        """SIGSTOP, and waits until the process has stopped indeed."""
        self.signal(signal.SIGSTOP)
        until(lambda: self._status("State").startswith("T"), 20, f"{self.name} to be stopped")

    def resume(self):
        self.signal(signal.SIGCONT)

    def resident_bytes(self):
        """Memory that the process holds now."""
        return int(self._status("VmRSS").split()[0]) * 1024

    def last_words(self, lines=15):
        """The end of its output."""
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-lines:])

    def _status(self, field):
        text = Path(f"/proc/{self.pid}/status").read_text()
        return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(field + ":"))


def end_all(processes):
    """Ends processes without complaint, as the last act of a check."""
    for process in processes:
        if process.is_running():
            os.kill(process.pid, signal.SIGKILL)
            process.child.wait()
