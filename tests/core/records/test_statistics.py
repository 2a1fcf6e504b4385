"""Against published worked examples; each says whose."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.records.statistics import (
    Variance,
    compare,
    detectable_difference,
    holm,
    mcnemar,
    mean_interval,
    permutation,
    summarise,
    t_quantile,
    variance,
    wilson,
)

# Darwin's maize, crossed less self-fertilised, in eighths of an inch: Fisher, The Design of Experiments, section 17.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
# Six targets rated four times: Shrout and Fleiss, Psychological Bulletin 86 (1979), table 2.
RATED = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
SCORES = st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("passed", "total", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_of_a_share_is_wilsons(passed, total, low, high):
    found = wilson(passed, total)
    assert (low, high) == (round(found.low, 4), round(found.high, 4))
    mirrored = wilson(total - passed, total)
    assert (round(1 - high, 4), round(1 - low, 4)) == (round(mirrored.low, 4), round(mirrored.high, 4))


@pytest.mark.parametrize(
    ("probability", "freedom", "table"),
    [
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 10, 2.228),
        (0.95, 30, 1.697),
        (0.995, 60, 2.660),
        (0.975, 10**6, 1.960),
    ],
)
def test_the_quantile_of_students_distribution_is_that_of_the_tables(probability, freedom, table):
    assert round(t_quantile(probability, freedom), 3) == table


def test_the_interval_of_a_mean_is_students():
    # Fisher's mean difference is 20.933 eighths, its standard error 9.746, and t for 14 degrees of freedom 2.145.
    found = mean_interval(MAIZE, bounds=(-100, 100))
    assert (20.93 - 2.145 * 9.746) == pytest.approx(found.low, abs=0.01)
    assert (20.93 + 2.145 * 9.746) == pytest.approx(found.high, abs=0.01)
    assert mean_interval([0.4], bounds=(0, 1)).high == 1


def test_values_that_are_all_one_do_not_make_a_mean_certain():
    assert mean_interval([1.0] * 20, bounds=(0, 1)) == wilson(20, 20)
    found = mean_interval([0.0] * 20, bounds=(-1, 1))
    assert (-found.low, 0.1611) == (found.high, round(found.high, 4))


def test_signs_are_tried_as_fisher_did():
    # 863 of 32,768 sums are as great or greater, one way: section 21.
    assert permutation(MAIZE, seed=0) == 2 * 863 / 32768


def test_drawn_signs_and_the_normal_law_agree_with_all_signs():
    many = [*MAIZE, 5, -62, 33, -71, -17]
    sums = {0: 1}
    for difference in many:
        turned: dict[int, int] = {}
        for total, ways in sums.items():
            for one in (total + difference, total - difference):
                turned[one] = turned.get(one, 0) + ways
        sums = turned
    exact = sum(ways for total, ways in sums.items() if abs(total) >= sum(many)) / 2 ** len(many)
    assert permutation(many, seed=7) == pytest.approx(exact, rel=0.1)
    assert permutation(many, seed=7) == permutation(many, seed=7) != permutation(many, seed=8)
    # 68 more up than down of 1,268: z is 68 / sqrt(1268) = 1.9096.
    assert permutation([0.1, -0.1] * 600 + [0.1] * 68, seed=0) == pytest.approx(0.0562, abs=0.0001)
    assert permutation([0.0] * 5, seed=0) == 1


@settings(derandomize=True, deadline=None)
@given(gained=st.integers(0, 60), lost=st.integers(0, 60))
def test_mcnemars_test_is_the_sum_of_binomials(gained, lost):
    total = gained + lost
    tail = sum(Fraction(comb(total, k), 2**total) for k in range(min(gained, lost) + 1))
    assert mcnemar(gained, lost) == pytest.approx(float(min(Fraction(1), 2 * tail)), rel=1e-9)


def test_mcnemars_test_of_many_cases():
    # Agresti, Categorical Data Analysis, section 10.1: 86 and 150 changed their minds; z squared is 17.36.
    assert mcnemar(86, 150) == pytest.approx(3.7e-5, rel=0.02)
    assert 0 < mcnemar(500_000, 502_000) < 1
    assert mcnemar(0, 0) == 1


def test_the_variance_of_repeats_is_taken_apart():
    # Their mean squares: between targets 11.24, within 6.26; so (11.24 - 6.26) / 4 between, and ICC(1,1) = .17.
    found = variance(RATED)
    assert (6.26, 1.244) == (round(found.within, 2), round(found.between, 3))
    assert round(found.between / (found.between + found.within), 2) == 0.17


def test_cases_with_fewer_repeats_count_less():
    # By hand: means 2 and 6 of two and one repeats; within 2; n0 = 3 - 5/3.
    assert variance([[1, 3], [6]]) == Variance(within=2.0, between=pytest.approx((32 / 3 - 2) / (4 / 3)))
    assert variance([[0.5, 0.5], [0.5, 0.5]]) == Variance(within=0, between=0)


def test_several_p_values_are_corrected_step_by_step():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_a_corrected_p_value_is_no_smaller_and_keeps_its_rank(p_values):
    adjusted = holm(p_values)
    assert all(one <= other <= 1 for one, other in zip(p_values, adjusted, strict=True))
    ranked = sorted(zip(p_values, adjusted, strict=True))
    assert [after for _, after in ranked] == sorted(adjusted)


def test_the_least_difference_that_can_be_shown_is_that_of_the_size_formula():
    # (1.95996 + 0.84162) / sqrt(32): as the tables have it, 31.4 pairs for half a standard deviation.
    unit = (31 / 32) ** 0.5
    assert detectable_difference([unit, -unit] * 16) == pytest.approx(0.49526, abs=1e-4)
    assert detectable_difference([0.1]) == 1


def test_a_cell_is_summed_up_by_case():
    found = summarise([[1.0, 0.0], [1.0, 1.0], [0.5]], [[True, False], [True, True], [False]])
    assert (3, 2, pytest.approx(2 / 3), 0.5) == (found.cases, found.repeats, found.mean, found.pass_rate)
    assert found.variance.within == 0.25
    # One and a half of three cases passed.
    assert found.pass_interval == wilson(1.5, 3)
    assert summarise([[1.0]], [[True]]).variance is None


def test_two_cells_are_compared_case_by_case():
    better = [[1.0]] * 8 + [[0.0]] * 2
    worse = [[1.0]] * 2 + [[0.0]] * 8
    found = compare(better, worse, better, worse, seed=1)
    assert (0.6, 6, 0) == (pytest.approx(found.mean), found.gained, found.lost)
    assert found.p_score == 2 / 64
    assert found.p_pass == pytest.approx(2 / 64)
    assert found.interval.low > 0
    turned = compare(worse, better, worse, better, seed=1)
    assert (-found.mean, 0, 6, found.p_score) == (
        pytest.approx(turned.mean),
        turned.gained,
        turned.lost,
        turned.p_score,
    )


@settings(derandomize=True, deadline=None)
@given(SCORES)
def test_every_figure_is_within_its_bounds(scores):
    passes = [[value > 0.5 for value in case] for case in scores]
    found = summarise(scores, passes)
    for value, interval in ((found.mean, found.mean_interval), (found.pass_rate, found.pass_interval)):
        assert 0 <= interval.low <= value + 1e-9
        assert value - 1e-9 <= interval.high <= 1
    other = [case[::-1] for case in scores[::-1]]
    difference = compare(scores, other, passes, [[value > 0.5 for value in case] for case in other], seed=3)
    assert 0 < difference.p_score <= 1
    assert 0 < difference.p_pass <= 1
    assert -1 <= difference.interval.low <= difference.mean + 1e-9


def test_no_case_is_an_error():
    for scores in ([], [[]]):
        with pytest.raises(ValueError, match="every case needs a score"):
            summarise(scores, scores)
