"""The real ingest over a file, and the bare loop that it is measured against."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import structlog

from enricher.cli.running import keep_freed_memory, spare_collector
from enricher.core.block import MAX_BLOCK_BYTES
from enricher.core.keying import KeyingRule
from enricher.edges.clock_system import SystemClock
from enricher.edges.source_files import FilesSource
from enricher.edges.store_sqlite import SqliteStore
from enricher.stages.ingest import Ingest, IngestSource
from enricher.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROBE_SECONDS: Final = 0.005
_DIGITS: Final = b"0123456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What reading files to their end took."""

    lines: int
    signatures: int
    cpu_seconds: float
    """Of the whole process, threads included."""
    wall_seconds: float
    spool_bytes: int
    delays: tuple[float, ...]
    """Seconds by which each sleep of the probe was late."""
    resident: tuple[int, ...]
    """Bytes of memory after each block, where that was asked for: to look takes CPU time too."""


class _Keys(dict[bytes, int]):
    def __missing__(self, key: bytes) -> int:
        number = self[key] = len(self)
        return number


def bare_loop(path: Path) -> float:
    """CPU seconds of the least that could name lines at all: read, split, translate the digits away, look up."""
    begun = time.process_time()
    keys = _Keys()
    for lines in _blocks(path):
        for line in lines.split(b"\n"):
            keys[line.translate(None, _DIGITS)]
    return time.process_time() - begun


def bare_blocks(path: Path) -> float:
    """The same with the digits of a whole block translated away at once, and no line seen by Python code."""
    begun = time.process_time()
    keys = _Keys()
    for lines in _blocks(path):
        deque(map(keys.__getitem__, lines.translate(None, _DIGITS).split(b"\n")), maxlen=0)
    return time.process_time() - begun


def _blocks(path: Path) -> Iterator[bytes]:
    rest = b""
    with path.open("rb", buffering=0) as file:
        while data := file.read(MAX_BLOCK_BYTES):
            data = rest + data
            cut = data.rfind(b"\n") + 1
            rest = data[cut:]
            yield data[:cut]


def ingest(paths: Iterable[Path], *, probe: bool = False, weigh: bool = False) -> Ingested:
    """Read files to their end into a new store, as `enricher once` does."""
    with TemporaryDirectory(prefix="enricher-bench-") as state:
        return asyncio.run(_ingest(list(paths), Path(state), probe=probe, weigh=weigh))


async def _ingest(paths: list[Path], state: Path, *, probe: bool, weigh: bool) -> Ingested:
    telemetry = Telemetry()
    store = await SqliteStore.open(state)
    source = FilesSource(
        "bench",
        [str(path) for path in paths],
        [],
        start="beginning",
        once=True,
        own_directories=[],
        host="bench",
        telemetry=telemetry,
    )
    rule = KeyingRule(length_seconds=3600, zone="UTC", time_pattern=None, drop=(), ask_events=False)
    clock = SystemClock()
    stage = Ingest(store=store, sources=[IngestSource(source=source, rule=rule)], clock=clock, telemetry=telemetry)
    delays: list[float] = []
    resident: list[int] = []
    watching = asyncio.create_task(_watch(delays)) if probe else None
    wall, cpu = time.perf_counter(), time.process_time()
    await stage.start()
    while not source.progress(clock.now()).exhausted:
        await stage.step(flush=True)
        if weigh:
            resident.append(_resident_bytes())
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if watching is not None:
        watching.cancel()
    summary = await store.summary(clock.now())
    await source.close()
    await store.close()
    return Ingested(
        lines=summary.read_lines,
        signatures=summary.signatures,
        cpu_seconds=cpu,
        wall_seconds=wall,
        spool_bytes=summary.spool_bytes,
        delays=tuple(delays),
        resident=tuple(resident),
    )


async def _watch(delays: list[float]) -> None:
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(PROBE_SECONDS)
        delays.append(max(0.0, time.perf_counter() - begun - PROBE_SECONDS))


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Read the files named, in this process alone; print what it took as JSON."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    spare_collector()
    keep_freed_memory()
    print(json.dumps(asdict(ingest([Path(name) for name in sys.argv[1:]], weigh=True))))


if __name__ == "__main__":
    main()
