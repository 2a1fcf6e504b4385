"""Two inputs of one task with texts in common: what the one sent and did not come to collect, the other collects."""

from __future__ import annotations

import asyncio

import pytest

from enricher import records
from enricher.errors import TryAgainError
from tests.records.desk import LABEL, a_desk

GLAD = {"mood": "glad"}


def texts(*numbers):
    return [{"id": f"k{number}", "text": f"text {number}"} for number in numbers]


@pytest.fixture(autouse=True)
def chunks_of_two(monkeypatch):
    monkeypatch.setattr("enricher.edges.record_inputs.table.MAX_BATCH_ROWS", 2)


async def sent_and_left(desk, task, given, output="first.jsonl"):
    desk.model.at_work.clear()
    with pytest.raises(TryAgainError, match="with the provider"):
        await desk.run(task, given, output, wait=False)


@pytest.mark.parametrize("numbers", [(5,), (9, 8, 7, 6, 5), (5, 6, 7)], ids=["fewer", "more", "elsewhere"])
async def test_what_came_back_without_an_answer_to_another_run_is_asked_again_by_this_one(tmp_path, numbers):
    odd = ["text 5"]

    def say(text):
        return {"mood": "odd"} if text in odd and not odd.remove(text) else GLAD

    async with a_desk(tmp_path, say) as desk:
        task = desk.task(LABEL)
        first = desk.write("first-in.jsonl", texts(*range(6)))
        await sent_and_left(desk, task, first)
        desk.model.at_work.set()
        report = await desk.run(task, desk.write("second-in.jsonl", texts(*numbers)), "second.jsonl")
        assert {"ok": len(numbers)} == report.statuses
        assert 2 == desk.model.asked.count("text 5")
        # And the first goes on, and asks nothing twice.
        assert {"ok": 6} == (await desk.run(task, first, "first.jsonl")).statuses
        assert 2 == desk.model.asked.count("text 5")
        assert len(set(desk.model.asked)) + 1 == len(desk.model.asked)


async def test_an_input_that_became_shorter_while_it_was_asked_goes_on_with_what_is_left_of_it(tmp_path):
    odd = ["text 0", "text 5"]

    def say(text):
        return {"mood": "odd"} if text in odd and not odd.remove(text) else GLAD

    async with a_desk(tmp_path, say) as desk:
        task = desk.task(LABEL)
        await sent_and_left(desk, task, desk.write("in.jsonl", texts(*range(6))))
        desk.model.at_work.set()
        report = await desk.run(task, desk.write("in.jsonl", texts(5)), "first.jsonl")
        assert {"ok": 1} == report.statuses


async def test_an_evaluation_collects_what_a_run_has_sent(tmp_path):
    scored = LABEL + '\n[[scorers]]\nkind = "exact"\nfield = "mood"\n'
    odd = ["text 5"]

    def say(text):
        return {"mood": "odd"} if text in odd and not odd.remove(text) else GLAD

    async with a_desk(tmp_path, say) as desk:
        task = desk.task(scored)
        await sent_and_left(desk, task, desk.write("in.jsonl", texts(*range(6))))
        desk.model.at_work.set()
        cases = [{**row, "expected": GLAD} for row in texts(5)]
        async with asyncio.timeout(40):
            found = await records.evaluate_async(task, desk.write("cases.jsonl", cases), config=desk.config)
        assert (1.0, 0) == (found.evaluation.best.summary.mean, found.evaluation.best.failed)
