"""Two models side by side: paired differences, and a test that takes each question once."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from fitbot.evaluation.intervals import compare, sign_flip
from tests.evaluation.clusters import questions, rates_of


def test_of_single_pairs_the_test_is_mcnemars() -> None:
    for gained, lost in [(5, 0), (0, 5), (2, 4), (3, 3), (9, 3)]:
        differences = [1] * gained + [-1] * lost + [0] * 20

        found = sign_flip(differences, range(len(differences)))

        assert found == pytest.approx(binomtest(gained, gained + lost).pvalue), (gained, lost)
    assert sign_flip([0, 0, 0], range(3)) == 1


def test_a_group_is_flipped_as_a_whole() -> None:
    sums = [3.0, -0.5, 2.0, 1.5]
    values, groups = [1.0, 2.0, -0.5, 2.0, 0.0, 1.0, 0.5], [0, 0, 1, 2, 2, 3, 3]

    ways = itertools.product((1, -1), repeat=4)
    totals = [abs(sum(s * x for s, x in zip(way, sums, strict=True))) for way in ways]

    assert sign_flip(values, groups) == np.mean([total >= 6.0 for total in totals])
    # However often the same is said, there are four groups.
    assert sign_flip(values * 5, groups * 5) == sign_flip(values, groups)


def test_of_many_groups_it_is_scipys_but_for_the_draw() -> None:
    differences = np.random.default_rng(0).normal(0.15, 1, size=60)

    theirs = permutation_test(
        (differences, np.zeros(60)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=1,
    )

    assert 0.001 < theirs.pvalue < 0.2
    assert sign_flip(differences, range(60)) == pytest.approx(theirs.pvalue, abs=0.01)
    assert sign_flip(differences, range(60)) == sign_flip(differences, range(60))
    assert sign_flip(np.ones(60), range(60)) == pytest.approx(1e-4)  # one of 10,000 ways


def test_a_difference_is_paired() -> None:
    one = [1, 1, 0, 0, 0, 1, 0, 1, 0, 1]
    other = [1, 1, 1, 1, 0, 1, 1, 0, 0, 1]

    found = compare("passes", ("base", "tuned"), (one, other), range(10))

    assert (found.gained, found.lost, found.count) == (3, 1, 10)
    assert found.difference.value == pytest.approx(0.2)
    assert found.p == pytest.approx(2 * (1 + 4) / 16)
    assert found.difference.low is not None
    assert found.difference.high is not None
    assert found.difference.low < 0.2 < found.difference.high
    # Paired, it is surer than two rates apart: 0.5 and 0.7 of ten overlap by far.
    assert found.difference.high - found.difference.low < 0.9
    assert not found.is_clear


def test_equal_models_differ_by_nothing() -> None:
    found = compare("passes", ("a", "b"), ([1, 0, 1], [1, 0, 1]), range(3))

    assert (found.difference.value, found.gained, found.lost, found.p) == (0, 0, 0, 1)
    assert not found.is_clear


def test_five_of_five_are_no_clear_difference_and_twenty_of_twenty_are() -> None:
    # All differences are equal, so there is no interval.
    few, many = (compare("passes", ("a", "b"), ([0] * n, [1] * n), range(n)) for n in (5, 20))

    assert few.difference.low is many.difference.low is None
    assert (few.is_clear, many.is_clear) == (False, True)


@pytest.mark.slow
def test_two_equal_models_are_found_different_no_more_often_than_the_test_says() -> None:
    generator, rates, margins, by_pair = np.random.default_rng(1), [], [], []
    for _ in range(1000):
        ids = questions(generator, 60)
        one, other = (
            (generator.random(len(ids)) < rates_of(generator, 60, 0.7, 0.6)[ids]).astype(float)
            for _ in range(2)
        )
        rates.append(sign_flip(other - one, ids.tolist()) <= 0.05)
        shared = generator.normal(size=60)[ids] + generator.normal(size=len(ids))
        margins.append(sign_flip(shared, ids.tolist()) <= 0.05)
        gained, lost = int(np.sum(other > one)), int(np.sum(one > other))
        by_pair.append(binomtest(gained, gained + lost).pvalue <= 0.05)

    assert np.mean(rates) <= 0.06
    assert np.mean(margins) <= 0.06
    assert np.mean(by_pair) > 0.1  # McNemar's, which takes each pair for itself


@pytest.mark.slow
def test_a_better_model_is_found_better_and_the_interval_holds_the_difference() -> None:
    generator, found, held = np.random.default_rng(2), [], []
    for _ in range(400):
        ids = questions(generator, 100)
        rates = rates_of(generator, 100, 0.6, 0.3)
        one, other = (
            generator.random(len(ids)) < x for x in (rates[ids], (rates + 0.4 * (1 - rates))[ids])
        )

        it = compare("right", ("one", "other"), (one, other), ids.tolist())

        found.append(it.is_clear)
        held.append(not it.difference.lies_above(0.16) and not it.difference.lies_below(0.16))

    assert np.mean(found) > 0.9
    assert np.mean(held) >= 0.93
