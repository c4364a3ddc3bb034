"""Scores that come one by one → an interval for their mean that may be looked at after each.

An ordinary 95 % interval is right at one number of scores, fixed beforehand. Whoever looks after
every score and stops when the interval suits, is wrong far more often than in 5 % of cases. A
confidence sequence holds the mean at all times at once with 95 %, so one may stop at any time.

The method bets against each possible mean m. A gambler begins with a capital of 1 and stakes on
scores above m, a second one on scores below. If m is the mean, the game is fair, and a capital
reaches 40 with a probability of at most 1/40 (Ville's inequality). So an m at which one of the two
reaches 40 is refused at the level 0.05.

Source: Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting",
theorem 3 (hedged capital) with the stakes of its equation 26, https://arxiv.org/abs/2010.09686
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.05  # how often the interval may ever miss the mean
_MOST_STAKED = 0.75  # of the capital that the worst score could cost; below 1, or it could be lost
_STEP = 0.001  # of the means that are tried

Floats = NDArray[np.float64]


def excludes(scores: ArrayLike, mean: float) -> bool:
    """Say whether scores refuse a mean at the level 0.05.

    Args:
        scores: (T,) from 0 to 1, in the order in which they came; may be empty.
        mean: From 0 to 1.
    """
    return bool(log_capital(scores, mean)[-1] >= np.log(1 / LEVEL))


def interval(scores: ArrayLike) -> tuple[float, float]:
    """Return the ends of the 95 % interval for the mean, each at most 0.001 too far out.

    Args:
        scores: (T,) from 0 to 1, in the order in which they came; with none it is 0 to 1.

    The mean is that of the source of the scores. Each score may depend on those before it, as long
    as its expectation given them is the mean.
    """
    means = np.arange(round(1 / _STEP) + 1) * _STEP
    last = log_capital(scores, means)[:, -1]
    left = means[last < np.log(1 / LEVEL)]
    if not len(left):  # then all are refused, as happens in less than 5 % of cases
        left = means[[last.argmin()]]
    low, high = (round(float(end), 3) for end in (left[0] - _STEP, left[-1] + _STEP))
    return max(0.0, low), min(1.0, high)


def log_capital(scores: ArrayLike, mean: ArrayLike) -> Floats:
    """Return the logarithm of the larger of the two capitals, each of which begins as one half.

    Args:
        scores: (T,) from 0 to 1.
        mean: (...) that is bet against, from 0 to 1.

    Returns:
        (..., T + 1) before the first score and after each. Of the right mean it ever reaches
        log(1 / level) with a probability of at most the level.
    """
    values = np.asarray(scores, dtype=np.float64)
    means = np.asarray(mean, dtype=np.float64)[..., None]
    stakes = _stakes(values)
    with np.errstate(divide="ignore"):  # a mean of 0 or 1 limits one of them only
        up = np.minimum(stakes, _MOST_STAKED / means)
        down = np.minimum(stakes, _MOST_STAKED / (1 - means))
    gains = np.maximum(
        np.cumsum(np.log1p(up * (values - means)), axis=-1),
        np.cumsum(np.log1p(down * (means - values)), axis=-1),
    )
    capitals: Floats = np.concatenate([np.zeros_like(means), gains], axis=-1) - np.log(2)
    return capitals


def _stakes(values: Floats) -> Floats:
    """Return what is staked on each score; it depends only on the scores before.

    The less scores have varied and the more there were, the surer a gambler may be; the factor
    1 / (t log(1 + t)) keeps enough for all times to come.
    """
    count = np.arange(1, len(values) + 1)
    means = (0.5 + np.cumsum(values)) / (count + 1)
    variances = (0.25 + np.cumsum((values - means) ** 2)) / (count + 1)
    before = np.concatenate([[0.25], variances])[:-1]
    return np.asarray(np.sqrt(2 * np.log(2 / LEVEL) / (before * count * np.log1p(count))))
