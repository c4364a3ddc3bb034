"""A rule's preferences over pairs → its accuracy with a confidence interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fitbot.audit.records import prompt_text
from fitbot.audit.text import normalise
from fitbot.pairs.formats import PreferencePair

SHORTCUT_ABOVE = 0.55  # where a rule's whole interval must lie to be called a shortcut
_Z = 1.959964  # 95 % of a normal distribution, both sides


@dataclass(frozen=True)
class RuleScore:
    """How often one rule picks the chosen answer."""

    rule: str
    accuracy: float  # a tie counts one half
    low: float  # 95 % confidence interval
    high: float
    ties: int  # pairs in which the rule has no preference

    @property
    def is_shortcut(self) -> bool:
        """Whether the whole interval is above SHORTCUT_ABOVE."""
        return self.low > SHORTCUT_ABOVE


def score_rule(
    rule: str, preferences: Sequence[float], pairs: Sequence[PreferencePair]
) -> RuleScore:
    """Score a rule on pairs.

    Args:
        rule: Its name.
        preferences: One a pair: above 0 picks the chosen answer, below 0 the rejected one.
        pairs: The same pairs. Pairs of one question are not independent, so the interval is that of
            as many trials as there are distinct questions.
    """
    ties = sum(value == 0 for value in preferences)
    accuracy = (sum(value > 0 for value in preferences) + ties / 2) / len(preferences)
    questions = len({normalise(prompt_text(pair)) for pair in pairs})
    low, high = wilson_interval(accuracy, questions)
    return RuleScore(rule, float(accuracy), low, high, int(ties))


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of `count` trials.

    >>> [round(x, 3) for x in wilson_interval(0.5, 100)]
    [0.404, 0.596]

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953
    """
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    spread = math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    half = _Z * spread / (1 + _Z**2 / count)
    return max(0.0, centre - half), min(1.0, centre + half)
