from __future__ import annotations

import asyncio
import json

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.batchserver import faults as faults_module
from enricher.batchserver.faults import BATCH_FAULTS, CALL_FAULTS, FaultCounters, FaultRule, FaultScript
from enricher.batchserver.mangle import mangle_output
from enricher.errors import ConfigError


def a_rule(on, what, **more):
    return {"on": on, "what": what, **more}


# ---------------------------------------------------------------- the script


def test_example_in_the_documentation_is_a_script(tmp_path):
    text = faults_module.__doc__.split("let pass (`skip`, default 0):")[-1]
    lines = [line[4:] for line in faults_module.__doc__.splitlines() if line.startswith("    ")]
    path = tmp_path / "faults.toml"
    path.write_text("\n".join(lines))
    rules = FaultScript.from_file(path).rules
    assert text
    assert ["accepted_status", "status", "expire"] == [rule.what for rule in rules]
    assert (
        FaultRule(what="status", method="GET", path="/v1/batches*", status=429, retry_after_seconds=1.5, times=3)
        == rules[1]
    )


def test_documentation_names_every_fault():
    for what in (*CALL_FAULTS, *BATCH_FAULTS):
        assert what in faults_module.__doc__


def test_json_is_read_too(tmp_path):
    path = tmp_path / "faults.json"
    path.write_text(json.dumps({"fault": [a_rule("batch", "lose", lines=2)]}))
    assert 2 == FaultScript.from_file(path).rules[0].lines


def test_all_faults_of_a_script_are_told_together():
    rules = [
        a_rule("create", "status"),
        a_rule("batch", "explode"),
        a_rule("nowhere", "hang"),
        {"what": "hang"},
        a_rule("line", "status", status=400, retry_after_seconds=1),
        {"on": "list", "path": "/v1/*", "what": "reset"},
        a_rule("batch", "stuck", state="asleep", lookups=3),
        a_rule("create", "hang", times=-1, skip="2"),
        "text",
        a_rule("create", "file_not_found"),
        a_rule("list", "status", status=200, code=5),
        {"method": "GET", "what": "status", "status": 500, "retry_after_seconds": -1},
    ]
    with pytest.raises(ConfigError) as caught:
        FaultScript.from_mapping({"fault": rules}, name="f.toml")
    told = caught.value.faults
    for number, part in [
        (1, "status is needed"),
        (2, "what must be one of fail"),
        (3, "on must be one of upload"),
        (4, "needs on"),
        (5, "retry_after_seconds has no meaning"),
        (6, "exclude each other"),
        (7, "state must be one of"),
        (7, "lookups has no meaning with stuck"),
        (8, "times must be a whole number"),
        (8, "skip must be a whole number"),
        (9, "is not a table"),
        (10, "what must be one of"),
        (11, "status is needed"),
        (11, "code must be a string"),
        (12, "retry_after_seconds must be"),
    ]:
        assert any(fault.startswith(f"f.toml: fault {number}: ") and part in fault for fault in told), (number, part)


@pytest.mark.parametrize("content", [{}, [], {"fault": 1}, {"fault": [], "more": 1}])
def test_script_without_its_one_list_is_refused(content):
    with pytest.raises(ConfigError, match="one list named fault"):
        FaultScript.from_mapping(content)


@pytest.mark.parametrize("text", [None, "[[fault", b"\xff"])
def test_script_that_cannot_be_read_is_named(tmp_path, text):
    path = tmp_path / "faults.toml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=r"faults\.toml"):
        FaultScript.from_file(path)


@settings(max_examples=50, derandomize=True)
@given(skip=st.integers(0, 4), times=st.integers(0, 4), calls=st.integers(0, 12))
def test_rule_strikes_as_often_as_it_says_after_what_it_lets_pass(skip, times, calls):
    counters = FaultCounters(FaultScript(rules=(FaultRule(on="list", what="hang", skip=skip, times=times),)))
    struck = [bool(counters.strike_call("list", "GET", "/v1/batches")) for _ in range(calls)]
    last = skip + times if times else calls
    assert [skip <= number < last for number in range(calls)] == struck


def test_rules_by_path_match_method_and_pattern():
    counters = FaultCounters(FaultScript(rules=(FaultRule(method="post", path="/v1/b*", what="hang", times=0),)))
    assert counters.strike_call("create", "POST", "/v1/batches")
    assert not counters.strike_call("list", "GET", "/v1/batches")
    assert not counters.strike_call("upload", "POST", "/v1/files")


# ---------------------------------------------------------------- calls


async def test_scripted_status_carries_its_code_and_retry_after_and_does_nothing(serve, line):
    rule = a_rule(
        "create",
        "status",
        status=429,
        retry_after_seconds=1.5,
        code="rate_limit_exceeded",
        message="slow down",
        times=2,
    )
    bench = await serve(faults=[rule])
    file = await bench.upload([line(1)])
    for _ in range(2):
        with pytest.raises(openai.RateLimitError, match="slow down") as caught:
            await bench.create(file_id=file.id)
        assert ("1.5", "rate_limit_exceeded") == (
            caught.value.response.headers["retry-after"],
            caught.value.body["code"],
        )
    assert [] == (await bench.client.batches.list()).data
    await bench.create(file_id=file.id)
    assert 1 == len((await bench.client.batches.list()).data)


async def test_create_is_carried_out_and_then_answered_with_500(serve, line):
    bench = await serve(faults=[a_rule("create", "accepted_status", status=500)])
    file = await bench.upload([line(1)])
    with pytest.raises(openai.InternalServerError):
        await bench.create(file_id=file.id, metadata={"window": "w"})
    found = (await bench.client.batches.list()).data
    assert [(file.id, {"window": "w"})] == [(batch.input_file_id, batch.metadata) for batch in found]
    assert "completed" == (await bench.end(found[0].id)).status


@pytest.mark.parametrize(("what", "created"), [("reset", 0), ("accepted_reset", 1)])
async def test_connection_breaks_off_before_or_after_the_create(serve, line, what, created):
    bench = await serve(faults=[a_rule("create", what)])
    file = await bench.upload([line(1)])
    with pytest.raises(openai.APIConnectionError):
        await bench.create(file_id=file.id)
    assert created == len((await bench.client.batches.list()).data)


@pytest.mark.parametrize(("what", "created"), [("hang", 0), ("accepted_hang", 1)])
async def test_call_hangs_before_or_after_the_create_and_does_not_hold_up_a_close(serve, line, what, created):
    bench = await serve(faults=[a_rule("create", what)])
    file = await bench.upload([line(1)])
    with pytest.raises(openai.APITimeoutError):
        await bench.create(file_id=file.id, timeout=0.2)
    assert created == len((await bench.client.batches.list()).data)
    async with asyncio.timeout(2):
        await bench.server.close()


async def test_fault_on_an_upload_lets_the_client_send_all_of_it(serve):
    bench = await serve(faults=[a_rule("upload", "status", status=503)])
    with pytest.raises(openai.InternalServerError):
        await bench.upload(b"x" * 3_000_000)
    assert 0 == (await bench.ledger())["uploads"]
    await bench.upload(b"x")


async def test_every_named_call_can_be_struck(serve, line):
    places = ("upload", "create", "retrieve", "list", "content", "cancel", "delete")
    bench = await serve(faults=[a_rule(place, "status", status=418) for place in places])
    client = bench.client
    for call in (
        bench.upload([line(1)]),
        bench.create(file_id="f"),
        client.batches.retrieve("b"),
        client.batches.list(),
        client.files.content("f"),
        client.batches.cancel("b"),
        client.files.delete("f"),
    ):
        with pytest.raises(openai.APIStatusError) as caught:
            await call
        assert 418 == caught.value.status_code


async def test_file_is_not_found_for_a_while_after_its_upload(serve, line):
    bench = await serve(faults=[a_rule("upload", "file_not_found", lookups=3)])
    file = await bench.upload([line(1)])
    with pytest.raises(openai.BadRequestError, match="Cannot find file"):
        await bench.create(file_id=file.id)
    assert [] == [found async for found in bench.client.files.list()]
    for _ in range(2):
        with pytest.raises(openai.NotFoundError):
            await bench.client.files.retrieve(file.id)
    assert "completed" == (await bench.end((await bench.create(file_id=file.id)).id)).status


async def test_strikes_are_counted_over_a_restart(serve, line):
    rules = [a_rule("list", "status", status=500, times=2)]
    bench = await serve(faults=rules)
    with pytest.raises(openai.InternalServerError):
        await bench.client.batches.list()
    await bench.server.close()
    bench = await serve(faults=rules)
    with pytest.raises(openai.InternalServerError):
        await bench.client.batches.list()
    await bench.client.batches.list()


# ---------------------------------------------------------------- lines and batches


async def test_scripted_line_fails_without_asking_the_backend(serve, line, hand):
    rules = [
        a_rule("line", "status", status=400, code="invalid_prompt", custom_id="r1*"),
        a_rule("line", "status", status=503, skip=1),
    ]
    backend = hand()
    bench = await serve(backend, faults=rules, concurrency=1)
    batch = await bench.run([line(0), line(1), line(2), line(3)])
    failed = {
        answer["custom_id"]: answer["response"]["status_code"] for answer in await bench.read(batch.error_file_id)
    }
    assert {"r1": 400, "r2": 503} == failed
    assert ["event 0", "event 3"] == backend.asked


async def test_batch_fails_with_a_full_token_queue_as_often_as_scripted(serve, line, hand):
    backend = hand()
    bench = await serve(backend, faults=[a_rule("batch", "fail", times=2)])
    file = await bench.upload([line(1)])
    for _ in range(2):
        batch = await bench.end((await bench.create(file_id=file.id)).id)
        assert ("failed", "token_limit_exceeded") == (batch.status, batch.errors.data[0].code)
        assert "Limit: 2000000 enqueued tokens." in batch.errors.data[0].message.replace(",", "")
    assert [] == backend.asked
    assert "completed" == (await bench.end((await bench.create(file_id=file.id)).id)).status


async def test_batch_fails_with_the_code_and_message_of_the_script(serve, line):
    bench = await serve(faults=[a_rule("batch", "fail", code="model_not_found", message="no such model")])
    batch = await bench.run([line(1)])
    assert [("model_not_found", "no such model")] == [(error.code, error.message) for error in batch.errors.data]


@pytest.mark.parametrize(
    ("what", "status", "code"), [("expire", "expired", "batch_expired"), ("cancel", "cancelled", "batch_cancelled")]
)
async def test_batch_ends_half_way(serve, line, hand, what, status, code):
    backend = hand()
    bench = await serve(backend, faults=[a_rule("batch", what, after_lines=3)], concurrency=4)
    batch = await bench.run([line(n) for n in range(8)])
    assert status == batch.status
    assert getattr(batch, f"{status}_at") is not None
    assert 3 == len(backend.asked)
    assert 3 == len(await bench.read(batch.output_file_id))
    assert [code] * 5 == [answer["error"]["code"] for answer in await bench.read(batch.error_file_id)]


async def test_batch_that_expires_before_its_first_line_has_no_output_file(serve, line):
    bench = await serve(faults=[a_rule("batch", "expire")])
    batch = await bench.run([line(1)])
    assert ("expired", None) == (batch.status, batch.output_file_id)


@pytest.mark.parametrize("state", ["validating", "in_progress", "finalizing"])
async def test_stuck_batch_stays_in_its_state_past_its_window_until_it_is_cancelled(serve, line, state):
    rule = a_rule("batch", "stuck", state=state)
    bench = await serve(faults=[rule], completion_window_seconds=0.01)
    if state == "finalizing":
        bench = await serve(faults=[rule], state="other")
    batch = await bench.create([line(1)])
    await bench.until(batch.id, lambda batch: batch.status == state)
    for _ in range(20):
        batch = await bench.client.batches.retrieve(batch.id)
        assert state == batch.status
    await bench.client.batches.cancel(batch.id)
    assert "cancelled" == (await bench.end(batch.id)).status


async def test_stuck_batch_answers_some_lines_first_if_told_so(serve, line):
    bench = await serve(faults=[a_rule("batch", "stuck", state="in_progress", after_lines=2)])
    batch = await bench.create([line(n) for n in range(4)])
    await bench.until(batch.id, lambda batch: batch.request_counts.completed == 2)
    await bench.client.batches.cancel(batch.id)
    batch = await bench.end(batch.id)
    assert (2, 2) == (len(await bench.read(batch.output_file_id)), len(await bench.read(batch.error_file_id)))


async def test_stuck_batch_that_is_to_expire_ends_when_it_is_cancelled(serve, line):
    bench = await serve(faults=[a_rule("batch", "expire", after_lines=2), a_rule("batch", "stuck", after_lines=1)])
    batch = await bench.create([line(n) for n in range(4)])
    await bench.until(batch.id, lambda batch: batch.request_counts.completed == 2)
    await bench.client.batches.cancel(batch.id)
    assert "cancelled" == (await bench.end(batch.id)).status


async def test_cancel_can_be_stuck_too_and_a_close_is_not(serve, line, hand):
    bench = await serve(hand(held={"event 1"}), faults=[a_rule("batch", "stuck", state="cancelling")])
    batch = await bench.create([line(1)])
    await bench.until(batch.id, lambda batch: batch.status == "in_progress")
    await bench.client.batches.cancel(batch.id)
    for _ in range(20):
        assert "cancelling" == (await bench.client.batches.cancel(batch.id)).status
    async with asyncio.timeout(2):
        await bench.server.close()


async def test_odd_outputs_are_delivered_as_scripted(serve, line):
    rules = [
        a_rule("batch", what) for what in ("lose", "duplicate", "shuffle", "unknown_ids", "string_bodies", "truncate")
    ]
    bench = await serve(faults=rules)
    batch = await bench.run([line(n) for n in range(6)])
    assert ("completed", 6) == (batch.status, batch.request_counts.completed)
    content = (await bench.client.files.content(batch.output_file_id)).content
    *lines, rest = content.split(b"\n")
    with pytest.raises(ValueError):
        json.loads(rest)
    found = [json.loads(one) for one in lines]
    assert all(isinstance(one["response"]["body"], str) for one in found)
    assert {"object": "response"}.items() <= json.loads(found[0]["response"]["body"]).items()


async def test_odd_file_ids_are_delivered_as_scripted(serve, line, hand):
    rules = [a_rule("batch", "empty_file_ids"), a_rule("batch", "empty_error_file", skip=1)]
    bench = await serve(faults=rules)
    batch = await bench.run([line(1)])
    assert "" == batch.error_file_id
    batch = await bench.run([line(1)])
    assert 0 == (await bench.client.files.retrieve(batch.error_file_id)).bytes
    assert b"" == (await bench.client.files.content(batch.error_file_id)).content


async def test_fault_of_a_batch_survives_a_restart(serve, line, hand):
    bench = await serve(hand(held={"event 2"}), faults=[a_rule("batch", "expire", after_lines=3)], concurrency=3)
    batch = await bench.create([line(n) for n in range(6)])
    await bench.until(batch.id, lambda batch: batch.request_counts.completed == 2)
    await bench.crash()
    bench = await serve(backend := hand())
    batch = await bench.end(batch.id)
    assert ("expired", ["event 2"]) == (batch.status, backend.asked)


# ---------------------------------------------------------------- odd files, purely

CONTENT = b"".join(
    json.dumps({"custom_id": f"r{n}", "response": {"body": {"n": n}}}).encode() + b"\n" for n in range(5)
)


def ids_of(content):
    return [json.loads(line)["custom_id"] for line in content.split(b"\n") if line]


def mangled(what, **more):
    return mangle_output(CONTENT, [FaultRule(on="batch", what=what, **more)])


def test_each_odd_file_is_odd_in_its_way():
    ids = ids_of(CONTENT)
    assert ids[2:] == ids_of(mangled("lose", lines=2))
    assert [*ids, "r0", "r1"] == ids_of(mangled("duplicate", lines=2))
    assert [*ids, "unknown-0", "unknown-1"] == ids_of(mangled("unknown_ids", lines=2))
    assert (sorted(ids), True) == (sorted(ids_of(mangled("shuffle"))), ids != ids_of(mangled("shuffle")))
    assert b"\xff\xfe" == mangled("garbage")[:2]
    assert CONTENT.startswith(mangled("truncate"))
    assert not mangled("truncate").endswith(b"\n")
    assert 4 == mangled("truncate").count(b"\n")


@pytest.mark.parametrize("what", sorted(faults_module.BATCH_FAULTS))
def test_empty_file_stays_empty(what):
    assert b"" == mangle_output(b"", [FaultRule(on="batch", what=what, lines=3)])
