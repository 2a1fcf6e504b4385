"""A link put in the place of a window or of a file while it is written: nothing is written or deleted through it."""

from __future__ import annotations

import os

import pytest

from enricher.edges.sink_file import windows
from enricher.errors import SinkError
from tests.edges.test_sink_file import DAY, NOW, WINDOW, a_sink, deliver, names

CALLS = ("open", "unlink", "rename", "stat", "fsync", "scandir")


@pytest.fixture
def elsewhere(tmp_path):
    """A directory of somebody else's, with files named as ours."""
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    for name in ("events-000.jsonl", "events-000.jsonl.zst", "manifest.json", ".events-000.jsonl.tmp"):
        (directory / name).write_text("as it was")
    return directory


def is_untouched(directory) -> bool:
    return ["as it was"] * 4 == [one.read_text() for one in directory.iterdir()]


def swap(out, elsewhere):
    (out / WINDOW).rename(out / "moved")
    (out / WINDOW).symlink_to(elsewhere)


async def put(out, what):
    sink = a_sink(out)
    if what == "manifest":
        await sink.manifest(WINDOW, b"{}")
    else:
        await deliver(sink)


@pytest.mark.parametrize("what", ["part", "manifest"])
async def test_a_window_that_is_a_link_is_not_written_to(tmp_path, elsewhere, what):
    out = tmp_path / "out"
    out.mkdir()
    (out / WINDOW).symlink_to(elsewhere)
    with pytest.raises(SinkError, match=WINDOW) as caught:
        await put(out, what)
    assert "is a link" in caught.value.hint
    assert is_untouched(elsewhere)
    (out / WINDOW).unlink()
    await put(out, what)


@pytest.mark.parametrize("what", ["part", "manifest"])
async def test_a_window_swapped_for_a_link_before_any_call_is_written_to_no_more(
    tmp_path, elsewhere, monkeypatch, what
):
    """Never through the link; and it counts as written only if the link came behind the last look at its place."""
    written = []
    for at in range(100):
        out = tmp_path / f"out-{at}"
        (out / WINDOW).mkdir(parents=True)
        calls = 0

        def counted(call, out=out, at=at):
            def called(*given, **more):
                nonlocal calls
                if isinstance(given[0], int) or {"dir_fd", "src_dir_fd"} & more.keys():
                    calls += 1
                    if calls == at + 1:
                        swap(out, elsewhere)
                return call(*given, **more)

            return called

        with monkeypatch.context() as patched:
            for name in CALLS:
                patched.setattr(windows.os, name, counted(getattr(os, name)))
            try:
                await put(out, what)
                written.append(at)
            except SinkError:
                pass
        assert is_untouched(elsewhere), at
        assert not any(one.endswith(".tmp") for one in names(out)), at
        if calls <= at:  # there was no such call any more
            break
    behind = {"part": 3, "manifest": 1}[what]
    assert 5 < at < 99
    assert written == [*range(at - behind + 1, at + 1)]


@pytest.mark.parametrize("step", ["clean", "retain"])
async def test_a_window_swapped_for_a_link_is_neither_cleaned_nor_deleted(tmp_path, elsewhere, monkeypatch, step):
    out = tmp_path / "out"
    sink = a_sink(out, retention_days=30)
    await deliver(sink)
    for path in [*(out / WINDOW).iterdir(), *elsewhere.iterdir()]:
        os.utime(path, (NOW - 31 * DAY, NOW - 31 * DAY))
    listed = windows._windows

    def and_swapped(root):
        found = listed(root)
        swap(out, elsewhere)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(windows, "_windows", and_swapped)
        with pytest.raises(SinkError):
            await (deliver(a_sink(out)) if step == "clean" else sink.retain(NOW))
    assert is_untouched(elsewhere)
    assert (out / "moved" / "events-000.jsonl").exists()


@pytest.mark.parametrize("name", ["events-000.jsonl", ".events-000.jsonl.tmp", "events-000.jsonl.zst"])
async def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    sink = a_sink(tmp_path / "out")
    await deliver(sink, 1)
    (tmp_path / "out" / WINDOW / name).symlink_to(victim)
    await deliver(sink)
    assert "as it was" == victim.read_text()
    assert "one\n" == (tmp_path / "out" / WINDOW / "events-000.jsonl").read_text()
    assert not (tmp_path / "out" / WINDOW / "events-000.jsonl").is_symlink()


async def test_the_sinks_own_directory_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    await deliver(a_sink(tmp_path / "out"))
    assert [f"{WINDOW}/events-000.jsonl"] == names(tmp_path / "disk")
