"""What a job over records refuses, when it stops, and what it then leaves behind: nothing that is paid for twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3

import pytest

from enricher import records
from enricher.cli.enriching import _once
from enricher.compose import Mode
from enricher.core.records.task import parse_record_task
from enricher.errors import BudgetError, ConfigError, InputError, TryAgainError, UsageError
from enricher.records.evaluating import evaluate_async
from enricher.records.order import Order, load_record_task, parse_columns, parse_options
from tests.records.desk import EMBEDDED, LABEL, Desk, a_desk

GLAD = {"mood": "glad"}


def texts(count):
    return [{"id": f"k{number}", "text": f"text {number}"} for number in range(count)]


def state_of(desk):
    """Runs by state, and how many rows of inputs are kept."""
    with contextlib.closing(sqlite3.connect(desk.config.state_dir / "enricher.db")) as db:
        states = [state for (state,) in db.execute("SELECT state FROM record_runs ORDER BY id")]
        return states, db.execute("SELECT count(*) FROM record_rows").fetchone()[0]


async def test_an_interrupt_while_reading_is_heard_and_nothing_is_asked_or_kept(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        stop = asyncio.Event()
        with pytest.raises(TryAgainError, match="while reading"):
            await desk.run(desk.task(LABEL), desk.write("in.jsonl", texts(1200)), stop=stop, tell=lambda _: stop.set())
        assert [] == desk.model.asked
        assert (["left"], 0) == state_of(desk)


async def test_an_interrupt_while_writing_leaves_no_part_and_the_answers(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        task, given, stop = desk.task(LABEL), desk.write("in.jsonl", texts(3)), asyncio.Event()

        def tell(progress):
            if progress.phase == "writing":
                stop.set()

        with pytest.raises(TryAgainError, match="while writing"):
            await desk.run(task, given, stop=stop, tell=tell)
        assert [] == [path for path in tmp_path.iterdir() if "out" in path.name]
        assert {"ok": 3} == (await desk.run(task, given)).statuses
        assert 3 == len(desk.model.asked)


@pytest.mark.parametrize(
    "ask",
    [
        lambda desk: desk.run("label", desk.write("in.jsonl", texts(1)), wait=False),
        lambda desk: records.submit_async("label", desk.write("in.jsonl", texts(1)), "out.jsonl", config=desk.config),
        lambda desk: evaluate_async("evaluate", config=desk.config, wait=False),
        lambda desk: asyncio.to_thread(_once, desk.config, None, Mode(once=True, wait=False)),
    ],
    ids=["run", "submit", "evaluate", "once"],
)
async def test_what_nobody_waits_for_is_not_asked_of_the_embedded_model(tmp_path, monkeypatch, ask):
    monkeypatch.setattr("enricher.provider.choose", lambda *_args, **_more: EMBEDDED)
    monkeypatch.setattr("enricher.provider.embedded_server", None)
    with pytest.raises(UsageError, match="only while a process waits for it") as caught:
        await ask(Desk(tmp_path, "http://127.0.0.1:9/v1", None))
    assert "wait for it" in caught.value.hint
    assert not (tmp_path / "state").exists()


async def test_an_input_that_is_refused_leaves_no_run_and_no_rows(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        with pytest.raises(InputError):
            await desk.run(desk.task(LABEL), desk.write("in.jsonl", [*texts(3), *texts(1)]))
        assert (["left"], 0) == state_of(desk)


async def test_what_a_killed_run_has_under_way_is_not_asked_a_second_time_to_try_the_schema(tmp_path):
    tries = []

    def say(text):
        tries.append(text)
        return GLAD if len(tries) > 1 else (503, {"error": {"message": "busy"}})

    async with a_desk(tmp_path, say) as desk:
        task, given, stop = desk.task(LABEL), desk.write("in.jsonl", texts(1001)), asyncio.Event()

        def tell(progress):
            if progress.phase == "asking":
                stop.set()

        with pytest.raises(TryAgainError):
            await desk.run(task, given, stop=stop, tell=tell)
        await desk.run(task, given)
        # Once in vain, at once, and once in a batch.
        assert 2 == tries.count("text 0")
        assert 1002 == len(tries)


async def test_a_budget_for_a_model_without_a_price_is_refused_and_without_one_it_is_said(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", texts(1))
        config = desk.config.model_copy(update={"prices": None})
        # An address on this host costs nothing, so that is told apart from one whose price nobody knows.
        report = await records.run_async(task, given, tmp_path / "free.jsonl", config=config, budget_usd=0.0)
        assert ({"ok": 1}, 0.0) == (report.statuses, report.cost_usd)
        elsewhere = config.provider.model_copy(update={"base_url": "http://example.invalid/v1"})
        config = config.model_copy(update={"provider": elsewhere})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OPENAI_API_KEY", "k")
            with pytest.raises(BudgetError, match="no price of made-up is known"):
                await records.run_async(task, given, tmp_path / "o.jsonl", config=config, budget_usd=1.0)


async def test_files_that_are_passed_over_and_the_first_reason_of_each_status_are_told(tmp_path):
    async with a_desk(tmp_path, lambda _: {"mood": "odd"}) as desk:
        documents = tmp_path / "documents"
        documents.mkdir()
        for name, text in (("a.txt", "one"), ("b.txt", ""), ("c.png", "?")):
            (documents / name).write_text(text)
        report = await desk.run(desk.task(LABEL), documents)
        assert {"invalid", "empty"} == set(report.reasons)
        assert report.reasons["invalid"].startswith("a.txt: ")
        assert "odd" in report.reasons["invalid"]
        assert ["files passed over: 1 .png"] == list(report.notes)


async def test_a_document_that_cannot_be_read_has_its_row_and_its_key_and_costs_no_other(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        documents = tmp_path / "documents"
        documents.mkdir()
        (documents / "a.txt").write_text("one")
        (documents / "b.txt").write_bytes(b"caf\xe9")
        for output in ("out.jsonl", "out.csv", "out.db"):
            report = await desk.run(desk.task(LABEL), documents, output)
            assert {"ok": 1, "unreadable": 1} == report.statuses
            assert "b.txt: it is not UTF-8: byte 0xe9 at byte 4" == report.reasons["unreadable"]
        assert [("a.txt", "ok"), ("b.txt", "unreadable")] == [(row["id"], row["status"]) for row in desk.rows()]


async def test_a_format_that_there_is_not_is_refused_before_anything_is_read(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        given = desk.write("in.jsonl", texts(2))
        for named in ({"input_format": "xml"}, {"output_format": "xml"}):
            with pytest.raises(UsageError, match="there is no format 'xml'"):
                await desk.run(desk.task(LABEL), given, **named)
        with pytest.raises(UsageError, match="is a database"):
            await desk.run(desk.task(LABEL), given, "out.db", output_format="csv")
        assert [] == desk.model.asked


async def test_an_output_that_is_the_input_is_refused(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        given = desk.write("in.jsonl", texts(2))
        before = given.read_bytes()
        with pytest.raises(UsageError, match="is the input"):
            await desk.run(desk.task(LABEL), given, "in.jsonl", overwrite=True)
        assert before == given.read_bytes()


async def test_a_table_that_an_earlier_run_wrote_is_replaced_as_long_as_nobody_touched_it(tmp_path):
    async with a_desk(tmp_path, lambda _: GLAD) as desk:
        task, given = desk.task(LABEL), desk.write("in.jsonl", texts(2))
        await desk.run(task, given, "out.db#moods")
        report = await desk.run(task, given, "out.db#moods")
        assert ({"ok": 2}, 0) == (report.statuses, report.asked)


def test_what_is_wrong_with_what_was_typed_names_it():
    with pytest.raises(UsageError, match=r"--column text: is not of the form --column NAME=COLUMN"):
        parse_columns(["text"])
    with pytest.raises(UsageError, match=r"--set labels: is not of the form --set NAME=VALUE"):
        parse_options(["labels"])
    with pytest.raises(ConfigError, match=r"reads no column 'txt' \(it reads: text\)"):
        parse_record_task(LABEL, name="mood", columns={"txt": "body"})
    for name in ("nothing", "digest", "logs"):
        with pytest.raises(ConfigError, match=rf"no task about records named '{name}'.*classify.*label.*transform"):
            load_record_task(Order(task=name, input="-", output="-"))


def test_a_list_may_be_typed_with_commas_and_one_that_no_schema_may_have_is_refused():
    def labels(given):
        order = Order(task="classify", input="-", output="-", options=parse_options([f"labels={given}"]))
        return load_record_task(order).schema["properties"]["labels"]["items"]["enum"]

    assert ["a b", "c"] == labels("a b, c")
    assert ["a", "b"] == labels('["a", "b"]')
    for given, reason in (("a,a", "has a value twice"), ("[]", "has no value"), (",", "has no value")):
        with pytest.raises(ConfigError, match=rf"schema\.properties\.labels\.items\.enum: {reason}"):
            labels(given)


def test_what_is_no_schema_is_refused_with_its_place():
    schema = {"type": "object", "properties": {"urgency": {"type": "strng"}}}
    with pytest.raises(ConfigError, match=r'schema: properties\.urgency\.type: "strng" is not valid'):
        load_record_task(Order(task="label", input="-", output="-", schema=schema))


def test_the_fields_of_a_schema_of_ones_own_are_in_the_prompt(tmp_path):
    person = {
        "type": "object",
        "properties": {"name": {"type": "string", "description": "As written."}, "born": {"type": "integer"}},
    }
    schema = {
        "type": "object",
        "properties": {
            "urgency": {"type": "string", "enum": ["low", "high"], "description": "How soon somebody must look."},
            "people": {"type": "array", "description": "Who is named.", "items": person},
        },
    }
    task = load_record_task(Order(task="label", input="-", output="-", schema=json.loads(json.dumps(schema))))
    told = task.system.partition("every field:\n")[2]
    assert [
        "urgency: How soon somebody must look. One of: low, high.",
        "people: Who is named.",
        "  name: As written.",
        "  born",
    ] == told.splitlines()
    assert ("urgency", "people") == task.fields
    assert "sentiment" not in task.system
