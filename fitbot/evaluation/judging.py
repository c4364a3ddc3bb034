"""Answers → how many pass the checks of their questions, and how many have faults."""

from collections.abc import Sequence
from dataclasses import dataclass

from fitbot.evaluation.answer_errors import FAULTS
from fitbot.evaluation.answering import Answer
from fitbot.evaluation.cases import Case, groups_of
from fitbot.evaluation.checks import passes
from fitbot.evaluation.intervals import Estimate, estimate_mean, estimate_rate

PASSES = "passes"


@dataclass(frozen=True)
class Rates:
    """How often something holds of one model's answers of one kind."""

    passes: Estimate | None  # of the questions with a check; None if none has one
    passes_by: dict[str, dict[str, Estimate]]  # label → value → the same
    faults: dict[str, Estimate]  # by fault, of all questions
    tokens: Estimate  # of an answer


def judge(answers: Sequence[Answer], cases: Sequence[Case], hang_together: Sequence[int]) -> Rates:
    """Judge one model's answers.

    Args:
        answers: One a case.
        cases: The pairs whose questions were asked.
        hang_together: The group that each belongs to.
    """
    marks = verdicts_on(answers, cases)
    checked = [i for i, case in enumerate(cases) if case.check is not None]

    def rate(name: str, where: Sequence[int]) -> Estimate:
        return estimate_rate([marks[name][i] for i in where], [hang_together[i] for i in where])

    everywhere = range(len(cases))
    return Rates(
        passes=rate(PASSES, checked) if checked else None,
        passes_by={
            label: {
                value: rate(PASSES, asked)
                for value, where in values.items()
                if (asked := [i for i in where if cases[i].check is not None])
            }
            for label, values in groups_of(cases).items()
        },
        faults={fault: rate(fault, everywhere) for fault in FAULTS},
        tokens=estimate_mean([answer.tokens for answer in answers], hang_together),
    )


def verdicts_on(answers: Sequence[Answer], cases: Sequence[Case]) -> dict[str, list[bool]]:
    """Say of every answer whether it passes its check, if it has one, and which faults it has.

    An answer that has a fault is not saved by passing its check, nor is it damned: both are told.
    """
    found = {PASSES: [passed(*both) is True for both in zip(answers, cases, strict=True)]}
    return found | {fault: [fault in answer.faults for answer in answers] for fault in FAULTS}


def passed(answer: Answer, case: Case) -> bool | None:
    """Say whether an answer passes its question's check; None if there is none."""
    return None if case.check is None else passes(answer.text, case.check)
