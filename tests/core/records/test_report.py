from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from enricher.core.records import report_html
from enricher.core.records.confusion import confusions
from enricher.core.records.gate import Gate, Verdict, judge
from enricher.core.records.report import confusion_tables, facts, markdown, tables
from enricher.core.records.report_html import html
from enricher.core.records.report_junit import junit
from enricher.core.records.report_page import SCRIPT, STYLE
from enricher.core.records.report_text import chance, line, money, share, visible
from enricher.core.records.results import Cost
from tests.core.records.evaluations import evaluation, labelled

WHEN = "2026-11-30T12:00:00"
VOID = {"meta", "input", "br", "hr", "img", "link", "rect", "path"}
NASTY = [
    "<script>alert(1)</script>",
    "</pre></details><img src=x onerror=alert(1)>",
    "\u202egnp.exe",
    "a\x00b\x1b[31mred\x9b2J",
    "]]> <!-- & --> &lt;",
    "\ufffe\uffff\ud800\U0001ffff",
    '" onmouseover="alert(1)',
    "| a | b\n|---|---|\n`` ` ``",
    "[x](javascript:alert(1)) @someone #1 https://example.invalid www.example.invalid",
    "A" * 1_000_000,
]


class Page(HTMLParser):
    """What a browser would make of a page: elements, attributes, text; and whether every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def small(texts=(), repeats=1):
    """Two cells over five cases, and one more case for each text, which stands everywhere a text can."""
    truths, said = ["a", "a", "b", "b", "b"], ["a", "b", "b", None, "b"]
    cases, answers = labelled(truths, said)
    _, right = labelled(truths, truths)
    for text in texts:
        cases.append((text, {"label": text, "tags": [text]}, {"text": text, text: text}))
        answers.append([{"label": text + "!", "tags": [text], text: [text]}])
        right.append([{"label": text, "tags": [text]}])
    answers, right = ([one * repeats for one in every] for every in (answers, right))
    costs = {"weak": Cost(usd=0.25, asked=3, cached=2), "strong": Cost(usd=1.5, asked=5)}
    return evaluation({"weak": answers, "strong": right}, cases, costs=costs, task=texts[0] if texts else "mine")


def all_tables(found):
    return {table.title: table for table in (*tables(found), *confusion_tables(found, found.best))}


def test_the_tables_say_what_came_out():
    found = small()
    assert dict(facts(found, Verdict(passed=False, reasons=("too low",)))) == {
        "task": "mine",
        "data set": "cases.jsonl, 5 cases",
        "matrix": "2 cells, 1 repeat",
        "model": "strong, weak",
        "cost": "$1.75",
        "requests": "8 asked, 2 answered before",
        "gate": "failed: too low",
    }
    ranking, differences = tables(found)
    assert [row[:3] + row[-2:] for row in ranking.rows] == [
        ("1", "strong", "100 %", "0", "$1.50"),
        ("2", "weak", "66.7 %", "1", "$0.25"),
    ]
    assert ranking.columns[6:8] == ("exact label", "set_f1 tags")
    assert differences.rows[0][:3] == ("strong", "weak", "+33.3")
    assert differences.rows[0][-1] == "no difference shown"


def test_repeats_show_where_scores_vary_and_failures_why():
    found = all_tables(small(repeats=2))
    assert found["Where scores vary"].rows[1][0] == "weak"
    alone = evaluation({"weak": labelled(["a", "b"], ["b", None])[1]}, labelled(["a", "b"], ["a", "b"])[0])
    assert all_tables(alone)["Not passed in weak"].rows == (
        ("case-0", "exact label: “b”, expected “a”"),
        ("case-1", "the model refused"),
    )


def test_a_confusion_counts_what_was_taken_for_what():
    cases, answers = labelled(["a", "a", "b", "b", "b"], ["a", "b", "b", None, "c"])
    found = evaluation({"m": answers}, cases)
    (confusion,) = confusions(found.scorers, found.cases, found.best.result)
    assert (("b", "a"), ("b", "a", "other", "no answer")) == (confusion.labels, confusion.columns)
    assert confusion.counts == ((1, 0, 1, 1), (1, 1, 0, 0))


def test_an_answer_that_no_case_expects_is_not_counted_under_a_label_called_other():
    cases, answers = labelled(["other", "other", "no answer", "b"], ["other", "never expected", None, "no answer"])
    found = evaluation({"m": answers}, cases)
    (confusion,) = confusions(found.scorers, found.cases, found.best.result)
    assert ("other", "b", "no answer", "(other)", "(no answer)") == confusion.columns
    assert confusion.counts == ((1, 0, 0, 1, 0), (0, 0, 1, 0, 0), (0, 0, 0, 0, 1))


@pytest.mark.parametrize("labels", [["a"], [str(at) for at in range(21)], [["a"], ["b"]], ["a", "b" * 81], [1, 2]])
def test_what_is_no_classification_has_no_confusion(labels):
    cases, answers = labelled(labels, labels)
    found = evaluation({"m": answers}, cases)
    assert () == confusions(found.scorers, found.cases, found.best.result)


def test_markdown_is_a_report_for_a_pull_request():
    text = markdown(small(), Verdict(passed=True))
    assert text.startswith("## Evaluation of `mine` ✅\n")
    assert "| 1 | strong | 100 % |" in text
    assert "| b | 3 | 0 |" in text


def rendered(text):
    """Tags that Markdown gives, its text outside code, and how many cells each row of each table has."""
    page = Page(MarkdownIt("commonmark").enable("table").render(text))
    assert page.open == []
    plain = re.sub(r"<code>.*?</code>", "", MarkdownIt("commonmark").enable("table").render(text), flags=re.DOTALL)
    tables = re.findall(r"<table>.*?</table>", MarkdownIt("commonmark").enable("table").render(text), re.DOTALL)
    widths = [{len(re.findall("<t[hd]", row)) for row in table.split("<tr>")[1:]} for table in tables]
    return set(page.tags), plain, widths


def test_text_from_outside_is_no_markdown():
    tags, plain, widths = rendered(markdown(small(NASTY), Verdict(passed=False, reasons=(NASTY[8],))))
    assert tags == {"h2", "h3", "ul", "li", "p", "table", "thead", "tbody", "tr", "th", "td", "code"}
    assert [{10}, {9}] == widths
    assert not re.search(r"://|www\.|[@#\[]|javascript|alert", plain)


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.lists(st.text("ab|\\`<>*_[]()!&#@ \n-~", min_size=1), min_size=1, max_size=3, unique=True))
def test_no_text_breaks_a_table_or_gets_out_of_its_code(texts):
    cases, answers = labelled([*texts, "a"], ["b"] * (len(texts) + 1))
    cases = [(text, *case[1:]) for text, case in zip([*texts, "a."], cases, strict=True)]
    found = evaluation({"m": answers}, cases, task=texts[0])
    tags, _, widths = rendered(markdown(found, Verdict(passed=False, reasons=tuple(texts))))
    assert tags <= {"h2", "h3", "ul", "li", "p", "table", "thead", "tbody", "tr", "th", "td", "code"}
    assert all(len(width) == 1 for width in widths)


def test_the_page_is_whole_and_loads_nothing():
    page = Page(html(small(), Verdict(passed=False, reasons=("too low",)), made="today"))
    assert page.open == []
    assert {"script", "style", "svg", "details"} <= set(page.tags)
    assert not {"img", "link", "iframe", "object", "base", "form"} & set(page.tags)
    assert not [one for one in page.attributes if one[1] in {"src", "href", "style"} or one[1].startswith("on")]
    policy = next(value for tag, name, value in page.attributes if tag == "meta" and "default-src" in str(value))
    hashes = {base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (STYLE, SCRIPT)}
    assert "default-src 'none'" in policy
    assert hashes == set(re.findall(r"'sha256-([^']+)'", policy))
    assert STYLE in page.text
    assert SCRIPT in page.text


def test_every_case_can_be_looked_into_and_those_that_failed_come_first():
    page = html(small(), None)
    keys = re.findall(r'<details class="case" data-failed="([^"]*)">.*?<code><bdi>([^<]*)</bdi>', page)
    assert [("1", "case-1"), ("1", "case-3"), ("", "case-0"), ("", "case-2"), ("", "case-4")] == keys
    assert "the model refused" in page
    assert page.count('class="answer') == 10


def test_cases_beyond_the_limit_are_counted_and_not_written(monkeypatch):
    monkeypatch.setattr(report_html, "MAX_CASES", 3)
    page = html(small(), None)
    assert page.count('<details class="case"') == 3
    assert "3 of 5 cases are here" in page


def test_what_scoring_cost_and_who_was_asked_stands_in_every_form():
    found = replace(small(), scoring=Cost(usd=0.125, asked=7, cached=1))
    page = "".join(Page(html(found, None)).text)
    for said in ("$0.125", "7 asked, 1 answered before", "strong, weak"):
        assert said in page
        assert said in markdown(found, None)


def test_text_from_outside_is_no_html():
    found = small(NASTY)
    text = html(found, judge(Gate(min_score=1.0, cell="weak"), found, None, seed=1), made=NASTY[0])
    page, clean = Page(text), Page(html(small(["x"] * len(NASTY)), None))
    assert page.open == []
    assert page.tags.count("script") == 1
    assert set(page.tags) == set(clean.tags)
    assert {(tag, name) for tag, name, _ in page.attributes} <= {(tag, name) for tag, name, _ in clean.attributes}
    assert len(text) < 500_000
    for char in "\x00\x1b\x9b\u202e\ufffe\uffff\ud800":
        assert char not in text
    assert "⟨U+202E⟩gnp.exe" in text
    assert "(1,000,000 characters)" in text


def test_the_xml_says_of_every_case_in_every_cell_whether_it_passed_and_why_not():
    found = small(repeats=3)
    suites = ET.fromstring(junit(found, Verdict(passed=False, reasons=("a", "b")), timestamp=WHEN))
    assert [("mine: gate", "1", "1", "0"), ("mine: strong", "5", "0", "0"), ("mine: weak", "5", "1", "1")] == [
        tuple(suite.get(name) for name in ("name", "tests", "failures", "errors")) for suite in suites
    ]
    gate, _, weak = suites
    assert gate.find("testcase/failure").text == "a\nb"
    assert [None, "failure", None, "error", None] == [
        next((child.tag for child in case), None) for case in weak.findall("testcase")
    ]
    failure = weak.find("testcase/failure")
    assert failure.get("message") == "3 of 3 repeats: exact label: “b”, expected “a”"
    assert '"label": "b"' in failure.text
    assert weak.find("testcase/error").get("message") == "3 of 3 repeats: the model refused"


def test_a_case_fails_where_most_of_its_repeats_did():
    right, wrong = {"label": "a", "tags": []}, {"label": "b", "tags": []}
    cases, _ = labelled(["a", "a", "a"], ["a", "a", "a"])
    found = evaluation({"m": [[right, None, right], [right, wrong, wrong], [None, None, right]]}, cases)
    assert 'failures="2" errors="0"' in junit(found, None, timestamp=WHEN)


def test_a_backslash_before_a_bar_does_not_escape_its_escape():
    # GitHub's reader of tables takes `\\\\|` for an escaped backslash and the end of a cell.
    assert "\\\\|" not in markdown(small(["a\\|b"]), None)


def assert_ant_schema(text):
    """What Ant's schema asks for, by the order of elements and by required attributes."""
    suites = ET.fromstring(text)
    assert (suites.tag, suites.attrib) == ("testsuites", {})
    for number, suite in enumerate(suites):
        assert {"name", "timestamp", "hostname", "tests", "failures", "errors", "time", "package", "id"} == set(
            suite.attrib
        )
        assert (suite.get("id"), suite.get("timestamp")) == (str(number), WHEN)
        assert suite.get("name").strip()
        tags = [child.tag for child in suite]
        assert tags == ["properties", *["testcase"] * (len(tags) - 3), "system-out", "system-err"]
        assert int(suite.get("tests")) == len(tags) - 3
        for kind in ("failure", "error"):
            assert int(suite.get(f"{kind}s")) == len(suite.findall(f"testcase/{kind}"))
        for case in suite.findall("testcase"):
            assert set(case.attrib) == {"name", "classname", "time"}
            assert len(case) <= 1
            assert all(set(child.attrib) == {"message", "type"} for child in case)


def test_text_from_outside_is_valid_xml():
    text = junit(small(NASTY), Verdict(passed=False, reasons=tuple(NASTY)), timestamp=WHEN)
    assert_ant_schema(text)
    assert len(text) < 500_000


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=3, unique=True), st.integers(1, 2))
def test_any_text_makes_a_whole_report_in_every_form(texts, repeats):
    found = small(texts, repeats)
    assert_ant_schema(junit(found, None, timestamp=WHEN))
    assert Page(html(found, None)).open == []
    assert markdown(found, None)


@settings(derandomize=True, deadline=None)
@given(st.text())
def test_what_is_visible_is_valid_xml_and_tells_what_was_there(text):
    shown = visible(text)
    ET.fromstring(f"<a>{shown.replace('&', '').replace('<', '')}</a>")
    for char in text:
        assert char in shown or f"⟨U+{ord(char):04X}⟩" in shown or char == "\r"
    assert line(text).isprintable() or not text.isprintable()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (share(1.0), "100 %"),
        (share(0.99999), "99.9 %"),
        (share(0.5), "50.0 %"),
        (money(None), "no price"),
        (money(0.0), "$0"),
        (money(1234.5), "$1,234.50"),
        (money(0.00042), "$0.00042"),
        (chance(0.00001), "below 0.0001"),
        (chance(0.0123), "0.0123"),
        (chance(0.5), "0.50"),
    ],
)
def test_figures_are_written_for_people(written, expected):
    assert written == expected
