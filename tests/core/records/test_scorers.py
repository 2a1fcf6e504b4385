from __future__ import annotations

import math
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.records.measures import cosine
from enricher.core.records.scorers import Outside, parse_scorers, score_case
from enricher.core.toml_reader import TableReader

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
)
DOCUMENTS = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)
EVERY = """
scorers = [
    { kind = "exact" },
    { kind = "exact", field = "a.b", ignore_case = true },
    { kind = "fields", fields = ["a", "b[]", "c.a"] },
    { kind = "set_f1", field = "a" },
    { kind = "set_f1", field = "b[].c" },
    { kind = "regex", field = "a", pattern = "^x+$" },
    { kind = "numeric", field = "a", absolute = 0.5 },
    { kind = "embedding", field = "a" },
    { kind = "judge", task = "judge", score = "a" },
]
"""


def parse(text):
    reader = TableReader(tomllib.loads(text))
    return parse_scorers(reader.tables("scorers")), reader.faults


def score(table, expected, answer, outside=None):
    (scorer,), faults = parse(f"[[scorers]]\n{table}")
    assert [] == faults
    return scorer.score(expected, answer, outside)


@pytest.mark.parametrize(
    ("table", "expected", "answer", "value", "reason"),
    [
        ('kind = "exact"', {"a": 1, "b": [2]}, {"b": [2], "a": 1.0, "why": "x"}, 1.0, ""),
        ('kind = "exact"', {"a": 1}, {"a": 2}, 0.0, '“{"a":2}”, expected “{"a":1}”'),
        ('kind = "exact"', {"a": 1}, {}, 0.0, '“{}”, expected “{"a":1}”'),
        ('kind = "exact"\nfield = "a.b"', {"a": {"b": "Yes"}}, {"a": {"b": "yes"}}, 0.0, "“yes”, expected “Yes”"),
        ('kind = "exact"\nfield = "a"\nignore_case = true', {"a": "ﬁne  Yes"}, {"a": "Fine yes "}, 1.0, ""),
        ('kind = "exact"\nfield = "a"\nexpected = "z"', {"z": None}, {"a": None}, 1.0, ""),
        ('kind = "exact"\nfield = "a"', {"a": "5"}, {"a": 5.0}, 1.0, ""),
        ('kind = "exact"\nfield = "a"', {"a": "true"}, {"a": True}, 1.0, ""),
        ('kind = "exact"\nfield = "a"', {"a": 5}, {"a": "5"}, 0.0, "“5”, expected “5”"),
        ('kind = "exact"\nfield = "a"', {"a": True}, {"a": 1}, 0.0, "“1”, expected “true”"),
        ('kind = "exact"\nfield = "a"', {"a": 1}, {"b": 1}, 0.0, "the answer has nothing there"),
        ('kind = "exact"\nfield = "a"', {"b": 1}, {"a": 1}, 0.0, "the case expects nothing there"),
        ('kind = "fields"\nfields = ["a", "b.c"]', {"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}, 0.5,
         "b.c: “3”, expected “2”"),
        ('kind = "set_f1"\nfield = "l"', {"l": ["a", "b"]}, {"l": ["b", "c", "b"]}, 0.5,
         "missing “a”, not expected “c”"),
        ('kind = "set_f1"\nfield = "l"', {"l": []}, {"l": []}, 1.0, ""),
        ('kind = "set_f1"\nfield = "l"', {"l": ["a"]}, {}, 0.0, "missing “a”"),
        ('kind = "set_f1"\nfield = "l[].n"', {"l": [{"n": 1}, {"n": 2}]}, {"l": [{"n": 2}, {"n": 1.0}]}, 1.0, ""),
        ('kind = "regex"\nfield = "t"\npattern = "^ok"', {}, {"t": "ok then"}, 1.0, ""),
        ('kind = "regex"\nfield = "t"\npattern = "^ok"', {}, {"t": "not ok"}, 0.0, "“not ok” does not match “^ok”"),
        ('kind = "regex"\nfield = "t"\npattern = "^ok"', {}, {"t": 3}, 0.0, "the answer has no text there"),
        ('kind = "numeric"\nfield = "n"\nabsolute = 0.1', {"n": 1}, {"n": 1.2}, 0.0, "1.2, expected 1"),
        ('kind = "numeric"\nfield = "n"\nabsolute = 0.25', {"n": "1"}, {"n": 1.25}, 1.0, ""),
        ('kind = "numeric"\nfield = "n"\nrelative = 0.01', {"n": -200}, {"n": -202}, 1.0, ""),
        ('kind = "numeric"\nfield = "n"\nrelative = 0.01', {"n": -200}, {"n": -203}, 0.0, "-203, expected -200"),
        ('kind = "numeric"\nfield = "n"', {"n": 1}, {"n": "nan"}, 0.0, "“nan” is no number"),
        ('kind = "numeric"\nfield = "n"', {"n": 1}, {"n": True}, 0.0, "“true” is no number"),
    ],
)  # fmt: skip
def test_an_answer_is_worth_what_it_agrees_with(table, expected, answer, value, reason):
    found = score(table, expected, answer)
    assert (value, reason) == (found.value, found.reason)
    assert found.passed == (value >= 1)


def test_a_failed_row_scores_nothing():
    found = score('kind = "exact"', {}, None)
    assert (0.0, False, "there is no answer") == (found.value, found.passed, found.reason)


def test_an_embedding_is_compared_by_its_angle():
    table = 'kind = "embedding"\nname = "near"\nfield = "t"\nthreshold = 0.7'
    case = {"t": "one"}, {"t": "two"}

    def at(*vectors):
        return score(table, *case, Outside(vectors={"near": vectors}))

    assert (0.7071067811865475, True, "similarity 0.707") == (
        (found := at([1, 0], [1, 1])).value,
        found.passed,
        found.reason,
    )
    assert at([1, 0], [-1, 0]).value == 0
    assert at([1e300, 1e300], [1e-300, 1e-300]).value == pytest.approx(1)
    assert at([0, 0], [1, 0]).reason == at([1], [1, 0]).reason == at([math.nan], [1.0]).reason
    assert score(table, *case).reason == "no embedding was given"
    assert score(table, {"t": "one"}, {"t": " "}).reason == "there is no text to compare"


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)), max_size=5))
def test_a_cosine_is_within_its_bounds_and_the_same_both_ways(pairs):
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    found = cosine(one, other)
    assert found is None or -1 <= found <= 1
    assert found == cosine(other, one)


@pytest.mark.parametrize(
    ("judgement", "value", "reason"),
    [
        ({"score": 5, "reason": "as \x1b[1mgood"}, 1.0, "the judge said 5 of 5: “as good”"),
        ({"score": 2}, 0.25, "the judge said 2 of 5"),
        ({"score": 9}, 0.0, "the judge said 9, which is not from 1 to 5"),
        ({"score": "5"}, 0.0, "the judge's answer has no number at score"),
        ({"score": True}, 0.0, "the judge's answer has no number at score"),
        ("5", 0.0, "the judge's answer has no number at score"),
        (None, 0.0, "the judge gave no answer"),
    ],
)
def test_a_judgement_counts_within_its_scale_only(judgement, value, reason):
    outside = Outside(judgements={} if judgement is None else {"judge": judgement})
    found = score('kind = "judge"\ntask = "judge"', {}, {"a": 1}, outside)
    assert (value, reason) == (found.value, found.reason)


def test_a_case_is_worth_the_weighted_mean_and_passes_where_every_weighted_scorer_does():
    scorers, faults = parse(
        """
        scorers = [
            { kind = "exact", field = "a", weight = 3 },
            { kind = "set_f1", field = "l", threshold = 0.6 },
            { kind = "exact", name = "seen", field = "b", weight = 0 },
        ]
        """
    )
    assert [] == faults
    expected = {"a": 1, "l": ["x", "y"], "b": 1}
    found = score_case(scorers, expected, {"a": 1, "l": ["x"], "b": 2})
    assert (pytest.approx((3 + 2 / 3) / 4), True) == (found.value, found.passed)
    assert found.reason == "seen: “2”, expected “1”"
    assert not score_case(scorers, expected, {"a": 2, "l": ["x", "y"], "b": 1}).passed
    assert (0.0, False) == ((none := score_case(scorers, expected, None)).value, none.passed)


def test_every_fault_of_the_scorers_is_reported_at_once():
    _, faults = parse(
        """
        scorers = [
            { kind = "exactly" },
            { kind = "exact", field = "a b..c", threshold = 1.5 },
            { kind = "set_f1" },
            { kind = "regex", field = "a", pattern = "(" },
            { kind = "fields", fields = ["a", "a"], odd = 1 },
            { kind = "judge", task = "j", min = 5, max = 1 },
            { kind = "exact", field = "a" },
            { kind = "exact", field = "a" },
        ]
        """
    )
    assert faults == [
        "scorers[1].kind: must be one of exact, fields, set_f1, regex, numeric, embedding, judge",
        "scorers[2].field: 'a b..c' is no path: write names with dots between, and [] for each member of an array",
        "scorers[2].threshold: must be from 0 to 1",
        "scorers[3].field: missing",
        "scorers[4].pattern: '(' is no regular expression: missing ), unterminated subpattern at position 0",
        "scorers[5].fields: a field stands there twice",
        "scorers[5].odd: unknown key",
        "scorers[6].max: must be above min",
        "scorers[8].name: two scorers are called 'exact a'; give this one another name",
    ]
    assert parse('[[scorers]]\nkind = "exact"\nweight = 0')[1] == ["scorers[1].weight: must not be 0 for every scorer"]


@settings(derandomize=True, deadline=None)
@given(expected=DOCUMENTS, answer=DOCUMENTS)
def test_any_answer_to_any_case_has_a_score_and_a_harmless_reason(expected, answer):
    scorers, faults = parse(EVERY)
    assert [] == faults
    found = score_case(scorers, expected, answer, Outside(judgements={"judge": answer}))
    assert 0 <= found.value <= 1
    for one in found.scores:
        assert 0 <= one.value <= 1
        assert one.reason.isprintable()
        assert one.passed or one.reason


@settings(derandomize=True, deadline=None)
@given(answer=DOCUMENTS)
def test_what_was_expected_scores_fully(answer):
    scorers, _ = parse('scorers = [{ kind = "exact" }, { kind = "set_f1", field = "a" }]')
    assert score_case(scorers, answer, answer).value == 1
