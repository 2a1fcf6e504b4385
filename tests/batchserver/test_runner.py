from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from enricher.batchserver import answers
from enricher.batchserver.turns import Turns
from enricher.errors import ModelError


def codes(batch):
    return [error.code for error in batch.errors.data]


async def test_create_with_a_file_that_is_not_there_is_refused(serve, line):
    bench = await serve()
    with pytest.raises(openai.BadRequestError, match="Cannot find file file-nope") as caught:
        await bench.create(file_id="file-nope")
    assert "input_file_id" == caught.value.body["param"]
    other = await bench.client.files.create(file=("a.txt", b"x"), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="Cannot find file"):
        await bench.create(file_id=other.id)
    assert 0 == (await bench.ledger())["batches_created"]


async def test_create_with_wrong_fields_is_refused(serve, line):
    bench = await serve()
    file = await bench.upload([line(1)])
    for field, value in (("endpoint", "/v1/audio"), ("metadata", {"k": "v" * 513}), ("completion_window", "1h")):
        body = {"input_file_id": file.id, "endpoint": "/v1/responses", "completion_window": "24h", field: value}
        with pytest.raises(openai.BadRequestError) as caught:
            await bench.client.batches.create(**body)
        assert caught.value.body["param"].startswith(field)


async def test_bad_input_file_ends_failed_with_every_fault_and_asks_nothing(serve, line, hand):
    backend = hand()
    bench = await serve(backend)
    batch = await bench.run([line(1), b"{", line(1), line(3, url="/v1/chat/completions")])
    assert "failed" == batch.status
    assert ["invalid_json_line", "duplicate_custom_id", "url_mismatch"] == codes(batch)
    assert [2, 3, 4] == [error.line for error in batch.errors.data]
    assert batch.failed_at >= batch.created_at
    assert (None, None, None) == (batch.output_file_id, batch.error_file_id, batch.in_progress_at)
    assert [] == backend.asked


async def test_lines_that_fail_go_to_the_error_file_and_the_batch_completes(serve, line, hand):
    refusal = {"error": {"message": "no", "type": "invalid_request_error", "param": "p", "code": None}}
    bench = await serve(hand({"event 1": (400, refusal), "event 2": ModelError("it fell over")}))
    batch = await bench.run([line(n) for n in range(4)])
    counts = batch.request_counts
    assert ("completed", 4, 2, 2) == (batch.status, counts.total, counts.completed, counts.failed)
    failed = {answer["custom_id"]: answer for answer in await bench.read(batch.error_file_id)}
    assert {"r1", "r2"} == set(failed)
    assert (400, refusal, None) == (
        failed["r1"]["response"]["status_code"],
        failed["r1"]["response"]["body"],
        failed["r1"]["error"],
    )
    assert 500 == failed["r2"]["response"]["status_code"]
    assert "it fell over" in failed["r2"]["response"]["body"]["error"]["message"]
    assert 20 == batch.usage.input_tokens


async def test_batch_whose_lines_all_fail_completes_without_an_output_file(serve, line, hand):
    bench = await serve(hand({f"event {n}": (400, {"error": {"message": "no"}}) for n in range(3)}))
    batch = await bench.run([line(n) for n in range(3)])
    assert ("completed", None, 3) == (batch.status, batch.output_file_id, batch.request_counts.failed)
    assert 3 == len(await bench.read(batch.error_file_id))


async def test_backend_that_breaks_fails_the_batch_and_not_the_server(serve, line, hand):
    bench = await serve(hand({"event 1": KeyError("a defect")}), enqueued_token_limit=60)
    batch = await bench.run([line(0), line(1)])
    assert ("failed", ["server_error"]) == (batch.status, codes(batch))
    assert "completed" == (await bench.run([line(5), line(6)])).status, "its tokens are free again"


async def test_answer_that_is_no_unicode_fails_its_line_alone(serve, line, hand):
    bench = await serve(hand({"event 1": (200, {"text": "\ud800"})}))
    batch = await bench.run([line(0), line(1)])
    assert ["r0"] == [answer["custom_id"] for answer in await bench.read(batch.output_file_id)]
    assert [502] == [answer["response"]["status_code"] for answer in await bench.read(batch.error_file_id)]


async def test_expired_batch_keeps_what_was_answered_and_names_the_rest(serve, line, hand):
    backend = hand(held={"event 2", "event 3"})
    bench = await serve(backend, completion_window_seconds=0.4)
    batch = await bench.run([line(n) for n in range(6)])
    assert "expired" == batch.status
    assert batch.expired_at >= batch.expires_at
    answered = {answer["custom_id"] for answer in await bench.read(batch.output_file_id)}
    rest = await bench.read(batch.error_file_id)
    assert {"r0", "r1"} == answered
    assert {"r2", "r3", "r4", "r5"} == {answer["custom_id"] for answer in rest}
    assert all(answer["response"] is None and answer["error"]["code"] == "batch_expired" for answer in rest)
    assert 2 == (await bench.ledger())["lines_answered"]
    assert "completed" == (await bench.run([line(9)])).status, "the places of cancelled lines are free again"


async def test_cancelled_batch_keeps_what_was_answered_and_names_the_rest(serve, line, hand):
    bench = await serve(hand(held={"event 1"}), concurrency=1)
    batch = await bench.create([line(n) for n in range(4)])
    await bench.until(batch.id, lambda batch: batch.request_counts.completed == 1)
    batch = await bench.client.batches.cancel(batch.id)
    assert batch.status in {"cancelling", "cancelled"}
    batch = await bench.end(batch.id)
    assert "cancelled" == batch.status
    assert batch.cancelling_at <= batch.cancelled_at
    assert batch.finalizing_at is None
    assert ["r0"] == [answer["custom_id"] for answer in await bench.read(batch.output_file_id)]
    rest = await bench.read(batch.error_file_id)
    assert ["batch_cancelled"] * 3 == [answer["error"]["code"] for answer in rest]
    assert (4, 1, 3) == (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed)
    with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'cancelled'"):
        await bench.client.batches.cancel(batch.id)


async def test_batch_that_is_cancelled_before_it_is_found_to_be_bad_ends_without_files(serve):
    bench = await serve(faults=[{"on": "batch", "what": "stuck", "state": "validating"}])
    batch = await bench.create([b"{"])
    await bench.client.batches.cancel(batch.id)
    batch = await bench.end(batch.id)
    assert ("cancelled", None, None) == (batch.status, batch.output_file_id, batch.error_file_id)


async def test_batches_are_answered_in_the_order_of_their_creation(serve, line, hand):
    backend = hand(held={"event 10"})
    bench = await serve(backend, concurrency=1)
    batches = []
    for number in (1, 2, 3):
        batches.append(await bench.create([line(10 * number + n) for n in range(4)]))
        await bench.until(batches[-1].id, lambda batch: batch.status == "in_progress")
    backend.release.set()
    await bench.end(batches[2].id)
    assert [f"event {10 * number + n}" for number in (1, 2, 3) for n in range(4)] == backend.asked


async def test_a_later_batch_takes_the_places_that_the_first_has_no_lines_for(serve, line, hand):
    backend = hand(held={"event 1"})
    bench = await serve(backend, concurrency=2)
    first = await bench.create([line(1)])
    await bench.until(first.id, lambda batch: batch.status == "in_progress")
    assert "completed" == (await bench.run([line(2), line(3)])).status
    backend.release.set()
    assert "completed" == (await bench.end(first.id)).status


async def test_a_place_given_to_a_line_that_is_cancelled_goes_to_the_next():
    turns = Turns(1)
    await turns.acquire(0)
    given, after = (asyncio.create_task(turns.acquire(rank)) for rank in (1, 2))
    await asyncio.sleep(0)
    turns.release()
    given.cancel()
    async with asyncio.timeout(5):
        await after
    assert given.cancelled()


async def test_token_queue_that_is_full_fails_the_batch_in_the_words_of_openai(serve, line, hand):
    backend = hand(held={"event 1"})
    bench = await serve(backend, enqueued_token_limit=40)
    first = await bench.create([line(1)])
    await bench.until(first.id, lambda batch: batch.status == "in_progress")
    file = await bench.upload([line(2)])
    second = await bench.end((await bench.create(file_id=file.id)).id)
    assert ["token_limit_exceeded"] == codes(second)
    assert "Enqueued token limit reached for m in organization" in second.errors.data[0].message
    assert "Limit: 40 enqueued tokens" in second.errors.data[0].message
    backend.release.set()
    await bench.end(first.id)
    assert "completed" == (await bench.end((await bench.create(file_id=file.id)).id)).status


async def test_input_file_may_be_deleted_while_its_batch_runs(serve, line, hand):
    backend = hand(held={"event 0"})
    bench = await serve(backend, concurrency=1)
    batch = await bench.create([line(n) for n in range(80)])
    await bench.until(batch.id, lambda batch: batch.status == "in_progress")
    await bench.client.files.delete(batch.input_file_id)
    await bench.crash()
    bench = await serve(hand(), concurrency=8)
    assert 80 == (await bench.end(batch.id)).request_counts.completed


async def test_output_files_expire_as_asked(serve, line):
    bench = await serve()
    batch = await bench.run([line(1)], extra_body={"output_expires_after": {"anchor": "created_at", "seconds": 7200}})
    file = await bench.client.files.retrieve(batch.output_file_id)
    assert 7200 == file.expires_at - file.created_at


async def test_ended_batch_leaves_only_its_object_and_files(serve, line, tmp_path):
    bench = await serve()
    batch = await bench.run([line(1)])
    await bench.server.close()
    left = {path.name for path in (tmp_path / "state" / "batches").iterdir()}
    assert {"books", f"{batch.id}.json"} == left


async def test_restart_asks_only_for_what_has_no_answer(serve, line, hand):
    first = hand(held={"event 6", "event 7"})
    bench = await serve(first)
    batch = await bench.create([line(n) for n in range(12)])
    await bench.until(batch.id, lambda batch: batch.request_counts.completed == 6)
    await bench.crash()

    second = hand()
    bench = await serve(second)
    batch = await bench.end(batch.id)

    assert {f"event {n}" for n in range(6, 12)} == set(second.asked)
    found = [answer["custom_id"] for answer in await bench.read(batch.output_file_id)]
    assert sorted(f"r{n}" for n in range(12)) == sorted(found)
    assert ("completed", 12, 120) == (batch.status, batch.request_counts.completed, batch.usage.input_tokens)
    assert 12 == (await bench.ledger())["lines_answered"]


async def test_close_lets_requests_in_work_end_and_keeps_their_answers(serve, line, hand):
    backend = hand(held={"event 0", "event 1"})
    bench = await serve(backend)
    batch = await bench.create([line(n) for n in range(5)])
    await bench.until(batch.id, lambda _: len(backend.asked) == 2)
    closing = asyncio.create_task(bench.server.close())
    asyncio.get_running_loop().call_later(0.1, backend.release.set)
    await closing
    second = hand()
    bench = await serve(second)
    await bench.end(batch.id)
    assert ["event 2", "event 3", "event 4"] == second.asked


async def test_line_cut_off_by_a_crash_is_asked_once_more(serve, line, hand, tmp_path):
    bench = await serve(hand(held={"event 3"}))
    batch = await bench.create([line(n) for n in range(4)])
    await bench.until(batch.id, lambda batch: batch.request_counts.completed == 3)
    await bench.crash()
    log = tmp_path / "state" / "batches" / f"{batch.id}.output"
    log.write_bytes(log.read_bytes()[:-20])
    refuse = (400, {"error": {"message": "no"}})
    second = hand({f"event {n}": refuse for n in range(4)})
    bench = await serve(second)
    batch = await bench.end(batch.id)
    assert 2 == len(second.asked)
    answered = await bench.read(batch.output_file_id) + await bench.read(batch.error_file_id)
    assert ["r0", "r1", "r2", "r3"] == sorted(answer["custom_id"] for answer in answered)
    assert (2, 2) == (batch.request_counts.completed, batch.request_counts.failed)


@pytest.mark.parametrize(
    "point", ["enricher.batchserver.run.deliver", "enricher.batchserver.batches.BatchRegister.forget_work"]
)
async def test_crash_while_the_files_are_made_ready_asks_nothing_again(serve, line, hand, monkeypatch, point):
    reached, forever = asyncio.Event(), asyncio.Event()

    async def stop_here(*_):
        reached.set()
        await forever.wait()

    bench = await serve(hand({"event 1": (400, {"error": {"message": "no"}})}))
    with monkeypatch.context() as patched:
        patched.setattr(point, stop_here)
        batch = await bench.create([line(n) for n in range(4)])
        await asyncio.wait_for(reached.wait(), 5)
        await bench.crash()
    second = hand()
    bench = await serve(second)
    batch = await bench.end(batch.id)
    assert [] == second.asked
    assert (3, 1) == (len(await bench.read(batch.output_file_id)), len(await bench.read(batch.error_file_id)))
    assert "completed" == batch.status


async def test_crash_between_both_files_finds_the_first_again(serve, line, hand, monkeypatch):
    bench = await serve(hand({"event 1": (400, {"error": {"message": "no"}})}))
    adopt, reached, forever = bench.server._shelf.adopt, asyncio.Event(), asyncio.Event()

    async def adopt_one(path, *, filename, **more):
        if filename.endswith("_error.jsonl"):
            reached.set()
            await forever.wait()
        return await adopt(path, filename=filename, **more)

    bench.server._shelf.adopt = adopt_one
    batch = await bench.create([line(n) for n in range(4)])
    await asyncio.wait_for(reached.wait(), 5)
    await bench.crash()
    second = hand()
    bench = await serve(second)
    batch = await bench.end(batch.id)
    assert [] == second.asked
    assert (3, 1) == (len(await bench.read(batch.output_file_id)), len(await bench.read(batch.error_file_id)))


async def test_restart_finishes_a_batch_that_was_being_cancelled(serve, line, hand, monkeypatch):
    bench = await serve(hand(held={"event 1"}), faults=[{"on": "batch", "what": "stuck", "state": "cancelling"}])
    batch = await bench.create([line(n) for n in range(3)])
    await bench.until(batch.id, lambda batch: batch.request_counts.completed == 2)
    await bench.client.batches.cancel(batch.id)
    await bench.crash()
    path = bench.server._register._directory / f"{batch.id}.json"
    record = json.loads(path.read_bytes())
    path.write_bytes(json.dumps({**record, "faults": []}).encode())
    bench = await serve(hand())
    assert "cancelled" == (await bench.end(batch.id)).status


async def test_full_disk_stops_nothing_for_good_and_loses_no_answer(serve, line, hand, monkeypatch):
    monkeypatch.setattr(answers, "DISK_RETRY_SECONDS", 0.01)
    write, refusals = answers.AnswerLog._write, []

    def write_later(self, group):
        if len(refusals) < 3:
            refusals.append(1)
            raise OSError(28, "No space left on device", "state")
        write(self, group)

    monkeypatch.setattr(answers.AnswerLog, "_write", write_later)
    backend = hand()
    bench = await serve(backend)
    batch = await bench.run([line(n) for n in range(5)])
    assert 3 == len(refusals)
    assert 5 == batch.request_counts.completed
    assert 5 == len(backend.asked)
    assert 5 == len(await bench.read(batch.output_file_id))


async def test_full_disk_is_told_and_does_not_hold_up_a_close(serve, line, hand, monkeypatch):
    def refuse(self, group):
        raise OSError(28, "No space left on device", "state")

    monkeypatch.setattr(answers.AnswerLog, "_write", refuse)
    bench = await serve(hand())
    await bench.create([line(1)])
    async with asyncio.timeout(5):
        while bench.server.snapshot().trouble is None:
            await bench.client.batches.list()
    assert "state: No space left on device" == bench.server.snapshot().trouble
    async with asyncio.timeout(2):
        await bench.server.close()


async def test_full_disk_at_a_create_leaves_no_batch_behind(serve, line, hand, monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError(28, "No space left on device", "state")

    bench = await serve(backend := hand())
    file = await bench.upload([line(1)])
    with monkeypatch.context() as patched:
        patched.setattr("enricher.batchserver.batches.write_atomic", refuse)
        with pytest.raises(openai.InternalServerError, match="No space left on device"):
            await bench.create(file_id=file.id)
    assert [] == (await bench.client.batches.list()).data
    assert ["books"] == [path.name for path in (tmp_path / "state" / "batches").iterdir()]
    assert "completed" == (await bench.end((await bench.create(file_id=file.id)).id)).status
    assert 1 == len(backend.asked)


async def test_full_disk_at_a_change_of_state_is_tried_again(serve, line, hand, monkeypatch):
    monkeypatch.setattr("enricher.batchserver.run.DISK_RETRY_SECONDS", 0.01)
    bench = await serve(backend := hand())
    save, refusals = bench.server._register.save, []

    async def save_later(record):
        if record.is_sealed and len(refusals) < 2:
            refusals.append(1)
            raise OSError(28, "No space left on device", "state")
        await save(record)

    monkeypatch.setattr(bench.server._register, "save", save_later)
    batch = await bench.run([line(n) for n in range(5)])
    assert ("completed", 5) == (batch.status, len(backend.asked))


async def test_input_that_vanished_from_the_disk_fails_the_batch(serve, line, hand, tmp_path):
    bench = await serve(hand(held={"event 1"}))
    batch = await bench.create([line(1)])
    await bench.until(batch.id, lambda batch: batch.status == "in_progress")
    await bench.crash()
    path = tmp_path / "state" / "batches" / f"{batch.id}.json"
    record = json.loads(path.read_bytes())
    path.write_bytes(json.dumps({**record, "is_validated": False}).encode())
    path.with_suffix(".input").unlink()
    bench = await serve()
    assert ["file_not_found"] == codes(await bench.end(batch.id))


CHILD = """
import asyncio, sys, time
from pathlib import Path
from enricher.batchserver.server import BatchServer
from enricher.batchserver.settings import ServerSettings

class Clock:
    now, monotonic, sleep = staticmethod(time.time), staticmethod(time.monotonic), staticmethod(asyncio.sleep)

class Slow:
    async def start(self): ...
    async def close(self): ...
    async def models(self): return []
    async def answer(self, endpoint, body):
        with open(sys.argv[2], "a") as asked:
            asked.write(body["input"] + "\\n")
        await asyncio.sleep(0.005)
        return 200, {"object": "response", "usage": {"input_tokens": 1}}

async def main():
    server = BatchServer(ServerSettings(state_dir=Path(sys.argv[1]), concurrency=2), Slow(), Clock())
    print(await server.start(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_server_killed_in_the_middle_goes_on_and_answers_each_line_once(serve, line, hand, tmp_path):
    total, concurrency = 100, 2
    asked_log = tmp_path / "asked"
    root = Path(__file__).parents[2]
    child = subprocess.Popen(  # noqa: ASYNC220 (the process is the thing under test)
        [sys.executable, "-c", CHILD, str(tmp_path / "state"), str(asked_log)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    try:
        url = child.stdout.readline().strip()
        async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:
            content = b"".join(json.dumps(line(n)).encode() + b"\n" for n in range(total))
            file = await client.files.create(file=("a.jsonl", content), purpose="batch")
            batch = await client.batches.create(
                input_file_id=file.id, endpoint="/v1/responses", completion_window="24h"
            )
            while batch.request_counts.completed < 30:
                batch = await client.batches.retrieve(batch.id)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    assert batch.request_counts.completed < total

    second = hand()
    bench = await serve(second)
    batch = await bench.end(batch.id)

    found = [answer["custom_id"] for answer in await bench.read(batch.output_file_id)]
    assert sorted(f"r{n}" for n in range(total)) == sorted(found)
    assert {
        "uploads": 1,
        "batches_created": 1,
        "lines_uploaded": total,
        "lines_answered": total,
    } == await bench.ledger()
    asked = asked_log.read_text().splitlines() + second.asked
    assert len(asked) <= total + concurrency, "only what was in work at the kill is asked a second time"
