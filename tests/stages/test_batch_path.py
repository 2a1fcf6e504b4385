"""Plan, submit and track against the real client and our own batch server: what goes wrong is paid once.

Each cell of the fault table says: rows delivered / batches created / lines uploaded, of 10 rows.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from enricher.core.ledger import BatchState
from enricher.errors import PermanentProviderError
from tests.stages.bench import TASK, a_bench, spool_kinds

# What goes wrong -> (answered, batches created, lines uploaded).
FAULTS = {
    "nothing": ([], (10, 1, 10)),
    "create accepted, then 500": ([{"on": "create", "what": "accepted_status", "status": 500}], (10, 1, 10)),
    "create accepted, then the connection breaks": ([{"on": "create", "what": "accepted_reset"}], (10, 1, 10)),
    "create accepted, then 500, and the list fails when it is looked for": (
        [
            {"on": "create", "what": "accepted_status", "status": 500},
            {"on": "list", "what": "status", "status": 503, "times": 3},
        ],
        (10, 1, 10),
    ),
    "upload accepted, then 500, and the list fails when it is looked for": (
        [
            {"on": "upload", "what": "accepted_status", "status": 500},
            {"on": "list", "what": "status", "status": 503, "times": 3},
        ],
        (10, 1, 10),
    ),
    "create accepted, then 500, and there is no list": (
        [
            {"on": "create", "what": "accepted_status", "status": 500},
            {"on": "list", "what": "status", "status": 404, "times": 0},
        ],
        # It was looked for twice where it could be, so it is created again, from the same file.
        (10, 2, 10),
    ),
    "create refused with 500": ([{"on": "create", "what": "status", "status": 500}], (10, 1, 10)),
    "create refused with 429": (
        [{"on": "create", "what": "status", "status": 429, "retry_after_seconds": 30, "times": 3}],
        (10, 1, 10),
    ),
    "upload refused with 503": ([{"on": "upload", "what": "status", "status": 503, "times": 2}], (10, 1, 10)),
    "upload accepted, then 500": ([{"on": "upload", "what": "accepted_status", "status": 500}], (10, 1, 10)),
    "file not found just after upload": ([{"on": "upload", "what": "file_not_found", "lookups": 3}], (10, 1, 10)),
    "polls fail": ([{"on": "retrieve", "what": "status", "status": 502, "times": 4}], (10, 1, 10)),
    "downloads fail": ([{"on": "content", "what": "reset", "times": 2}], (10, 1, 10)),
    "expired with 6 of 10 done": ([{"on": "batch", "what": "expire", "after_lines": 6}], (10, 2, 14)),
    "cancelled from outside with 6 of 10 done": ([{"on": "batch", "what": "cancel", "after_lines": 6}], (10, 2, 14)),
    "one line lost": ([{"on": "batch", "what": "lose", "lines": 1}], (10, 2, 11)),
    "two lines fail with 500": ([{"on": "line", "what": "status", "status": 500, "times": 2}], (10, 2, 12)),
    "the token queue is full": ([{"on": "batch", "what": "fail", "times": 2}], (10, 3, 10)),
    "lines come twice and in another order": (
        [{"on": "batch", "what": "duplicate", "lines": 4}, {"on": "batch", "what": "shuffle"}],
        (10, 1, 10),
    ),
    "answers to what nobody asked": ([{"on": "batch", "what": "unknown_ids", "lines": 3}], (10, 1, 10)),
    "bodies are strings": ([{"on": "batch", "what": "string_bodies"}], (10, 1, 10)),
    "no file is the empty string": ([{"on": "batch", "what": "empty_file_ids"}], (10, 1, 10)),
    "the error file has 0 bytes": ([{"on": "batch", "what": "empty_error_file"}], (10, 1, 10)),
    "output is cut in its last line": ([{"on": "batch", "what": "truncate"}], (10, 2, 11)),
    "a line is not UTF-8": ([{"on": "batch", "what": "garbage", "lines": 1}], (10, 2, 11)),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_row_is_delivered_and_nothing_is_sent_needlessly(tmp_path, fault):
    faults, (answered, batches, lines) = FAULTS[fault]
    async with a_bench(tmp_path, faults=faults) as bench:
        summary = await bench.settle()
        got = [answer for answer in (await bench.answers()).values() if answer is not None and answer.status == "ok"]
        ledger = await bench.ledger()
    assert (answered, batches, lines) == (len(got), ledger["batches_created"], ledger["lines_uploaded"])
    assert summary.requests == {"answered": 10}


@pytest.mark.parametrize("call", ["create", "retrieve"])
async def test_a_provider_that_asks_for_more_patience_than_an_hour_is_left_alone_for_an_hour(tmp_path, call):
    faults = [{"on": call, "what": "status", "status": 429, "retry_after_seconds": 7200, "times": 3}]
    async with a_bench(tmp_path, faults=faults) as bench:
        began = bench.clock.time
        summary = await bench.settle()
    assert summary.requests == {"answered": 10}
    assert 3 * 3600 <= bench.clock.time - began < 6 * 3600


@pytest.mark.parametrize("endpoint", ["/v1/responses", "/v1/chat/completions"])
async def test_both_endpoints_answer_and_are_booked(tmp_path, endpoint):
    async with a_bench(tmp_path, endpoint=endpoint, signatures_per_request=4) as bench:
        summary = await bench.settle()
        money = await bench.store.money(bench.clock.now())
    assert {"ok": 10} == summary.answers
    assert summary.cost_usd == pytest.approx(money.today_usd)
    assert summary.cost_usd == pytest.approx((summary.input_tokens * 0.5 + summary.output_tokens * 2.0) / 1e6)
    assert money.reserved_usd == 0


async def test_an_answer_is_kept_with_the_template_whose_holes_it_names(tmp_path):
    async with a_bench(tmp_path) as bench:
        await bench.settle()
        outcomes = await bench.store.undecided((1_794_996_000, 0))
    assert {True} == {one.answer is not None and one.template == one.answer.template for one in outcomes}


async def test_known_signatures_are_never_asked_again(tmp_path):
    async with a_bench(tmp_path) as bench:
        await bench.settle()
        await spool_kinds(bench.store, 11, start=1_794_999_600)
        await bench.settle()
        assert (await bench.ledger())["lines_uploaded"] == 11


@pytest.mark.parametrize("at", [BatchState.UPLOADING, BatchState.CREATING, BatchState.OPEN])
async def test_batch_interrupted_in_any_state_is_finished_once(tmp_path, at):
    async with a_bench(tmp_path) as bench:
        await bench.plan.step()
        while not await bench.store.batches([at]):
            await bench.submit.step()
        # A process that ends here comes back with nothing but the store.
        bench.submit.blocked = None
        await bench.settle()
        ledger = await bench.ledger()
    assert (1, 10) == (ledger["batches_created"], ledger["lines_uploaded"])


async def test_create_that_was_never_answered_is_looked_for_before_it_is_repeated(tmp_path):
    faults = [{"on": "create", "what": "accepted_hang"}]
    async with a_bench(tmp_path, faults=faults, timeout_seconds=0.5) as bench:
        await bench.settle()
        assert (await bench.ledger())["batches_created"] == 1


async def test_refused_key_blocks_and_loses_nothing(tmp_path):
    faults = [{"on": "upload", "what": "status", "status": 401, "times": 2}]
    async with a_bench(tmp_path, faults=faults) as bench:
        await bench.settle(until=lambda _: bench.submit.blocked is not None)
        assert "key" in bench.submit.blocked.hint
        summary = await bench.settle()
    assert {"ok": 10} == summary.answers
    assert bench.submit.blocked is None


async def test_key_that_is_refused_while_polling_blocks_until_it_is_taken_again(tmp_path):
    faults = [{"on": "retrieve", "what": "status", "status": 401, "times": 2}]
    async with a_bench(tmp_path, faults=faults) as bench:
        await bench.settle(until=lambda _: bench.track.blocked is not None)
        assert "key" in bench.track.blocked.hint
        summary = await bench.settle()
    assert {"ok": 10} == summary.answers
    assert bench.track.blocked is None


@pytest.mark.parametrize("on", ["retrieve", "content"])
async def test_what_the_provider_refuses_of_an_open_batch_blocks_until_it_is_given(tmp_path, on):
    faults = [{"on": on, "what": "status", "status": 400, "times": 2}]
    async with a_bench(tmp_path, faults=faults) as bench:
        await bench.settle(until=lambda _: bench.track.blocked is not None)
        assert "400" in str(bench.track.blocked)
        summary = await bench.settle()
        ledger = await bench.ledger()
    assert {"ok": 10} == summary.answers
    assert 1 == ledger["batches_created"]
    assert bench.track.blocked is None


async def test_files_that_cannot_be_fetched_are_tried_hourly_and_never_asked_again(tmp_path, monkeypatch):
    async with a_bench(tmp_path) as bench:
        tries, download = [], bench.client.download

        async def refuse(*_, **__):
            tries.append(bench.clock.time)
            raise PermanentProviderError("file-1 is larger than 1 byte")

        monkeypatch.setattr(bench.client, "download", refuse)
        await bench.settle(until=lambda _: len(tries) == 15)
        assert 1800.0 <= tries[-1] - tries[-2] <= 3600.0
        assert bench.track.blocked is not None
        monkeypatch.setattr(bench.client, "download", download)
        summary = await bench.settle()
        ledger = await bench.ledger()
    assert {"ok": 10} == summary.answers
    assert 1 == ledger["batches_created"]
    assert bench.track.blocked is None


async def test_a_batch_is_not_lost_for_not_being_found_once_after_other_failures(tmp_path):
    faults = [
        {"on": "retrieve", "what": "status", "status": 500, "times": 12},
        {"on": "retrieve", "what": "status", "status": 404, "times": 2},
    ]
    async with a_bench(tmp_path, faults=faults) as bench:
        await bench.settle()
        ledger = await bench.ledger()
    assert 1 == ledger["batches_created"]


async def test_key_that_is_refused_while_a_batch_is_looked_for_costs_no_second_batch(tmp_path):
    faults = [
        {"on": "create", "what": "accepted_status", "status": 500},
        {"on": "list", "what": "status", "status": 401, "times": 2},
    ]
    async with a_bench(tmp_path, faults=faults) as bench:
        await bench.settle(until=lambda _: bench.submit.blocked is not None)
        summary = await bench.settle()
        ledger = await bench.ledger()
    assert {"ok": 10} == summary.answers
    assert 1 == ledger["batches_created"]
    assert bench.submit.blocked is None


async def test_model_that_the_provider_does_not_know_blocks_and_loses_nothing(tmp_path):
    faults = [{"on": "batch", "what": "fail", "code": "model_not_found", "message": "no model of that name"}]
    async with a_bench(tmp_path, faults=faults) as bench:
        await bench.settle(until=lambda _: bench.track.blocked is not None)
        assert "model" in bench.track.blocked.hint
        summary = await bench.settle()
    assert {"ok": 10} == summary.answers


@pytest.mark.parametrize("hold", [False, True])
async def test_batch_over_budget_is_skipped_or_held(tmp_path, hold):
    async with a_bench(tmp_path, daily_usd=0.000001, hold=hold) as bench:
        summary = await bench.settle(until=lambda s: s.batches.get("planned") if hold else s.requests.get("skipped"))
        outcomes = {one.status for one in await bench.store.undecided((1_794_996_000, 0))}
        assert (await bench.ledger())["uploads"] == 0
    assert ({"pending"} if hold else {"skipped_budget"}) == outcomes
    assert summary.cost_usd == 0


async def test_a_limit_that_others_use_up_is_learned_and_waited_for(tmp_path):
    text = "Enqueued token limit reached for gpt-6-luna in organization org-x. Limit: 20,000 enqueued tokens."
    failed = {"on": "batch", "what": "fail", "code": "token_limit_exceeded", "message": text, "times": 2}
    async with a_bench(tmp_path, faults=[failed]) as bench:
        summary = await bench.settle()
        assert 20_000 == await bench.store.token_limit("gpt-6-luna", bench.clock.now())
        ledger = await bench.ledger()
    assert {"ok": 10} == summary.answers
    assert (3, 10) == (ledger["batches_created"], ledger["lines_uploaded"])


async def test_request_that_always_fails_ends_as_an_error(tmp_path):
    faults = [{"on": "line", "what": "status", "status": 500, "times": 0}]
    async with a_bench(tmp_path, faults=faults, kinds=2) as bench:
        summary = await bench.settle()
        statuses = {one.status for one in await bench.store.undecided((1_794_996_000, 0))}
    assert {"failed": 2} == summary.requests
    assert {"error"} == statuses
    assert summary.cost_usd == 0


async def test_packed_request_that_is_refused_is_asked_one_by_one(tmp_path):
    faults = [{"on": "line", "what": "status", "status": 400}]
    async with a_bench(tmp_path, faults=faults, kinds=4, signatures_per_request=4) as bench:
        summary = await bench.settle()
        ledger = await bench.ledger()
    assert {"split": 1, "answered": 4} == summary.requests
    assert (2, 5) == (ledger["batches_created"], ledger["lines_uploaded"])


async def test_only_masked_templates_leave_the_host(tmp_path):
    async with a_bench(tmp_path) as bench:
        await bench.settle(until=lambda summary: summary.batches.get("open"))
        uploaded = b"".join(path.read_bytes() for path in (tmp_path / "server").rglob("*") if path.is_file())
    assert b"went wrong" in uploaded
    assert b"line 0" not in uploaded


async def test_events_of_an_expired_batch_say_so_until_they_are_answered(tmp_path):
    faults = [{"on": "batch", "what": "expire", "after_lines": 0}]
    async with a_bench(tmp_path, faults=faults, kinds=2) as bench:
        await bench.settle(until=lambda summary: summary.requests.get("again"))
        expired = {one.status for one in await bench.store.undecided((1_794_996_000, 0))}
        await bench.settle()
        answered = {one.status for one in await bench.store.undecided((1_794_996_000, 0))}
    assert ({"expired"}, {"ok"}) == (expired, answered)


async def test_kinds_without_money_are_not_planned_again_for_the_same_window(tmp_path):
    async with a_bench(tmp_path, daily_usd=0.000001) as bench:
        await bench.settle(until=lambda summary: summary.requests.get("skipped"))
        assert not await bench.plan.step()
        await spool_kinds(bench.store, 10, start=1_794_999_600)
        assert await bench.plan.step()


async def test_model_mended_by_the_operator_is_asked_about_what_the_wrong_one_was_not(tmp_path):
    faults = [{"on": "batch", "what": "fail", "code": "model_not_found", "message": "no model of that name"}]
    async with a_bench(tmp_path, faults=faults) as bench:
        await bench.settle(until=lambda _: bench.track.blocked is not None)
        # What a restart with another model in the configuration is.
        bench.plan._settings = replace(bench.plan._settings, model="right")
        await bench.settle()
        seen = await bench.store.kinds_seen(TASK.hash, "right")
        outcomes = await bench.store.undecided((1_794_996_000, 0))
        ledger = await bench.ledger()
    assert {"ok"} == {kind.answer.status for kind in seen}
    assert {"ok"} == {outcome.status for outcome in outcomes}
    assert ledger["lines_answered"] == 10


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        ({"on": "create", "what": "status", "status": 400}, {"/v1/chat/completions": 10}),
        ({"on": "upload", "what": "status", "status": 400}, {"/v1/chat/completions": 10}),
        ({"on": "line", "what": "status", "status": 500, "times": 3}, {"/v1/responses": 10, "/v1/chat/completions": 3}),
    ],
    ids=["refused", "not uploaded", "to be sent again"],
)
async def test_endpoint_mended_by_the_operator_is_asked_what_the_wrong_one_was_not(tmp_path, fault, asked):
    async with a_bench(tmp_path, faults=[fault]) as bench:
        await bench.settle(until=lambda summary: bench.submit.blocked is not None or summary.requests.get("again"))
        # What a restart with another endpoint in the configuration is.
        bench.plan._settings = replace(bench.plan._settings, endpoint="/v1/chat/completions")
        summary = await bench.settle()
        done = await bench.store.batches((BatchState.DONE,))
    assert ({"ok": 10}, {"answered": 10}) == (summary.answers, summary.requests)
    assert asked == {one.endpoint: one.requests for one in done if one.outcome == "completed"}


@pytest.mark.parametrize("steps", [1, 2], ids=["before its upload", "before its creation"])
@pytest.mark.parametrize(
    "change", [{"endpoint": "/v1/chat/completions"}, {"model": "another"}], ids=["endpoint", "model"]
)
async def test_batch_that_the_plan_ends_while_submit_has_it_in_hand_is_not_sent(tmp_path, monkeypatch, steps, change):
    async with a_bench(tmp_path) as bench:
        await bench.plan.step()
        for _ in range(steps):
            await bench.submit.step()
        before = await bench.ledger()
        read = bench.submit._own_batches

        async def ended_since():
            batches = await read()
            bench.plan._settings = replace(bench.plan._settings, **change)
            await bench.plan.step()
            return batches

        with monkeypatch.context() as patched:
            patched.setattr(bench.submit, "_own_batches", ended_since)
            await bench.submit.step()
        assert before == await bench.ledger()
        assert [] == [*(tmp_path / "batches").iterdir()]
        summary = await bench.settle()
        ledger = await bench.ledger()
    assert {"answered": 10} == summary.requests
    assert 10 == ledger["lines_answered"]


async def test_batch_is_found_again_by_a_host_whose_clock_is_years_ahead(tmp_path):
    faults = [{"on": "create", "what": "accepted_status", "status": 500}]
    async with a_bench(tmp_path, faults=faults) as bench:
        bench.clock.time += 10 * 365 * 86_400.0
        await bench.settle()
        ledger = await bench.ledger()
    assert (1, 10) == (ledger["batches_created"], ledger["lines_uploaded"])
