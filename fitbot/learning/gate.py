"""Outcomes of a new version and of older ones on the same items → is it taken?

Pure: nothing here knows of models or files. An item is a pair, a question with a check, or a choice
that was held out. Outcomes go from 0 (wrong) to 1 (right); items are independent of each other: of
a pair and its mirror only one is an item.

The evidence is a bet. If the mean difference of new less old were m, a gambler who stakes the share
c of a capital of 1 at every item on differences above m would play a fair game, so the capital
reaches 1 / level with a probability of at most the level, however often one looks (Ville's
inequality). The capital is spread over several shares c at the start, which leaves it fair and
loses little to the best share. The order of the items does not matter for it.

Sources: Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting",
theorem 3, https://arxiv.org/abs/2010.09686; the spread over shares is Cover's universal portfolio,
Orabona and Jun 2021, https://arxiv.org/abs/2110.14099.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

Floats = NDArray[np.float64]

CHOICES, PAIRS, ANSWERS = "held-out choices", "test pairs", "right answers"
HEALTH = "health questions"  # right answers to them
MEASURES = (CHOICES, PAIRS, ANSWERS, HEALTH)

# Below 1, or one lost item could take all. Most items of two versions are alike, and the fewer
# differ the more may be staked.
_SHARES = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
_LOG_SHARES = math.log(len(_SHARES))
_RIGHT = 0.5  # an outcome above it is called right
_TAIL = 0.025  # outside a 95 % interval, on either side
_STEP = 0.001  # of the means that a bound is looked for among


@dataclass(frozen=True)
class Limits:
    """What a version may cost."""

    worse: float = 0.02  # than the current one; shown for each version by itself, at `level`
    in_all: float = 0.05  # than the current and the best one; in all looks together, at `level`
    level: float = 0.05  # how often an answer of the gate may be wrong
    drift: float = 0.5  # nats a token, KL(version || base) on neutral text


@dataclass(frozen=True)
class Paired:
    """Outcomes of the same n items, (n,) each."""

    candidate: Floats
    current: Floats
    best: Floats  # of the last version that was shown better by this measure, or the first one

    @property
    def to_current(self) -> Floats:
        """Differences to the current version."""
        return self.candidate - self.current

    @property
    def to_best(self) -> Floats:
        """Differences to the best version."""
        return self.candidate - self.best


@dataclass(frozen=True)
class Evidence:
    """What was measured of a candidate so far."""

    look: int  # which candidate of this registry it is, from 1; refused ones count
    outcomes: Mapping[str, Paired]  # by measure
    drift: float  # nats a token
    stopped: int = 0  # health questions whose answer is stopped now and was not before


@dataclass(frozen=True)
class Figures:
    """One measure of a candidate beside the current version."""

    items: int
    share: float  # right
    current: float  # right, of the current version
    gained: int
    lost: int
    low: float  # end of the 95 % interval for the difference
    high: float


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a candidate."""

    state: str  # OPEN, REFUSED, NOT_WORSE or BETTER
    reason: str  # one sentence for the user
    better: tuple[str, ...] = ()  # measures whose best version it is from now on
    unsettled: bool = False  # refused, but only because too little was shown

    @property
    def is_taken(self) -> bool:
        """Whether it answers from now on."""
        return self.state in (NOT_WORSE, BETTER)


OPEN, REFUSED, NOT_WORSE, BETTER = "open", "refused", "not shown worse", "better"


def judge(evidence: Evidence, limits: Limits = Limits()) -> Verdict:
    """Decide on a candidate; OPEN: more items may still show that it is not worse.

    Of test pairs and right answers it must be shown that the candidate is not worse, of held-out
    choices only where there are enough of them to show anything. By none may it be shown worse.

    Args:
        evidence: What was measured; a measure that is not there is not asked for.
        limits: What a version may cost.
    """
    outcomes, drift = evidence.outcomes, evidence.drift
    if evidence.stopped:
        plural = "" if evidence.stopped == 1 else "s"
        return Verdict(
            REFUSED,
            f"the health filter stops its answer to {evidence.stopped} question{plural} whose "
            "answer it let through before",
        )
    if not drift <= limits.drift:
        return Verdict(
            REFUSED,
            f"it has drifted {drift:.2f} nats a token from the base in plain text, and "
            f"{limits.drift:.2f} are allowed",
        )
    for name, own in outcomes.items():
        if log_capital(-own.to_current, 0.0) >= math.log(1 / _TAIL):
            return Verdict(REFUSED, f"shown worse by {name}: {_counts(own)}")
    for name, own in outcomes.items():
        if name == HEALTH:
            continue
        if name == CHOICES and len(own.candidate) < items_needed(evidence.look, limits):
            continue
        if missing := _not_shown(own, evidence.look, limits):
            return Verdict(OPEN, f"{name}: {_counts(own)}; {missing}")
    level = level_of(evidence.look, limits) / len(MEASURES)
    better = tuple(
        name for name, own in outcomes.items() if log_capital(own.to_best, 0.0) >= -math.log(level)
    )
    said = "; ".join(f"{name}: {_counts(own)}" for name, own in outcomes.items())
    return Verdict(BETTER if better else NOT_WORSE, said, better)


def figures_of(evidence: Evidence) -> dict[str, Figures]:
    """Return every measure's figures, beside the current version's."""
    return {name: _figures(own) for name, own in evidence.outcomes.items() if len(own.candidate)}


def level_of(look: int, limits: Limits = Limits()) -> float:
    """Return the level of one look, so that all looks together keep `limits.level`.

    Half of it is for the first hundred looks, half of the rest for the next hundred, and so on.
    """
    hundreds = (look - 1) // 100
    return float(limits.level * 0.5 ** (hundreds + 1) / 100)


@cache
@cache
def items_needed(look: int, limits: Limits = Limits()) -> int:
    """Count the items that it takes to take a version that differs in none of them.

    >>> items_needed(1), items_needed(301)
    (220, 251)
    """
    low, high = 0, 1 << 16  # not enough, and enough: no limit is that small
    while high - low > 1:
        count = (low + high) // 2
        same = np.zeros(count)
        low, high = (
            (count, high) if _not_shown(Paired(same, same, same), look, limits) else (low, count)
        )
    return high


def log_capital(differences: ArrayLike, mean: float) -> float:
    """Return the logarithm of the capital won against a mean difference, in (-1, 1].

    Args:
        differences: (n,) of new less old, from -1 to 1; may be empty.
        mean: What is bet against: that differences have this mean, or a lower one.
    """
    values, counts = np.unique(np.asarray(differences, dtype=np.float64), return_counts=True)
    gain = (1 + values) / (1 + mean) - 1  # of a whole stake
    return float(logsumexp(np.log1p(_SHARES[:, None] * gain) @ counts) - _LOG_SHARES)


def lower_bound(differences: ArrayLike, level: float) -> float:
    """Return a mean that the true one is below with a probability of at most the level.

    It is found on a grid of 0.001; -1 where nothing can be said.

    >>> lower_bound(np.zeros(300), 0.05)
    -0.015
    """
    values, counts = np.unique(np.asarray(differences, dtype=np.float64), return_counts=True)
    means = np.arange(1 - round(1 / _STEP), round(1 / _STEP)) * _STEP
    gains = (1 + values) / (1 + means[:, None, None]) - 1
    capitals = logsumexp(np.log1p(_SHARES[:, None] * gains) @ counts, axis=1) - _LOG_SHARES
    # The capital falls as the mean rises.
    return round(float(max(means[capitals >= math.log(1 / level)], default=-1.0)), 3)


def _not_shown(own: Paired, look: int, limits: Limits) -> str | None:
    """Say what is not shown yet; None if nothing is missing."""
    if log_capital(own.to_current, -limits.worse) < math.log(1 / limits.level):
        return f"this does not exclude that it is {_points(limits.worse)} worse"
    needed = math.log(1 / level_of(look, limits))
    if log_capital(own.to_current, -limits.in_all) < needed:
        return f"after {look} versions this does not exclude {_points(limits.in_all)} worse"
    if log_capital(own.to_best, -limits.in_all) < needed:
        return f"this does not exclude {_points(limits.in_all)} worse than the best version so far"
    return None


def _figures(own: Paired) -> Figures:
    differences = own.to_current
    return Figures(
        len(differences),
        float(own.candidate.mean()),
        float(own.current.mean()),
        *_turned(own),
        lower_bound(differences, _TAIL),
        -lower_bound(-differences, _TAIL),
    )


def _turned(own: Paired) -> tuple[int, int]:
    """Count the items that are right now and were not, and those that were and are not."""
    now, before = own.candidate > _RIGHT, own.current > _RIGHT
    return int((now & ~before).sum()), int((before & ~now).sum())


def _counts(own: Paired) -> str:
    gained, lost = _turned(own)
    return f"{gained} gained and {lost} lost of {len(own.candidate):,}"


def _points(share: float) -> str:
    return f"{100 * share:g} points"
