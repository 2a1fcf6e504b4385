from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.records.combine import (
    RULES,
    FieldRule,
    combine,
    parse_combine,
    reduce_groups,
    reduce_text,
    unique,
    vote,
)
from enricher.core.toml_reader import TableReader

SCHEMA = {
    "type": "object",
    "$defs": {"mood": {"enum": ["good", "bad"]}},
    "properties": {
        "labels": {"type": "array", "items": {"type": "string"}},
        "mood": {"$ref": "#/$defs/mood"},
        "summary": {"type": ["string", "null"]},
        "score": {"type": "number"},
        "pages": {"type": "integer"},
        "urgent": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    },
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=5,
)


def parse(text, schema=SCHEMA):
    reader = TableReader(tomllib.loads(text).get("combine", {}), prefix="combine.")
    return parse_combine(reader, schema), reader.faults


def test_each_field_is_joined_by_its_rule():
    rules, faults = parse(
        """
        [combine.fields]
        labels = "union"
        mood = "vote"
        summary = { rule = "concatenate", separator = " / " }
        score = "mean"
        pages = "max"
        urgent = "any"
        """
    )
    assert [] == faults
    answers = [
        {"labels": ["b", "a"], "mood": "bad", "summary": "One.", "score": 1, "pages": 3, "urgent": False},
        {"labels": ["a", "c"], "mood": "good", "summary": None, "score": 2.0, "pages": 9, "urgent": None},
        {"labels": [], "mood": "good", "summary": "Two.", "score": 3, "pages": 4, "urgent": True},
    ]
    assert combine(rules.fields, answers) == {
        "labels": ["b", "a", "c"],
        "mood": "good",
        "summary": "One. / Two.",
        "score": 2.0,
        "pages": 9,
        "urgent": True,
    }


def test_a_field_that_nobody_answered_is_null_and_no_answer_is_an_error():
    fields = {rule: FieldRule(rule=rule) for rule in RULES}
    assert combine(fields, [{}, {"vote": None}]) == dict.fromkeys(RULES)
    with pytest.raises(ValueError, match="no answer"):
        combine(fields, [])


def test_every_fault_of_the_rules_is_reported_at_once():
    _, faults = parse(
        """
        [combine]
        odd = 1
        [combine.fields]
        labels = "mean"
        mood = "most"
        summary = { rule = "vote", separator = "," }
        score = 3
        pages = "mean"
        color = "vote"
        """
    )
    assert faults == [
        "combine.odd: unknown key",
        "combine.fields.urgent: has no rule; one of vote, any, all, first would fit it",
        "combine.fields.labels: mean cannot join what the schema allows; vote, union, concatenate, first can",
        "combine.fields.mood.rule: must be one of vote, union, concatenate, max, min, mean, any, all, first",
        "combine.fields.summary.separator: vote has no separator",
        "combine.fields.score: must be a string or a table, not a whole number",
        "combine.fields.pages: mean cannot join what the schema allows; vote, max, min, first can",
        "combine.fields.color: the task's schema has no such field",
    ]


@pytest.mark.parametrize("text", ["", '[combine.fields]\na = "vote"\n[combine.reduce]\nsystem = "x"'])
def test_rules_by_field_and_a_second_request_exclude_each_other(text):
    assert ["combine.fields: give either a rule for each field, or [combine.reduce]"] == parse(text)[1]


def test_a_second_request_is_read_and_shown_every_answer_in_order():
    rules, faults = parse('[combine.reduce]\nsystem = " Join them. "')
    assert ([], "Join them.") == (faults, rules.reduce.system)
    assert ["combine.reduce.system: missing"] == parse("[combine.reduce]")[1]
    assert [json.loads(line) for line in reduce_text([{"a": "x\ny"}, {"a": "z"}]).split("\n")] == [
        {"part": 1, "answer": {"a": "x\ny"}},
        {"part": 2, "answer": {"a": "z"}},
    ]


def test_a_task_without_a_schema_may_give_any_field_a_rule():
    rules, faults = parse('[combine.fields]\ntext = "concatenate"', schema=None)
    assert ([], "concatenate") == (faults, rules.fields["text"].rule)


@settings(derandomize=True, deadline=None)
@given(st.lists(JSON, min_size=1, max_size=12))
def test_the_vote_is_a_value_that_none_outnumbers(values):
    won = vote(values)
    assert won in values
    same = [json.dumps(value, sort_keys=True) for value in values]
    assert same.count(json.dumps(won, sort_keys=True)) == max(same.count(one) for one in same)


def test_of_values_with_as_many_votes_the_one_that_stands_first_wins():
    assert vote(["b", "a", "c", "a", "b"]) == "b"


@settings(derandomize=True, deadline=None)
@given(st.lists(JSON, max_size=12))
def test_a_union_has_each_member_once_in_the_order_of_its_first(members):
    found = unique(members)
    texts = [json.dumps(one, sort_keys=True) for one in members]
    assert [json.dumps(one, sort_keys=True) for one in found] == list(dict.fromkeys(texts))


@settings(derandomize=True, deadline=None)
@given(count=st.integers(1, 60), room=st.integers(1, 300))
def test_reducing_in_rounds_loses_no_answer_and_ends(count, room):
    answers = [{"n": number} for number in range(count)]
    rounds = 0
    while len(answers) > 1:
        groups = reduce_groups(answers, max_tokens=room, count=len)
        assert [answer for group in groups for answer in group] == answers
        assert len(groups) <= (len(answers) + 1) // 2
        answers = [group[0] for group in groups]
        rounds += 1
    assert rounds <= 6


def test_a_group_takes_as_many_answers_as_fit():
    answers = [{"n": number} for number in range(9)]
    one = len(reduce_text(answers[:1])) + 1
    assert [4, 4, 1] == [len(group) for group in reduce_groups(answers, max_tokens=one * 4, count=len)]
