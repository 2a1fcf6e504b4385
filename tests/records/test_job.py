"""What a job over records does, from rows to rows, against a real batch server."""

from __future__ import annotations

import asyncio
import json

import pytest

from enricher import records
from enricher.batchserver.faults import FaultScript
from enricher.edges.batch_openai import OpenAIBatchClient
from enricher.errors import (
    BudgetError,
    InputError,
    LockedError,
    OutputError,
    PermanentProviderError,
    TryAgainError,
    UsageError,
)
from tests.records.desk import LABEL, a_desk

GLAD = {"mood": "glad"}


def texts(count, *, first=0):
    return [{"id": f"k{number}", "text": f"text {number}", "n": number} for number in range(first, first + count)]


async def test_rows_come_out_in_order_with_their_columns_their_answer_and_a_status(tmp_path):
    async with a_desk(tmp_path, lambda text: {"mood": "sad" if text == "text 1" else "glad"}) as desk:
        report = await desk.run(desk.task(LABEL), desk.write("in.jsonl", texts(3)))
        assert [
            {"id": "k0", "text": "text 0", "n": 0, "mood": "glad", "status": "ok", "error": None},
            {"id": "k1", "text": "text 1", "n": 1, "mood": "sad", "status": "ok", "error": None},
            {"id": "k2", "text": "text 2", "n": 2, "mood": "glad", "status": "ok", "error": None},
        ] == desk.rows()
        assert ({"ok": 3}, 3) == (report.statuses, report.asked)
        assert report.cost_usd == pytest.approx(3 * (100 * 0.5 + 10 * 2.0) / 1e6)


async def test_the_same_text_is_asked_once_in_a_run_and_never_again_in_others(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        task = desk.task(LABEL)
        doubled = [{"id": str(number), "text": f"text {number % 4}"} for number in range(12)]
        assert 4 == (await desk.run(task, desk.write("in.jsonl", doubled))).asked
        assert 12 == sum(row["mood"] == "glad" for row in desk.rows())
        report = await desk.run(task, desk.write("more.jsonl", texts(6)), "more-out.jsonl")
        assert 2 == report.asked
        assert 6 == len(desk.model.asked)


async def test_another_prompt_schema_or_model_asks_anew_and_plan_says_why(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        given = desk.write("in.jsonl", texts(5))
        task = desk.task(LABEL)
        await desk.run(task, given)
        again = await records.plan_async(task, given, config=desk.config)
        assert (0, {}) == (again.requests, again.reasons)
        changed = desk.task(LABEL.replace("Say how", "Tell how"), "changed.toml")
        estimate = await records.plan_async(changed, desk.write("in2.jsonl", texts(7)), config=desk.config)
        assert (7, {"task_changed": 5, "new": 2}) == (estimate.requests, estimate.reasons)
        assert 0 < estimate.likely_usd < estimate.most_usd
        other = await records.plan_async(task, given, config=desk.config, model="another")
        assert {"model_changed": 5} == other.reasons
        assert 5 == len(desk.model.asked)


async def test_what_is_no_answer_is_asked_again_and_then_said_to_be_invalid(tmp_path):
    async with a_desk(tmp_path, lambda text: {"mood": "odd"} if text == "text 1" else GLAD) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", texts(3))
        report = await desk.run(task, given)
        assert {"ok": 2, "invalid": 1} == report.statuses
        row = desk.rows()[1]
        assert ("k1", "invalid") == (row["id"], row["status"])
        assert "odd" in row["error"]
        assert 3 == desk.model.asked.count("text 1")
        # Run again, the hole is filled, and nothing else is asked.
        desk.model.say = lambda _: GLAD
        report = await desk.run(task, given)
        assert ({"ok": 3}, 1) == (report.statuses, report.asked)


async def test_rows_that_cannot_be_asked_about_keep_their_place_and_say_why(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        path = tmp_path / "in.jsonl"
        lines = [b'{"id":"a","text":"one"}', b"\xff\xfe", b'{"id":"c","text":""}', b'{"id":"d","text":"two"}']
        path.write_bytes(b"\n".join(lines) + b"\n")
        report = await desk.run(desk.task(LABEL), path)
        assert ["ok", "unreadable", "empty", "ok"] == [row["status"] for row in desk.rows()]
        assert {"ok": 2, "unreadable": 1, "empty": 1} == report.statuses
        assert all(row["error"] for row in desk.rows()[1:3])


async def test_a_refused_row_costs_no_other(tmp_path):
    refusal = (400, {"error": {"code": "invalid_prompt", "message": "we do not talk about that"}})
    async with a_desk(tmp_path, lambda text: refusal if text == "text 2" else GLAD) as desk:
        report = await desk.run(desk.task(LABEL), desk.write("in.jsonl", texts(4)))
        assert {"ok": 3, "error": 1} == report.statuses
        assert "we do not talk about that" in desk.rows()[2]["error"]


async def test_a_row_over_the_models_context_is_too_long(tmp_path):
    over = (400, {"error": {"code": "context_length_exceeded", "message": "too many tokens"}})
    async with a_desk(tmp_path, lambda text: over if text == "text 1" else GLAD) as desk:
        rows = [*texts(2), {"id": "huge", "text": "word " * 250_000}]
        await desk.run(desk.task(LABEL), desk.write("in.jsonl", rows))
        assert ["ok", "too_long", "too_long"] == [row["status"] for row in desk.rows()]
        assert "[long]" in desk.rows()[2]["error"]
        assert 2 == len(desk.model.asked)


# ---------------------------------------------------------------- long texts


LONG = LABEL.replace('"{{text}}"', '"{{text}}"').replace(
    "[schema]", '[long]\ncolumn = "text"\nmax_tokens = 40\noverlap_tokens = 4\n[schema]'
)


async def test_a_long_text_is_asked_in_passages_and_the_votes_are_counted(tmp_path):
    def say(text):
        return {"mood": "sad" if "grey" in text else "glad"}

    async with a_desk(tmp_path, say) as desk:
        task = desk.task(LONG + '\n[combine.fields]\nmood = "vote"\n')
        long = "A grey day it was. " * 10 + "Then the sun came out. " * 30
        await desk.run(task, desk.write("in.jsonl", [{"id": "long", "text": long}, {"id": "short", "text": "grey"}]))
        assert ["glad", "sad"] == [row["mood"] for row in desk.rows()]
        assert len(desk.model.asked) > 4
        assert all(piece in long for piece in desk.model.asked if piece != "grey")


async def test_a_row_without_text_beside_one_of_two_passages_moves_no_answer_to_another_row(tmp_path):
    async with a_desk(tmp_path, lambda text: {"mood": "sad" if text == "grey" else "glad"}) as desk:
        task = desk.task(LONG + '\n[combine.fields]\nmood = "vote"\n')
        rows = [
            {"id": key, "text": text} for key, text in (("none", ""), ("short", "grey"), ("long", "A fine day. " * 15))
        ]
        await desk.run(task, desk.write("in.jsonl", rows))
        assert 3 == len(desk.model.asked)
        assert [("empty", None), ("ok", "sad"), ("ok", "glad")] == [
            (row["status"], row.get("mood")) for row in desk.rows()
        ]


async def test_passages_are_summed_up_by_a_second_request_where_the_task_says_so(tmp_path):
    def say(text):
        return {"mood": "sad"} if text.startswith('{"part"') else GLAD

    async with a_desk(tmp_path, say) as desk:
        task = desk.task(LONG + '\n[combine.reduce]\nsystem = "Sum up."\n')
        given = desk.write("in.jsonl", [{"id": "long", "text": "A fine day. " * 60}])
        planned = await records.plan_async(task, given, config=desk.config)
        report = await desk.run(task, given)
        assert ({"ok": 1}, "sad") == (report.statuses, desk.rows()[0]["mood"])
        # That one is in the plan, too.
        assert planned.requests == report.asked == len(desk.model.asked)
        assert 1 == desk.model.systems.count("Sum up.")
        assert "Sum up." == desk.model.systems[-1]


async def test_a_check_that_fails_has_the_answer_asked_for_again(tmp_path):
    quoting = LABEL.replace('required = ["mood"]', 'required = ["mood", "quote"]').replace(
        "properties = {", 'properties = { quote = { type = "string" },'
    )
    tries = []

    def say(text):
        tries.append(text)
        return {"mood": "glad", "quote": "made up" if len(tries) == 1 else text}

    async with a_desk(tmp_path, say) as desk:
        task = desk.task(quoting + '\n[[checks]]\nkind = "quotes"\npath = "quote"\ncolumn = "text"\n')
        report = await desk.run(task, desk.write("in.jsonl", texts(1)))
        assert ({"ok": 1}, 2) == (report.statuses, len(tries))


# ---------------------------------------------------------------- columns and keys


async def test_columns_that_an_answer_has_too_are_kept_under_another_name(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        await desk.run(desk.task(LABEL), desk.write("in.jsonl", [{"id": 1, "text": "x", "mood": "?", "status": 7}]))
        row = desk.rows()[0]
        assert {
            "id": 1,
            "text": "x",
            "input.mood": "?",
            "input.status": 7,
            "mood": "glad",
            "status": "ok",
            "error": None,
        } == row


async def test_a_task_reads_the_column_that_it_is_told(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        await desk.run(desk.task(LABEL), desk.write("in.jsonl", [{"nr": 5, "body": "hello"}]), columns={"text": "body"})
        assert ["hello"] == desk.model.asked
        assert {"row": "1", "nr": 5, "body": "hello", "mood": "glad", "status": "ok", "error": None} == desk.rows()[0]


async def test_an_input_without_a_column_of_the_prompt_is_refused_with_those_it_has(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        with pytest.raises(UsageError, match=r"no column 'text'.*nr, body") as caught:
            await desk.run(desk.task(LABEL), desk.write("in.jsonl", [{"nr": 5, "body": "hello"}]))
        assert "--column text=COLUMN" in caught.value.hint


async def test_a_key_that_is_there_twice_is_refused_with_its_rows(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        rows = [*texts(3), {"id": "k1", "text": "another"}]
        with pytest.raises(InputError, match="'k1' in rows 2 and 4"):
            await desk.run(desk.task(LABEL), desk.write("in.jsonl", rows))
        assert [] == desk.model.asked
        assert not (tmp_path / "out.jsonl").exists()


async def test_what_the_refusal_of_a_key_that_is_there_twice_says_to_do_does_it(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        given = desk.write("in.jsonl", [{"id": "a", "text": "one"}, {"id": "a", "text": "two"}])
        with pytest.raises(InputError) as refused:
            await desk.run(desk.task(LABEL), given)
        assert "--key ''" in refused.value.hint
        await desk.run(desk.task(LABEL), given, key="")
        assert [("1", "a"), ("2", "a")] == [(row["row"], row["id"]) for row in desk.rows()]


async def test_no_rows_give_an_empty_output(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        report = await desk.run(desk.task(LABEL), desk.write("in.jsonl", []))
        assert (0, {}) == (report.rows, report.statuses)
        assert [] == desk.rows()


# ---------------------------------------------------------------- output


async def test_an_output_that_is_not_ours_is_refused_and_one_that_is_is_replaced(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", texts(2))
        (tmp_path / "out.jsonl").write_text("mine\n")
        with pytest.raises(OutputError, match=r"out\.jsonl"):
            await desk.run(task, given)
        assert "mine\n" == (tmp_path / "out.jsonl").read_text()
        await desk.run(task, given, overwrite=True)
        # As it was left: a second run replaces it without being told.
        await desk.run(task, given)
        with (tmp_path / "out.jsonl").open("a") as out:
            out.write("a line of somebody else\n")
        with pytest.raises(OutputError):
            await desk.run(task, given)


# ---------------------------------------------------------------- money


async def test_an_estimate_above_the_budget_is_refused_before_anything_is_sent(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        with pytest.raises(BudgetError, match=r"40 requests cost about .* at most .* above the \$0.0001 of"):
            await desk.run(desk.task(LABEL), desk.write("in.jsonl", texts(40)), budget_usd=0.0001)
        desk.settings["budget"] = {"daily_usd": 0.001}
        with pytest.raises(BudgetError, match=r"daily_usd = 0\.001 leaves"):
            await desk.run(desk.task(LABEL), desk.write("in.jsonl", texts(40)))
        assert [] == desk.model.asked


# ---------------------------------------------------------------- going on


async def test_without_waiting_the_same_call_says_try_again_until_it_is_done(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", texts(5))
        with pytest.raises(TryAgainError, match="5 requests are with the provider"):
            await desk.run(task, given, wait=False)
        async with asyncio.timeout(30):
            while True:
                try:
                    report = await desk.run(task, given, wait=False)
                    break
                except TryAgainError:
                    await asyncio.sleep(0.05)
        assert {"ok": 5} == report.statuses
        assert 5 == len(desk.model.asked)


async def test_an_input_that_changes_between_runs_is_read_again_and_that_is_said(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", texts(5))
        with pytest.raises(TryAgainError):
            await desk.run(task, given, wait=False)
        desk.write("in.jsonl", texts(8))
        report = await desk.run(task, given)
        assert ["has changed" in note for note in report.notes] == [True]
        assert "8 rows, and had 5" in report.notes[0]
        assert 8 == len(desk.model.asked) == len(set(desk.model.asked))


async def test_stopped_in_the_middle_it_goes_on_and_pays_nothing_twice(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD, batch={"max_requests": 10}) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", texts(60))
        stop = asyncio.Event()

        def tell(progress):
            if progress.phase == "asking":
                stop.set()

        with pytest.raises(TryAgainError, match="interrupted"):
            await desk.run(task, given, stop=stop, tell=tell)
        assert not (tmp_path / "out.jsonl").exists()
        report = await desk.run(task, given)
        assert {"ok": 60} == report.statuses
        assert 60 == len(desk.model.asked)


async def test_a_batch_that_was_created_in_vain_is_in_the_cost_of_its_run(tmp_path):
    faults = FaultScript.from_mapping(
        {
            "fault": [
                {"on": "create", "what": "accepted_status", "status": 500, "times": 2},
                {"on": "list", "what": "status", "status": 404, "times": 2},
                {"on": "batch", "what": "stuck", "state": "in_progress", "after_lines": 4, "skip": 1},
            ]
        }
    )
    async with a_desk(tmp_path, lambda _: GLAD, limits={"faults": faults}) as desk:
        report = await desk.run(desk.task(LABEL), desk.write("in.jsonl", texts(10)))
        assert ({"ok": 10}, 14) == (report.statuses, len(desk.model.asked))
        assert report.cost_usd == pytest.approx(14 * (100 * 0.5 + 10 * 2.0) / 1e6)
        assert [row["mood"] for row in desk.rows()] == ["glad"] * 10


@pytest.mark.parametrize(
    ("before", "after"), [('"{{text}}"', '"Text: {{text}}"'), ("max_tokens = 40", "max_tokens = 60")]
)
async def test_a_task_that_makes_other_texts_of_rows_does_not_go_on_with_those_of_before(tmp_path, before, after):
    long = LONG + '\n[combine.fields]\nmood = "vote"\n'
    async with a_desk(tmp_path, lambda text: {"mood": "sad" if "grey" in text else "glad"}) as desk:
        given = desk.write("in.jsonl", [{"id": 1, "text": "A grey day. " * 3 + "A fine one. " * 60}])
        stop = asyncio.Event()
        stop.set()
        with pytest.raises(TryAgainError):
            await desk.run(desk.task(long), given, stop=stop)
        await desk.run(desk.task(long.replace(before, after)), given)
        asked = list(desk.model.asked)
        desk.model.asked.clear()
        await desk.run(desk.task(long), given)
        # Answers to the other texts were not taken for answers to these.
        assert desk.model.asked
        assert set(asked).isdisjoint(desk.model.asked)


async def test_batches_of_another_task_are_left_to_whoever_runs_it(tmp_path):
    async with a_desk(tmp_path, lambda text: {"mood": "glad"} if text.startswith("text") else {"tone": "low"}) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", texts(3))
        with pytest.raises(TryAgainError):
            await desk.run(task, given, wait=False)
        other = desk.task(LABEL.replace("mood", "tone").replace("glad", "low"), "other.toml")
        notes = desk.write("notes.jsonl", [{"id": 1, "text": "a note"}])
        assert {"ok": 1} == (await desk.run(other, notes, "notes-out.jsonl")).statuses
        assert {"ok": 3} == (await desk.run(task, given)).statuses
        assert 4 == len(desk.model.asked)


async def test_two_jobs_do_not_share_a_state_directory(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", texts(2))
        stop, begun = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(desk.run(task, given, stop=stop, tell=lambda _: begun.set()))
        await begun.wait()
        with pytest.raises(LockedError):
            await desk.run(task, given, "other.jsonl")
        await first


# ---------------------------------------------------------------- a schema that is refused


async def test_a_schema_that_the_provider_refuses_is_found_by_one_request(tmp_path):
    refusal = (400, {"error": {"code": "invalid_json_schema", "message": "schema: no"}})
    async with a_desk(tmp_path, lambda _: refusal) as desk:
        with pytest.raises(PermanentProviderError, match=r"refuses what the task 'mood' asks.*schema: no"):
            await desk.run(desk.task(LABEL), desk.write("in.jsonl", texts(1200)))
        assert 1 == len(desk.model.asked)


async def test_a_model_that_the_provider_does_not_know_is_found_by_one_request(tmp_path):
    unknown = (404, {"error": {"code": "model_not_found", "message": "no such model"}})
    async with a_desk(tmp_path, lambda _: unknown) as desk:
        with pytest.raises(PermanentProviderError, match="no such model"):
            await desk.run(desk.task(LABEL), desk.write("in.jsonl", texts(1200)))
        assert 1 == len(desk.model.asked)


async def test_the_answer_to_the_probe_counts_and_small_inputs_are_not_probed(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        report = await desk.run(desk.task(LABEL), desk.write("in.jsonl", texts(1200)))
        assert ({"ok": 1200}, 1200) == (report.statuses, report.asked)
        assert 1200 == len(desk.model.asked)
        on_demand, in_batch = (100 * 1.0 + 10 * 4.0) / 1e6, (100 * 0.5 + 10 * 2.0) / 1e6
        assert report.cost_usd == pytest.approx(on_demand + 1199 * in_batch)


async def test_an_estimate_counts_what_is_the_same_in_every_request_once(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        long_prompt = LABEL.replace("Say how it feels.", "Say how it feels. " * 100)
        few = await records.plan_async(desk.task(LABEL), desk.write("in.jsonl", texts(100)), config=desk.config)
        many = await records.plan_async(desk.task(long_prompt, "long.toml"), tmp_path / "in.jsonl", config=desk.config)
        more = (many.input_tokens - few.input_tokens) / 100
        # 99 times five words and a stop, from above.
        assert 99 * 5 <= more <= 99 * 8


async def test_a_task_without_a_schema_gets_text(tmp_path):
    plain = LABEL.partition("[schema]")[0]
    async with a_desk(tmp_path, lambda text: f"so it is: {text}") as desk:
        await desk.run(desk.task(plain), desk.write("in.jsonl", [{"id": "a", "q": "why"}]), columns={"text": "q"})
        assert "so it is: why" == desk.rows()[0]["text"]


async def test_status_shows_runs_with_their_cost(tmp_path):
    from enricher.edges.store_sqlite import SqliteStore

    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        report = await desk.run(desk.task(LABEL), desk.write("in.jsonl", texts(2)))
        store = await SqliteStore.open(desk.config.state_dir, read_only=True)
        shown = [one.to_json() for one in await store.records.overview(5)]
        await store.close()
        assert [("mood", "done", 2, 0)] == [(one["task"], one["state"], one["rows"], one["under_way"]) for one in shown]
        assert shown[0]["cost_usd"] == pytest.approx(report.cost_usd)
        assert json.dumps(shown)


# ---------------------------------------------------------------- another endpoint


async def test_what_was_sent_to_one_endpoint_is_read_as_of_that_when_another_is_configured(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", texts(5))
        desk.model.at_work.clear()
        with pytest.raises(TryAgainError, match="with the provider"):
            await desk.run(task, given, wait=False)
        desk.settings["provider"] = {"endpoint": "/v1/responses"}
        desk.model.at_work.set()
        assert {"ok": 5} == (await desk.run(task, given)).statuses
        assert 5 == len(desk.model.asked)


async def test_what_an_endpoint_refused_goes_to_the_one_that_is_configured_instead(tmp_path, monkeypatch):
    create = OpenAIBatchClient.create

    async def without_responses(client, *, input_file_id, endpoint, metadata):
        if endpoint == "/v1/responses":
            raise PermanentProviderError("/v1/responses is not served here", code="invalid_endpoint")
        return await create(client, input_file_id=input_file_id, endpoint=endpoint, metadata=metadata)

    monkeypatch.setattr(OpenAIBatchClient, "create", without_responses)
    async with a_desk(tmp_path, lambda _: GLAD, provider={"endpoint": "/v1/responses"}) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", texts(5))
        with pytest.raises(PermanentProviderError, match="not served here"):
            await desk.run(task, given)
        del desk.settings["provider"]
        report = await desk.run(task, given)
        assert ({"ok": 5}, 5) == (report.statuses, len(desk.model.asked))
        assert [] == list((tmp_path / "state" / "batches").iterdir())
