"""File systems that the machine has or lets us mount: each a directory to keep logs in, or a reason why not."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

KINDS = ("ext4", "tmpfs", "xfs", "fuse")
_IMAGE_BYTES = {"ext4": 32 << 20, "xfs": 320 << 20}
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


class Mounts:
    """What was mounted for a run of tests; all of it goes with it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._undo = contextlib.ExitStack()
        self._made: dict[str, Path | str] = {}

    def directory(self, kind: str) -> Path:
        """Where files of this kind of file system lie; skips the test where there is none."""
        if kind not in self._made:
            self._made[kind] = self._make(kind)
        made = self._made[kind]
        if isinstance(made, str):
            pytest.skip(f"{kind}: {made}")
        return made

    def _make(self, kind: str) -> Path | str:
        for place in (self._directory, Path("/dev/shm")):
            if _kind_of(place) == kind and os.access(place, os.W_OK):
                found = place / f"enricher-{kind}-{os.getpid()}"
                found.mkdir()
                self._undo.callback(shutil.rmtree, found)
                return found
        target = self._directory / kind
        target.mkdir()
        if kind == "fuse":
            below = self._directory / "below"
            below.mkdir()
            return self._mount(["bindfs", "--no-allow-other", str(below), str(target)], target)
        if kind == "tmpfs":
            return self._mount(["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(target)], target)
        image = self._directory / f"{kind}.img"
        with image.open("wb") as file:
            file.truncate(_IMAGE_BYTES[kind])
        failed = _run([f"mkfs.{kind}", "-q", str(image)])
        return failed or self._mount(["mount", "-o", "loop", str(image), str(target)], target)

    def _mount(self, command: list[str], target: Path) -> Path | str:
        failed = _run(command)
        if failed:
            return failed
        self._undo.callback(_run, ["umount", "-l", str(target)])
        return target

    def close(self) -> None:
        self._undo.close()


def _kind_of(directory: Path) -> str:
    found = ""
    longest = 0
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if len(place) >= longest and directory.resolve().is_relative_to(place):
            found, longest = kind, len(place)
    return found


def _run(command: list[str]) -> str:
    """Why a command failed; nothing if it did not."""
    program = shutil.which(command[0], path=_PATH)
    if program is None:
        return f"{command[0]} is not on this machine"
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False, timeout=60)
    return (done.stderr.strip() or f"{command[0]} failed with {done.returncode}") if done.returncode else ""
