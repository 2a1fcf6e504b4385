"""Vectors and moderations of the batch server, in OpenAI's shapes, and how many of them a batch may ask for."""

from __future__ import annotations

import array
import base64
import json
import math

import openai
import pytest
from openai.types import CreateEmbeddingResponse, ModerationCreateResponse

from enricher.batchserver.backend_http import HttpBackend
from enricher.batchserver.backend_schema import SchemaBackend
from enricher.batchserver.embeddings import MAX_INPUTS, count_inputs
from enricher.batchserver.model_process import ModelProcess, ModelSettings
from enricher.batchserver.settings import MAX_EMBEDDING_INPUTS, ServerSettings
from enricher.batchserver.validation import check_input

EMBEDDINGS, MODERATIONS = "/v1/embeddings", "/v1/moderations"


def a_line(number, given="a text", endpoint=EMBEDDINGS, **more):
    body = {"model": "m", "input": given, **more}
    return {"custom_id": f"r{number}", "method": "POST", "url": endpoint, "body": body}


async def test_vectors_are_of_length_one_the_same_for_a_text_and_other_ones_for_others(clock):
    backend = SchemaBackend(clock)
    status, body = await backend.answer(EMBEDDINGS, {"model": "m", "input": ["a", "b"], "dimensions": 64})
    found = CreateEmbeddingResponse.model_validate(body)
    first, second = (one.embedding for one in found.data)
    assert (200, "schema", [0, 1]) == (status, found.model, [one.index for one in found.data])
    assert (2, 2) == (found.usage.prompt_tokens, found.usage.total_tokens)
    assert 1 == pytest.approx(math.hypot(*first)) == pytest.approx(math.hypot(*second))
    assert first != second
    _, again = await backend.answer(EMBEDDINGS, {"model": "other", "input": "a", "dimensions": 64, "user": "u"})
    assert first == again["data"][0]["embedding"]
    _, shorter = await backend.answer(EMBEDDINGS, {"model": "m", "input": "a", "dimensions": 32})
    factor = math.hypot(*first[:32])
    assert [value / factor for value in first[:32]] == pytest.approx(shorter["data"][0]["embedding"], abs=1e-6)


async def test_base64_holds_the_same_numbers(clock):
    asked = {"model": "m", "input": [[1, 2, 3], [4]], "dimensions": 8}
    _, plain = await SchemaBackend(clock).answer(EMBEDDINGS, asked)
    _, packed = await SchemaBackend(clock).answer(EMBEDDINGS, asked | {"encoding_format": "base64"})
    assert 4 == plain["usage"]["total_tokens"]
    for one, other in zip(plain["data"], packed["data"], strict=True):
        assert one["embedding"] == array.array("f", base64.b64decode(other["embedding"])).tolist()


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": ["a", 7]}, "input"),
        ({"input": [[1, -1]]}, "input"),
        ({"input": ["a"] * (MAX_INPUTS + 1)}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": True}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
    ],
)
async def test_a_request_for_vectors_that_is_not_good_is_refused_by_name(clock, change, param):
    status, body = await SchemaBackend(clock).answer(EMBEDDINGS, {"model": "m", "input": "a"} | change)
    assert (400, param) == (status, body["error"]["param"])


@pytest.mark.parametrize(("given", "count"), [("a", 1), (["a", "b"], 2), ([1, 2], 1), ([[1], [2], [3]], 3), (None, 1)])
def test_inputs_are_counted_as_vectors(given, count):
    assert count == count_inputs(given)


@pytest.mark.parametrize("over", [0, 1])
def test_a_batch_may_ask_for_fifty_thousand_vectors_over_all_its_lines(tmp_path, jsonl, over):
    each = MAX_INPUTS - 48
    lines = [a_line(number, ["a"] * each) for number in range(MAX_EMBEDDING_INPUTS // each)]
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl(lines + [a_line("last")] * over))
    found = check_input(path, EMBEDDINGS, ServerSettings(state_dir=tmp_path, concurrency=1))
    assert [("maximum_embedding_inputs_exceeded", len(lines) + 1)] * over == [
        (one.code, one.line) for one in found.faults
    ]


async def test_moderations_have_the_shape_of_openai_and_flag_some_texts(clock):
    backend = SchemaBackend(clock)
    texts = [f"text {number}" for number in range(60)]
    status, body = await backend.answer(MODERATIONS, {"model": "m", "input": texts})
    found = ModerationCreateResponse.model_validate(body)
    assert (200, 60) == (status, len(found.results))
    assert {True, False} == {one.flagged for one in found.results}
    for one in found.results:
        assert one.flagged == any(one.categories.model_dump().values())
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    _, one = await backend.answer(MODERATIONS, {"input": parts})
    assert 1 == len(one["results"])
    for bad in (None, [], [1], [{"type": "video"}]):
        assert 400 == (await backend.answer(MODERATIONS, {"input": bad}))[0]


async def test_a_batch_and_a_call_of_their_own_give_the_same(serve):
    bench = await serve()
    batch = await bench.run([a_line(1, dimensions=16), a_line(2, "")], endpoint=EMBEDDINGS)
    assert ("completed", 1, 1) == (batch.status, batch.request_counts.completed, batch.request_counts.failed)
    (line,) = await bench.read(batch.output_file_id)
    at_once = await bench.client.embeddings.create(model="m", input="a text", dimensions=16, encoding_format="float")
    assert at_once.data[0].embedding == line["response"]["body"]["data"][0]["embedding"]
    assert at_once.usage.prompt_tokens == batch.usage.input_tokens
    moderated = await bench.run([a_line(1, endpoint=MODERATIONS)], endpoint=MODERATIONS)
    assert 1 == moderated.request_counts.completed


async def test_an_upstream_is_asked_under_the_path_of_the_endpoint(serve, clock):
    upstream = await serve(state="upstream")
    backend = HttpBackend(upstream.url, clock=clock, concurrency=1, model="theirs")
    front = await serve(backend, state="front")
    batch = await front.run([a_line(1, dimensions=16)], endpoint=EMBEDDINGS)
    (line,) = await front.read(batch.output_file_id)
    assert 16 == len(line["response"]["body"]["data"][0]["embedding"])


@pytest.mark.parametrize("endpoint", [EMBEDDINGS, MODERATIONS])
async def test_the_embedded_model_refuses_them_and_says_the_way_out(serve, tmp_path, endpoint):
    # Refused before any model is loaded.
    backend = ModelProcess(ModelSettings(file=tmp_path / "none.gguf", name="tiny", threads=1))
    status, body = await backend.answer(endpoint, {"model": "m", "input": "a"})
    assert (400, "unsupported_endpoint") == (status, body["error"]["code"])
    assert "the embedded model answers /v1/chat/completions only: for" in json.dumps(body)


async def test_a_line_that_is_refused_in_a_call_is_400_in_the_shape_of_openai(serve):
    bench = await serve()
    with pytest.raises(openai.BadRequestError) as caught:
        await bench.client.embeddings.create(model="m", input="")
    assert "input" == caught.value.body["param"]
