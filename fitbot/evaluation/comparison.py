"""Two models on the same pairs or questions → the difference, and whether it could be chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from fitbot.evaluation.intervals import Estimate, estimate_mean


@dataclass(frozen=True)
class Comparison:
    """How often something holds of one model and not of the other."""

    measure: str
    one: str  # name of a model
    other: str
    count: int  # pairs, or questions
    difference: Estimate  # rate of the other less that of the one
    gained: int  # holds of the other only
    lost: int  # holds of the one only
    p: float  # McNemar's exact test, two-sided: the chance of so unequal a split of both


def compare(
    measure: str,
    names: tuple[str, str],
    holds: tuple[ArrayLike, ArrayLike],
    group_ids: Sequence[int],
) -> Comparison:
    """Compare two models.

    Args:
        measure: What holds or does not.
        names: Of the two models.
        holds: (N,) true or false for each of them.
        group_ids: (N,) which pairs or questions are drawn together for the interval. McNemar's
            test takes each for itself.
    """
    one, other = (np.asarray(values, dtype=np.float64) for values in holds)
    gained, lost = int(np.sum(other > one)), int(np.sum(one > other))
    difference = estimate_mean(other - one, group_ids)
    p = mcnemar(gained, lost)
    return Comparison(measure, *names, len(one), difference, gained, lost, p)


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact p of McNemar's test: a fair coin's of falling so unequally.

    >>> mcnemar(1, 5)  # 2 (1 + 6) / 64
    0.21875

    Source: McNemar 1947, https://doi.org/10.1007/BF02295996
    """
    if gained + lost == 0:
        return 1.0
    return float(binomtest(gained, gained + lost).pvalue)
