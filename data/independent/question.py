"""One question of the independent judge, and ways to write one down."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Question:
    """A question, what tells right answers from wrong ones, and an example of each."""

    question: str
    check: dict[str, Any]  # see fitbot/evaluation/checks.py
    right: str
    wrong: str  # what somebody may well say
    source: str  # formula, rule book or guideline that the answer rests on
    template: bool = False  # the sentence is one of several with other numbers


def figure(
    question: str,
    value: float,
    unit: str | None,
    right: str,
    wrong: str,
    source: str,
    *,
    within: float = 0.002,
    template: bool = False,
) -> Question:
    """Ask for a figure; `within` is the share by which it may be missed."""
    check = {"figure": round(value, 4), "within": within} | ({"unit": unit} if unit else {})
    return Question(question, check, right, wrong, source, template)


def time(
    question: str,
    seconds: float,
    right: str,
    wrong: str,
    source: str,
    *,
    within: float = 0.004,
    template: bool = False,
) -> Question:
    """Ask for a time or a pace."""
    return Question(
        question, {"time": round(seconds, 1), "within": within}, right, wrong, source, template
    )


def choice(
    question: str,
    of: Sequence[str],
    unwanted: Sequence[str],
    right: str,
    wrong: str,
    source: str,
    *,
    least: int | None = None,
) -> Question:
    """Ask which things fit; `least` of them must be affirmed, and none that does not fit."""
    picks: dict[str, Any] = {"of": list(of), "not": list(unwanted)}
    if least is not None:
        picks["least"] = least
    return Question(question, {"picks": picks}, right, wrong, source)


def verdict(
    question: str, says: str, reasons: Sequence[str], right: str, wrong: str, source: str
) -> Question:
    """Ask yes or no, and why; at least one of the reasons must be named."""
    return Question(question, {"says": says, "any": list(reasons)}, right, wrong, source)
