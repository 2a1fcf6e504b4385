"""A world of files over the file source, in a directory of a test's own."""

from __future__ import annotations

import pytest

from tests.edges.following import World


@pytest.fixture
async def world(tmp_path):
    made = []

    async def make(**changes):
        world = World(tmp_path, **changes)
        made.append(world)
        return await world.start()

    make.directory = tmp_path
    yield make
    for one in made:
        await one.source.close()
