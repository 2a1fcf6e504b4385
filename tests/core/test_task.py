from __future__ import annotations

from pathlib import Path

import pytest

from enricher.core.answer import Question
from enricher.core.prompt import CHAT, RESPONSES, answer_schema, request_body, response_schema
from enricher.core.task import parse_task
from enricher.errors import ConfigError

TASKS = Path(__file__).parents[2] / "config" / "tasks"
SMALLEST = 'version = 1\n[prompt]\nsystem = "Say what it means."\n'
SINGLE = SMALLEST + '[schema]\ntype = "object"\n'

# What OpenAI's strict mode supports, of what we use.
STRICT_KEYWORDS = {"type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "$ref", "$defs"}


def shipped(name):
    return parse_task((TASKS / f"{name}.toml").read_text(encoding="utf-8"), name=name)


def faults_of(text):
    with pytest.raises(ConfigError) as caught:
        parse_task(text, name="mine")
    return caught.value.faults


def assert_strict(schema, definitions=None):
    definitions = schema.get("$defs", {}) if definitions is None else definitions
    assert set(schema) <= STRICT_KEYWORDS
    if "$ref" in schema:
        assert schema["$ref"].removeprefix("#/$defs/") in definitions
    if schema.get("type") == "object":
        assert schema["additionalProperties"] is False
        assert list(schema["properties"]) == schema["required"]
    for part in [*schema.get("properties", {}).values(), *schema.get("anyOf", []), *schema.get("$defs", {}).values()]:
        assert_strict(part, definitions)
    if "items" in schema:
        assert_strict(schema["items"], definitions)


def test_the_shipped_task_packs_and_the_local_one_asks_one_line_at_a_time():
    packed, single = shipped("logs"), shipped("logs-local")
    assert ("packed", 10, None) == (packed.kind, packed.signatures_per_request, packed.quality)
    assert ("single", 1, CHAT, "demo") == (single.kind, single.signatures_per_request, single.endpoint, single.quality)
    assert single.examples


@pytest.mark.parametrize("count", [1, 10, 50])
def test_the_schema_fits_strict_mode_and_requires_every_question(count):
    schema = response_schema(shipped("logs"), count)
    assert_strict(schema)
    assert [f"s{number}" for number in range(1, count + 1)] == schema["required"]
    assert schema["type"] == "object"


def test_the_instructions_explain_every_field_and_only_names_of_the_closed_lists():
    system = shipped("logs").system
    answer = answer_schema()["properties"]
    assert [f"{name}:" for name in answer if f"\n{name}: " not in system] == []
    categories = answer["category"]["enum"]
    explained = system.partition("category: the subject. ")[2].partition("\n")[0]
    named = [part.partition(":")[0] for part in explained.split(". ")]
    assert set(named) <= set(categories)


def test_the_hash_is_the_same_for_the_same_text_and_ignores_what_changes_no_answer():
    one = parse_task(SMALLEST, name="one")
    other = parse_task("answer_tokens = 7\nmax_output_tokens = 900\n" + SMALLEST, name="other")
    assert one.hash == other.hash
    assert len(one.hash) == 16
    assert int(one.hash, 16) >= 0


@pytest.mark.parametrize(
    "changed",
    [
        SMALLEST.replace("version = 1", "version = 2"),
        SMALLEST.replace("means", "is"),
        SMALLEST + "[parameters]\ntemperature = 0\n",
        SMALLEST + 'examples = [{ line = "a", answer = "{}" }]\n',
        SINGLE,
    ],
)
def test_the_hash_changes_with_everything_that_changes_an_answer(changed):
    assert parse_task(SMALLEST, name="t").hash != parse_task(changed, name="t").hash


def test_every_fault_of_a_task_is_reported_at_once():
    faults = faults_of(
        'name = 3\nendpoint = "/v1/embeddings"\nsignatures_per_request = true\nmax_output_tokens = 5\ncolour = "red"\n'
        '[parameters]\nstore = true\n[prompt]\nsystem = " "\nexamples = [{ line = "x" }]\ntone = "kind"\n'
    )
    expected = [
        "name: must be a string", "version: missing", "prompt.system: must not be empty", "prompt.examples: number 1",
        "endpoint: must be one of", "signatures_per_request: must be a whole number", "max_output_tokens: must be from",
        "parameters.store: set by enricher", "colour: unknown key", "prompt.tone: unknown key",
    ]  # fmt: skip
    assert [text for text in expected if not any(fault.startswith(f"task mine: {text}") for fault in faults)] == []
    assert len(expected) == len(faults)


def test_a_text_that_is_not_toml_is_a_fault_that_names_the_task():
    assert faults_of("version = ")[0].startswith("task mine: not TOML")


def test_a_task_with_a_schema_of_its_own_cannot_pack():
    assert "signatures_per_request" in faults_of("signatures_per_request = 3\n" + SINGLE)[0]


def test_an_example_answer_may_be_a_table():
    task = parse_task(SMALLEST + 'examples = [{ line = "a", answer = { severity = "info" } }]\n', name="t")
    assert (("a", '{"severity":"info"}'),) == task.examples


def test_both_endpoints_get_the_same_question_in_their_own_form():
    task = shipped("logs")
    question = Question(signature="a", template='said "<*>"', level="", program="app")
    responses = request_body(task, [question], model="m", endpoint=RESPONSES, reasoning_effort="none")
    chat = request_body(task, [question], model="m", endpoint=CHAT, reasoning_effort="none")
    assert responses["input"] == chat["messages"][1:]
    assert responses["text"]["format"]["schema"] == chat["response_format"]["json_schema"]["schema"]
    assert responses["text"]["format"]["strict"] is chat["response_format"]["json_schema"]["strict"] is True
    assert responses["max_output_tokens"] == chat["max_completion_tokens"]
    assert ({"effort": "none"}, "none") == (responses["reasoning"], chat["reasoning_effort"])
    assert responses["store"] is False
    # The static part first, the question last: prefixes can be cached.
    assert ["input", "messages"] == [list(responses)[-1], list(chat)[-1]]


def test_an_empty_effort_is_not_sent():
    question = Question(signature="a", template="x", level="", program="")
    body = request_body(shipped("logs"), [question], model="m", endpoint=RESPONSES, reasoning_effort="")
    assert "reasoning" not in body
