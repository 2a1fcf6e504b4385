"""A log is truncated and written anew in the middle of a look or of a read: each line comes once all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enricher.edges.source_files import chunks, copies
from tests.edges.following import World, lines, numbers

QUIET = 6.0


@pytest.fixture
async def w(tmp_path):
    made = await World(tmp_path).start()
    yield made
    await made.source.close()


async def settle(w):
    for _ in range(5):
        await w.step(QUIET)


def once(monkeypatch, module, name, *, before=None, after=None):
    """Do something in the middle of a call, the first time."""
    real, done = getattr(module, name), []

    def called(*arguments, **options):
        if before and not done:
            before()
        answer = real(*arguments, **options)
        if after and not done:
            after()
        done.append(1)
        return answer

    monkeypatch.setattr(module, name, called)


@pytest.mark.parametrize("new", [lines(100, 2), lines(100, 30), lines(100, 90)], ids=["shorter", "alike", "longer"])
@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("read", [0, 3, 30])
async def test_a_log_that_is_truncated_after_it_was_compared_and_before_it_is_read(w, monkeypatch, new, copied, read):
    if read:
        w.append("a.log", lines(0, read))
        await settle(w)
    w.append("a.log", lines(read, 30))

    def rotate():
        if copied:
            w.path("a.log.1").write_bytes(w.path("a.log").read_bytes())
        w.path("a.log").write_bytes(new)

    once(monkeypatch, chunks, "read_lines", before=rotate)
    await settle(w)
    w.append("a.log", lines(300, 1))
    await settle(w)
    old = [*range(read + 30 if copied else read)]
    assert old + numbers(new.splitlines()) + [300] == sorted(numbers(w.read))


@pytest.mark.parametrize("hold", [0, None])
@pytest.mark.parametrize("new", [lines(100, 1), lines(100, 90)], ids=["shorter", "longer"])
@pytest.mark.parametrize("first", [1, 3, 30])
async def test_a_log_that_is_truncated_after_it_was_read_is_known_by_what_was_read(w, monkeypatch, hold, new, first):
    """Not by how it begins afterwards: else its copy is not known, and what is held back lies in no file at all."""
    w.append("a.log", lines(0, first))

    def rotate():
        w.path("a.log.1").write_bytes(lines(0, first) + lines(first, 5))
        w.path("a.log").write_bytes(new)

    once(monkeypatch, chunks, "read_lines", after=rotate)
    await w.step(hold=hold)
    await settle(w)
    assert [*range(first + 5), *numbers(new.splitlines())] == sorted(numbers(w.read))


async def test_a_row_that_holds_back_what_its_file_does_not_have_keeps_nobody_waiting(w):
    """Rows that older versions wrote after such a truncation; the file was taken for its own and never read."""
    w.append("a.log", lines(0, 3))
    await w.step(hold=None)
    (row,) = w.rows
    w.rows[row] = replace(w.rows[row], position=0, marker=b"", partial=b"99 of another content\n")
    w.append("a.log", lines(3, 3))
    before = len(w.read)
    await w.start()
    await settle(w)
    assert [0, 1, 2, 3, 4, 5, 99] == sorted(numbers(w.read[before:]))
    assert 0 == w.progress().unread_bytes


@pytest.mark.parametrize("name", ["a.log.1", "kept.log"])
async def test_a_log_that_is_truncated_while_its_copy_is_compared_with_it(w, monkeypatch, name):
    w.append("a.log", lines(0))
    await w.step(QUIET)
    copy = lines(0) + lines(40, 2)
    w.append("a.log", lines(40, 2))
    await w.step(QUIET)
    w.path(name).write_bytes(copy)
    if name == "a.log.1":
        once(monkeypatch, copies, "_compare_ends", before=lambda: w.path("a.log").write_bytes(lines(100, 90)))
    else:
        once(monkeypatch, copies.Copies, "judge", before=lambda: w.path("a.log").write_bytes(lines(100, 90)))
    await settle(w)
    assert [*range(42), *range(100, 190)] == sorted(numbers(w.read))
