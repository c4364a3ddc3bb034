"""Answers without a model, and a session on them."""

import random
from collections.abc import Sequence
from pathlib import Path

from fitbot.evaluation.blind.log import ChoiceLog, Side
from fitbot.evaluation.blind.questions import Question
from fitbot.evaluation.blind.session import ComparisonSession
from fitbot.pairs.formats import Message

COMPARISON = {"a": "one", "b": "other"}
OPENED: list[ChoiceLog] = []  # of the test that runs, closed after it


def questions(count: int) -> list[Question]:
    return [(Message("user", f"Is {number} too much?"),) for number in range(count)]


class Answerer:
    """Side a says "good", side b "bad"; to some questions both say the same."""

    def __init__(self, identical: Sequence[int] = ()):
        """Take the questions that both answer alike."""
        self.identical = identical
        self.prepared: list[list[int]] = []

    def prepare(self, questions: Sequence[int]) -> None:
        """Keep what was asked for."""
        self.prepared.append(list(questions))

    def answers(self, question: int) -> dict[Side, str]:
        """Answer at once."""
        same = question in self.identical
        return {"a": f"good {question}", "b": f"good {question}" if same else f"bad {question}"}


def session_of(
    folder: Path, *, count: int = 30, most: int = 20, identical: Sequence[int] = (), seed: int = 1
) -> ComparisonSession:
    """Begin, or go on with, a comparison in a folder."""
    log = ChoiceLog(folder / "choices.jsonl", COMPARISON)
    OPENED.append(log)
    return ComparisonSession(
        questions(count),
        Answerer(identical),
        log,
        most=most,
        seed=seed,
        coin=random.Random(3),
    )
