"""An interval that may be looked at after every score: size, coverage and power by simulation."""

import numpy as np
import pytest

from fitbot.evaluation.confidence_sequence import LEVEL, excludes, interval, log_capital

REFUSED = np.log(1 / LEVEL)


def choices(rate: float, ties: float, *, runs: int, length: int) -> np.ndarray:
    """Draw scores: a tie with a probability, or else a win with another; (runs, length)."""
    generator = np.random.default_rng(0)
    wins = (generator.random((runs, length)) < rate).astype(float)
    return np.where(generator.random((runs, length)) < ties, 0.5, wins)


@pytest.mark.slow
@pytest.mark.parametrize("ties", [0.0, 0.3, 0.8])
def test_of_two_thousand_comparisons_of_equals_at_most_one_in_twenty_ever_decides(
    ties: float,
) -> None:
    runs = choices(0.5, ties, runs=2000, length=200)

    decided = sum(bool(log_capital(scores, 0.5).max() >= REFUSED) for scores in runs)

    assert 20 <= decided <= 100  # an interval that is always too wide would never decide


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "ties"), [(0.7, 0.0), (0.9, 0.2)])
def test_the_mean_is_within_at_all_times_in_95_of_100_runs(rate: float, ties: float) -> None:
    mean = rate * (1 - ties) + 0.5 * ties
    runs = choices(rate, ties, runs=1000, length=300)

    missed = np.mean([log_capital(scores, mean).max() >= REFUSED for scores in runs])

    assert missed <= LEVEL


def test_a_clear_winner_is_found_soon() -> None:
    runs = choices(0.75, 0.0, runs=100, length=200)

    found = [log_capital(scores, 0.5) >= REFUSED for scores in runs]

    assert np.mean([one.any() for one in found]) > 0.95
    assert np.median([one.argmax() for one in found]) < 50


def test_capital_follows_from_stakes_that_can_be_checked_by_hand() -> None:
    # The first stake, sqrt(2 log 40 / (1/4 · log 2)) = 6.5, is more than the 0.75 / 0.5 allowed.
    # A win then is worth 1 + 1.5 · 0.5, and so is the next.
    assert log_capital([1, 1], 0.5) == pytest.approx(np.log([0.5, 0.5 * 1.75, 0.5 * 1.75**2]))
    # Of ties nothing is won or lost.
    assert log_capital([0.5, 0.5], 0.5) == pytest.approx(np.log([0.5, 0.5, 0.5]))


def test_the_interval_is_all_there_is_without_scores_and_narrows() -> None:
    widths = [high - low for low, high in (interval([1, 0] * n) for n in (0, 10, 100))]

    assert widths[0] == 1
    assert widths == sorted(widths, reverse=True)
    assert widths[2] < 0.35


@pytest.mark.parametrize("scores", [[1] * 7, [0] * 7, [1] * 6, [0.5] * 50, [1, 0.5, 1, 0] * 40])
def test_the_interval_excludes_one_half_when_that_is_refused(scores: list[float]) -> None:
    low, high = interval(scores)

    assert 0 <= low <= np.mean(scores) <= high <= 1
    assert excludes(scores, 0.5) == (low >= 0.5 or high <= 0.5)


def test_who_wins_is_a_matter_of_order_of_sides_only() -> None:
    scores = np.array([1, 1, 0.5, 0, 1, 1, 1, 0.5, 1])
    low, high = interval(scores)

    assert interval(1 - scores) == pytest.approx((1 - high, 1 - low))
