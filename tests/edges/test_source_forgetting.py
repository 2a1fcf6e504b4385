"""Files that went long ago: their rows are let go, what ids need of them is not."""

from __future__ import annotations

import gzip
import shutil

import pytest

from tests.edges.following import lines, numbers

DAY = 86400.0
BANNER = b"# this log begins with the same line each time\n"


@pytest.mark.parametrize("restart", [False, True])
async def test_the_row_of_a_file_that_went_is_let_go_after_a_week(world, restart):
    w = await world()
    w.append("a.log", lines(0))
    w.append("b.log", lines(100))
    await w.step()
    w.path("a.log").unlink()
    await w.step(6.0)
    await w.step(6.0)
    for days, left in ((6.9, 2), (0.2, 1), (30.0, 1)):
        if restart:
            await w.start()
        await w.step(days * DAY)
        await w.step(1.0)
        assert left == len(w.rows)
    w.append("b.log", lines(140, 2))
    await w.step(6.0)
    assert [*range(40), *range(100, 142)] == numbers(w.read)


async def test_a_row_is_kept_for_months_where_nobody_can_see_whether_its_file_is_back(world):
    w = await world()
    w.append("disk/a.log", lines(0))
    await w.step()
    shutil.move(w.path("disk"), w.path("../away").resolve())
    for days in (1.0, 30.0, 50.0):
        await w.step(days * DAY)
    assert 1 == len(w.rows)
    shutil.move(w.path("../away").resolve(), w.path("disk"))
    await w.step(6.0)
    await w.step(6.0)
    assert [*range(40)] == numbers(w.read)
    shutil.rmtree(w.path("disk"))
    for days in (1.0, 90.0, 1.0):
        await w.step(days * DAY)
    assert {} == w.rows


@pytest.mark.parametrize("restart", [False, True])
async def test_identities_of_files_that_were_let_go_are_not_given_again(world, restart):
    w = await world()
    given = []
    for at in range(4):
        w.append("a.log", BANNER + lines(40 * at))
        await w.step()
        given += [row.identity for row in w.rows.values() if row.gone_at is None]
        w.path("a.log").unlink()
        await w.step(6.0)
        await w.step(6.0)
        await w.step(8 * DAY)
        assert {} == w.rows
        if restart:
            await w.start()
    assert 4 == len(set(given))


async def test_a_source_whose_rows_were_all_let_go_does_not_run_for_the_first_time(world):
    w = await world()
    w.append("a.log", lines(0))
    await w.step()
    w.path("a.log").unlink()
    await w.step(6.0)
    await w.step(8 * DAY)
    assert {} == w.rows
    w.options["start"] = "end"
    w.append("a.log", lines(100))
    await w.start()
    await w.step()
    assert [*range(40), *range(100, 140)] == numbers(w.read)


async def test_a_compressed_file_that_was_read_is_kept_as_long_as_it_is_there(world):
    w = await world()
    w.append("a.log.1.gz", gzip.compress(lines(0)))
    await w.step(6.0)
    await w.step(6.0)
    for _ in range(4):
        await w.start()
        await w.step(30 * DAY)
        await w.step(6.0)
    assert [*range(40)] == numbers(w.read)
    assert 1 == len(w.rows)
