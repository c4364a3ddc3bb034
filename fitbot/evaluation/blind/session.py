"""A blind comparison: which answers are shown next, in which order, and when it ends.

Terminal and page show what is here and bring a person's keys. Neither knows whose answer is whose.
"""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from fitbot.evaluation.blind.log import Choice, ChoiceLog, Side, Verdict
from fitbot.evaluation.blind.questions import Question
from fitbot.evaluation.confidence_sequence import excludes

Key = Literal["1", "2", "=", "s"]
KEYS: tuple[Key, ...] = get_args(Key)
SCORES: dict[Verdict, float] = {"a": 1.0, "b": 0.0, "tie": 0.5, "identical": 0.5}  # of side a
EQUAL = 0.5

_CERTAIN: dict[Key, Verdict] = {"=": "tie", "s": "skip"}


class AnswerSource(Protocol):
    """Where answers come from."""

    def answers(self, question: int) -> dict[Side, str]:
        """Return both answers to a question, by its place in the file; waits for them."""

    def prepare(self, questions: Sequence[int]) -> None:
        """Begin with the answers to questions that will be asked next; never waits."""


@dataclass(frozen=True)
class Item:
    """A question and its two answers, in the order in which they are shown."""

    number: int  # choices that were made before, to tell one item from another
    question: int  # place in the file
    prompt: Question
    answers: dict[Side, str]
    first: Side

    @property
    def shown(self) -> tuple[str, str]:
        """Both texts in their order."""
        return self.answers[self.first], self.answers[_other(self.first)]


class ComparisonSession:
    """One person's comparison of two sides; all methods may be called from any thread."""

    def __init__(
        self,
        questions: Sequence[Question],
        source: AnswerSource,
        log: ChoiceLog,
        *,
        most: int,
        seed: int,
        coin: random.Random | None = None,
    ):
        """Go on where the log ends.

        Args:
            questions: That may be asked.
            source: Answers them.
            log: Takes every choice.
            most: Comparisons after which it ends undecided; skipped questions are none.
            seed: Of the order of questions.
            coin: Whose answer comes first; by default nobody can tell beforehand.
        """
        self.most = most
        self._questions, self._source, self._log = questions, source, log
        self._order = random.Random(seed).sample(range(len(questions)), len(questions))
        self._coin = coin or random.SystemRandom()
        self._firsts: dict[int, Side] = {}  # of questions that were shown
        self._lock = threading.RLock()

    @property
    def choices(self) -> list[Choice]:
        """What was chosen so far."""
        return list(self._log.choices)

    @property
    def compared(self) -> int:
        """How many comparisons were made; those of identical answers count."""
        return len(scores_of(self.choices))

    @property
    def can_undo(self) -> bool:
        """Whether a person has chosen anything."""
        return any(choice.choice != "identical" for choice in self.choices)

    def current(self) -> Item | None:
        """Wait for the answers that are to be judged now; None: the comparison is over.

        Identical answers on the way are kept as ties and not shown.

        Raises:
            ConfigError: The log cannot be written.
            EngineError: An answer failed.
        """
        with self._lock:
            while (question := self._next()) is not None:
                answers = self._source.answers(question)
                item = self._item(question, answers)
                if answers["a"] != answers["b"]:
                    return item
                self._keep(item, "identical")
            return None

    def choose(self, number: int, key: Key) -> bool:
        """Take a choice for the current item.

        Args:
            number: The item's; a key that was pressed twice is not one for the next item.
            key: "1" or "2" for the better one of those shown, "=" equal, "s" skip.

        Returns:
            Whether it was taken.
        """
        with self._lock:
            item = self.current()
            if item is None or item.number != number:
                return False
            better = item.first if key == "1" else _other(item.first)
            self._keep(item, _CERTAIN.get(key, better))
            return True

    def undo(self) -> bool:
        """Take back the last choice that a person made; its item is the current one again.

        Returns:
            Whether there was one.
        """
        with self._lock:
            if not self.can_undo:
                return False
            while self._log.undo().choice == "identical":
                pass
            return True

    def _next(self) -> int | None:
        """Return the question to ask now, and have those after it prepared."""
        choices = self._log.choices
        asked = {choice.question for choice in choices}
        left = [question for question in self._order if question not in asked]
        if not left or is_over(choices, self.most):
            return None
        self._source.prepare(left)
        return left[0]

    def _item(self, question: int, answers: dict[Side, str]) -> Item:
        first = self._firsts.setdefault(question, self._coin.choice(get_args(Side)))
        number = len(self._log.choices)
        return Item(number, question, self._questions[question], answers, first)

    def _keep(self, item: Item, choice: Verdict) -> None:
        prompt = [{"role": turn.role, "content": turn.content} for turn in item.prompt]
        self._log.append(Choice(item.question, item.answers, item.first, choice, prompt))


def is_over(choices: Sequence[Choice], most: int) -> bool:
    """Say whether the interval excludes one half by now, or as many as allowed were compared."""
    scores = scores_of(choices)
    return len(scores) >= most or excludes(scores, EQUAL)


def scores_of(choices: Sequence[Choice]) -> list[float]:
    """Return what side a won in each comparison: 1, 0, or one half; skipped ones are left out."""
    return [SCORES[choice.choice] for choice in choices if choice.choice in SCORES]


def _other(side: Side) -> Side:
    return "b" if side == "a" else "a"
