"""What an evaluation of a task about records does, from labelled rows to figures, against a real batch server."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from enricher.core.records.report import facts
from enricher.core.records.report_junit import junit
from enricher.core.records.results import write_baseline
from enricher.edges.batch_openai import OpenAIBatchClient
from enricher.errors import BudgetError, ConfigError, InputError, PermanentProviderError, TryAgainError, UsageError
from enricher.records import engine
from enricher.records.evaluating import evaluate_async
from tests.records.desk import LABEL, Model, a_desk

MOODS = ("glad", "sad")
MATRIX = (
    LABEL
    + """
[matrix]
models = ["small", "large"]
repeats = 2
[[matrix.prompts]]
name = "plain"
[[matrix.prompts]]
name = "terse"
system = "One word."
[[scorers]]
kind = "exact"
field = "mood"
[gate]
min_score = 0.9
"""
)
ONE_CELL = LABEL + '\n[[scorers]]\nkind = "exact"\nfield = "mood"\n'
A_REQUEST_USD = (100 * 0.5 + 10 * 2.0) / 1e6


def labelled(count=20):
    return [
        {"id": f"k{number}", "text": f"text {number}", "expected": {"mood": MOODS[number % 2]}}
        for number in range(count)
    ]


def mood(text):
    return {"mood": MOODS[int(text.split()[1]) % 2]}


def better_when_told_more(body, text):
    """Right about every text under the longer prompt, about 3 of 5 under the terse one."""
    is_right = body["messages"][0]["content"] != "One word." or int(text.split()[1]) % 5 < 3
    return mood(text) if is_right else {"mood": "sad" if mood(text)["mood"] == "glad" else "glad"}


async def evaluated(desk, task, dataset, **options):
    async with asyncio.timeout(60):
        return await evaluate_async(task, dataset, config=desk.config, **options)


def costs(found):
    return {one.name: one.result.cost for one in found.evaluation.ranking}


async def test_the_better_prompt_is_first_with_its_cost_and_a_second_time_nothing_is_asked(tmp_path):
    async with a_desk(tmp_path, mood) as desk:
        desk.model.reply = better_when_told_more
        task, dataset = desk.task(MATRIX), desk.write("cases.jsonl", labelled())
        found = await evaluated(desk, task, dataset)
        ranking = found.evaluation.ranking
        assert ["plain · small", "plain · large", "terse · small", "terse · large"] == [one.name for one in ranking]
        assert [1.0, 1.0, 0.6, 0.6] == [pytest.approx(one.summary.mean) for one in ranking]
        assert found.verdict.passed
        assert {(40, 0, 40 * 100, 40 * 10)} == {
            (one.asked, one.cached, one.input_tokens, one.output_tokens) for one in costs(found).values()
        }
        assert [pytest.approx(40 * A_REQUEST_USD)] * 4 == [one.usd for one in costs(found).values()]
        # Each text twice by each model under each prompt.
        assert {8} == set(Counter(desk.model.asked).values())
        again = await evaluated(desk, task, dataset)
        assert {(0, 40)} == {(one.asked, one.cached) for one in costs(again).values()}
        assert [one.usd for one in costs(found).values()] == [one.usd for one in costs(again).values()]
        assert 160 == len(desk.model.asked)
        assert write_baseline(found.evaluation) == write_baseline(again.evaluation)


async def test_cells_ask_at_once_and_none_waits_for_another(tmp_path):
    async with a_desk(tmp_path, mood) as desk:
        task, dataset = desk.task(MATRIX), desk.write("cases.jsonl", labelled(3))
        answer, is_open = desk.model.answer, asyncio.Event()

        async def held_back(endpoint, body):
            await is_open.wait()
            return await answer(endpoint, body)

        desk.model.answer = held_back
        with pytest.raises(TryAgainError, match=r"8 of 8 are not done yet: 3 requests are with the provider"):
            await evaluated(desk, task, dataset, wait=False)
        is_open.set()
        found = await evaluated(desk, task, dataset)
        assert 24 == len(desk.model.asked)
        assert [1.0] * 4 == [one.summary.mean for one in found.evaluation.ranking]


async def test_stopped_in_the_middle_it_goes_on_and_pays_nothing_twice(tmp_path):
    async with a_desk(tmp_path, mood) as desk:
        task, dataset = desk.task(MATRIX), desk.write("cases.jsonl", labelled(10))
        stop = asyncio.Event()
        with pytest.raises(TryAgainError, match="interrupted"):
            await evaluated(
                desk, task, dataset, stop=stop, tell=lambda told: stop.set() if told.phase == "asking" else None
            )
        found = await evaluated(desk, task, dataset)
        assert 80 == len(desk.model.asked)
        assert sum(one.usd for one in costs(found).values()) == pytest.approx(80 * A_REQUEST_USD)


async def test_what_a_run_has_asked_is_not_asked_again_and_has_its_price_in_the_cell(tmp_path):
    async with a_desk(tmp_path, mood) as desk:
        task, dataset = desk.task(ONE_CELL), desk.write("cases.jsonl", labelled(10))
        plain = [{"id": row["id"], "text": row["text"]} for row in labelled(6)]
        await desk.run(task, desk.write("in.jsonl", plain))
        found = await evaluated(desk, task, dataset)
        (cost,) = costs(found).values()
        assert (4, 6) == (cost.asked, cost.cached)
        assert cost.usd == pytest.approx(10 * A_REQUEST_USD)
        assert 10 == len(desk.model.asked)
        assert found.verdict is None


async def test_an_answer_that_there_is_not_scores_nothing_and_says_why(tmp_path):
    refusal = (400, {"error": {"code": "invalid_prompt", "message": "not that"}})
    async with a_desk(tmp_path, lambda text: refusal if text == "text 3" else mood(text)) as desk:
        found = await evaluated(desk, desk.task(ONE_CELL), desk.write("cases.jsonl", labelled(4)))
        best = found.evaluation.best
        assert (0.75, 1) == (best.summary.mean, best.failed)
        assert "not that" in best.result.answers[3][0].error


async def test_a_gate_that_fails_says_why_and_a_baseline_tells_what_is_worse(tmp_path):
    async with a_desk(tmp_path, mood) as desk:
        gated = ONE_CELL + "[gate]\nmin_score = 0.9\n"
        dataset, path = desk.write("cases.jsonl", labelled()), tmp_path / "before.json"
        before = await evaluated(desk, desk.task(gated), dataset)
        assert before.verdict.passed
        path.write_text(write_baseline(before.evaluation))
        desk.model.say = lambda _: {"mood": "glad"}
        changed = desk.task(gated.replace("Say how", "Tell how"), "changed.toml")
        after = await evaluated(desk, changed, dataset, baseline=path)
        assert not after.verdict.passed
        assert ["the score is 0.500, below 0.9" in reason for reason in after.verdict.reasons] == [True, False]
        assert "worse than" in after.verdict.reasons[1]


async def test_a_baseline_that_is_being_made_need_not_be_there_yet(tmp_path):
    async with a_desk(tmp_path, mood) as desk:
        path = tmp_path / "first.json"
        task = desk.task(ONE_CELL + f'[gate]\nno_worse_than = "{path}"\n')
        dataset = desk.write("cases.jsonl", labelled(4))
        with pytest.raises(UsageError, match="is no baseline that can be read"):
            await evaluated(desk, task, dataset)
        assert [] == desk.model.asked
        found = await evaluated(desk, task, dataset, making=path)
        assert "is not there yet" in found.notes[0]


JUDGED = """
[[scorers]]
kind = "judge"
task = "{judge}"
[[scorers]]
kind = "exact"
field = "mood"
weight = 0
"""
JUDGE = (
    LABEL.replace('"mood"', '"score"')
    .replace("Say how it feels.", "Judge.")
    .replace("{{text}}", "{{text}}: wanted {{expected}}, got {{answer}}")
    .replace('mood = { type = "string", enum = ["glad", "sad"] }', 'score = { type = "integer" }')
)


async def test_a_judging_model_is_asked_about_the_answers_and_its_cost_has_a_line_of_its_own(tmp_path):
    async with a_desk(tmp_path, mood) as desk:

        def reply(body, text):
            if body["messages"][0]["content"] != "Judge.":
                return {"mood": "glad"}
            assert 'got {"mood":"glad"}' in text
            return {"score": 5 if 'wanted {"mood":"glad"}' in text else 2}

        desk.model.reply = reply
        judge = desk.task(JUDGE, "judge.toml")
        task, dataset = desk.task(LABEL + JUDGED.format(judge=judge)), desk.write("cases.jsonl", labelled(6))
        found = await evaluated(desk, task, dataset)
        assert found.evaluation.best.summary.mean == pytest.approx((3 * 1.0 + 3 * 0.25) / 6)
        scoring = found.evaluation.scoring
        assert (6, 0) == (scoring.asked, scoring.cached)
        assert scoring.usd == pytest.approx(6 * A_REQUEST_USD)
        assert costs(found)["task"].usd == pytest.approx(6 * A_REQUEST_USD)
        again = await evaluated(desk, task, dataset)
        assert (0, 6) == (again.evaluation.scoring.asked, again.evaluation.scoring.cached)
        assert 12 == len(desk.model.asked)


SIMILAR = (
    LABEL.partition("[schema]")[0]
    + """
[[scorers]]
kind = "embedding"
field = "text"
expected = "title"
model = "small-vectors"
threshold = 0.5
"""
)


class WithVectors(Model):
    """Embeds a text as what it says: north, east or anything between."""

    async def answer(self, endpoint, body):
        if endpoint != "/v1/embeddings":
            return await super().answer(endpoint, body)
        self.asked.append((body["model"], body["input"]))
        vector = {"north": [0.0, 1.0], "east": [1.0, 0.0]}.get(body["input"], [1.0, 1.0])
        data = [{"object": "embedding", "index": 0, "embedding": vector}]
        return 200, {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 3, "total_tokens": 3}}


async def test_texts_are_compared_by_embeddings_each_of_which_is_asked_once(tmp_path):
    async with a_desk(tmp_path, WithVectors(lambda text: text)) as desk:
        rows = [("north", "north"), ("north", "east"), ("both", "north")]
        cases = [{"id": str(at), "text": got, "title": wanted} for at, (got, wanted) in enumerate(rows)]
        found = await evaluated(desk, desk.task(SIMILAR), desk.write("cases.jsonl", cases))
        scores = [case[0].score for case in found.evaluation.best.result.answers]
        assert [1.0, 0.0, pytest.approx(0.5**0.5)] == [one.value for one in scores]
        assert [True, False, True] == [one.passed for one in scores]
        vectors = [one for one in desk.model.asked if isinstance(one, tuple)]
        assert [("small-vectors", text) for text in ("both", "east", "north")] == sorted(vectors)
        assert (3, 9, 0) == (
            found.evaluation.scoring.asked,
            found.evaluation.scoring.input_tokens,
            found.evaluation.scoring.cached,
        )


# ---------------------------------------------------------------- said before anything is asked


@pytest.mark.parametrize(
    ("task", "rows", "error", "told"),
    [
        (LABEL, labelled(2), ConfigError, "does not say how it is evaluated"),
        (ONE_CELL, [{"id": 1, "text": "text 1"}], UsageError, "no case expects anything at 'mood'"),
        (ONE_CELL, [], InputError, "has no cases"),
        (ONE_CELL, [{"id": 1, "mood": "sad", "body": "x"}], UsageError, "no column 'text', which a prompt names"),
        (ONE_CELL, [*labelled(2), labelled(1)[0]], InputError, "'k0' in rows 1 and 3"),
        (ONE_CELL + '[gate]\ncell = "terse"\n', labelled(2), ConfigError, r"gate.cell: there is no cell 'terse'"),
        (ONE_CELL + '[gate]\nno_worse_than = "x"\n', labelled(2), ConfigError, "gate.no_worse_than: there is no cell"),
        (
            ONE_CELL
            + '[matrix]\nmodels = ["made-up"]\n[[matrix.prompts]]\nname = "a"\n[[matrix.prompts]]\nname = "b"\n'
            'system = "Say how it feels."\n',
            labelled(2),
            ConfigError,
            r"the cells 'a' and 'b' would ask made-up the same",
        ),
        (LABEL + JUDGED.format(judge="nowhere.toml"), labelled(2), ConfigError, "nowhere.toml: cannot be read"),
        (ONE_CELL + "[matrix]\nmax_cells = 99\nrepeats = 101\n", labelled(2), ConfigError, "matrix.repeats"),
    ],
)
async def test_what_would_make_it_useless_is_said_before_anything_is_asked(tmp_path, task, rows, error, told):
    async with a_desk(tmp_path, mood) as desk:
        with pytest.raises(error, match=told):
            await evaluated(desk, desk.task(task), desk.write("cases.jsonl", rows))
        assert [] == desk.model.asked


async def test_more_answers_than_memory_holds_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("enricher.records.evaluating.MAX_ANSWERS", 79)
    async with a_desk(tmp_path, mood) as desk:
        with pytest.raises(UsageError, match="10 cases in 4 cells, 2 times each, are 80 answers, more than 79"):
            await evaluated(desk, desk.task(MATRIX), desk.write("cases.jsonl", labelled(10)))
        assert [] == desk.model.asked


async def test_all_cells_together_are_held_against_the_budget_first(tmp_path):
    async with a_desk(tmp_path, mood) as desk:
        task, dataset = desk.task(MATRIX), desk.write("cases.jsonl", labelled(10))
        with pytest.raises(BudgetError, match=r"80 requests cost about .* of --budget"):
            await evaluated(desk, task, dataset, budget_usd=0.001)
        assert [] == desk.model.asked


async def test_several_cells_are_sent_at_a_time_and_no_more_than_that(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "SENDING_AT_ONCE", 3)
    sent, most, together = [], [], asyncio.Event()
    upload = OpenAIBatchClient.upload

    async def slow(client, path, name):
        sent.append(name)
        most.append(len(sent))
        # Those that go alone wait for company here, which does not come.
        if len(sent) == 3:
            together.set()
        async with asyncio.timeout(20):
            await together.wait()
        await asyncio.sleep(0)
        file_id = await upload(client, path, name)
        sent.remove(name)
        return file_id

    monkeypatch.setattr(OpenAIBatchClient, "upload", slow)
    async with a_desk(tmp_path, mood) as desk:
        found = await evaluated(desk, desk.task(MATRIX), desk.write("cases.jsonl", labelled(4)))
    assert (8, 3) == (len(most), max(most))
    assert all(cell.failed == 0 for cell in found.evaluation.ranking)


async def test_what_one_model_refuses_stops_all_at_once(tmp_path):
    refusal = (400, {"error": {"code": "invalid_json_schema", "message": "no such schema"}})
    async with a_desk(tmp_path, mood) as desk:
        desk.model.reply = lambda body, text: refusal if body["model"] == "old" else mood(text)
        task = desk.task(ONE_CELL + '[matrix]\nmodels = ["made-up", "old"]\n')
        with pytest.raises(PermanentProviderError, match="no such schema"):
            await evaluated(desk, task, desk.write("cases.jsonl", labelled(1001)))


async def test_rows_of_a_table_say_what_they_expect_in_columns_and_the_model_is_not_told(tmp_path):
    async with a_desk(tmp_path, mood) as desk:
        path = tmp_path / "cases.csv"
        path.write_text("nr,body,mood\n1,text 1,sad\n2,text 2,glad\n3,text 3,glad\n")
        found = await evaluated(desk, desk.task(ONE_CELL), path, columns={"text": "body"}, key="nr")
        assert found.evaluation.best.summary.mean == pytest.approx(2 / 3)
        assert ["text 1", "text 2", "text 3"] == sorted(desk.model.asked)
        assert json.loads(write_baseline(found.evaluation))["cells"]["task"].keys() == {"1", "2", "3"}


async def test_a_report_names_the_model_also_where_the_task_leaves_it_to_the_provider(tmp_path):
    async with a_desk(tmp_path, mood) as desk:
        found = await evaluated(desk, desk.task(ONE_CELL), desk.write("cases.jsonl", labelled(2)))
        assert ("model", "made-up") in facts(found.evaluation, found.verdict)
        assert '<property name="model" value="made-up"/>' in junit(found.evaluation, None, timestamp="")
        both = await evaluated(desk, desk.task(MATRIX, "both.toml"), desk.write("cases.jsonl", labelled(2)))
        assert ("model", "small, large") in facts(both.evaluation, both.verdict)
