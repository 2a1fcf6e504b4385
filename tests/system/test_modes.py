"""Whatever the umask of who starts it: what the commands make is for their user alone, file by file."""

from __future__ import annotations

import contextlib
import os
import signal
import stat

import pytest

from tests.system.bench import Bench, Server, log_lines
from tests.system.test_digest import SOON
from tests.system.test_evaluate import CASES, dataset

GIVEN = ("logs", "enricher.toml", "cases.jsonl", "broken", "server.jsonl", "data", "tmp")
"""What the tests made, or others' files."""


@pytest.fixture
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(root, *, but=()):
    """The mode of everything below a directory, by path, but for what is not ours."""
    found = [path for path in root.rglob("*") if path.relative_to(root).parts[0] not in but]
    seen = {}
    for path in found:
        with contextlib.suppress(FileNotFoundError):  # a daemon that runs renames what it has written
            mode = path.lstat().st_mode
            seen[str(path.relative_to(root))] = (stat.S_ISDIR(mode), stat.S_IMODE(mode))
    return seen


@pytest.mark.parametrize("umask", [0o000, 0o077], indirect=True)
def test_what_real_runs_leave_is_for_their_user_alone(tmp_path, umask):
    server = Server(tmp_path)
    try:
        (tmp_path / "bench").mkdir(mode=0o700)  # where anybody may write, no state is kept
        bench = Bench(tmp_path / "bench", server.url)
        (bench.root / "broken").write_text("in the way")
        bench.configure(
            window=SOON,
            sinks=[
                {"id": "files", "directory": str(bench.root / "above" / "out")},
                {"id": "zstd", "directory": str(bench.root / "packed"), "compress": "zstd"},
                {"id": "shared", "directory": str(bench.root / "shared"), "group_readable": True},
                {"id": "broken", "directory": str(bench.root / "broken"), "max_backlog_events": 1},
            ],
        )
        bench.write("a.log", log_lines(60))
        bench.enricher("plan", "--out", bench.root / "planned")
        bench.enricher("once")
        while_it_runs = run_and_look(bench)
        bench.enricher("signatures", "export", "--out", bench.root / "signatures.jsonl")
        bench.enricher("evaluate", "logs", dataset(bench, CASES))
    finally:
        server.stop()
        server.end()
    shared = modes(bench.root / "shared")
    found = modes(bench.root, but=(*GIVEN, "shared")) | {
        f"server/{path}": mode for path, mode in modes(server.state).items()
    }
    found |= {f"running/{path}": mode for path, mode in while_it_runs.items()}

    assert {path: (is_dir, 0o700 if is_dir else 0o600) for path, (is_dir, _) in found.items()} == found
    assert {path: (is_dir, 0o750 if is_dir else 0o640) for path, (is_dir, _) in shared.items()} == shared
    assert 0o750 == stat.S_IMODE((bench.root / "shared").stat().st_mode)
    of_each = (
        *("above/out", "events-000.jsonl", "events-000.jsonl.zst", "manifest.json", "digest.md", "dead-letters/broken"),
        *("planned/", "signatures.jsonl", "state/enricher.db", "running/state/enricher.db-wal", "state/reserve"),
        *("server/files", "server/batches/", "server/lock", "state/evaluat"),
    )
    assert [] == [piece for piece in of_each if not any(piece in path for path in found)]


def run_and_look(bench):
    """What lies there while a daemon runs, some of which is gone when it has ended."""
    bench.write("a.log", log_lines(60, hours=2, first=7), append=True)
    daemon = bench.start("run")
    daemon.until(lambda: daemon.happened("part_delivered") or daemon.happened("started"))
    found = modes(bench.root, but=(*GIVEN, "shared"))
    daemon.signal(signal.SIGTERM)
    daemon.wait()
    return found
