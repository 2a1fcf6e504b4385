from __future__ import annotations

import io

import pytest
from rich.console import Console

from enricher import show
from enricher.core.records.gate import Verdict
from enricher.core.records.report import facts, tables
from tests.core.records.evaluations import evaluation, labelled


def printed(found, verdict, width=140):
    out = io.StringIO()
    console = Console(file=out, width=width, markup=False, emoji=False, highlight=False, force_terminal=False)
    show.report(console, facts(found, verdict), tables(found))
    return out.getvalue()


def test_an_evaluation_is_printed_with_its_figures_in_line():
    cases, right = labelled(["a", "b", "b"], ["a", "b", "b"])
    found = evaluation({"good": right, "bad one": labelled(["a"] * 3, ["a", "b", None])[1]}, cases)
    lines = printed(found, Verdict(passed=True)).splitlines()
    assert [" gate      passed"] == [line.rstrip() for line in lines if line.startswith(" gate")]
    good, bad = (next(line for line in lines if line.startswith(f" {place}  ")) for place in "12")
    assert good.split()[1:3] == ["good", "100"]
    assert good.index("100 %") + len("100 %") == bad.index("66.7 %") + len("66.7 %")
    assert any(line.startswith("Do they differ") for line in lines)


def test_text_from_outside_moves_no_cursor_of_a_terminal():
    cases, answers = labelled(["a"], ["\x1b[2J\u202e\x00[red]b"])
    text = printed(evaluation({"m": answers}, cases, task="x\x1b]0;y\x07"), None)
    assert not {char for char in text if not char.isprintable()} - {"\n"}
    assert "[red]b" in text


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_name_can_be_copied_out_of_a_table_that_is_wider_than_the_terminal(is_terminal):
    out = io.StringIO()
    console = Console(file=out, width=80, markup=False, emoji=False, highlight=False, force_terminal=is_terminal)
    name = "/srv/documents/" + "a-long-name/" * 12 + "with a space.jsonl"
    show.grid(console, "runs", ("begun", "rows", "input"), [("2026-11-30 12:00", "1,000", name)], names=(2,))
    assert f"1,000  {name}" in out.getvalue()


def test_what_a_program_reads_is_not_folded():
    out = io.StringIO()
    console = Console(file=out, width=80, markup=False, emoji=False, highlight=False, force_terminal=False)
    name = "/srv/documents/" + "a-long-name/" * 12
    show.facts(console, [("output", name)])
    show.grid(console, "runs", ("input", "rows"), [(name, "1")])
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert [["output", name], ["runs"], ["input", "rows"], [name, "1"]] == lines
