"""A signature whose answer depends on a value, end to end: asked, split, asked by value, written by value."""

from __future__ import annotations

import asyncio
import json

import pytest

from enricher.batchserver.server import BatchServer
from enricher.batchserver.settings import ServerSettings
from enricher.edges.clock_system import SystemClock
from tests.batchserver.decisive import DecisiveBackend
from tests.system.bench import Bench, assert_manifests_true, events, log_lines

KINDS = ("INFO backup[{n}]: job {n} ended with code 0", "INFO backup[{n}]: job {n} ended with code 13")


@pytest.fixture
async def model():
    return DecisiveBackend(SystemClock())


@pytest.fixture
async def decisive(tmp_path, model):
    """A bench on a server with that model."""
    server = BatchServer(ServerSettings(state_dir=tmp_path / "server", concurrency=4), model, SystemClock())
    bench = Bench(tmp_path / "bench", await server.start())
    bench.configure(privacy={"mode": "redacted"})
    yield bench
    bench.end()
    await server.close()


async def test_events_of_a_split_signature_get_the_answer_of_their_value(decisive, model):
    run = lambda *args: asyncio.to_thread(decisive.enricher, *args)  # noqa: E731 - the loop serves the model meanwhile
    decisive.write("a.log", log_lines(8, hours=1, kinds=KINDS))
    await run("once")
    first = events(decisive.out)
    (parent,) = {event["enrichment.signature"] for event in first}
    assert {"info"} == {event["enrichment.severity"] for event in first}
    assert 1 == len(model.questions)

    # The next events: two values, each a kind now, asked apart while the parent's answer serves.
    decisive.write("a.log", log_lines(8, hours=1, kinds=KINDS, first=50), append=True)
    told = json.loads((await run("plan", "--json")).out)
    assert {"split": 2} == told["reasons"]
    await run("once")
    second = [event for event in events(decisive.out) if event not in first]
    assert 8 == len(second)
    assert ({"cached"}, {"info"}) == (
        {event["enrichment.status"] for event in second},
        {event["enrichment.severity"] for event in second},
    )
    parts = {event["enrichment.signature"] for event in second}
    assert 2 == len(parts - {parent})
    asked = sorted(model.questions[1:], key=lambda one: one["where"])
    assert ["<2> is 0", "<2> is not 0"] == [one["where"] for one in asked]
    assert [{"0"}, {"13"}] == [{line.split()[-1] for line in one["examples"]} for one in asked]

    # And from then on each event has the answer of its value, at no cost.
    decisive.write("a.log", log_lines(8, hours=1, kinds=KINDS, first=90), append=True)
    await run("once")
    third = [event for event in events(decisive.out) if event not in first + second]
    assert {("0", "info"), ("13", "error")} == {
        (event["message"].split()[-1], event["enrichment.severity"]) for event in third
    }
    assert {"13"} == {event["enrichment.fields.exit_code"] for event in third if "not 0" in event["enrichment.summary"]}
    assert parts == {event["enrichment.signature"] for event in third}
    assert 3 == len(model.questions)
    assert_manifests_true(decisive.out)
    await _assert_shown(run, parent, parts)


async def _assert_shown(run, parent, parts):
    shown = json.loads((await run("signatures", "show", parent, "--json")).out)
    assert parts == {one["signature"] for one in shown["parts"]}
    assert {("0", "info"), ("not 0", "error")} == {(one["values"], one["answer"]["severity"]) for one in shown["parts"]}
    assert ["exit_code"] == [one["slot"] for one in shown["splits"]]
    text = (await run("signatures", "show", parent)).out
    assert "split off it" in text
    child = min(parts)
    assert parent == json.loads((await run("signatures", "show", child, "--json")).out)["split_from"]["signature"]
    assert f"{parent}, where exit_code is" in (await run("signatures", "show", child)).out
