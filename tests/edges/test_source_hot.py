"""Many files that are written to all the time: what is done follows what is read, and a truncation is still seen."""

from __future__ import annotations

from collections import Counter

import pytest

from enricher.edges.source_files import tracking
from tests.edges.following import World, lines, numbers

QUIET = 6.0
FILES = 40


@pytest.fixture
async def w(tmp_path):
    made = await World(tmp_path, max_descriptors=8).start()
    yield made
    await made.source.close()


async def test_a_file_that_grows_while_it_waits_is_opened_for_its_read_alone(w, monkeypatch):
    """Forty files get a line at each of forty looks and are read when they have waited long enough."""
    for at in range(FILES):
        w.append(f"{at}.log", lines(0))
    for _ in range(4):
        await w.step(QUIET)
    read_before, opened = len(w.read), []
    real = tracking.open_file
    monkeypatch.setattr(tracking, "open_file", lambda path: opened.append(path) or real(path))
    reads = 0
    for look in range(40):
        for at in range(FILES):
            w.append(f"{at}.log", lines(40 + look, 1))
        chunks = len(w.chunks)
        await w.step(0.1, flush=False)
        reads += len(w.chunks) - chunks
    assert FILES <= reads < 5 * FILES
    # The first change after each read is compared at once.
    assert len(opened) <= 2 * reads + FILES
    await w.step(QUIET)
    await w.step(QUIET)
    assert sorted([*range(40, 80)] * FILES) == sorted(numbers(w.read[read_before:]))


async def test_a_scan_goes_over_the_files_that_have_news_and_not_over_those_that_wait(w, monkeypatch):
    for at in range(FILES):
        w.append(f"{at}.log", lines(0))
    for _ in range(4):
        await w.step(QUIET)
    for at in range(FILES):
        w.append(f"{at}.log", lines(40, 1))
    await w.step(0.1, flush=False)
    assert FILES == len(w.source._known.unsettled)
    gone_over = Counter()
    for name in ("is_settled", "aim"):
        real = getattr(tracking.Tracked, name)

        def counted(file, *arguments, real=real, name=name, **options):
            gone_over[name] += 1
            return real(file, *arguments, **options)

        monkeypatch.setattr(tracking.Tracked, name, counted)
    for look in range(10):
        w.append("7.log", lines(41 + look, 1))
        await w.step(0.01, flush=False)
    assert 10 <= gone_over["aim"] <= 20
    assert gone_over["is_settled"] <= 40
    monkeypatch.undo()
    w.now += 1.0
    await w.step()
    # What was not gone over was read through, all the same, as late as it was last looked for.
    assert w.now == w.progress().read_through
    assert not w.source._known.stirred or not w.progress().unread_bytes
    await w.step(0.1)
    assert not w.source._known.unsettled


async def test_a_waiting_file_that_changes_was_of_its_size_until_the_look_before(w):
    w.append("a.log", lines(0))
    await w.step(QUIET)
    w.append("a.log", lines(40, 1))
    await w.step(0.1, flush=False)
    for _ in range(3):
        await w.step(0.2, flush=False)
    before = w.now
    w.append("a.log", lines(41, 1))
    await w.step(0.2, flush=False)
    (file,) = w.source._known
    assert [before, w.now] == [at for at, _ in file.goals]


async def test_of_a_file_that_could_not_be_read_nothing_is_said_for_that_time(w, monkeypatch):
    w.append("a.log", lines(0))
    await w.step(QUIET)
    w.append("a.log", lines(40, 1))
    await w.step(0.1, flush=False)
    (file,), seen = w.source._known, w.now

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(type(w.source._descriptors), "stream", refuse)
        w.now += 0.1
        await w.source.scan(w.now)
        await w.source.read(w.now, flush=True)
        for _ in range(3):
            await w.step(1.0, flush=False)
    w.append("a.log", lines(41, 1))
    w.now += 1.0
    await w.source.scan(w.now)
    assert [True, False] == [at <= seen + 0.1 for at, _ in file.goals]


@pytest.mark.parametrize("copied", [None, "app.log.1", "kept.log"])
@pytest.mark.parametrize("restart", [False, True])
async def test_what_is_truncated_and_outgrows_itself_while_it_waits_is_another_file(w, copied, restart):
    """Its last bytes before the position are as they were, so that only its head tells."""
    alike = b"7 the same line again and again\n" * 8
    w.append("app.log", lines(10) + alike)
    await w.step(QUIET)
    await w.step(QUIET)
    assert len(w.read) == 48
    w.append("app.log", b"48 waits\n")
    await w.step(0.1, flush=False)
    w.append("app.log", b"49 waits, too\n")
    await w.step(0.1, flush=False)
    assert len(w.read) == 48
    if copied:
        w.path(copied).write_bytes(w.path("app.log").read_bytes())
    fresh = lines(50).replace(b"some", b"none") + alike + lines(200, 20)
    assert len(fresh) > w.path("app.log").stat().st_size
    w.path("app.log").write_bytes(fresh)
    if restart:
        await w.start()
    for _ in range(4):
        await w.step(QUIET)
    waited = [b"48 waits", b"49 waits, too"] if copied else []
    assert sorted(waited + fresh.splitlines()) == sorted(w.read[48:])
    assert w.counted("truncations") == 1


async def test_what_is_lost_of_a_truncated_file_is_what_was_seen_of_it_and_not_what_took_its_place(w):
    w.append("app.log", lines(0))
    await w.step(QUIET)
    w.append("app.log", b"40 seen, never read\n")
    await w.step(0.1, flush=False)
    w.path("app.log").write_bytes(lines(100, 90))
    for _ in range(3):
        await w.step(QUIET)
    lost = sum(chunk.lost_bytes for chunk in w.chunks)
    assert len(b"40 seen, never read\n") == lost
    assert [*range(40), *range(100, 190)] == numbers(w.read)


async def test_a_file_that_is_replaced_in_its_inode_s_number_while_it_waits_is_read_from_its_start(w):
    """On ext4 the next file has the number of the one before it; where it has not, this is a rename."""
    w.append("app.log", lines(0))
    await w.step(QUIET)
    w.append("app.log", lines(40, 1))
    await w.step(0.1, flush=False)
    w.source._descriptors.close_all()
    content = w.path("app.log").read_bytes()
    w.path("app.log").unlink()
    w.append("app.log", content + lines(41, 3))
    for _ in range(3):
        await w.step(QUIET)
    assert {*range(44)} == {*numbers(w.read)}
