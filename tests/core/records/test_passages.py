from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.records.clusters import LONGEST, is_boundary
from enricher.core.records.passages import split
from enricher.core.tokens import estimate_tokens

WORDS = st.sampled_from(
    [
        *(
            "word",
            "Ein",
            "langer.",
            "Satz!",
            " ",
            "  ",
            "\t",
            "\n",
            "\n\n",
            "\r\n",
            "x" * 40,
            " \u0301",
            "日本語。",
            "e\u0301",
        ),
        *("👩\u200d👩\u200d👧", "🇩🇪", "ก็", "한국", "\u1100\u1161\u11a8"),
    ]
)
TEXTS = st.one_of(st.text(max_size=400), st.lists(WORDS, max_size=150).map("".join))


@settings(derandomize=True, deadline=None)
@given(text=TEXTS, max_tokens=st.integers(1, 40), share=st.floats(0, 0.5), exact=st.booleans())
def test_passages_cover_the_text_in_order_and_fit(text, max_tokens, share, exact):
    count = (lambda part: -(-len(part.encode("utf-8", "surrogatepass")) // 4)) if exact else estimate_tokens
    passages = split(text, max_tokens=max_tokens, overlap_tokens=int(max_tokens * share), count=count)
    done = 0
    for before, passage in zip([None, *passages], passages, strict=False):
        assert passage.text == text[passage.start : passage.end]
        assert passage.start <= done < passage.end
        assert before is None or before.start < passage.start
        assert passage.tokens == count(passage.text)
        if passage.tokens > max_tokens:
            # One cluster that does not fit by itself.
            assert not any(is_boundary(passage.text, at) for at in range(1, len(passage.text)))
        done = passage.end
    assert done == len(text)


@settings(derandomize=True, deadline=None)
@given(text=TEXTS, max_tokens=st.integers(4, 40))
def test_no_cut_tears_a_character_that_a_person_sees(text, max_tokens):
    for passage in split(text, max_tokens=max_tokens, overlap_tokens=max_tokens // 4, count=estimate_tokens):
        assert is_boundary(text, passage.start)
        assert is_boundary(text, passage.end)


@settings(derandomize=True, deadline=None)
@given(text=TEXTS, max_tokens=st.integers(10, 40))
def test_the_overlap_is_within_its_limit(text, max_tokens):
    passages = split(text, max_tokens=max_tokens, overlap_tokens=5, count=len)
    for before, after in pairwise(passages):
        assert 0 <= before.end - after.start <= 5


def test_a_paragraph_goes_before_a_sentence_and_a_sentence_before_a_word():
    count = len
    paragraph, sentence, word = (
        "One. Two three\n\nFour. Five six seven",
        "One two. Three four five",
        "One two three four",
    )
    assert "One. Two three\n\n" == split(paragraph, max_tokens=26, overlap_tokens=0, count=count)[0].text
    assert "One two. " == split(sentence, max_tokens=16, overlap_tokens=0, count=count)[0].text
    assert "One two " == split(word, max_tokens=12, overlap_tokens=0, count=count)[0].text


def test_the_next_passage_begins_with_a_whole_sentence_of_the_last():
    text = "Alpha beta gamma delta. Epsilon zeta. Eta theta iota kappa lambda."
    first, second, *_ = split(text, max_tokens=40, overlap_tokens=18, count=len)
    assert ("Alpha beta gamma delta. Epsilon zeta. ", "Epsilon zeta. ") == (first.text, second.text[:14])


def test_a_short_text_is_one_passage_and_an_empty_one_none():
    assert () == split("", max_tokens=10, overlap_tokens=2, count=len)
    assert ["short"] == [one.text for one in split("short", max_tokens=10, overlap_tokens=2, count=len)]


@pytest.mark.parametrize(("max_tokens", "overlap"), [(10, 6), (10, -1), (0, 0)])
def test_an_overlap_of_more_than_half_a_passage_is_refused(max_tokens, overlap):
    with pytest.raises(ValueError, match="half of max_tokens"):
        split("text", max_tokens=max_tokens, overlap_tokens=overlap, count=len)


@pytest.mark.parametrize(
    "unit", ["a", " ", ".", "\n", "日", "\u0301", "🇩", "\r\n", "a ", "\u1100", "\u200d"], ids=ascii
)
def test_what_is_counted_grows_with_the_text_and_not_with_its_square(unit):
    counted = []

    def spent(size):
        counted.clear()

        def count(text):
            counted.append(len(text))
            return estimate_tokens(text)

        split(unit * (size // len(unit)), max_tokens=500, overlap_tokens=50, count=count)
        return sum(counted), max(counted)

    (small, _), (large, longest) = spent(50_000), spent(200_000)
    assert large <= small * 5 + 200_000
    assert large <= 200_000 * 16
    assert longest <= 500 * 32


def test_sixteen_mebibytes_without_a_blank_are_split_in_seconds():
    text = "x" * (16 * 1024 * 1024)
    before = time.process_time()
    passages = split(text, max_tokens=4000, overlap_tokens=200, count=lambda part: len(part) // 4)
    assert time.process_time() - before < 5
    assert passages[-1].end == len(text)


@pytest.mark.parametrize(
    "cluster",
    [
        *("\r\n", "e\u0301", "👩\u200d👩\u200d👧", "🇩🇪", "👍🏽", "\u1100\u1161\u11a8", "\uac00\u11a8", "ก็", "क्षि"),
        *("☎\ufe0f", "1\ufe0f\u20e3", "\u0600١"),
    ],
    ids=ascii,
)
def test_a_cluster_is_whole_and_ends_where_the_next_begins(cluster):
    text = cluster * 3
    bounds = [at for at in range(len(text) + 1) if is_boundary(text, at)]
    assert bounds == [0, len(cluster), 2 * len(cluster), 3 * len(cluster)]


def test_a_cluster_without_end_is_cut_all_the_same():
    text = "e" + "\u0301" * (LONGEST * 4)
    passages = split(text, max_tokens=50, overlap_tokens=0, count=len)
    assert max(passage.tokens for passage in passages) <= LONGEST
    assert passages[-1].end == len(text)
