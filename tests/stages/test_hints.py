"""Hints that a batch has ended: they change when it is polled, and nothing else."""

from __future__ import annotations

from enricher.core.ledger import BatchState
from tests.stages.bench import a_bench

HELD = [{"on": "batch", "what": "stuck", "state": "in_progress", "after_lines": 10}]


async def open_batch(bench):
    """Step until the batch is open and polled for the first time; its row."""
    await bench.settle(until=lambda summary: summary.batches.get("open"))
    (batch,) = await bench.store.batches((BatchState.OPEN,))
    return batch


async def until_done(bench, batch_id):
    """Wait for the end of the batch on the server's side, with a client that is not ours."""
    while (await bench.client.retrieve(batch_id)).status != "completed":
        pass


async def polls(bench):
    value = bench.telemetry.registry.get_sample_value
    return value("enricher_api_calls_total", {"operation": "retrieve", "result": "ok"})


async def test_batch_that_is_hinted_at_is_collected_before_it_is_due(tmp_path):
    async with a_bench(tmp_path) as bench:
        batch = await open_batch(bench)
        await until_done(bench, batch.batch_id)
        assert batch.next_at > bench.clock.now()
        assert not await bench.track.step()

        bench.track.look_at(batch.batch_id)

        assert await bench.track.step()
        assert 10 == (await bench.store.summary(bench.clock.now())).requests["answered"]


async def test_hint_that_comes_before_the_batch_is_known_is_kept_for_it(tmp_path):
    """The batch may have ended before the answer to its create has come."""
    async with a_bench(tmp_path) as bench:
        batch = await open_batch(bench)
        await until_done(bench, batch.batch_id)
        state = bench.store.batches

        async def unknown(states, purpose="events"):
            return [] if BatchState.OPEN in states else await state(states, purpose)

        bench.store.batches = unknown
        bench.track.look_at(batch.batch_id)
        assert not await bench.track.step()
        bench.store.batches = state

        assert await bench.track.step()


async def test_false_hint_has_one_poll_made_and_a_next_one_within_a_minute(tmp_path):
    async with a_bench(tmp_path, faults=HELD) as bench:
        batch = await open_batch(bench)
        bench.track._settings = type(bench.track._settings)(poll_interval_seconds=3600.0)
        before = await polls(bench)

        bench.track.look_at(batch.batch_id)
        for _ in range(3):
            assert not await bench.track.step()

        assert before + 1 == await polls(bench)
        (same,) = await bench.store.batches((BatchState.OPEN,))
        assert bench.clock.now() + 60.0 == same.next_at


async def test_hints_at_batches_of_others_have_nobody_polled_and_are_bounded(tmp_path):
    async with a_bench(tmp_path, faults=HELD) as bench:
        await open_batch(bench)
        before = await polls(bench)
        for number in range(3000):
            bench.track.look_at(f"batch_{number}")
        assert not await bench.track.step()
        assert before == await polls(bench)
        assert 1000 == len(bench.track._hints)
