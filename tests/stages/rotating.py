"""A log that the real logrotate rotates: its writer, the program itself at each of its steps, and who follows."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.stages.reading import World, sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOGROTATE = shutil.which("logrotate", path=f"{os.environ['PATH']}:/usr/sbin")
WAYS = ("create", "copytruncate", "copy", "renamecopy", "nocreate")
COMPRESSIONS = ("compress", "delaycompress", "nocompress")
# Each rotation needs a date of its own; these three are yesterday, an hour ago and now.
DATES = ("dateext\ndateyesterday", "dateext\ndatehourago", "dateext")
REOPENS = ("create", "renamecopy", "nocreate")
"""Ways after which the program that writes is told to open its log again."""
DEADLINE_SECONDS = 20.0
MAX_STEPS = 20


class Writer:
    """A program that appends numbered lines, each with a sum of its own, to a log that it keeps open."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self.lines: list[bytes] = []
        self.reopen()

    def reopen(self) -> None:
        with contextlib.suppress(AttributeError):
            os.close(self._descriptor)
        self._descriptor = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, count: int) -> None:
        lines = [self._line(len(self.lines) + at) for at in range(count)]
        self.lines += lines
        os.write(self._descriptor, b"".join(line + b"\n" for line in lines))

    def _line(self, number: int) -> bytes:
        text = f"2026-11-22T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z {self._log} {number}"
        return f"{text} {hashlib.sha256(text.encode()).hexdigest()[:16]}".encode()

    def close(self) -> None:
        os.close(self._descriptor)


class Logrotate:
    """The program, with a stanza for one log; it stops where a script of its configuration is called."""

    def __init__(self, log: Path, directory: Path, *, way: str, compression: str, dated: bool) -> None:
        self._log = log
        self._directory = directory
        self._rounds = 0
        self._options = [way, *(("compress", "delaycompress") if compression == "delaycompress" else (compression,))]
        self._dated = dated
        directory.mkdir(mode=0o755)
        for name in ("said", "go"):
            os.mkfifo(directory / name)
        pause = f"echo $1 > {directory}/said; read answer < {directory}/go"
        self._script("pause", pause)
        self._script(
            "squeeze", f'{directory}/pause compressing; gzip "$@"; code=$?; {directory}/pause compressed; exit $code'
        )
        self._said = os.open(directory / "said", os.O_RDWR)
        self._go = os.open(directory / "go", os.O_RDWR)

    def _script(self, name: str, text: str) -> None:
        path = self._directory / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def rotate(self) -> Iterator[str]:
        """One rotation; yields the name of each place at which it stands still."""
        dates = DATES[self._rounds % len(DATES)] if self._dated else "nodateext"
        self._rounds += 1
        options = "\n".join((*self._options, dates, "hourly", "rotate 20", "missingok"))
        squeeze = f"compresscmd {self._directory}/squeeze"
        hooks = "".join(
            f"{hook}\n{self._directory}/pause {hook}\nendscript\n" for hook in ("prerotate", "postrotate", "lastaction")
        )
        conf = self._directory / "conf"
        conf.write_text(f"{self._log} {{\n{options}\n{squeeze}\n{hooks}}}\n")
        conf.chmod(0o644)
        process = subprocess.Popen(
            [LOGROTATE, "-f", "-s", self._directory / "state", conf], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        ended = os.pidfd_open(process.pid)
        try:
            while True:
                ready, _, _ = select.select([self._said, ended], [], [], DEADLINE_SECONDS)
                assert ready, "logrotate stands still"
                if self._said not in ready:
                    break
                yield os.read(self._said, 100).decode().strip()
                os.write(self._go, b"on\n")
        finally:
            os.close(ended)
            if process.poll() is None:
                process.kill()
            errors = process.communicate()[1]
        assert (0, b"") == (process.returncode, errors)

    def close(self) -> None:
        os.close(self._said)
        os.close(self._go)


@dataclass
class Follower:
    """The real source, stage and store over a directory of logs, ended and begun again as a test wants it."""

    directory: Path
    pattern: str
    offset_seconds: float = 0.0
    world: World | None = None

    async def start(self) -> None:
        store = await sqlite(self.directory.parent / f"state-{self.directory.name}")
        self.world = World(self.directory, store)
        self.world.include = [f"{self.directory}/{self.pattern}"]
        self.now()
        await self.world.start()

    def now(self) -> None:
        self.world.clock.time = time.time() + self.offset_seconds

    async def stop(self) -> None:
        await self.world.source.close()
        await self.world.store.close()
        self.world = None

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def step(self, seconds: float = 0.0) -> None:
        self.offset_seconds += seconds
        self.now()
        await self.world.step()

    async def settle(self) -> None:
        """Read all that is there, and wait as long as anything is waited for."""
        await self.step()
        for _ in range(MAX_STEPS):
            await self.step(6.0)
            if not self.world.source.progress(self.world.clock.time).unread_bytes:
                break
        for seconds in (6.0, 61.0, 0.0):
            await self.step(seconds)

    async def texts(self) -> list[bytes]:
        return sorted(text for _, _, text in await self.world.events())
