"""The file source over a directory, with a registry and all that it read; on a clock that tests move by hand."""

# ruff: noqa: PTH119 - paths are bytes, which pathlib does not take

from __future__ import annotations

import itertools
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from enricher.edges.source_files import FilesSource
from enricher.telemetry import Telemetry

if TYPE_CHECKING:
    from pathlib import Path


class World:
    """A directory of logs, a source over it, a registry, and all that was read."""

    def __init__(self, directory: Path, **changes) -> None:
        self.directory = directory
        self.options = {
            "include": [f"{directory}/**/*.log", f"{directory}/**/*.log.*"],
            "exclude": [],
            "start": "beginning",
            "once": False,
            "own_directories": [],
            "host": "h",
            **changes,
        }
        self.now = time.time()  # files are dated by the file system
        self.rows = {}
        self.past_identities = set()
        self.ids = itertools.count(1)
        self.read = []
        self.chunks = []
        self.skipped = []
        self.source = None
        self.joined = None
        self.telemetry = Telemetry(CollectorRegistry())

    async def start(self):
        if self.source is not None:
            await self.source.close()
        self.source = FilesSource("s", **self.options, telemetry=self.telemetry)
        await self.source.start(list(self.rows.values()), self.joined, self.past_identities)
        return self

    async def step(self, seconds=0.0, *, flush=True, hold=0, commit=True):
        """Scan, read, take all but the last `hold` bytes (None: line) of each chunk, commit. Returns the lines read."""
        self.now += seconds
        self.skipped += await self.source.scan(self.now)
        chunks = await self.source.read(self.now, flush=flush)
        if not commit:
            return chunks
        states, lines = [], []
        for chunk in chunks:
            last = len(chunk.data) - chunk.data.rfind(b"\n", 0, -1) - 1 if hold is None else hold
            keep = min(last, len(chunk.data)) if not chunk.final and not chunk.lost_bytes else 0
            data = chunk.data[: len(chunk.data) - keep]
            state = self.source.accept(
                chunk, chunk.length - keep, partial=chunk.data[len(data) :], anchor=None, learned=None
            )
            states.append(replace(state, id=state.id or next(self.ids)))
            lines += data.split(b"\n")[:-1]
        for state in states:
            self.rows[state.id] = state
        self.source.committed(states)
        self.past_identities |= {self.rows.pop(row).identity for row in self.source.forgotten()}
        self.chunks += chunks
        self.read += lines
        return lines

    def set_clock(self, seconds):
        """The wall clock is set, and the source is told."""
        self.now += seconds
        self.source.clock_set(seconds, self.now)

    def path(self, name) -> Path:
        return self.directory / name

    def append(self, name, data):
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        with self.path(name).open("ab") as file:
            file.write(data)

    def replace(self, name, data):
        """Another file in the place of one, as an editor does it."""
        self.append(f"{name}.new", data)
        self.path(f"{name}.new").rename(self.path(name))

    def counted(self, name):
        return self.telemetry.registry.get_sample_value(f"enricher_source_{name}_total", {"source": "s"}) or 0

    def progress(self):
        return self.source.progress(self.now)

    def reasons(self):
        return {os.path.basename(one.path).decode(): one.reason for one in self.skipped}


# Longer than a telling head, so that copies are recognised.
def lines(first, count=40):
    return b"".join(b"%d a line of some length\n" % at for at in range(first, first + count))


def numbers(read):
    return [int(line.split()[0]) for line in read]
