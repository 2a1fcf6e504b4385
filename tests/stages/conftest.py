"""A world of files over each kind of store that ingest can write to."""

from __future__ import annotations

import pytest

from tests.fakes_ingest import BlockStore
from tests.stages.reading import World, sqlite


@pytest.fixture(params=["memory", "sqlite"])
async def world(request, tmp_path):
    store = BlockStore() if request.param == "memory" else await sqlite(tmp_path)
    made = []

    async def make(**rule):
        (tmp_path / "log").mkdir(exist_ok=True)
        made.append(World(tmp_path / "log", store, **rule))
        return await made[-1].start()

    yield make
    for one in made:
        await one.source.close()
    await store.close()
