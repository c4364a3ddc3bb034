"""Values of pairs or answers → their mean with a 95 % bootstrap interval; of two models, compared.

Values that depend on each other, such as those of a pair and its mirror, form a group. A resample
draws whole groups, with replacement. N values, C groups, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import binomtest

from fitbot.audit.rules import wilson_interval

Floats = NDArray[np.float64]

_RESAMPLES = 5000
_COUNTS = 20_000_000  # held at most: with many groups there are fewer resamples
_SEED = 0
_TAIL = 0.025  # outside the interval, on either side


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval; None where no group differs from another, so there is none."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Write it with its interval: 0.794 [0.760, 0.825], or -24.0 [-37.3, -14.9]."""
        ends = [] if self.low is None or self.high is None else [self.low, self.high]
        digits = 3 - sum(abs(self.value) > limit for limit in (1, 10, 100))
        value, *shown = (f"{x:.{digits}f}" for x in (self.value, *ends))
        return f"{value} [{', '.join(shown)}]" if shown else value

    def lies_above(self, bound: float) -> bool:
        """Whether the whole interval does."""
        return self.low is not None and self.low > bound

    def lies_below(self, bound: float) -> bool:
        """Whether the whole interval does."""
        return self.high is not None and self.high < bound


def estimate_mean(values: ArrayLike, groups: Sequence[int]) -> Estimate:
    """Estimate the mean of all values.

    Args:
        values: (N,), at least one.
        groups: (N,) number of the group that each value belongs to.
    """
    column = np.asarray(values, dtype=np.float64)
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    sums, counts = np.bincount(index, weights=column), np.bincount(index).astype(np.float64)
    value = float(column.mean())
    if len(counts) < 2 or np.ptp(sums / counts) == 0:
        return Estimate(value, None, None)
    drawn = _draws(len(counts))
    resampled = (drawn @ sums) / (drawn @ counts)
    left_out = (sums.sum() - sums) / (counts.sum() - counts)  # the mean without each group
    return Estimate(value, *bca_interval(value, resampled, left_out))


def estimate_rate(holds: ArrayLike, groups: Sequence[int]) -> Estimate:
    """Estimate how often something holds.

    Where it always or never does, or in the same share of every group, all resamples are equal and
    a bootstrap has no interval. Then the interval is Wilson's, of as many trials as there are
    groups. This happens with a model that prefers the same answer whatever the question is: it is
    right in one of each pair and its mirror.

    Args:
        holds: (N,) true or false, 1 or 0; at least one.
        groups: (N,) number of the group that each belongs to.
    """
    found = estimate_mean(holds, groups)
    if found.low is not None:
        return found
    return Estimate(found.value, *wilson_interval(found.value, len(set(groups))))


def bca_interval(value: float, resampled: Floats, left_out: Floats) -> tuple[float, float]:
    """Return the bias-corrected and accelerated interval of a statistic.

    Args:
        value: The statistic of the sample.
        resampled: (R,) of resamples.
        left_out: (C,) of the sample without each of its groups.

    Returns:
        The ends of the 95 % interval.

    Source: Efron 1987, https://doi.org/10.1080/01621459.1987.10478410
    """
    below = (np.sum(resampled < value) + np.sum(resampled <= value)) / (2 * len(resampled))
    bias = ndtri(below)
    distance = left_out.mean() - left_out
    spread = np.sum(distance**2) ** 1.5
    acceleration = np.sum(distance**3) / (6 * spread) if spread > 0 else 0.0
    shifted = bias + ndtri([_TAIL, 1 - _TAIL])
    ends = ndtr(bias + shifted / (1 - acceleration * shifted))
    low, high = np.quantile(resampled, ends)
    return float(low), float(high)


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


@lru_cache(maxsize=4)
def _draws(groups: int) -> Floats:
    """Count how often each of C groups is in each resample: (R, C), the same in every run.

    All figures of the same groups share their resamples, so differences are paired.
    """
    generator = np.random.default_rng(_SEED)
    resamples = min(_RESAMPLES, max(1000, _COUNTS // groups))
    counts = generator.multinomial(groups, np.full(groups, 1 / groups), size=resamples)
    return counts.astype(np.float64)
