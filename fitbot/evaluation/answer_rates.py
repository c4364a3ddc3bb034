"""Answers → how many pass the checks of their questions, and how many have errors.

An error needs no question to be seen: empty, thinking, looping, unfinished.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fitbot.evaluation.answering import ModelAnswer
from fitbot.evaluation.cases import Case, groups_of
from fitbot.evaluation.checks import passes
from fitbot.evaluation.intervals import Estimate, estimate_mean, estimate_rate

PASSES = "passes"
# error → what it means; reports call them faults
ANSWER_ERRORS = {
    "empty": "no letter and no digit",
    "thinking": "a thought, though thinking is off, or its mark",
    "looping": "words repeated over and over",
    "unfinished": "all tokens used up before its end",
}

_LONGEST = 20  # words that are repeated
_TIMES = 4  # how often they come in succession, at least
_WORDS = 8  # how many that is in all, at least
_RUN = re.compile(r"(\w{1,10}?)\1{11,}")  # inside a word, as in hahahahahahahahahahahaha
_MARK = re.compile(r"</?think>")


@dataclass(frozen=True)
class AnswerReport:
    """One answer to a question. One that has an error can still pass."""

    text: str
    passes: bool | None  # None: the question has no check
    faults: tuple[str, ...]  # keys of ANSWER_ERRORS

    def has(self, measure: str) -> bool:
        """Whether it passes its check (PASSES), or has one of ANSWER_ERRORS."""
        return self.passes is True if measure == PASSES else measure in self.faults


@dataclass(frozen=True)
class AnswerRates:
    """How often something holds of one model's answers of one kind."""

    passes: Estimate | None  # of the questions with a check; None if none has one
    passes_by: dict[str, dict[str, Estimate]]  # label → value → the same
    faults: dict[str, Estimate]  # by error, of all questions
    tokens: Estimate  # of an answer


def judge(answer: ModelAnswer, case: Case) -> AnswerReport:
    """Check an answer to a case's question, and find its errors."""
    return AnswerReport(
        answer.text,
        None if case.check is None else passes(answer.text, case.check),
        find_errors(answer.text, answer.thought, finished=answer.finished),
    )


def rate_answers(
    judged: Sequence[AnswerReport],
    answers: Sequence[ModelAnswer],
    cases: Sequence[Case],
    group_ids: Sequence[int],
) -> AnswerRates:
    """Measure how often one model's answers pass, and how often they have errors.

    Args:
        judged: One a case.
        answers: The same, as they were given.
        cases: The pairs whose questions were asked.
        group_ids: The group that each belongs to.
    """

    def rate(name: str, where: Sequence[int]) -> Estimate:
        return estimate_rate([judged[i].has(name) for i in where], [group_ids[i] for i in where])

    everywhere = range(len(cases))
    checked = [i for i in everywhere if cases[i].check is not None]
    return AnswerRates(
        passes=rate(PASSES, checked) if checked else None,
        passes_by={
            label: {
                value: rate(PASSES, asked)
                for value, where in values.items()
                if (asked := [i for i in where if cases[i].check is not None])
            }
            for label, values in groups_of(cases).items()
        },
        faults={error: rate(error, everywhere) for error in ANSWER_ERRORS},
        tokens=estimate_mean([answer.tokens for answer in answers], group_ids),
    )


def find_errors(text: str, thought: str, *, finished: bool) -> tuple[str, ...]:
    """List the errors of an answer.

    Args:
        text: What the user is shown.
        thought: What the model wrote between <think> and </think>.
        finished: Whether it ended by itself.

    Returns:
        Keys of ANSWER_ERRORS.
    """
    found = {
        "empty": not any(map(str.isalnum, text)),
        "thinking": bool(thought) or _MARK.search(text) is not None,
        "looping": loops(text),
        "unfinished": not finished,
    }
    return tuple(error for error in ANSWER_ERRORS if found[error])


def loops(text: str) -> bool:
    """Say whether a text repeats itself in succession: up to 20 words, four times or more.

    >>> loops("Eat beans. " * 4)
    True
    >>> loops("Rest, squat, rest, squat, rest, then stretch both legs.")
    False
    """
    words = text.split()
    for size in range(1, _LONGEST + 1):
        same = 0  # words in a row that equal the one `size` before
        for one, other in zip(words, words[size:], strict=False):
            same = same + 1 if one == other else 0
            if same >= (_TIMES - 1) * size and same + size >= _WORDS:
                return True
    return _RUN.search(text) is not None
