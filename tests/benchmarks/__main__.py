"""`make bench`: how fast it is, as ratios of figures that were measured in the same run.

Other work on the machine only ever adds to a CPU time, so each is the least of a few runs, taken in turn. A target that
is not met is marked and ends nothing: on a machine that is busy with other things no figure is a promise.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import structlog

from enricher.cli.running import keep_freed_memory, spare_collector
from tests.benchmarks import drain, ingesting, rivals, whole, workload, writing
from tests.benchmarks import records as over_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_MEGABYTE: Final = 1_000_000
_RUNS: Final = 5
_RECORD_RUNS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    figure: str
    target: str = ""
    met: bool | None = None
    beside: str = ""
    """Absolute figures, for information."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What the measurements share."""

    scratch: Path
    scale: float
    """1 for the whole run, a tenth for a quick one."""

    @property
    def lines(self) -> int:
        """How many generated lines are read."""
        return round(1_000_000 * self.scale)

    def generated(self) -> Path:
        """The generated lines."""
        path = self.scratch / "generated.log"
        return path if path.exists() else workload.write_generated(path, self.lines)


def ingest(bench: Bench) -> Iterator[Row]:
    """Reading, windowing, naming and spooling, against the bare loop."""
    yield _ingest_row("ingest of generated lines", bench.generated(), target=2.5)
    samples = workload.loghub()
    if samples is None:
        yield Row(
            what="ingest of real lines", figure="skipped", beside="no Loghub samples: name them in ENRICHER_LOGHUB"
        )
        return
    for sample in sorted(samples.glob("*/*_2k.log")):
        path = workload.write_loghub(bench.scratch / sample.name, sample, max(2, round(100 * bench.scale)))
        yield _ingest_row(f"ingest of {sample.parent.name}", path)
        path.unlink()


def _ingest_row(what: str, path: Path, target: float | None = None) -> Row:
    bare, blocks, runs = [], [], []
    for _ in range(_RUNS):
        bare.append(ingesting.bare_loop(path))
        blocks.append(ingesting.bare_blocks(path))
        runs.append(ingesting.ingest([path]))
    best = min(runs, key=lambda run: run.cpu_seconds)
    ratio = best.cpu_seconds / min(bare)
    megabytes = path.stat().st_size / _MEGABYTE
    return Row(
        what=what,
        figure=f"{ratio:.2f} x the bare loop",
        target="" if target is None else f"at most {target} x",
        met=None if target is None else ratio <= target,
        beside=f"{best.lines / best.cpu_seconds:,.0f} lines and {megabytes / best.cpu_seconds:,.0f} MB per CPU second; "
        f"{best.cpu_seconds / min(blocks):.2f} x the loop by blocks; {best.signatures} signatures, "
        f"spool {100 * best.spool_bytes / path.stat().st_size:.0f} %",
    )


def loop(bench: Bench) -> Iterator[Row]:
    """How late the event loop was while reading."""
    run = ingesting.ingest([bench.generated()], probe=True)
    delays = sorted(run.delays)
    worst, common = delays[-1], delays[int(len(delays) * 0.99)]
    yield Row(
        what="event loop blocked while ingesting",
        figure=f"{worst * 1000:.1f} ms at worst",
        target="at most 50 ms",
        met=worst <= 0.050,
        beside=f"p99 {common * 1000:.1f} ms of {len(delays):,} sleeps of {ingesting.PROBE_SECONDS * 1000:.0f} ms",
    )


def memory(bench: Bench) -> Iterator[Row]:
    """What a process that only ingests takes, over one file."""
    lines = 10_000_000 if bench.scale == 1 else 3_000_000
    path = workload.write_generated(bench.scratch / "long.log", lines)
    command = (sys.executable, "-m", "tests.benchmarks.ingesting", str(path))
    run = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    path.unlink()
    resident = run["resident"]
    early, whole_run = max(resident[: max(1, len(resident) // 10)]), max(resident)
    yield Row(
        what="resident memory while ingesting",
        figure=f"{whole_run / _MEGABYTE:.0f} MB at {lines:,} lines",
        target="below 250 MB",
        met=whole_run < 250 * _MEGABYTE,
        beside=f"{early / _MEGABYTE:.0f} MB at {lines // 10:,} lines",
    )
    yield Row(
        what="growth over the last nine tenths",
        figure=f"{whole_run / early:.2f} x",
        target="flat (at most 1.15 x)",
        met=whole_run <= 1.15 * early,
    )


def write(bench: Bench) -> Iterator[Row]:
    """From the spool to NDJSON."""
    runs = [writing.write(bench.generated()) for _ in range(_RUNS)]
    events, size = runs[0].events, runs[0].size_bytes
    render = events / min(run.render_cpu_seconds for run in runs)
    rate = events / min(run.write_cpu_seconds for run in runs)
    yield Row(
        what="writing enriched NDJSON, the whole stage",
        figure=f"{rate:,.0f} events/CPU s",
        target="at least 200,000",
        met=rate >= 200_000,
        beside=f"{size / events:.0f} bytes each, with id, message, three named fields, a filled summary",
    )
    yield Row(
        what="  of it the renderer alone", figure=f"{render:,.0f} events/CPU s", beside=f"{rate / render:.0%} of it"
    )


def path(bench: Bench) -> Iterator[Row]:
    """The whole way, and reading alone, against copies."""
    lines = bench.generated()
    used, idle = whole.once(lines, bench.scratch)
    mine = used.cpu_seconds
    beside = (
        f"{bench.lines / mine:,.0f} lines per CPU second, {idle.cpu_seconds:.1f} s of {mine:.1f} s to start and end"
    )
    read = min(ingesting.ingest([lines]).cpu_seconds for _ in range(_RUNS))
    copies = whole.copies(lines, bench.scratch, runs=_RUNS)
    for name in {"syslog-ng", "rsyslog"} - copies.keys():
        yield Row(what=f"copy by {name}", figure="skipped", beside="not installed")
    if not copies:
        yield Row(what="line in to event out", figure="not compared", beside=beside)
        return
    best = min(copies, key=lambda name: copies[name].cpu_seconds)
    copied = copies[best].cpu_seconds
    rates = ", ".join(f"{name} {bench.lines / copy.cpu_seconds:,.0f}" for name, copy in copies.items())
    yield Row(
        what="ingest, against a collector's copy",
        figure=f"{read / copied:.2f} x the copy by {best}",
        target="at most 0.5 x",
        met=read <= 0.5 * copied,
        beside=f"{bench.lines / read:,.0f} lines per CPU second; copies: {rates}",
    )
    yield Row(what="line in to event out", figure=f"{mine / copied:.2f} x the copy by {best}", beside=beside)


def drain3(bench: Bench) -> Iterator[Row]:
    """The signature stage over raw lines, against Drain3."""
    samples = workload.loghub()
    if samples is None or not drain.is_installed():
        missing = "no Loghub samples: name them in ENRICHER_LOGHUB" if samples is None else "drain3 is not installed"
        yield Row(what="signatures, against Drain3", figure="skipped", beside=missing)
        return
    repeats = max(5, round(20 * bench.scale))
    found = list(drain.compare(samples, bench.scratch, repeats=repeats, runs=1))
    yield _drain_row("signatures, against Drain3 (default)", found, "default_ratio", 8)
    yield _drain_row("signatures, against Drain3 with masks", found, "masked_ratio", 20)
    found = list(drain.compare(samples, bench.scratch, repeats=repeats, runs=1, new_words=drain.NEW_WORDS))
    yield _drain_row("  with 10 % of lines bringing a new word", found, "default_ratio", 4)


def _drain_row(what: str, found: Sequence[drain.Compared], name: str, target: float) -> Row:
    ratio = drain.ratio(found, name)
    each = ", ".join(f"{one.system} {getattr(one, name):.1f}" for one in found)
    return Row(
        what=what,
        figure=f"{ratio:.1f} x as fast",
        target=f"at least {target} x",
        met=ratio >= target,
        beside=f"median of {each}",
    )


def records(bench: Bench) -> Iterator[Row]:
    """Batch mode over records: rows into batch files, answers into rows, and what others take for the former."""
    rows = round(1_000_000 * bench.scale)
    runs = [over_records.measure(bench.scratch, rows) for _ in range(_RECORD_RUNS)]
    cut = rows / min(run.cut_cpu_seconds for run in runs)
    join = rows / min(run.join_cpu_seconds for run in runs)
    for what, rate in (("records cut into batch files", cut), ("answers joined with their records", join)):
        yield Row(
            what=what,
            figure=f"{rate:,.0f} rows/CPU s",
            target="at least 100,000",
            met=rate >= 100_000,
            beside=f"{rows:,} rows, read, stored, asked in batches and written; {1e6 / rate:.1f} us each",
        )
    peak = max(run.peak_bytes for run in runs)
    yield Row(
        what="resident memory over records",
        figure=f"{peak / _MEGABYTE:.0f} MB at {rows:,} rows",
        target="below 300 MB",
        met=peak < 300 * _MEGABYTE,
    )
    count = min(rows, round(50_000 * bench.scale))
    for name in rivals.NAMES:
        what = f"cutting, against {name}"
        try:
            took = min(rivals.cpu_seconds(name, bench.scratch / "rows.jsonl", count) for _ in range(_RECORD_RUNS))
        except rivals.NotRunError as error:
            yield Row(what=what, figure="skipped", beside=str(error))
            continue
        ratio = cut / (count / took)
        yield Row(
            what=what,
            figure=f"{ratio:.0f} x as fast",
            target="at least 5 x",
            met=ratio >= 5,
            beside=f"{count / took:,.0f} rows per CPU second of {count:,}",
        )


_BENCHMARKS: Final[dict[str, Callable[[Bench], Iterator[Row]]]] = {
    "ingest": ingest,
    "loop": loop,
    "memory": memory,
    "write": write,
    "path": path,
    "drain3": drain3,
    "records": records,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the lines")
    parser.add_argument("--only", choices=_BENCHMARKS, metavar="NAME", help="one of " + ", ".join(_BENCHMARKS))
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    # As every command does.
    spare_collector()
    keep_freed_memory()
    begun = time.monotonic()
    print(f"Python {platform.python_version()}, {platform.machine()}; the least of {_RUNS} runs, CPU of all threads\n")
    with TemporaryDirectory(prefix="enricher-bench-") as scratch:
        bench = Bench(scratch=Path(scratch), scale=0.1 if options.quick else 1.0)
        for name, measure in _BENCHMARKS.items():
            if options.only in (None, name):
                for row in measure(bench):
                    _print(row)
    print(f"\n{time.monotonic() - begun:.0f} s")


def _print(row: Row) -> None:
    verdict = {True: "ok", False: "MISSED", None: ""}[row.met]
    print(f"{row.what:42} {row.figure:28} {row.target:22} {verdict:7} {row.beside}", flush=True)


if __name__ == "__main__":
    main()
