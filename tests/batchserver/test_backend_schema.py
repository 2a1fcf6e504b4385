from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from enricher.batchserver.backend_schema import SchemaBackend
from enricher.batchserver.instance import SchemaError, to_instance


@pytest.fixture
def backend(clock):
    return SchemaBackend(clock)


SEVERITY = {
    "type": "object",
    "properties": {"severity": {"enum": ["info", "warning", "error"]}},
    "required": ["severity"],
}


def ask(prompt, schema, *, chat=False, **more):
    if chat:
        form = {"type": "json_schema", "json_schema": {"name": "e", "schema": schema}}
        body = {"messages": [{"role": "user", "content": prompt}], "response_format": form}
    else:
        body = {"input": prompt, "text": {"format": {"type": "json_schema", "name": "e", "schema": schema}}}
    return {"model": "m", **body, **more}


async def test_answer_is_a_pure_function_of_the_request(backend, clock):
    first = await backend.answer("/v1/responses", ask("a", SEVERITY))
    second = await SchemaBackend(clock).answer("/v1/responses", ask("a", SEVERITY))
    assert first[1]["output"] == second[1]["output"]
    texts = set()
    for number in range(40):
        _, body = await backend.answer("/v1/responses", ask(f"line {number}", SEVERITY))
        texts.add(Response.model_validate(body).output_text)
    assert {'{"severity":"info"}', '{"severity":"warning"}', '{"severity":"error"}'} == texts


async def test_model_is_named_for_what_it_is(backend):
    assert ["schema"] == await backend.models()
    assert "schema" == (await backend.answer("/v1/responses", ask("a", SEVERITY)))[1]["model"]
    assert "schema" == (await backend.answer("/v1/chat/completions", ask("a", SEVERITY, chat=True)))[1]["model"]


async def test_bodies_are_those_of_openai(backend):
    _, body = await backend.answer("/v1/responses", ask("a", SEVERITY, reasoning={"effort": "none"}, store=False))
    response = Response.model_validate(body)
    assert ("completed", "none") == (response.status, response.reasoning.effort)
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    _, body = await backend.answer("/v1/chat/completions", ask("a", SEVERITY, chat=True))
    completion = ChatCompletion.model_validate(body)
    assert "stop" == completion.choices[0].finish_reason
    assert completion.usage.prompt_tokens > 10 > completion.usage.completion_tokens > 0


@pytest.mark.parametrize(
    ("endpoint", "limit"),
    [
        ("/v1/responses", "max_output_tokens"),
        ("/v1/chat/completions", "max_completion_tokens"),
        ("/v1/chat/completions", "max_tokens"),
    ],
)
async def test_answer_over_its_token_limit_is_cut_and_says_so(backend, endpoint, limit):
    chat = endpoint == "/v1/chat/completions"
    _, body = await backend.answer(endpoint, ask("a", SEVERITY, chat=chat, **{limit: 2}))
    if chat:
        choice = ChatCompletion.model_validate(body).choices[0]
        text, reason = choice.message.content, choice.finish_reason
        assert "length" == reason
    else:
        response = Response.model_validate(body)
        text = response.output_text
        assert ("incomplete", "max_output_tokens") == (response.status, response.incomplete_details.reason)
    assert 8 == len(text)
    _, body = await backend.answer(endpoint, ask("a", SEVERITY, chat=chat, **{limit: 500}))
    assert "completed" == body.get("status", "completed")
    assert "length" not in str(body.get("choices"))


@pytest.mark.parametrize("body", [{"input": "x"}, {"model": "m"}, {"model": "m", "input": ""}])
async def test_request_without_its_fields_is_refused(backend, body):
    status, answer = await backend.answer("/v1/responses", body)
    assert (400, "missing_required_parameter") == (status, answer["error"]["code"])


async def test_plain_text_and_json_objects_are_answered_too(backend):
    _, body = await backend.answer("/v1/responses", {"model": "m", "input": "x", "text": "odd", "reasoning": "odd"})
    assert "No schema" in body["output"][0]["content"][0]["text"]
    chat = {"model": "m", "messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_object"}}
    _, body = await backend.answer("/v1/chat/completions", chat)
    assert "{}" == body["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    "schema", [False, None, [], {"type": "tuple"}, {"$ref": "#/$defs/none"}, {"type": "string", "pattern": "^Z{40}$"}]
)
async def test_schema_that_cannot_be_filled_is_refused(backend, schema):
    status, answer = await backend.answer("/v1/responses", ask("x", schema))
    if schema is None:
        assert 200 == status
    else:
        assert (400, "invalid_json_schema", "text.format") == (
            status,
            answer["error"]["code"],
            answer["error"]["param"],
        )


# ---------------------------------------------------------------- instances


def fits(value, schema, root):
    """A small judge of its own: whether a value fits what these tests use of JSON Schema."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    if "const" in schema:
        return value == schema["const"]
    if "enum" in schema:
        return value in schema["enum"]
    if "anyOf" in schema:
        return any(fits(value, branch, root) for branch in schema["anyOf"])
    if isinstance(schema.get("type"), list):
        return any(fits(value, {**schema, "type": kind}, root) for kind in schema["type"])
    match schema["type"]:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "integer" | "number" as kind:
            right = isinstance(value, int if kind == "integer" else int | float) and not isinstance(value, bool)
            return right and schema.get("minimum", value) <= value <= schema.get("maximum", value)
        case "string":
            return isinstance(value, str) and schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**9)
        case "array":
            if not isinstance(value, list):
                return False
            size = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**9)
            return size and all(fits(item, schema["items"], root) for item in value)
        case "object":
            inner = schema["properties"]
            return (
                isinstance(value, dict)
                and set(value) == set(inner)
                and all(fits(value[name], inner[name], root) for name in inner)
            )


leaves = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": ["string", "null"]}),
    st.just({"$ref": "#/$defs/node"}),
    st.builds(
        lambda words: {"type": "string", "enum": words},
        st.lists(st.text(max_size=5), min_size=1, max_size=4, unique=True),
    ),
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
        st.integers(-9, 9),
        st.integers(0, 9),
    ),
    st.builds(
        lambda low, more: {"type": "number", "minimum": low, "maximum": low + more},
        st.integers(-9, 9),
        st.integers(0, 9),
    ),
    st.builds(
        lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more},
        st.integers(0, 40),
        st.integers(0, 9),
    ),
    st.builds(lambda value: {"const": value}, st.integers() | st.text(max_size=3)),
)
schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(
            lambda item, least, more: {"type": "array", "items": item, "minItems": least, "maxItems": least + more},
            inner,
            st.integers(0, 2),
            st.integers(0, 2),
        ),
        st.builds(
            lambda parts: {"type": "object", "properties": parts},
            st.dictionaries(st.text(max_size=4), inner, max_size=3),
        ),
        st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=8,
)
NODE = {
    "type": "object",
    "properties": {
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        "all": {"type": "array", "items": {"$ref": "#/$defs/node"}},
    },
}


@settings(max_examples=150, derandomize=True, deadline=None)
@given(schema=schemas, seed=st.text(max_size=8))
def test_instance_fits_its_schema_and_is_the_same_again(schema, seed):
    root = {**schema, "$defs": {"node": {**NODE, "properties": {"next": NODE["properties"]["next"]}}}}
    value = to_instance(root, seed)
    assert fits(value, schema, root)
    assert value == to_instance(root, seed)


def test_schema_that_refers_to_itself_ends():
    root = {"$ref": "#/$defs/node", "$defs": {"node": NODE}}
    for seed in map(str, range(20)):
        assert fits(to_instance(root, seed), root, root)


@pytest.mark.parametrize("pattern", ["^[a-z0-9-]+$", r"^T[0-9]{4}(\.[0-9]{3})?$", "^[a-z][a-z0-9_.]*$", "^$", r"^\d+$"])
def test_usual_patterns_are_met(pattern):
    assert re.search(pattern, to_instance({"type": "string", "pattern": pattern}, "s"))


@pytest.mark.parametrize(
    ("schema", "low", "high"),
    [
        ({"type": "integer"}, 0, 100),
        ({"type": "number"}, 0, 1),
        ({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5}, 4, 4),
        ({"type": "number", "minimum": 5}, 5, 6),
        ({"type": "number", "maximum": -5}, -6, -5),
        ({"type": "number", "multipleOf": 5, "minimum": 7, "maximum": 13}, 10, 10),
    ],
)
def test_numbers_keep_their_bounds(schema, low, high):
    assert all(low <= to_instance(schema, str(seed)) <= high for seed in range(50))


def test_formats_and_different_items_are_met():
    assert re.fullmatch(r"\d+\.\d+\.\d+\.\d+", to_instance({"type": "string", "format": "ipv4"}, "s"))
    schema = {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True}
    for seed in map(str, range(30)):
        items = to_instance(schema, seed)
        assert len(items) == len(set(items))


@pytest.mark.parametrize(
    "schema",
    [
        5,
        {"enum": []},
        {"anyOf": "x"},
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "number", "minimum": 5, "maximum": 4},
        {"type": "string", "pattern": "("},
        {"type": "string", "minLength": "x"},
        {"type": "array", "items": 5, "minItems": 1},
        {"type": "array", "items": {"const": 1}, "minItems": 2, "uniqueItems": True},
        {"type": "object", "properties": 5},
        {"$ref": 5},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#"},
    ],
)
def test_schema_that_makes_no_sense_is_refused(schema):
    with pytest.raises(SchemaError):
        to_instance(schema, "s")
