"""Task files that somebody else wrote: what they say is text, and leads to no file, no address and no endless work."""

from __future__ import annotations

import json
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher import config
from enricher.core.records.task import RecordTask, parse_record_task
from enricher.core.records.validator import validator_of
from enricher.errors import ConfigError

TASK = """
version = 1
[prompt]
system = "How?"
[schema]
type = "object"
properties = {{ a = {} }}
"""


def task_with(ref):
    return TASK.format('{ "$ref" = ' + json.dumps(ref) + " }")


def test_a_schema_fetches_nothing_from_the_network(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        with pytest.raises(ConfigError, match=r"only what stands in the schema itself may be referred to"):
            parse_record_task(task_with(f"http://127.0.0.1:{server.getsockname()[1]}/a.json"), name="t")
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_schema_reads_no_file(tmp_path):
    (tmp_path / "secret.json").write_text('{"const": "planted"}')
    with pytest.raises(ConfigError) as caught:
        parse_record_task(task_with(f"file://{tmp_path}/secret.json"), name="t")
    assert "planted" not in str(caught.value)


def test_a_schema_may_refer_to_its_own_parts():
    schema = {"type": "object", "$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}}
    assert [True, False] == [validator_of(schema).is_valid({"a": value}) for value in (1, "x")]


STEPS = (
    "../../x",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a\\b",
    "\x1b[2J",
    "\u202e",
    "x" * 5000,
    "{{options.x}}",
    "{{text}}",
    "a\nb",
)
TEXTS = st.one_of(st.text(max_size=30), st.sampled_from(STEPS))
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-(2**70), 2**70), st.booleans(), st.floats(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
SCHEMAS = st.one_of(
    VALUES,
    st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(TEXTS, VALUES, min_size=1, max_size=3)},
        optional={"$ref": TEXTS, "$id": TEXTS, "$schema": TEXTS, "required": VALUES, "additionalProperties": VALUES},
    ),
)


@settings(max_examples=150, deadline=2_000)
@given(
    name=TEXTS,
    system=TEXTS,
    user=st.one_of(TEXTS, st.just("{{text}}")),
    options=st.dictionaries(TEXTS, TEXTS, max_size=2),
    columns=st.dictionaries(TEXTS, TEXTS, max_size=2),
    schema=SCHEMAS,
)
def test_whatever_stands_in_a_task_it_is_read_or_refused_with_faults(name, system, user, options, columns, schema):
    text = (
        f"version = 1\nname = {json.dumps(name)}\n[prompt]\nsystem = {json.dumps(system)}\nuser = {json.dumps(user)}\n"
    )
    text = text.replace("\x7f", "")
    given_schema = schema if isinstance(schema, dict) else None
    try:
        task = parse_record_task(text, name=name, options=options, columns=columns, schema=given_schema)
    except ConfigError:
        return
    assert isinstance(task, RecordTask)
    assert 16 == len(task.hash)


@pytest.mark.parametrize("name", ["../../pyproject", "/etc/passwd", "tasks/../../README.md", "a\0b", "..", "tasks/\n"])
def test_a_name_that_leads_out_of_what_is_shipped_names_nothing(name):
    with pytest.raises(FileNotFoundError):
        config.shipped(name)
    with pytest.raises(FileNotFoundError):
        config.shipped(f"tasks/{name}.gold.jsonl")
