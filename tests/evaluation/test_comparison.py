"""Two models side by side."""

import pytest

from fitbot.evaluation.intervals import compare, mcnemar


def test_mcnemar_counts_only_what_differs() -> None:
    # Of five that differ, five one way: 2 / 2^5.
    assert mcnemar(5, 0) == mcnemar(0, 5) == pytest.approx(2 / 32)
    # Two against four, or one more unequal: 2 (1 + 6 + 15) / 2^6.
    assert mcnemar(2, 4) == pytest.approx(44 / 64)
    assert mcnemar(3, 3) == mcnemar(0, 0) == 1


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


def test_equal_models_differ_by_nothing() -> None:
    found = compare("passes", ("a", "b"), ([1, 0, 1], [1, 0, 1]), range(3))

    assert (found.difference.value, found.gained, found.lost, found.p) == (0, 0, 0, 1)
