"""How sure the figures of an evaluation are, and whether two cells of it differ.

The unit is the case: repeats of a case are averaged first, since asking the same case ten times tells little more about
other cases. Nothing here draws at random but by the seed that it is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL: Final = 0.95
POWER: Final = 0.8

# All 2^n signs are tried up to here; beyond, this many are drawn, and from many pairs on a sum is as good as normal.
_EXACT_PAIRS: Final = 18
_DRAWS: Final = 9_999
_NORMAL_PAIRS: Final = 1_000
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Variance:
    """Where scores vary, as variances: between repeats of a case, and between cases beyond that."""

    within: float
    between: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures of one cell; `mean` and `pass_rate` are means over cases of the means over repeats."""

    cases: int
    repeats: int
    """The most that a case has."""
    mean: float
    mean_interval: Interval
    pass_rate: float
    pass_interval: Interval
    variance: Variance | None
    """None without repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One cell's scores beyond another's, case by case."""

    mean: float
    interval: Interval
    p_score: float
    """Of the paired permutation test on scores."""
    p_pass: float
    """Of McNemar's exact test on passed or not."""
    gained: int
    """Cases that passed in the one cell alone."""
    lost: int
    detectable: float
    """The least true difference of means that so many cases would show in 4 of 5 evaluations."""


def summarise(scores: Sequence[Sequence[float]], passes: Sequence[Sequence[bool]], *, level: float = LEVEL) -> Summary:
    """Sum up the repeats of every case. Raises ValueError without any case, or for a case without a score."""
    means, rates = _case_means(scores), _case_means(passes)
    repeats = max(map(len, scores))
    rate = float(rates.mean())
    return Summary(
        cases=len(means),
        repeats=repeats,
        mean=float(means.mean()),
        mean_interval=mean_interval(means, level=level, bounds=(0.0, 1.0)),
        pass_rate=rate,
        pass_interval=wilson(rate * len(rates), len(rates), level=level),
        variance=variance(scores) if repeats > 1 else None,
    )


def compare(
    one: Sequence[Sequence[float]],
    other: Sequence[Sequence[float]],
    one_passes: Sequence[Sequence[bool]],
    other_passes: Sequence[Sequence[bool]],
    *,
    seed: int,
    level: float = LEVEL,
) -> Difference:
    """Compare two cells over the same cases in the same order. With repeats a case passed where most of them did."""
    differences = _case_means(one) - _case_means(other)
    passed, other_passed = _case_means(one_passes) > 0.5, _case_means(other_passes) > 0.5
    gained, lost = int((passed & ~other_passed).sum()), int((~passed & other_passed).sum())
    return Difference(
        mean=float(differences.mean()),
        interval=mean_interval(differences, level=level, bounds=(-1.0, 1.0)),
        p_score=permutation(differences, seed=seed),
        p_pass=mcnemar(gained, lost),
        gained=gained,
        lost=lost,
        detectable=detectable_difference(differences, level=level),
    )


def wilson(passed: float, total: int, *, level: float = LEVEL) -> Interval:
    """Give the score interval of a share.

    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209; method 3 of R. G. Newcombe, Statistics in Medicine 17 (1998) 857.
    """
    if total < 1:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = passed / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return Interval(max(0.0, middle - half) if passed else 0.0, min(1.0, middle + half) if passed < total else 1.0)


def mean_interval(
    values: Sequence[float] | np.ndarray, *, level: float = LEVEL, bounds: tuple[float, float]
) -> Interval:
    """Give Student's interval of a mean, within the bounds that no value leaves; a single value tells nothing.

    Where all values are one, they vary by nothing, and yet not nothing is known of others: as many may differ as
    Wilson's interval for none of so many says, by as much as the bounds allow.
    """
    count, (least, most) = len(values), bounds
    if count < 2:
        return Interval(least, most)
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    if deviation < _TINY:
        others = wilson(0, count, level=level).high
        return Interval(mean - others * (mean - least), mean + others * (most - mean))
    half = t_quantile(0.5 + level / 2, count - 1) * deviation / math.sqrt(count)
    return Interval(max(least, mean - half), min(most, mean + half))


def variance(scores: Sequence[Sequence[float]]) -> Variance:
    """Take the variance of repeated scores apart: one way, random effects, by analysis of variance.

    Within: the mean square within cases. Between: the mean square between cases less that, over the mean number of
    repeats n0; not below 0. S. R. Searle, G. Casella, C. E. McCulloch, Variance Components (1992), section 3.6.
    """
    counts = np.array([len(case) for case in scores], dtype=float)
    total, cases = counts.sum(), len(counts)
    means = _case_means(scores)
    squares = sum(
        float(((np.asarray(case, dtype=float) - mean) ** 2).sum()) for case, mean in zip(scores, means, strict=True)
    )
    within = squares / (total - cases) if total > cases else 0.0
    if cases < 2:
        return Variance(within=within, between=0.0)
    grand = float((counts * means).sum() / total)
    between_square = float((counts * (means - grand) ** 2).sum()) / (cases - 1)
    mean_repeats = float(total - (counts**2).sum() / total) / (cases - 1)
    return Variance(within=within, between=max(0.0, (between_square - within) / mean_repeats))


def mcnemar(gained: int, lost: int) -> float:
    """Give the exact two-sided p of cases that changed one way and the other: twice the smaller binomial tail, at 1/2.

    Q. McNemar, Psychometrika 12 (1947) 153, in its exact form.
    """
    changed, fewer = gained + lost, min(gained, lost)
    if not changed:
        return 1.0
    log_term = math.lgamma(changed + 1) - math.lgamma(fewer + 1) - math.lgamma(changed - fewer + 1)
    term = math.exp(log_term - changed * math.log(2))
    tail = 0.0
    for at in range(fewer, -1, -1):
        tail += term
        term *= at / (changed - at + 1)
        if term < tail * _TINY:
            break
    return min(1.0, 2 * tail)


def permutation(differences: Sequence[float] | np.ndarray, *, seed: int) -> float:
    """Give the two-sided p of a sum of paired differences, among the sums with every choice of their signs.

    R. A. Fisher, The Design of Experiments (1935), section 21. All choices up to 18 differences; then drawn ones, where
    the observed one counts as drawn too (B. Phipson, G. K. Smyth, 2010, so that p is never 0); over 1,000 the sum is
    taken to be normal.
    """
    given = np.asarray(differences, dtype=float)
    given = given[np.abs(given) > _TINY]
    if not len(given):
        return 1.0
    observed = abs(float(given.sum())) * (1 - 1e-9)
    if len(given) <= _EXACT_PAIRS:
        sums = np.zeros(1)
        for difference in given:
            sums = np.concatenate((sums + difference, sums - difference))
        return float((np.abs(sums) >= observed).mean())
    if len(given) > _NORMAL_PAIRS:
        return math.erfc(observed / math.sqrt(2 * float((given**2).sum())))
    signs = np.random.default_rng(seed).integers(0, 2, size=(_DRAWS, len(given)), dtype=np.int8) * 2 - 1
    extreme = int((np.abs(signs @ given) >= observed).sum())
    return (extreme + 1) / (_DRAWS + 1)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Correct p values for being several. S. Holm, Scandinavian Journal of Statistics 6 (1979) 65."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for rank, at in enumerate(order):
        least = max(least, min(1.0, p_values[at] * (len(p_values) - rank)))
        adjusted[at] = least
    return tuple(adjusted)


def detectable_difference(
    differences: Sequence[float] | np.ndarray, *, level: float = LEVEL, power: float = POWER
) -> float:
    """Give the least mean difference that so many pairs, varying as these do, would show with this power.

    (z of 1 - alpha/2 + z of the power) times the standard error: the usual size formula of a paired test, solved for
    the difference, without correction for several pairs. 1 for fewer than two pairs: nothing could be shown.
    """
    count = len(differences)
    if count < 2:
        return 1.0
    deviation = float(np.std(np.asarray(differences, dtype=float), ddof=1))
    z = NormalDist().inv_cdf(0.5 + level / 2) + NormalDist().inv_cdf(power)
    return z * deviation / math.sqrt(count)


def t_quantile(probability: float, freedom: int) -> float:
    """Give the quantile of Student's distribution above 1/2, by halving on its distribution function."""
    low, high = 0.0, 1.0
    while _t_below(high, freedom) < probability:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_below(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def _t_below(t: float, freedom: int) -> float:
    return 1 - _beta(freedom / (freedom + t * t), freedom / 2, 0.5) / 2


def _beta(x: float, a: float, b: float) -> float:
    """Give the regularised incomplete beta function, by its continued fraction (DLMF 8.17.22, Lentz's method)."""
    if x <= 0 or x >= 1:
        return min(1.0, max(0.0, x))
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 500):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + factor * d)
            c = 1 + factor / c
            fraction *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * fraction


def _case_means(scores: Sequence[Sequence[float]]) -> np.ndarray:
    if not scores or not all(scores):
        raise ValueError("every case needs a score, and there must be one")
    return np.array([sum(case) / len(case) for case in scores], dtype=float)
