"""Bootstrap intervals against scipy's."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import bootstrap

from fitbot.audit.rules import wilson_interval
from fitbot.evaluation.intervals import Estimate, bca_interval, estimate_mean, estimate_rate
from tests.evaluation.clusters import questions, rates_of

SKEWED = np.random.default_rng(1).exponential(size=40)


def leave_one_out(values: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = (values.sum() - values) / (len(values) - 1)
    return result


@pytest.mark.parametrize(
    "values", [SKEWED, (SKEWED > 0.4).astype(float), -(SKEWED**3)], ids=["skewed", "rate", "cubed"]
)
def test_of_the_same_resamples_the_interval_is_scipys(values: NDArray[np.float64]) -> None:
    theirs = bootstrap((values,), np.mean, n_resamples=999, method="BCa", rng=0)

    ours = bca_interval(
        values.mean(), theirs.bootstrap_distribution, leave_one_out(values), reach=ndtri(0.975)
    )

    assert ours == pytest.approx(tuple(theirs.confidence_interval), rel=1e-9)


def test_of_own_resamples_it_is_scipys_but_for_the_draw() -> None:
    theirs = bootstrap((SKEWED,), np.mean, n_resamples=20_000, method="BCa", rng=0)

    ours = estimate_mean(SKEWED, range(40))

    width = np.ptp(theirs.confidence_interval)
    assert ours.value == SKEWED.mean()
    assert (ours.low, ours.high) == pytest.approx(theirs.confidence_interval, abs=0.05 * width)


def test_values_that_hang_together_are_drawn_together() -> None:
    sizes = np.random.default_rng(2).integers(1, 5, size=30)
    groups = np.repeat(np.arange(30), sizes)
    values = SKEWED[:30][groups] + np.random.default_rng(3).normal(size=len(groups))
    sums = np.bincount(groups, weights=values)

    def ratio(sums: NDArray[np.float64], sizes: NDArray[np.int64], axis: int) -> object:
        return sums.sum(axis) / sizes.sum(axis)

    theirs = bootstrap(
        (sums, sizes), ratio, paired=True, n_resamples=20_000, method="BCa", rng=0, vectorized=True
    )
    ours = estimate_mean(values, groups.tolist())

    width = np.ptp(theirs.confidence_interval)
    assert (ours.low, ours.high) == pytest.approx(theirs.confidence_interval, abs=0.05 * width)


def test_saying_everything_twice_makes_no_interval_narrower() -> None:
    once = estimate_mean(SKEWED, range(40))

    twice = estimate_mean(np.repeat(SKEWED, 2), np.repeat(np.arange(40), 2).tolist())

    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))


def test_what_always_holds_is_not_taken_for_certain() -> None:
    always = estimate_rate([True] * 12, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])

    assert always == Estimate(1.0, *wilson_interval(1.0, 6))
    assert always.low is not None
    assert 0.5 < always.low < 0.7
    mirrored = estimate_rate([True, False] * 6, np.repeat(range(6), 2).tolist())
    assert mirrored == Estimate(0.5, *wilson_interval(0.5, 6))
    assert estimate_rate([False], [0]).high == pytest.approx(wilson_interval(0.0, 1)[1])


def test_a_mean_of_equal_values_or_of_one_group_has_no_interval() -> None:
    assert estimate_mean([2.0, 2.0], [0, 1]) == Estimate(2.0, None, None)
    assert estimate_mean([1.0, 2.0], [0, 0]) == Estimate(1.5, None, None)
    assert not estimate_mean([2.0, 2.0], [0, 1]).lies_above(0)


@pytest.mark.slow
@pytest.mark.parametrize("groups", [10, 40, 150])
@pytest.mark.parametrize("rate", [0.5, 0.8])
@pytest.mark.parametrize("alike", [0.0, 0.6])
def test_an_interval_holds_the_truth_about_as_often_as_it_says(
    groups: int, rate: float, alike: float
) -> None:
    generator = np.random.default_rng(groups)
    held = []
    for _ in range(600):
        ids = questions(generator, groups)
        rates = rates_of(generator, groups, rate, alike)
        found = estimate_rate(generator.random(len(ids)) < rates[ids], ids.tolist())
        held.append(not found.lies_above(rate) and not found.lies_below(rate))

    assert np.mean(held) >= 0.93


@pytest.mark.slow
def test_intervals_of_margins_and_of_pairs_with_their_mirrors_hold_the_truth_too() -> None:
    generator, ids = np.random.default_rng(5), np.repeat(np.arange(40), 2)
    margins, mirrored = [], []
    for _ in range(600):
        common = np.repeat(generator.normal(size=40), 2)
        found = estimate_mean(0.5 + common + generator.gamma(2, size=80), ids.tolist())
        margins.append(not found.lies_above(2.5) and not found.lies_below(2.5))
        # Whoever prefers one answer whatever is asked is right in one of the two.
        asked, biased = generator.random(40) < 0.4, generator.random(40) < 0.5
        first = np.where(asked, 1, biased)
        right = np.stack([first, np.where(asked, 1, ~biased)], axis=1).ravel()
        found = estimate_rate(right, ids.tolist())
        mirrored.append(not found.lies_above(0.7) and not found.lies_below(0.7))

    assert min(np.mean(margins), np.mean(mirrored)) >= 0.93


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.7941, 0.76, 0.8255), "0.794 [0.760, 0.826]"),
        (Estimate(-23.99, -37.26, -14.94), "-24.0 [-37.3, -14.9]"),
        (Estimate(1.1864, 1.0544, 1.3357), "1.19 [1.05, 1.34]"),
        (Estimate(1.0, None, None), "1.000"),
    ],
)
def test_an_estimate_is_written_with_its_interval(estimate: Estimate, text: str) -> None:
    assert str(estimate) == text
