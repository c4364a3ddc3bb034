"""Choices → who is preferred, how surely, and what that does not mean."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fitbot.evaluation.blind.log import Choice, Side
from fitbot.evaluation.blind.session import EQUAL, scores_of
from fitbot.evaluation.confidence_sequence import excludes, interval

DOES_NOT_MEAN = (
    "It is what those who chose prefer, on questions like these. It does not say that an answer is "
    "true or safe, nor by how much it is better, nor what others would choose."
)


@dataclass(frozen=True)
class Outcome:
    """How a comparison stands.

    Args:
        names: Of both sides' models.
        compared: Comparisons that were made.
        wins_a, wins_b: Those that a side won.
        ties: Those that the person called equal.
        identical: Those whose answers were the same text, which nobody was shown.
        skipped: Questions that do not count.
        rate: How often side a wins, a tie being one half; None without comparisons.
        low, high: Its 95 % interval, which holds at whatever time one stops.
        winner: The side that is preferred; None while that is not decided.
    """

    names: dict[Side, str]
    compared: int
    wins_a: int
    wins_b: int
    ties: int
    identical: int
    skipped: int
    rate: float | None
    low: float
    high: float
    winner: Side | None

    def lines(self) -> list[str]:
        """Say it in a few sentences."""
        if self.rate is None:
            return ["No comparison was made, so nothing is known."]
        a, b = self.names["a"], self.names["b"]
        sides = {"a": (a, b), "b": (b, a)}
        better, other = sides[self.winner or "a"]
        turned = self.winner == "b"
        rate, low, high = (
            (1 - self.rate, 1 - self.high, 1 - self.low)
            if turned
            else (self.rate, self.low, self.high)
        )
        first = (
            f"{better} is preferred to {other}."
            if self.winner
            else f"Not decided between {a} and {b}: the interval holds one half, which is chance."
        )
        skipped = f"; {self.skipped} skipped" if self.skipped else ""
        return [
            first,
            f"{better} wins {rate:.3f} [{low:.3f}, {high:.3f}] of {self.compared} comparisons, "
            "ties counting one half. The 95 % interval holds whenever one stops.",
            f"{a} won {self.wins_a}, {b} won {self.wins_b}; {self.ties} equal, {self.identical} "
            f"identical{skipped}.",
            DOES_NOT_MEAN,
        ]

    def to_json(self, comparison: Mapping[str, Any], version: str) -> dict[str, Any]:
        """Return it as plain JSON, with what was compared."""
        said = {"summary": self.lines()}
        return {"fitbot": version, **asdict(self), **said, "comparison": dict(comparison)}


def outcome_of(choices: Sequence[Choice], names: dict[Side, str]) -> Outcome:
    """Count choices, and estimate how often side a is preferred."""
    counts = Counter(choice.choice for choice in choices)
    scores = scores_of(choices)
    rate = sum(scores) / len(scores) if scores else None
    low, high = interval(scores)
    winner: Side | None = None
    if rate is not None and excludes(scores, EQUAL):
        winner = "a" if rate > EQUAL else "b"
    return Outcome(
        names=names,
        compared=len(scores),
        wins_a=counts["a"],
        wins_b=counts["b"],
        ties=counts["tie"],
        identical=counts["identical"],
        skipped=counts["skip"],
        rate=rate,
        low=low,
        high=high,
        winner=winner,
    )
