"""Result files that hold more than was asked for: what is made of a line is kept, and no more."""

from __future__ import annotations

import json
import tracemalloc

from enricher.core.batch import custom_id
from enricher.core.collecting import Decider, Ending
from enricher.core.ledger import LedgerRequest, RequestState
from tests.core.test_answer import PACKED, an_answer, responses_body
from tests.core.test_job import NOW, a_batch


def a_request(number):
    return LedgerRequest(
        id=f"r{number:016x}", task="t", model="m", endpoint="/v1/responses", signatures=(f"{number:016x}",),
        templates=("login of <*> from <*>",), body=b"{}", tokens=10, reserved_usd=0.0, window=0,
        state=RequestState.LIVE, attempt=1, tries=0,
    )  # fmt: skip


def most_held(count):
    """How many bytes are held at most while so many lines are read, each with a hundred thousand small parts."""
    requests = [a_request(number) for number in range(count)]
    body = responses_body(json.dumps({"s1": an_answer()}), junk=[{}] * 100_000)
    line = json.dumps({"custom_id": "@", "response": {"status_code": 200, "body": body}}).encode()
    chunks = (line.replace(b"@", custom_id(one.id, 1).encode()) + b"\n" for one in requests)
    decider = Decider(task=PACKED, prices=None, now=NOW)
    tracemalloc.start()
    try:
        decided = decider.decide(a_batch(), Ending(status="completed"), requests, chunks)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [RequestState.ANSWERED] * count == [one.state for one in decided.results]
    return most


def test_of_many_lines_with_a_million_parts_no_more_is_held_than_of_two():
    assert most_held(10) < 1.5 * most_held(2)
