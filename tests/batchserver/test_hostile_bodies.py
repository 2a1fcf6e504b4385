"""Bodies made to break the server or to fill it: each is refused in OpenAI's words, and nothing of it stays."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enricher.batchserver.instance import MAX_CHARACTERS, MAX_VALUES, SchemaError, to_instance

SECONDS = 20
PURPOSE = b'Content-Disposition: form-data; name="purpose"\r\n\r\nbatch'
FILE = b'Content-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}'


def form(*parts):
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"


def field(name, value=b"x"):
    return b'Content-Disposition: form-data; name="' + name + b'"\r\n\r\n' + value


async def send(bench, target, body, *, kind=b"application/json", more=b""):
    """Status and JSON of an answer to a request that is sent byte for byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(bench.root.rpartition(":")[2]))
    head = b"%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n"
    writer.write(head % (target, kind, len(body), more) + body)
    async with asyncio.timeout(SECONDS):
        answer = await reader.read()
    writer.close()
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)


async def upload(bench, *parts):
    return await send(bench, b"POST /v1/files", form(*parts), kind=b"multipart/form-data; boundary=b")


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([PURPOSE, FILE.replace(b"a.jsonl", b"\xff\xed\xa0\x80.jsonl")], "a name that is not encoded as UTF-8"),
        ([field(b"\xff\xfe", b"x" * 5000), PURPOSE, FILE], "a name that is not encoded as UTF-8"),
        ([*(field(b"n%d" % number, b"x" * 4000) for number in range(200)), PURPOSE, FILE], "more than 32 parts"),
        ([*(PURPOSE for _ in range(200)), FILE], "more than 32 parts"),
        ([FILE, *(PURPOSE for _ in range(200))], "more than 32 parts"),
        ([PURPOSE, FILE.replace(b'filename="a.jsonl"', b"filename*=utf-9''%ff.jsonl")], "Must be .jsonl"),
    ],
    ids=["file name", "field name", "fields", "one field", "fields after the file", "charset"],
)
async def test_a_form_that_cannot_be_kept_is_refused_and_nothing_of_it_stays(serve, tmp_path, capfd, parts, told):
    bench = await serve()
    status, body = await upload(bench, *parts)
    assert 400 == status
    assert told in body["error"]["message"]
    assert [] == list((tmp_path / "state" / "files").iterdir())
    assert ("", "") == capfd.readouterr()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.one_of(
        st.text(max_size=40), st.sampled_from(["../../x", "/etc/passwd", "a\\b", "", ".", "x\0y", "\x1b[2J"])
    ),
    more=st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=60)), max_size=3),
)
async def test_any_file_name_and_any_fields_are_kept_as_text_or_refused(serve, tmp_path_factory, name, more):
    root = tmp_path_factory.mktemp("state")
    bench = await serve(state=root / "server")
    raw = name.encode("utf-8", "surrogatepass") + b".jsonl"
    status, body = await upload(
        bench, PURPOSE, FILE.replace(b"a.jsonl", raw), *(field(key, text) for key, text in more)
    )
    kept = list((root / "server" / "files").iterdir())
    assert status in (200, 400)
    assert ([] if status == 400 else [f"{body['id']}.json", f"{body['id']}.jsonl"]) == sorted(
        path.name for path in kept
    )
    assert ["server"] == [path.name for path in root.iterdir()]


async def test_a_key_that_is_no_text_is_refused_as_any_wrong_key(serve):
    bench = await serve(api_key="k" * 20)
    status, body = await send(bench, b"GET /v1/files", b"", more=b"Authorization: Bearer \xff\xfe\xfd\r\n")
    assert (401, "invalid_api_key") == (status, body["error"]["code"])


async def test_bodies_nested_to_the_last_level_are_refused_and_take_no_other_line_with_them(serve, line):
    bench = await serve()
    lines = [line(1)]
    for depth in (*range(480, 520), *range(900, 1001, 5)):
        deep = b'"text":{"k":' + b"[" * depth + b"]" * depth + b"}"
        status, body = await send(bench, b"POST /v1/responses", b'{"model":"m","input":"x",' + deep + b"}")
        assert status == 200 or (status == 400 and "error" in body), depth
        if depth < 495:
            head = b'{"custom_id":"d%d","method":"POST","url":"/v1/responses","body":{"model":"m","input":"x",' % depth
            lines.append(head + deep + b"}}")
    assert 15 < len(lines)
    batch = await bench.run(lines)
    assert ("completed", len(lines)) == (batch.status, batch.request_counts.total)
    assert "r1" in [answer["custom_id"] for answer in await bench.read(batch.output_file_id)]


CUSTOM_IDS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    st.sampled_from(
        ["../../x", "/etc/passwd", ".", "..", "a/b", "a\\b", "\0", "\x1b[2J", "\u202e", "\n", " ", "x" * 5000]
    ),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(CUSTOM_IDS, min_size=1, max_size=8, unique=True), model=CUSTOM_IDS)
async def test_any_custom_id_and_model_name_comes_back_as_it_was_given_and_names_no_file(
    serve, tmp_path_factory, ids, model
):
    root = tmp_path_factory.mktemp("state")
    bench = await serve(state=root / "server")
    body = {"model": model, "input": "x"}
    lines = [{"custom_id": one, "method": "POST", "url": "/v1/responses", "body": body} for one in ids]
    batch = await bench.run(lines, metadata={"key": "../../x", "\0": "\x1b[2J"})
    assert "completed" == batch.status
    assert sorted(ids) == sorted(answer["custom_id"] for answer in await bench.read(batch.output_file_id))
    made = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    names = {batch.input_file_id, batch.output_file_id}
    assert {path.partition("/")[0] for path in made} == {"server"}
    assert {path.rpartition("/")[2].partition(".")[0] for path in made} == {*names, batch.id, "books", "lock"}


HUGE = 10**9
HUNGRY = {
    "items": {"type": "array", "minItems": HUGE, "items": {"type": "null"}},
    "letters": {"type": "string", "minLength": HUGE * 1000},
    "letters of items": {"type": "array", "minItems": 4000, "items": {"type": "string", "minLength": 10**6}},
    "one value often": {"type": "array", "minItems": 4000, "items": {"enum": ["y" * 10**6]}},
    "one name often": {
        "type": "array",
        "minItems": 4000,
        "items": {"type": "object", "properties": {"y" * 10**6: {"type": "null"}}},
    },
    "items of items": {
        "$defs": {"a": {"type": "array", "minItems": 100, "items": {"anyOf": [{"$ref": "#/$defs/a"}]}}},
        "$ref": "#/$defs/a",
    },
    "a costly pattern": {"type": "string", "minLength": 60, "pattern": "(x+)+y"},
    "a long pattern": {"type": "string", "pattern": "a" * 10**6},
}


@pytest.mark.parametrize("schema", HUNGRY.values(), ids=HUNGRY)
async def test_a_schema_that_asks_for_more_than_there_is_is_refused_at_once(serve, schema):
    bench = await serve()
    body = {"model": "m", "input": "x", "text": {"format": {"type": "json_schema", "schema": schema}}}
    status, answer = await send(bench, b"POST /v1/responses", json.dumps(body).encode())
    assert (400, "invalid_json_schema") == (status, answer["error"]["code"])
    assert len(answer["error"]["message"]) < 2_000


SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(
                ["string", "integer", "number", "null", "boolean", "array", "object", ["string", "null"]]
            )
        },
        optional={
            "minLength": st.integers(-1, HUGE),
            "maxLength": st.integers(-1, HUGE),
            "minItems": st.integers(-1, HUGE),
            "minimum": st.floats(allow_nan=False, allow_infinity=False),
            "maximum": st.floats(allow_nan=False, allow_infinity=False),
            "multipleOf": st.floats(allow_nan=False, allow_infinity=False),
            "pattern": st.text("ax+*?()[]{}|^$\\d0,1", max_size=12),
            "uniqueItems": st.booleans(),
            "enum": st.lists(st.text(max_size=3), max_size=2),
            "$ref": st.sampled_from(["#", "#/items", "#/properties/a", "x"]),
        },
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}, optional={"minItems": st.integers(0, 90)}),
        st.fixed_dictionaries({"type": st.just("object"), "properties": st.dictionaries(st.text(max_size=3), inner)}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, max_size=3)}),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=2_000)
@given(schema=SCHEMAS)
def test_any_schema_has_a_small_instance_or_none(schema):
    try:
        instance = to_instance(schema, "seed")
    except SchemaError:
        return
    text = json.dumps(instance, allow_nan=False)
    assert len(text) <= MAX_CHARACTERS + 60 * MAX_VALUES
