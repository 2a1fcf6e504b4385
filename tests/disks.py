"""Disks of some megabytes, in memory, that a test fills, turns read-only and makes larger."""

from __future__ import annotations

import contextlib
import os
import subprocess


def remount(place, options):
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


def fill(place, *, leave=0):
    """Let a file of somebody else's take the room of a disk, but for some bytes."""
    filler = place / "of-somebody-else"
    with filler.open("ab") as file, contextlib.suppress(OSError):
        free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
        os.posix_fallocate(file.fileno(), file.tell(), max(1, free - leave))
    return filler
