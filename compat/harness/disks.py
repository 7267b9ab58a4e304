"""Disks that are small, so that they fill up."""

import subprocess
from contextlib import contextmanager

from . import expect


@contextmanager
def small_disk(folder, mib):
    """A file system of its own, of so many MiB. Only root may mount one."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "quorate-small-disk", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"a tmpfs must be mounted, which needs root: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def fill(folder):
    """Takes all the room that is left."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for piece in (1 << 20, 4096):
            try:
                while True:
                    file.write(b"\0" * piece)
            except OSError:
                pass  # There is no room for another piece of this size.
    return ballast
