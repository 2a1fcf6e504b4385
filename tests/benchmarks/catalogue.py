"""A catalogue of 1,000,000 signatures: look-up cost, start-up time and resident memory of the daemon over it.

`python -m tests.benchmarks.catalogue [--signatures N] [--garbage N]` prints one JSON object a figure, with its goal.
Filling the store is not measured. Garbage is the other way to a million: as many lines, all different, in one source.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from enricher.core.catalogue import Listing, Reuse
from enricher.core.skeleton import Shape
from enricher.core.verdict import Answer
from enricher.edges.store_sqlite import SqliteStore

NOW = 1_795_000_000.0
TASK, MODEL = "0123456789abcdef", "bench"
LOOKED_UP = 1_000


def a_shape(number: int) -> Shape:
    """A shape of its own, of seven words that no other has: what no rule merges."""
    letters = "".join(chr(97 + number // 26**place % 26) for place in range(5))
    words = " ".join(f"{first}{letters}" for first in "abcdefg")
    return Shape(format="text", level="INFO", program="bench", skeleton=words)


def fill(directory: Path, signatures: int) -> None:
    """Put so many answered signatures into the store of a directory."""
    body = Answer(severity="info", category="other", summary="something was done").to_json()
    db = sqlite3.connect(directory / SqliteStore.FILE_NAME, isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    db.execute("PRAGMA cache_size = -400000")
    db.execute("BEGIN")
    first = db.execute("SELECT coalesce(max(id), 0) FROM shapes").fetchone()[0]
    shapes = ((row, a_shape(row)) for row in range(first + 1, signatures + 1))
    db.executemany(
        "INSERT INTO shapes"
        " (id, key, format, level, program, skeleton, root, template, created_at, last_seen_at, events)"
        " VALUES (?1, ?2, 'text', 'INFO', 'bench', ?3, ?1, ?3, ?4, ?4, 1)",
        ((row, shape.id, shape.skeleton, NOW) for row, shape in shapes),
    )
    db.execute(
        "INSERT INTO answers (signature, task, model, served_model, status, body, batch_id, answered_at, confirmed_at)"
        " SELECT key, ?, ?, ?, 'ok', ?, 'b', ?, ? FROM shapes WHERE id > ?",
        (TASK, MODEL, MODEL, body, NOW, NOW, first),
    )
    db.execute("UPDATE books SET signatures = ?", (signatures,))
    db.execute("COMMIT")
    db.close()


async def look_up(directory: Path, signatures: int) -> dict[str, float]:
    """Microseconds for a signature: found by its shape, known or new, and asked whether it is to be asked."""
    store = await SqliteStore.open(directory)
    rnd = random.Random(signatures)
    known = [a_shape(rnd.randrange(1, signatures + 1)) for _ in range(LOOKED_UP)]
    new = [Shape(format="text", level="", program="", skeleton=f"new {number}") for number in range(LOOKED_UP)]
    names = [shape.id for shape in known]

    async def timed(work) -> float:
        await work()
        begun = time.perf_counter()
        await work()
        return (time.perf_counter() - begun) / LOOKED_UP * 1e6

    try:
        return {
            "known_us": await timed(lambda: store.find_shapes(known)),
            "new_us": await timed(lambda: store.find_shapes(new)),
            "reason_us": await timed(lambda: store.reasons(names, TASK, MODEL, NOW, reuse=Reuse())),
            "summary_ms": await timed(lambda: store.summary(NOW)),
            "list_s": await timed(lambda: store.entries(Listing(limit=50), TASK, MODEL)) * LOOKED_UP / 1e6,
        }
    finally:
        await store.close()


def run_daemon(root: Path, *, until: str, seconds: float) -> tuple[float, float, float]:
    """Start the daemon over a state directory; (seconds until it said so, of CPU time, MB resident some time later)."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "enricher", "run", "-c", str(root / "enricher.toml")],
        stderr=subprocess.PIPE,
        env=os.environ | {"OPENAI_API_KEY": "none"},
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if json.loads(line)["event"] == until:
                taken, used = time.perf_counter() - begun, cpu_seconds(process.pid)
                # What it does after it has said that it is up: the first reports, the first reads.
                time.sleep(seconds)
                return taken, used, resident_mb(process.pid)
        raise RuntimeError("the daemon ended before its time")
    finally:
        process.terminate()
        process.wait(20)


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process: on a busy machine the better figure of the two."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """The most memory that a process had resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def configure(root: Path) -> None:
    """A configuration that asks nobody."""
    (root / "enricher.toml").write_text(
        f'state_dir = "{root}/state"\n'
        '[provider]\nbase_url = "http://127.0.0.1:9/v1"\n'
        '[admin]\nlisten = "127.0.0.1:0"\n'
        f'[[sources]]\nid = "logs"\ninclude = ["{root}/logs/*.log"]\n'
        f'[[sinks]]\nid = "files"\ndirectory = "{root}/out"\n'
    )


def read_garbage(root: Path, lines: int) -> tuple[float, float, int]:
    """(seconds, MB resident, signatures) of reading lines that all differ, by `plan` in a process of its own."""
    (root / "logs").mkdir()
    rnd = random.Random(1)
    with (root / "logs" / "garbage.log").open("w") as file:
        for _ in range(lines):
            words = " ".join("".join(rnd.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(6))
            file.write(f"2026-11-20T08:00:00Z INFO app: {words}\n")
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "enricher", "plan", "--json", "-c", str(root / "enricher.toml")],
        check=True,
        capture_output=True,
    )
    taken = time.perf_counter() - begun
    told = json.loads(done.stdout)
    assert told["events"] == lines or told["events"] == 0, told["events"]
    return taken, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, told["signatures"]


def tell(**figures: object) -> None:
    """One figure, as it is known."""
    print(json.dumps({name: round(value, 2) if isinstance(value, float) else value for name, value in figures.items()}))


def main() -> None:
    """Measure, within some minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signatures", type=int, default=1_000_000)
    parser.add_argument("--garbage", type=int, default=1_000_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="enricher-catalogue-") as name:
        root = Path(name)
        configure(root)
        if given.garbage:
            seconds, megabytes, signatures = read_garbage(root, given.garbage)
            tell(what="garbage", lines=given.garbage, seconds=seconds, resident_mb=megabytes, asked=signatures)
            (root / "logs" / "garbage.log").unlink()
        asyncio.run(_make(root / "state"))
        for signatures in (given.signatures // 100, given.signatures):
            fill(root / "state", signatures)
            tell(what="look-up", signatures=signatures, **asyncio.run(look_up(root / "state", signatures)))
            seconds, used, megabytes = run_daemon(root, until="daemon_started", seconds=10.0)
            tell(what="start", signatures=signatures, seconds=seconds, cpu_seconds=used, goal_seconds=5)
            tell(what="memory", signatures=signatures, resident_mb=megabytes, goal_mb=384)


async def _make(directory: Path) -> None:
    await (await SqliteStore.open(directory)).close()


if __name__ == "__main__":
    main()
