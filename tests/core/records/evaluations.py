"""Small evaluations, built by hand, that several tests look at."""

from __future__ import annotations

import tomllib

from enricher.core.records.matrix import Matrix, parse_matrix
from enricher.core.records.results import Answered, Case, CellResult, Cost, evaluate
from enricher.core.records.scorers import parse_scorers, score_case
from enricher.core.toml_reader import TableReader

SCORERS = """
scorers = [
    { kind = "exact", field = "label", weight = 2 },
    { kind = "set_f1", field = "tags", threshold = 0.5 },
]
"""


def scorers(text=SCORERS):
    reader = TableReader(tomllib.loads(text))
    found = parse_scorers(reader.tables("scorers"))
    assert [] == reader.faults
    return found


def matrix(text=""):
    reader = TableReader(tomllib.loads(text), prefix="matrix.")
    return parse_matrix(reader), reader.faults


def evaluation(answers_by_model, cases, *, costs=None, scorers=None, seed=1, task="mine", dataset="cases.jsonl"):
    """Answers by model, each by case and repeat; a case is (key, expected, values)."""
    chosen = globals()["scorers"]() if scorers is None else scorers
    models = list(answers_by_model)
    cells = (parsed := matrix(f"models = {models}")[0]).cells
    assert isinstance(parsed, Matrix)
    built = [Case(key=key, expected=expected, values=values) for key, expected, values in cases]
    results = [
        CellResult(
            cell=cell,
            cost=(costs or {}).get(model, Cost()),
            answers=[
                [
                    Answered(
                        answer=one,
                        score=score_case(chosen, case.expected, one),
                        error="" if one is not None else "the model refused",
                    )
                    for one in repeats
                ]
                for case, repeats in zip(built, answers_by_model[model], strict=True)
            ],
        )
        for model, cell in zip(models, cells, strict=True)
    ]
    return evaluate(task, dataset, built, chosen, results, seed=seed)


def labelled(truths, said):
    """Cases whose label is a truth, and one answer each: said, or None."""
    cases = [(f"case-{at}", {"label": truth, "tags": []}, {"text": f"text {at}"}) for at, truth in enumerate(truths)]
    answers = [[None if one is None else {"label": one, "tags": []}] for one in said]
    return cases, answers
