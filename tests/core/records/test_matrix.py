from __future__ import annotations

import tomllib

import pytest

from enricher.core.records.gate import Gate, judge, parse_gate
from enricher.core.records.results import Cost, read_baseline, write_baseline
from enricher.core.records.statistics import holm
from enricher.core.toml_reader import TableReader
from tests.core.records.evaluations import evaluation, labelled, matrix

THREE_AXES = """
models = ["small", "large"]
repeats = 3
[[prompts]]
name = "terse"
system = "One word."
[[prompts]]
name = "long"
user = "{{text}}!"
[[parameters]]
temperature = 0.0
[[parameters]]
name = "hot"
temperature = 1.0
"""


def names(text):
    found, faults = matrix(text)
    assert [] == faults
    return [cell.name for cell in found.cells]


def test_every_prompt_meets_every_model_and_every_set_of_parameters():
    assert names(THREE_AXES) == [
        "terse · small · temperature=0",
        "terse · small · hot",
        "terse · large · temperature=0",
        "terse · large · hot",
        "long · small · temperature=0",
        "long · small · hot",
        "long · large · temperature=0",
        "long · large · hot",
    ]
    assert matrix(THREE_AXES)[0].repeats == 3


def test_a_cell_is_called_after_what_tells_it_apart():
    assert names("") == ["task"]
    assert names('models = ["small"]') == ["small"]
    assert names('models = ["small", "large"]') == ["small", "large"]
    assert names('[[prompts]]\nname = "terse"\nsystem = "x"') == ["terse"]


def test_a_cells_id_depends_on_what_is_asked_alone():
    ids = {cell.name: cell.id for cell in matrix(THREE_AXES)[0].cells}
    assert len(set(ids.values())) == 8
    changed = THREE_AXES.replace('"hot"', '"warm"').replace('["small", "large"]', '["large"]').replace("terse", "brief")
    again = {cell.name: cell.id for cell in matrix(changed)[0].cells}
    assert again["brief · warm"] == ids["terse · large · hot"]
    assert matrix(changed.replace("One word.", "Two words."))[0].cells[1].id != again["brief · warm"]
    # Kept answers would be asked for anew if this changed.
    assert ids["terse · small · temperature=0"] == "c832ad02a52cbac8"


def test_cells_are_left_out_or_chosen():
    assert names(THREE_AXES + '[[exclude]]\nmodel = "large"\nprompt = "terse"\n[[exclude]]\nparameters = "hot"') == [
        "terse · small · temperature=0",
        "long · small · temperature=0",
        "long · large · temperature=0",
    ]
    assert names(THREE_AXES + '[[include]]\nmodel = "large"\nparameters = "hot"') == [
        "terse · large · hot",
        "long · large · hot",
    ]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ('models = ["a", "a"]', ["matrix.prompts: the cells 'a' and 'a' would ask the same"]),
        (
            '[[prompts]]\nname = "x"\nsystem = "1"\n[[prompts]]\nname = "x"\nsystem = "2"',
            ["matrix.prompts: two cells would be called 'x'"],
        ),
        ('[[exclude]]\nmodel = "b"', ["matrix.exclude[1].prompt: matches no cell"]),
        ('[[exclude]]\nprompt = "task"', ["matrix.exclude: leaves no cell"]),
        ("[[exclude]]", ["matrix.exclude[1].prompt: name a prompt, a model or parameters"]),
        ("[[parameters]]\nmodel = 'x'", ["matrix.parameters[1].model: set by enricher itself"]),
        (
            'models = ["a", "b", "c"]\nmax_cells = 2',
            ["matrix.max_cells: there are 3 cells, more than 2: leave some out, or set it higher"],
        ),
        (
            f"models = {[str(at) for at in range(1001)]}",
            ["matrix.models: more than 1000 combinations: fewer models, prompts or parameters"],
        ),
        (
            "repeats = 0\nodd = 1\nmodels = [1]\n[[prompts]]\nsytem = 'x'",
            [
                "matrix.models: number 1 must be a string, not a whole number",
                "matrix.prompts[1].name: missing",
                "matrix.prompts[1].sytem: unknown key",
                "matrix.repeats: must be from 1 to 100",
                "matrix.odd: unknown key",
            ],
        ),
    ],
)
def test_a_matrix_that_cannot_be_asked_is_refused_with_every_fault(text, faults):
    assert faults == matrix(text)[1]


TRUTHS = ["a"] * 20 + ["b"] * 20
RIGHT = TRUTHS
HALF = ["a"] * 40
NONE = [None] * 40


def three_models():
    cases, right = labelled(TRUTHS, RIGHT)
    answers = {
        "half": labelled(TRUTHS, HALF)[1],
        "right": right,
        "none": labelled(TRUTHS, NONE)[1],
    }
    return evaluation(answers, cases)


def test_cells_are_ranked_by_score_and_compared_in_pairs():
    found = three_models()
    assert [(1, "right"), (2, "half"), (3, "none")] == [(one.place, one.name) for one in found.ranking]
    assert {"exact label": 0.5, "set_f1 tags": 1.0} == found.find("half").by_scorer
    assert (40, 0.0) == (found.ranking[2].failed, found.ranking[2].summary.mean)
    assert [("right", "half"), ("right", "none"), ("half", "none")] == [
        (one.one, one.other) for one in found.comparisons
    ]
    compared = found.comparisons[0]
    first = compared.difference
    assert (20, 0, pytest.approx(1 / 3)) == (first.gained, first.lost, first.mean)
    assert first.p_score < compared.p_score < 0.001
    # By Holm the largest of three is left as it is; the others are doubled or tripled, and never below a smaller one.
    p_values = [one.difference.p_pass for one in found.comparisons]
    assert [one.p_pass for one in found.comparisons] == list(holm(p_values)) != p_values


def test_of_equal_cells_the_cheaper_goes_first_and_one_without_a_price_last():
    cases, answers = labelled(["a"], ["a"])
    costs = {"dear": Cost(usd=2.0), "free": Cost(usd=None), "cheap": Cost(usd=1.0)}
    found = evaluation(dict.fromkeys(costs, answers), cases, costs=costs)
    assert ["cheap", "dear", "free"] == [one.name for one in found.ranking]


def test_many_cells_are_compared_with_the_best_alone():
    cases, answers = labelled(["a"], ["a"])
    found = evaluation({f"m{at}": answers for at in range(9)}, cases)
    assert [("m0", f"m{at}") for at in range(1, 9)] == [(one.one, one.other) for one in found.comparisons]


@pytest.mark.parametrize(
    ("gate", "reasons"),
    [
        (Gate(), []),
        (Gate(min_score=1.0, min_pass_rate=1.0), []),
        (Gate(cell="half", min_score=0.7), ["half: the score is 0.667, below 0.7"]),
        (Gate(cell="half", min_pass_rate=0.5), []),
        (
            Gate(cell="half", min_pass_rate=0.5, by="lower"),
            ["half: the lower end of the pass rate is 0.352, below 0.5"],
        ),
        (Gate(cell="all", min_score=0.1), ["none: the score is 0.000, below 0.1"]),
        (Gate(cell="other", min_score=0.1), ["there is no cell 'other'"]),
        (Gate(cell="half", no_worse_than="right"), ["half: worse than right: -0.333 (-0.441 to -0.225)"]),
        (Gate(cell="right", no_worse_than="half"), []),
        (Gate(no_worse_than="other"), ["right: there is no cell 'other' to compare with"]),
        (Gate(no_worse_than="right"), []),
    ],
)
def test_a_gate_says_every_reason_why_not(gate, reasons):
    found = judge(gate, three_models(), None, seed=1)
    assert (not reasons, tuple(reasons)) == (found.passed, found.reasons)


def test_an_evaluation_is_held_against_an_earlier_one():
    now = three_models()
    cases, right = labelled(TRUTHS, RIGHT)
    before = read_baseline(write_baseline(evaluation({"half": right}, cases)))
    gate = Gate(cell="half", no_worse_than="before.json")
    assert gate.baseline_file == "before.json"
    assert judge(gate, now, before, seed=1).reasons == ("half: worse than before.json: -0.333 (-0.441 to -0.225)",)
    assert judge(Gate(cell="right", no_worse_than="before.json"), now, before, seed=1).passed
    others = read_baseline(write_baseline(now))
    assert judge(gate, now, others, seed=1).passed


def test_a_small_drop_is_no_noise_where_the_gate_says_so():
    cases, right = labelled(TRUTHS, RIGHT)
    almost = labelled(TRUTHS, [*TRUTHS[:39], "a"])[1]
    found = evaluation({"almost": almost, "right": right}, cases)
    assert judge(Gate(cell="almost", no_worse_than="right"), found, None, seed=1).passed
    assert judge(Gate(cell="almost", no_worse_than="right", max_drop=0.01), found, None, seed=1).reasons == (
        "almost: 0.017 below right, more than 0.01",
    )


def test_a_baseline_of_other_cases_or_cells_is_no_comparison():
    now = three_models()
    cases, right = labelled(TRUTHS[:19], RIGHT[:19])
    few = read_baseline(write_baseline(evaluation({"right": right}, cases)))
    gate = Gate(no_worse_than="x.json")
    assert judge(gate, now, few, seed=1).reasons == ("right: the baseline has 19 of the 40 cases: make a new one",)
    other = read_baseline(write_baseline(evaluation({"x": right, "y": right}, cases)))
    assert judge(gate, now, other, seed=1).reasons == ("right: the baseline has no cell of this name, but 'x', 'y'",)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[" * 100_000, "[]", '{"version": 2}', '{"version": 1}'),
        '{"version": 1, "cells": {"a": {"k": {"scores": [2], "passes": [true]}}}}',
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_baseline_is_refused(text):
    with pytest.raises(ValueError, match=r"it is no|cannot be read"):
        read_baseline(text)


def test_a_gate_is_read_with_every_fault():
    reader = TableReader(
        tomllib.loads("min_score = 2\nmin_pass_rate = '1'\nmax_drop = 0.1\nby = 'x'\nodd = 1"), prefix="gate."
    )
    parse_gate(reader)
    assert reader.faults == [
        "gate.min_score: must be from 0 to 1",
        "gate.min_pass_rate: must be a number, not a string",
        "gate.by: must be one of mean, lower",
        "gate.max_drop: is of no use without no_worse_than",
        "gate.odd: unknown key",
    ]
    reader = TableReader(tomllib.loads("min_score = 0.8\ncell = 'all'"))
    assert Gate(min_score=0.8, cell="all") == parse_gate(reader)
