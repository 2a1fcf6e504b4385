"""Embeddings and moderations over records, from rows to rows, through a real batch server."""

from __future__ import annotations

import math
import subprocess
import sys

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from enricher import records
from enricher.batchserver.backend_schema import SchemaBackend
from enricher.batchserver.embeddings import to_vector
from enricher.config import Config
from enricher.core.records.response import ResultReader
from enricher.core.records.task import parse_record_task
from enricher.edges.clock_system import SystemClock
from enricher.edges.record_outputs.parquet import ParquetOutput
from enricher.errors import ConfigError
from enricher.provider import find_prices
from enricher.records import probing
from enricher.records.job import plan_settings
from tests.records.desk import EMBEDDED, PRICES, Desk, a_desk
from tests.system.bench import environment

EMBEDDINGS = "/v1/embeddings"


class Embedder(SchemaBackend):
    """Answers as the schema backend does, but for the texts that `instead` has something for."""

    def __init__(self, instead=None):
        super().__init__(SystemClock())
        self.instead = instead or {}
        self.asked = []

    async def answer(self, endpoint, body):
        self.asked.append(body["input"])
        if body["input"] in self.instead:
            given = self.instead[body["input"]]
            return given if isinstance(given, tuple) else (200, a_response(given))
        return await super().answer(endpoint, body)


def a_response(embedding):
    data = [{"object": "embedding", "index": 0, "embedding": embedding}]
    return {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 3, "total_tokens": 3}}


def texts(count):
    return [{"id": f"k{number}", "text": f"text {number}"} for number in range(count)]


async def test_rows_become_vectors_of_32_bit_numbers_in_parquet(tmp_path):
    model = Embedder()
    async with a_desk(tmp_path, model) as desk:
        given = desk.write("in.jsonl", texts(40))
        report = await desk.run("embed", given, "out.parquet", options={"dimensions": 64})
        assert ({"ok": 40}, 40) == (report.statuses, report.asked)
        # Only what goes in costs anything.
        tokens = sum(math.ceil(len(text) / 4) for text in model.asked)
        assert report.cost_usd == pytest.approx(tokens * PRICES["batch_input_usd"] / 1e6)
        file = pq.ParquetFile(tmp_path / "out.parquet")
        assert file.schema_arrow.field("embedding").type == pa.list_(pa.float32())
        for number, row in enumerate(file.read().to_pylist()):
            assert (f"k{number}", "ok", None) == (row["id"], row["status"], row["error"])
            assert row["embedding"] == to_vector(f"text {number}", 64).tolist()
        # The same texts again are known; shorter vectors of them are not.
        assert 0 == (await desk.run("embed", given, "again.parquet", options={"dimensions": 64})).asked
        assert 40 == (await desk.run("embed", given, "short.parquet", options={"dimensions": 32})).asked


async def batches_of(desk):
    async with httpx2.AsyncClient() as http:
        found = (await http.get(f"{desk.url}/batches")).json()["data"]
    return sorted(one["request_counts"]["completed"] for one in found)


async def test_one_vector_is_asked_for_at_once_before_the_first_large_run_only(tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "LEAST_ITEMS", 3)
    async with a_desk(tmp_path, Embedder()) as desk:
        await desk.run("embed", desk.write("in.jsonl", texts(4)), options={"dimensions": 16})
        assert [3] == await batches_of(desk)
        await desk.run("embed", desk.write("more.jsonl", texts(9)[4:]), "more-out.jsonl", options={"dimensions": 16})
        assert [3, 5] == await batches_of(desk)


async def test_batches_hold_no_more_inputs_than_a_batch_may_embed(tmp_path):
    async with a_desk(tmp_path, Embedder(), limits={"max_embedding_inputs": 5}, batch={"max_requests": 5}) as desk:
        report = await desk.run("embed", desk.write("in.jsonl", texts(12)), "out.parquet", options={"dimensions": 16})
        assert {"ok": 12} == report.statuses
        assert [2, 5, 5] == await batches_of(desk)


@pytest.mark.parametrize(("parameters", "most"), [("", 768), ("dimensions = 1536", 2048), ("dimensions = 1", 50_000)])
def test_a_batch_of_vectors_is_no_larger_than_what_memory_holds_of_its_answers(parameters, most):
    text = f'version = 1\nendpoint = "{EMBEDDINGS}"\n[parameters]\n{parameters}\n'
    assert most == plan_settings(Config(), None, parse_record_task(text, name="t")).max_requests


async def test_rows_with_vectors_are_written_a_few_at_a_time(tmp_path, monkeypatch):
    written = []
    write = ParquetOutput.write
    monkeypatch.setattr(ParquetOutput, "write", lambda self, rows: (written.append(len(rows)), write(self, rows))[1])
    async with a_desk(tmp_path, Embedder()) as desk:
        given = desk.write("in.jsonl", [{"id": str(number), "text": str(number % 7)} for number in range(600)])
        await desk.run("embed", given, "out.parquet", options={"dimensions": 16})
        table = pq.read_table(tmp_path / "out.parquet")
    assert [256, 256, 88] == written
    assert [str(number) for number in range(600)] == table["id"].to_pylist()
    assert pa.list_(pa.float32()) == table.schema.field("embedding").type


# In a process of its own, which says how many MB it grew by.
WRITE = """
import asyncio, sys
from pathlib import Path
import numpy as np
from enricher.config import Config, shipped
from enricher.core.records.chunking import Chunker
from enricher.core.records.item import Asking
from enricher.core.records.ledger import ItemResult, Run
from enricher.core.records.task import parse_record_task
from enricher.edges.record_outputs import open_output
from enricher.edges.store_sqlite import SqliteStore
from enricher.records.job import plan_settings
from enricher.records.planning import Planner
from enricher.records.writing import Joined, write_output

CHUNK, CHUNKS, NOW = 8_192, 2, 1_795_000_000.0


def most():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) // 1024


async def nothing(*_):
    pass


async def main():
    task = parse_record_task(shipped("tasks/embed.toml"), name="embed", options={"dimensions": 1536})
    asking = Asking(task, model="m", endpoint=task.endpoint)
    numbers = iter(range(1000))
    store = await SqliteStore.open(Path("state"))
    planner = Planner(
        store=store.records, ledger=store, asking=asking, reducing=None,
        settings=plan_settings(Config(), None, task), new_id=lambda: f"job{next(numbers)}",
    )
    given = dict(id=0, job="j", task=task.hash, model="m", endpoint=task.endpoint, input="in", output="out")
    run_id = await store.records.begin_run(Run(**given, fingerprint="f"))
    run = Run(**given | {"id": run_id}, fingerprint="f", rows=CHUNK * CHUNKS, columns=("id", "text"), key_column="id")
    chunker = Chunker(asking)
    for number in range(CHUNKS):
        keys = [str(number * CHUNK + at) for at in range(CHUNK)]
        values = [{"id": key, "text": f"text {key}"} for key in keys]
        await store.records.add_chunks(run_id, [chunker.chunk(number, keys, values, {})])
    await planner.plan(run, range(CHUNKS), NOW)
    some = np.random.default_rng(1)
    before = most()
    for batch in await store.batches(("planned",), "records"):
        _, refs = await store.records.batch_items(batch.id)
        vectors = some.random((len(refs), 1536), dtype=np.float32)
        results = [ItemResult(item, "ok", 1, 0, one.tobytes()) for item, one in zip(refs["item"].tolist(), vectors)]
        await store.records.collect(batch, results, NOW)
        del vectors, results
    collected = most()
    joined = Joined(task, run.columns, key_column="id", text_column=None)
    output = open_output("out.parquet", overwrite=False)
    written = await write_output(store.records, run, output, joined, None, nothing, nothing)
    assert {"ok": run.rows} == written.statuses
    await store.close()
    print(collected - before, most() - before)


asyncio.run(main())
"""


def test_a_hundred_megabytes_of_vectors_are_kept_and_written_in_the_memory_of_a_batch(tmp_path):
    command = [sys.executable, "-c", WRITE]
    done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    assert 16_384 == pq.ParquetFile(tmp_path / "out.parquet").metadata.num_rows
    collecting, writing = map(int, done.stdout.split())
    # 90 and 215 with Parquet's library, and not more where there are ten times as many.
    assert (True, True) == (collecting < 130, writing < 300), done.stdout


@pytest.mark.parametrize(
    "garbage",
    [None, [], "", "not base64!", "AAA=", ["a"], [[0.5]], {"a": 1}, [1e300] * 16, "AADAfw==", [0.5] * 65_537],
    ids=["nothing", "empty", "no text", "no base64", "odd bytes", "words", "nested", "object", "huge", "NaN", "long"],
)
def test_what_is_no_vector_is_not_taken_for_one(garbage):
    said = ResultReader(kind="vector", endpoint=EMBEDDINGS).read_body(a_response(garbage))
    assert ("invalid", "no vector in the response", 3) == (said.status, said.reason, said.input_tokens)


async def test_a_vector_that_is_garbage_costs_its_own_row_and_is_asked_again_first(tmp_path):
    failed = (400, {"error": {"message": "too long", "type": "t", "param": None, "code": "context_length_exceeded"}})
    model = Embedder({"text 1": ["not", "numbers"], "text 2": failed})
    async with a_desk(tmp_path, model) as desk:
        report = await desk.run("embed", desk.write("in.jsonl", texts(4)), "out.jsonl", options={"dimensions": 16})
        rows = desk.rows()
        assert {"ok": 2, "invalid": 1, "too_long": 1} == report.statuses
        assert ["ok", "invalid", "too_long", "ok"] == [row["status"] for row in rows]
        assert "no vector in the response" == rows[1]["error"]
        assert rows[0]["embedding"] == to_vector("text 0", 16).tolist()
        assert model.asked.count("text 1") > 1


async def test_comments_are_moderated_and_flagged_ones_name_their_categories(tmp_path):
    async with a_desk(tmp_path, Embedder({"text 7": (200, {"results": [{"flagged": "yes"}]})})) as desk:
        await desk.run("moderate", desk.write("in.jsonl", texts(30)))
        rows = desk.rows()
        assert [("invalid", "no moderation in the response")] == [
            (row["status"], row["error"]) for row in rows if row["status"] != "ok"
        ]
        judged = [row for row in rows if row["status"] == "ok"]
        assert {True, False} == {row["flagged"] for row in judged}
        for row in judged:
            assert row["flagged"] == bool(row["categories"])
            assert row["categories"] == sorted(name for name, score in row["scores"].items() if score >= 0.5)


async def test_the_embedded_model_is_not_asked_for_vectors(tmp_path, monkeypatch):
    monkeypatch.setattr("enricher.provider.choose", lambda *_args, **_more: EMBEDDED)
    monkeypatch.setattr("enricher.provider.describe", lambda *_args, **_more: EMBEDDED)
    desk = Desk(tmp_path, "http://127.0.0.1:9/v1", None)
    with pytest.raises(ConfigError, match="the embedded model answers /v1/chat/completions only") as caught:
        await records.plan_async("embed", desk.write("in.jsonl", texts(1)), config=desk.config)
    assert "serve-batches --upstream" in caught.value.hint


def test_a_model_of_vectors_has_its_own_price_and_not_that_of_the_model_that_answers():
    def prices_of(model, base_url="https://api.openai.com/v1"):
        tables = {"provider": {"base_url": base_url, "model": "gpt-6-luna"}, "prices": PRICES}
        return find_prices(Config.model_validate(tables), 1_796_000_000.0, model=model)

    assert PRICES["input_usd"] == prices_of(None).input_usd == prices_of("gpt-6-luna").input_usd
    own = prices_of("text-embedding-3-small")
    assert 0 < own.input_usd < PRICES["input_usd"]
    assert (0, True) == (own.output_usd, own.as_of.startswith("genai-prices"))
    # Of what no table knows, and of a server of one's own, the configuration says more than nothing.
    assert PRICES["input_usd"] == prices_of("unheard-of").input_usd
    assert PRICES["input_usd"] == prices_of("text-embedding-3-small", "http://127.0.0.1:8090/v1").input_usd
