"""Pairs that share questions, as simulations draw them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def questions(generator: np.random.Generator, groups: int, most: int = 5) -> NDArray[np.int64]:
    """Ask every question from one to `most` times; → (N,) the question of each pair."""
    return np.repeat(np.arange(groups), generator.integers(1, most + 1, size=groups))


def rates_of(
    generator: np.random.Generator, groups: int, rate: float, alike: float
) -> NDArray[np.float64]:
    """Draw how often a model is right about each question: `rate` on average.

    Args:
        generator: Of random numbers.
        groups: Questions.
        rate: The mean over all questions.
        alike: Correlation of the pairs of a question, from 0 to below 1.
    """
    if not alike:
        return np.full(groups, rate)
    spread = (1 - alike) / alike
    drawn: Any = generator.beta(rate * spread, (1 - rate) * spread, size=groups)
    return np.asarray(drawn, dtype=np.float64)
