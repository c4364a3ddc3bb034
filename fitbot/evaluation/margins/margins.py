"""An adapter and pairs → the margin of every pair, the extremes, and how well they are calibrated.

A margin is how much more the policy prefers the chosen answer than its reference does. N pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from fitbot.errors import ConfigError
from fitbot.evaluation.cases import Case, dependent_groups
from fitbot.evaluation.intervals import Estimate, Floats, estimate_rate
from fitbot.evaluation.measure import lengths_of
from fitbot.evaluation.models import Overrides, resolve_models
from fitbot.evaluation.preference import PairFigures, wins
from fitbot.evaluation.scoring import Scorer, hush_libraries, scoring_device
from fitbot.pairs.chat import Chat, EncodedPair, LengthLimits, load_tokenizer


@dataclass(frozen=True)
class Margins:
    """One adapter's rewards and margins of N pairs; a reward is beta · log(policy / reference)."""

    cases: list[Case]
    encoded: list[EncodedPair]
    chosen: Floats  # (N,) reward of the chosen answer
    rejected: Floats  # (N,) reward of the rejected answer
    values: Floats  # (N,) margin: the one less the other

    @cached_property
    def groups(self) -> list[int]:
        """Return the group of each pair: (N,), see cases.dependent_groups."""
        return dependent_groups([case.pair for case in self.cases])

    @property
    def length_differences(self) -> NDArray[np.int64]:
        """Count how many tokens longer the chosen answer is: (N,), below 0 where it is shorter."""
        lengths = lengths_of(self.encoded)
        return lengths[:, 0] - lengths[:, 1]

    @property
    def accuracy(self) -> Estimate:
        """Estimate the share of pairs with a margin above 0; a tie counts one half."""
        return estimate_rate(wins(self.values), self.groups)


class Subject:
    """One adapter on its base, loaded to be examined."""

    def __init__(self, folder: str | Path):
        """Load it.

        Args:
            folder: An adapter that fit or export wrote, or a run, whose adapter is taken.

        Raises:
            AdapterError: There is none, it is damaged, or it does not fit its base.
        """
        hush_libraries()
        self.lineup = resolve_models([str(folder)], Overrides())
        self.model = self.lineup.adapters[0]
        self.chat = Chat(
            load_tokenizer(self.lineup.base_model),
            system_prompt=self.lineup.system_prompt,
            date=self.lineup.date,
        )
        self.device = scoring_device()
        self.scorer = Scorer(self.lineup, self.model, device=self.device)
        assert self.model.objective is not None  # only the base has none
        self.objective = self.model.objective

    def margins(self, cases: Sequence[Case]) -> Margins:
        """Score pairs."""
        limits = LengthLimits(self.lineup.max_prompt_length, self.lineup.max_length)
        encoded = self.chat.encode_pairs([case.pair for case in cases], limits)
        figures = PairFigures(self.model, *self.scorer.logps(encoded), lengths_of(encoded))
        parts = (figures.columns[f"rewards/{name}"] for name in ("chosen", "rejected", "margins"))
        return Margins(list(cases), encoded, *parts)


def best_and_worst(values: Floats, count: int) -> tuple[list[int], list[int]]:
    """Find the pairs with the largest and with the smallest margins.

    Args:
        values: (N,) margins.
        count: How many of either; of fewer than twice as many pairs, half.

    Returns:
        Their indices, the largest first and the smallest first.

    >>> best_and_worst(np.array([0.5, -2.0, 3.0, 1.0]), 1)
    ([2], [1])
    """
    order = np.argsort(values, kind="stable").tolist()
    count = min(count, len(order) // 2)
    return order[::-1][:count], order[:count]


@dataclass(frozen=True)
class Bin:
    """The pairs of which a model is about equally confident."""

    low: float  # confidence, inclusive
    high: float  # exclusive; of the last bin inclusive
    pairs: int
    confidence: float  # mean
    right: Estimate  # share of pairs in which the preferred answer is the chosen one


def calibration_bins(values: Floats, groups: Sequence[int], *, bins: int = 5) -> list[Bin]:
    """Compare how sure a model is of its preferences with how often they are right.

    DPO reads a margin m as a preference for the chosen answer with probability sigmoid(m). Where
    that is below one half the model prefers the other answer, with probability 1 - sigmoid(m); the
    larger of the two is its confidence, in [0.5, 1], whichever answer is the chosen one.

    Args:
        values: (N,) margins, at least one.
        groups: (N,) the group of each pair.
        bins: Of equal width, over [0.5, 1].

    Returns:
        The bins that have pairs, from the least confident to the most.

    Raises:
        ConfigError: There is less than one bin.
    """
    if bins < 1:
        raise ConfigError(f"bins must be at least 1, got {bins}")
    confidence = expit(np.abs(values))
    edges = np.linspace(0.5, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, bins - 1)
    found = []
    for number in range(bins):
        where = np.flatnonzero(place == number).tolist()
        if where:
            right = estimate_rate(wins(values[where]), [groups[i] for i in where])
            low, high = edges[number : number + 2].tolist()
            found.append(Bin(low, high, len(where), float(confidence[where].mean()), right))
    return found
