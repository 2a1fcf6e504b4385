from __future__ import annotations

import time
import tomllib
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.records.checks import Quotes, first_fault, parse_checks
from enricher.core.records.language import guess
from enricher.core.records.paths import parse_path
from enricher.core.records.quoting import comparable, shown
from enricher.core.toml_reader import TableReader
from enricher.edges.language_py3langid import language_detector

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abt"), inner, max_size=3),
)
GERMAN = "Das Paket kam beschädigt an, und die Kundin möchte ihr Geld so bald wie möglich zurückhaben."
ENGLISH = "The parcel arrived damaged, and the customer would like to have her money back as soon as possible."


@pytest.fixture(scope="module")
def detect():
    return language_detector()


def parse(text, columns=("id", "text"), detect=None):
    reader = TableReader(tomllib.loads(text))
    return parse_checks(reader.tables("checks"), columns=columns, detect=detect), reader.faults


def fault_of(table, answer, values=None, detect=None):
    checks, faults = parse(f"[[checks]]\n{table}", detect=detect)
    assert [] == faults
    return first_fault(checks, answer, values or {})


def test_a_quotation_stands_in_the_text_whatever_its_blanks_and_marks_are():
    text = "He said:\u00a0“It’s  done\u2014\nalmost.” The ﬁnal re\u00advision, cafe\u0301."
    for quote in ('"It\'s done-almost."'.replace("-", "- "), "it's", "final revision", "café", "  The \t final "):
        found = fault_of('kind = "quotes"\npath = "q[]"\ncolumn = "text"', {"q": [quote]}, {"text": text})
        assert found is None, quote


def test_marks_that_normalisation_makes_are_plain_ones_too():
    assert comparable("x⁻¹ ‷a") == comparable("x-1 '''a")


def test_a_quotation_may_begin_with_a_capital_letter_that_the_text_has_not():
    check = Quotes(path=parse_path("quote"), column="text")
    assert check.fault({"quote": "We meet at the gate."}, {"text": "Lunch: we meet at the gate."}) is None
    assert check.fault({"quote": "We meet at the door."}, {"text": "Lunch: we meet at the gate."}) is not None


def test_what_was_made_up_is_no_quotation():
    answer = {"evidence": [{"quote": "as written"}, {"quote": "as \x1b[31mdreamt\u202e" + "x" * 200}]}
    table = 'kind = "quotes"\npath = "evidence[].quote"\ncolumn = "text"'
    reason = fault_of(table, answer, {"text": "It stands as written."})
    assert reason == f"evidence[].quote: “as dreamt{'x' * 70}…” does not stand in text"
    assert (
        fault_of(table, {"evidence": [{"quote": " \u200b "}]}, {"text": "a"})
        == "evidence[].quote: a quotation is empty"
    )
    assert fault_of(table, {"evidence": []}, {}) is None


@settings(derandomize=True, deadline=None)
@given(
    words=st.lists(
        st.sampled_from(["café", "“so”", "it’s", "ﬁne", "Straße", "日本語", "한국", "a—b", "x²", "Å", "ё"]),
        min_size=1,
        max_size=12,
    ),
    data=st.data(),
    form=st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]),
)
def test_some_words_of_a_text_are_a_quotation_of_it_in_any_form_of_unicode(words, data, form):
    start = data.draw(st.integers(0, len(words) - 1))
    end = data.draw(st.integers(start + 1, len(words)))
    quote = unicodedata.normalize(form, "\u00a0 \n".join(words[start:end])).replace("“", '"')
    check = Quotes(path=parse_path("q"), column="text")
    assert check.fault({"q": quote}, {"text": "\u200b \t".join(words)}) is None
    assert check.fault({"q": quote + " more"}, {"text": " ".join(words)})


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=200))
def test_a_comparable_text_is_comparable_already(text):
    assert comparable(comparable(text)) == comparable(text)


@pytest.mark.parametrize(
    ("text", "quote"), [("a" * 2**22, "a" * 2**20 + "b"), ("ab" * 2**21, "ba" * 2**19 + "c"), (" \u00ad" * 2**21, "x")]
)
def test_hostile_repetition_takes_no_longer(text, quote):
    before = time.process_time()
    assert Quotes(path=parse_path("q"), column="t").fault({"q": quote}, {"t": text})
    assert time.process_time() - before < 5


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("max = 5", "t: 11 characters, but at most 5 is asked for"),
        ("min = 12", "t: 11 characters, but at least 12 is asked for"),
        ("min = 3\nmax = 11", None),
        ('unit = "words"\nmin = 3\nmax = 4', "t: 2 words, but at least 3 and at most 4 are asked for"),
        ('column = "text"\nmax_ratio = 0.5', "t: 11 characters, but at most 0.5 times the 20 of text is asked for"),
        ('column = "text"\nmin_ratio = 0.5\nmax_ratio = 1.5', None),
    ],
)
def test_a_length_is_within_its_bounds(table, reason):
    assert reason == fault_of(f'kind = "length"\npath = "t"\n{table}', {"t": "hello world"}, {"text": "x" * 20})


def test_an_array_has_no_member_twice():
    assert fault_of('kind = "unique"\npath = "t"', {"t": ["a", "b", "a"]}) == "t: “a” stands there twice"
    assert (
        fault_of('kind = "unique"\npath = "t[].id"', {"t": [{"id": 1}, {"id": 1.0}]})
        == "t[].id: “1” stands there twice"
    )
    assert fault_of('kind = "unique"\npath = "t"', {"t": ["1", 1, None, [1], {"1": 1}]}) is None


def test_a_pattern_is_found_or_must_not_be():
    table = 'kind = "pattern"\npath = "t"\npattern = "^[A-Z]{2}[0-9]{4}$"'
    assert fault_of(table, {"t": "DE1234"}) is None
    assert fault_of(table, {"t": "de1234"}) == "t: “de1234” does not match ^[A-Z]{2}[0-9]{4}$"
    assert fault_of(table + "\nabsent = true", {"t": "DE1234"}) == "t: “DE1234” must not match ^[A-Z]{2}[0-9]{4}$"
    assert fault_of('kind = "pattern"\npath = "t"\npattern = "^a+.*b.*c"', {"t": "x" * 10_000}) == (
        "t: 10000 bytes are more than the 512 a pattern may read"
    )


def test_a_text_in_another_language_is_noticed_and_one_that_may_be_right_is_not(detect):
    table = 'kind = "language"\npath = "t"\nlanguages = ["de"]'
    reason = fault_of(table, {"t": ENGLISH}, detect=detect)
    assert reason.startswith("t: in en, not in de (")
    # Right; too short to be judged; no language.
    for text in (GERMAN, "Refund please", "0.75 1.25 3.50 " * 20, ""):
        assert fault_of(table, {"t": text}, detect=detect) is None, text
    table = 'kind = "language"\npath = "t"\nsame_as = "text"'
    assert " as text (" in fault_of(table, {"t": ENGLISH}, {"text": GERMAN}, detect=detect)
    assert fault_of(table, {"t": GERMAN}, {"text": GERMAN}, detect=detect) is None
    assert fault_of(table, {"t": GERMAN}, {"text": "short"}, detect=detect) is None


def test_languages_that_are_written_alike_are_no_mistake():
    class Sure:
        languages = frozenset({"no", "da", "de"})

        def __call__(self, text, /):
            return "da", 1.0

    table = 'kind = "language"\npath = "t"\nlanguages = ["{}"]\nmin_letters = 1'
    assert fault_of(table.format("nb-NO"), {"t": "tekst"}, detect=Sure()) is None
    assert fault_of(table.format("de"), {"t": "tekst"}, detect=Sure()) == "t: in da, not in de (100% sure)"


def test_a_guess_that_is_not_sure_is_none():
    class Unsure:
        languages = frozenset({"en"})

        def __call__(self, text, /):
            return "en", 0.89

    assert guess(GERMAN, Unsure()) is None


def test_of_a_long_text_three_parts_are_looked_at(detect):
    assert guess(GERMAN * 100, detect).code == "de"
    assert guess("1 " * 100_000, detect) is None


def test_every_fault_of_the_checks_is_reported_at_once():
    _, faults = parse(
        """
        [[checks]]
        kind = "quote"
        [[checks]]
        kind = "quotes"
        path = "a..b"
        column = "txt"
        [[checks]]
        kind = "length"
        path = "a"
        max_ratio = 2
        [[checks]]
        kind = "length"
        path = "a"
        min = 5
        max = 4
        [[checks]]
        kind = "length"
        path = "a"
        [[checks]]
        kind = "pattern"
        path = "a"
        pattern = "(a+)+$"
        odd = 1
        [[checks]]
        kind = "language"
        path = "a"
        languages = ["en"]
        """
    )
    assert [fault.partition("take for ever")[0] for fault in faults] == [
        "checks[1].kind: must be one of quotes, length, language, unique, among, pattern",
        "checks[2].path: 'a..b' is no path: write names with dots between, and [] for each member of an array",
        "checks[2].column: there is no column 'txt'; there are id, text",
        "checks[3].max_ratio: a ratio needs a column",
        "checks[4].max: must not be below min",
        "checks[5].max: give min, max or both",
        "checks[6].pattern: '(a+)+$' could ",
        "checks[6].odd: unknown key",
        "checks[7].kind: language needs an extra package: pip install 'enricher[language]'",
    ]


def test_a_language_that_the_detector_does_not_know_is_refused(detect):
    _, faults = parse('[[checks]]\nkind = "language"\npath = "a"\nlanguages = ["de", "german"]', detect=detect)
    assert faults == ["checks[1].languages: not known to the detector: german; codes are those of ISO 639, as en"]


@settings(derandomize=True, deadline=None)
@given(answer=st.dictionaries(st.sampled_from("abt"), JSON, max_size=3), values=st.dictionaries(st.just("text"), JSON))
def test_no_answer_makes_a_check_raise(answer, values):
    checks, faults = parse(
        """
        checks = [
            { kind = "quotes", path = "a[].b", column = "text" },
            { kind = "length", path = "a", column = "text", max_ratio = 2 },
            { kind = "unique", path = "t[]" },
            { kind = "pattern", path = "b", pattern = "^x" },
        ]
        """
    )
    assert [] == faults
    for check in checks:
        reason = check.fault(answer, values)
        assert reason is None or reason.isprintable()


@settings(derandomize=True, deadline=None)
@given(st.text())
def test_what_is_shown_is_short_and_harmless(text):
    assert len(shown(text)) <= 82
    assert shown(text).isprintable()
