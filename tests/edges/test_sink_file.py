"""The file sink on a file system: names, leftovers, retention, and what it says when it cannot write."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import aclosing
from pathlib import Path

import pytest

from enricher.core.ledger import Part
from enricher.edges import sink_file
from enricher.edges.sink_file import FileSink
from enricher.errors import SinkError

WINDOW = "2026-11-22T10Z"
DAY = 86_400
NOW = 1_795_341_600.0 + 100 * DAY


def a_sink(directory, **changes) -> FileSink:
    facts = {"compress": "none", "retention_days": 0, "min_severity": "trace"}
    return FileSink("files", directory, **facts | changes)


async def deliver(sink, number=0, text=b"one\n", window=WINDOW):
    async def batches():
        yield iter([text])

    part = Part(start=1_795_341_600, number=number, pane=0, round_number=0, first=0, events=1)
    async with aclosing(batches()) as stream:
        return await sink.deliver(window, part, stream)


NAMES = ("events-000.jsonl", "manifest.json", "digest.json", "digest.md")


def mode_of(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize(("compress", "suffix"), [("none", ""), ("gzip", ".gz"), ("zstd", ".zst")])
async def test_a_part_lies_in_its_windows_directory_under_its_number(tmp_path, compress, suffix):
    sink = a_sink(tmp_path / "a" / "out", compress=compress)
    await deliver(sink, 7)
    await sink.manifest(WINDOW, b"{}")
    assert names(tmp_path / "a" / "out") == [f"{WINDOW}/events-007.jsonl{suffix}", f"{WINDOW}/manifest.json"]


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o277])
@pytest.mark.parametrize("group_readable", [False, True])
async def test_files_and_directories_are_for_one_user_and_a_group_only_if_wanted(tmp_path, umask, group_readable):
    before = os.umask(umask)
    try:
        sink = a_sink(tmp_path / "above" / "out", group_readable=group_readable)
        await deliver(sink)
        await sink.manifest(WINDOW, b"{}")
        await sink.digest(WINDOW, b"{}", "")
    finally:
        os.umask(before)
    window = tmp_path / "above" / "out" / WINDOW
    directories, files = (0o750, 0o640) if group_readable else (0o700, 0o600)
    assert {directories} == {mode_of(one) for one in (window, window.parent, window.parent.parent)}
    assert dict.fromkeys(NAMES, files) == {one.name: mode_of(one) for one in window.iterdir()}


async def test_a_file_that_somebody_put_there_beforehand_is_not_what_is_written_to(tmp_path):
    """Who opened it, or may read it, would read what is put into it."""
    beforehand = tmp_path / WINDOW / ".events-000.jsonl.tmp"
    sink = a_sink(tmp_path)
    await deliver(sink, 1)
    beforehand.write_text("")
    beforehand.chmod(0o666)
    with beforehand.open() as opened:
        await deliver(sink)
        assert "" == opened.read()
    assert 0o600 == mode_of(tmp_path / WINDOW / "events-000.jsonl")


async def test_a_part_written_again_with_another_compression_is_there_once(tmp_path):
    await deliver(a_sink(tmp_path, compress="zstd"))
    await deliver(a_sink(tmp_path, compress="none"))
    assert names(tmp_path) == [f"{WINDOW}/events-000.jsonl"]


async def test_leftovers_of_a_crash_are_removed_and_nothing_else_is(tmp_path):
    for name in (
        f"{WINDOW}/.events-003.jsonl.gz.tmp",
        f"{WINDOW}/.manifest.json.tmp",
        f"{WINDOW}/.mine.tmp",
        "x/.events-000.jsonl.tmp",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    await deliver(a_sink(tmp_path))
    assert names(tmp_path) == [f"{WINDOW}/.mine.tmp", f"{WINDOW}/events-000.jsonl", "x/.events-000.jsonl.tmp"]


async def test_what_was_written_is_synced_before_it_has_its_name(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        sink_file.os, "fsync", lambda descriptor: seen.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    )
    await deliver(a_sink(tmp_path))
    window = tmp_path / WINDOW
    assert seen == [str(tmp_path), str(window / ".events-000.jsonl.tmp"), str(window)]


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EACCES, "let the service's user write"),
        (errno.EROFS, "ReadWritePaths"),
        (errno.EIO, "tried again"),
    ],
)
async def test_a_failing_file_system_is_a_sink_error_that_names_the_directory(tmp_path, monkeypatch, code, advice):
    def fail(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(sink_file.os, "fsync", fail)
    (tmp_path / WINDOW).mkdir()
    for attempt in (deliver(a_sink(tmp_path)), a_sink(tmp_path).manifest(WINDOW, b"{}")):
        with pytest.raises(SinkError) as caught:
            await attempt
        assert str(tmp_path / WINDOW) in str(caught.value)
        assert advice in caught.value.hint
        assert str(tmp_path / WINDOW) in caught.value.hint
    assert names(tmp_path) == []


@pytest.mark.parametrize("mended", ["part", "manifest"])
async def test_its_trouble_is_told_until_something_can_be_written_again(tmp_path, monkeypatch, mended):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sink = a_sink(tmp_path)
    assert "" == sink.trouble
    with monkeypatch.context() as patched:
        patched.setattr(sink_file.os, "fsync", fail)
        with pytest.raises(SinkError):
            await deliver(sink)
    assert f"sink files: cannot write to {tmp_path / WINDOW}: No space left on device" == sink.trouble
    await (deliver(sink) if mended == "part" else sink.manifest(WINDOW, b"{}"))
    assert "" == sink.trouble


async def test_a_file_in_the_way_of_the_directory_is_a_sink_error(tmp_path):
    (tmp_path / "out").write_bytes(b"")
    for attempt in (deliver(a_sink(tmp_path / "out")), a_sink(tmp_path / "out").check()):
        with pytest.raises(SinkError) as caught:
            await attempt
        assert "no directory, or lies below a file" in caught.value.hint


async def test_a_check_creates_nothing(tmp_path):
    await a_sink(tmp_path / "a" / "b").check()
    assert list(tmp_path.iterdir()) == []


async def test_a_check_says_when_it_may_not_write(tmp_path, monkeypatch):
    monkeypatch.setattr(sink_file.os, "access", lambda path, mode: False)
    with pytest.raises(SinkError, match="Permission denied"):
        await a_sink(tmp_path).check()


async def test_old_windows_go_and_young_ones_and_other_peoples_files_stay(tmp_path):
    sink = a_sink(tmp_path, retention_days=30)
    old = NOW - 31 * DAY
    for window in ("2026-11-22T10Z", "2026-11-23Z", "2026-11-24T00Z", "2027-02-28T00Z", "2026-11-25T00Z"):
        await deliver(sink, window=window)
        await sink.manifest(window, b"{}")
        await sink.digest(window, b"{}", "")
        for path in (tmp_path / window).iterdir():
            os.utime(path, (old, old))
    (tmp_path / "2026-11-24T00Z" / "notes.txt").write_text("mine")
    (tmp_path / "2026-99-99").mkdir()
    # Read late: an old window, written today.
    os.utime(tmp_path / "2026-11-25T00Z" / "events-000.jsonl", (NOW, NOW))
    assert await sink.retain(NOW) == 2
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["2026-11-24T00Z", "2026-11-25T00Z", "2026-99-99", "2027-02-28T00Z"]


async def test_retention_of_no_days_keeps_everything(tmp_path):
    await deliver(a_sink(tmp_path))
    os.utime(tmp_path / WINDOW / "events-000.jsonl", (0, 0))
    assert await a_sink(tmp_path).retain(NOW * 2) == 0
    assert await a_sink(tmp_path / "not there", retention_days=1).retain(NOW) == 0
    assert names(tmp_path) == [f"{WINDOW}/events-000.jsonl"]


async def test_a_part_that_is_let_go_piece_by_piece_is_the_same_part(tmp_path, monkeypatch):
    whole = await deliver(a_sink(tmp_path / "whole"))
    monkeypatch.setattr(sink_file, "_SYNC_BYTES", 1)
    let_go = []
    original = sink_file._let_go
    monkeypatch.setattr(sink_file, "_let_go", lambda file: let_go.append(1) or original(file))
    pieces = await deliver(a_sink(tmp_path / "pieces"))

    assert whole == pieces
    assert len(let_go) > 1
