"""The breaker: when it opens, when it closes, and what shapes get meanwhile."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core import breaker
from enricher.core.breaker import Breaker, Gate, coarse_shape, coarsest_shape, observed, signatures_made
from enricher.core.merge import Merge, Merger
from enricher.core.skeleton import Shape


def a_shape(text: str) -> Shape:
    return Shape(format="text", level="INFO", program="shop", skeleton=text)


class Numbers:
    """A store's numbering, in memory."""

    def __init__(self, merger: Merger | None = None) -> None:
        self.ids = {}
        self._merger = merger
        self._merges = []

    def find(self, shapes):
        return [self.ids.get(shape) for shape in shapes]

    def intern(self, shapes):
        known = len(self.ids)
        given = [self.ids.setdefault(shape, len(self.ids) + 1) for shape in shapes]
        for row_id, shape in zip(given, shapes, strict=True):
            if self._merger is not None and row_id > known:
                self._merges += self._merger.add(row_id, shape)
        return given

    def merged(self):
        merges, self._merges = self._merges, []
        return merges


def feed(gate, numbers, shapes, *, lines, now=0.0):
    gate.begin(lines)
    ids = gate.number(shapes, find=numbers.find, intern=numbers.intern, merged=numbers.merged, now=now)
    gate.finish(now)
    return ids


def is_open_after(*steps):
    state = Breaker()
    for lines, new in steps:
        state = observed(state, lines=lines, new=new, now=0.0)
    return state.is_open


def test_it_opens_over_a_quarter_of_new_shapes_if_they_are_over_a_thousand():
    assert not is_open_after((1_000, 1_000))
    assert is_open_after((1_001, 1_001))
    assert not is_open_after((20_000, 5_000))
    assert is_open_after((20_000, 5_001))


def test_only_the_last_20000_lines_count():
    assert not is_open_after((900, 900), (20_000, 0), (900, 900))
    assert is_open_after((900, 900), (2_000, 0), (900, 900))


def test_it_closes_when_new_shapes_are_rare_in_the_last_20000_lines():
    state = observed(Breaker(), lines=2_000, new=2_000, now=10.0)
    assert (True, 10.0, 1) == (state.is_open, state.changed_at, state.trips)
    busy = observed(state, lines=20_000, new=1_001, now=20.0)
    assert busy.is_open
    calm = observed(busy, lines=20_000, new=1_000, now=30.0)
    assert (False, 30.0, 1) == (calm.is_open, calm.changed_at, calm.trips)


def test_it_closes_after_a_calm_hour_of_a_slow_source():
    state = observed(Breaker(), lines=2_000, new=2_000, now=0.0)
    state = observed(state, lines=50, new=50, now=3_599.0)
    assert observed(state, lines=50, new=50, now=3_600.0).is_open is False
    restless = observed(state, lines=51, new=51, now=3_600.0)
    assert restless.is_open
    assert not observed(restless, lines=0, new=0, now=7_200.0).is_open


@given(steps=st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 5_000)), max_size=60))
@settings(max_examples=50, derandomize=True)
def test_what_it_remembers_is_bounded_and_opening_is_never_early(steps):
    state = Breaker()
    for lines, new in steps:
        before = state
        state = observed(state, lines=lines, new=min(lines, new), now=0.0)
        assert len(state.recent) <= 202
        if state.is_open and not before.is_open:
            assert before.new + min(lines, new) > breaker.OPEN_NEW


def test_garbage_is_numbered_up_to_the_limit_then_coarse_and_what_it_made_is_skipped():
    gate, numbers = Gate(Breaker()), Numbers()
    known = feed(gate, numbers, [a_shape("known")], lines=10)
    garbage = [a_shape(f"x{number} y z") for number in range(40_000)]
    ids = feed(gate, numbers, [a_shape("known"), *garbage], lines=40_000)
    assert gate.breaker.is_open
    assert known == ids[:1]
    fine = [row_id for shape, row_id in numbers.ids.items() if shape.format == "text"]
    assert breaker.OPEN_NEW < len(fine) <= breaker.OPEN_NEW + 251
    assert set(fine) - {known[0]} == set(gate.skipped) - {known[0]}
    assert gate.coarse_ids == set(ids[1:]) - set(fine)
    assert 1 == len(gate.coarse_ids)


def test_a_log_full_of_names_is_no_garbage():
    gate, numbers = Gate(Breaker()), Numbers(Merger())
    names = ["".join(chr(97 + number // 26**place % 26) for place in range(4)) for number in range(5_000)]
    feed(gate, numbers, [a_shape(f"status installed package {name} for the host") for name in names], lines=5_000)
    assert not gate.breaker.is_open
    assert 5_000 == len(numbers.ids)
    assert gate.breaker.new < 10


def test_shapes_that_merged_count_as_one_signature_and_with_an_older_one_as_none():
    def merge(*members):
        return Merge(members=members, template="<*>")

    assert 3 == signatures_made([5, 6, 7], [])
    assert 1 == signatures_made([5, 6, 7], [merge(5, 6), merge(6, 7)])
    assert 1 == signatures_made([5, 6, 7], [merge(6, 7), merge(2, 5)])
    assert 0 == signatures_made([5, 6, 7], [merge(5, 6), merge(6, 7), merge(2, 6)])


def test_coarse_shapes_are_bounded_whatever_the_first_words_are():
    gate, numbers = Gate(Breaker(is_open=True)), Numbers()
    words = ["".join(chr(97 + number // 26**place % 26) for place in range(4)) for number in range(5_000)]
    feed(gate, numbers, [a_shape(f"{word} <*>") for word in words], lines=5_000)
    assert breaker.COARSE_SHAPES + 1 == len(numbers.ids)
    assert {breaker.COARSE_FORMAT} == {shape.format for shape in numbers.ids}


def test_a_source_with_many_kinds_but_not_too_many_is_left_alone():
    gate, numbers = Gate(Breaker()), Numbers()
    for block in range(10):
        feed(gate, numbers, [a_shape(f"k{block} n{number}") for number in range(1_200)], lines=20_000)
    assert not gate.breaker.is_open
    assert 12_000 == len(numbers.ids)


def test_when_it_has_closed_new_shapes_are_numbered_again():
    gate, numbers = Gate(Breaker(is_open=True)), Numbers()
    feed(gate, numbers, [], lines=20_000)
    assert not gate.breaker.is_open
    feed(gate, numbers, [a_shape("new")], lines=1)
    assert {a_shape("new"): 1} == numbers.ids


def test_coarse_shapes_tell_apart_what_is_cheap_to_tell():
    one, two, other = (coarse_shape(a_shape(text)) for text in ("login of a", "login of b", "logout of b"))
    assert one == two != other
    assert ("login <*>", "INFO", "shop") == (one.template, one.level, one.program)
    assert coarse_shape(a_shape("login of a b")) != one
    assert "<*>" == coarse_shape(a_shape("{ a")).template
    assert coarsest_shape(a_shape("a")) == coarsest_shape(Shape(format="text", level="", program="x", skeleton="b"))
