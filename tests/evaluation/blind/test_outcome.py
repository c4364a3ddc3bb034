"""What is said at the end."""

import pytest

from fitbot.evaluation.blind.log import Choice, Side, Verdict
from fitbot.evaluation.blind.outcome import DOES_NOT_MEAN, outcome_of

NAMES: dict[Side, str] = {"a": "tuned", "b": "base"}


def made(*verdicts: Verdict, wins: int = 0, losses: int = 0) -> list[Choice]:
    won: list[Verdict] = ["a"] * wins
    lost: list[Verdict] = ["b"] * losses
    every = [*won, *lost, *verdicts]
    return [Choice(i, {"a": "x", "b": "y"}, "a", one, []) for i, one in enumerate(every)]


def test_a_winner_is_named_with_rate_interval_and_counts() -> None:
    found = outcome_of(made("tie", "skip", "identical", wins=9), NAMES)

    assert found.winner == "a"
    assert (found.compared, found.wins_a, found.ties, found.identical, found.skipped) == (
        *(11, 9, 1, 1, 1),
    )
    assert found.rate == pytest.approx(10 / 11)
    first, rate, counts, last = found.lines()
    assert first == "tuned is preferred to base."
    assert rate.startswith(f"tuned wins 0.909 [{found.low:.3f}, 1.000] of 11 comparisons")
    assert counts == "tuned won 9, base won 0; 1 equal, 1 identical; 1 skipped."
    assert last == DOES_NOT_MEAN


def test_the_second_side_is_named_when_it_wins() -> None:
    found = outcome_of(made(losses=8), NAMES)

    assert found.winner == "b"
    assert found.lines()[0] == "base is preferred to tuned."
    assert found.lines()[1].startswith(f"base wins 1.000 [{1 - found.high:.3f}, 1.000] of 8")


def test_an_open_comparison_is_said_to_be_open() -> None:
    found = outcome_of(made("a", "b", "a"), NAMES)

    assert found.winner is None
    assert found.low < 0.5 < found.high
    assert found.lines()[0].startswith("Not decided between tuned and base")


def test_without_comparisons_nothing_is_known() -> None:
    found = outcome_of(made("skip"), NAMES)

    assert (found.rate, found.winner, found.low, found.high) == (None, None, 0, 1)
    assert found.lines() == ["No comparison was made, so nothing is known."]
    assert found.to_json({"seed": 1}, "1.0")["comparison"] == {"seed": 1}
