"""Answers → how many pass the checks of their questions, and how many have errors."""

from collections.abc import Sequence
from dataclasses import dataclass

from fitbot.evaluation.answer_errors import ANSWER_ERRORS
from fitbot.evaluation.answering import ModelAnswer
from fitbot.evaluation.cases import Case, groups_of
from fitbot.evaluation.checks import passes
from fitbot.evaluation.intervals import Estimate, estimate_mean, estimate_rate

PASSES = "passes"


@dataclass(frozen=True)
class AnswerRates:
    """How often something holds of one model's answers of one kind."""

    passes: Estimate | None  # of the questions with a check; None if none has one
    passes_by: dict[str, dict[str, Estimate]]  # label → value → the same
    faults: dict[str, Estimate]  # by error, of all questions
    tokens: Estimate  # of an answer


def rate_answers(
    answers: Sequence[ModelAnswer], cases: Sequence[Case], group_ids: Sequence[int]
) -> AnswerRates:
    """Measure how often one model's answers pass, and how often they have errors.

    Args:
        answers: One a case.
        cases: The pairs whose questions were asked.
        group_ids: The group that each belongs to.
    """
    marks = mark_answers(answers, cases)
    checked = [i for i, case in enumerate(cases) if case.check is not None]

    def rate(name: str, where: Sequence[int]) -> Estimate:
        return estimate_rate([marks[name][i] for i in where], [group_ids[i] for i in where])

    everywhere = range(len(cases))
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


def mark_answers(answers: Sequence[ModelAnswer], cases: Sequence[Case]) -> dict[str, list[bool]]:
    """Return which answers pass their check, and which have each of ANSWER_ERRORS.

    The two are independent: an answer that has an error can still pass. One without a check does
    not pass.
    """
    found = {PASSES: [passes_check(*both) is True for both in zip(answers, cases, strict=True)]}
    return found | {
        error: [error in answer.errors for answer in answers] for error in ANSWER_ERRORS
    }


def passes_check(answer: ModelAnswer, case: Case) -> bool | None:
    """Return whether an answer passes its question's check; None if there is none."""
    return None if case.check is None else passes(answer.text, case.check)
