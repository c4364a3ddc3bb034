"""Answers → how many pass the checks of their questions, and how many have errors."""

from collections.abc import Sequence
from dataclasses import dataclass

from fitbot.evaluation.answer_errors import ANSWER_ERRORS, find_errors
from fitbot.evaluation.answering import ModelAnswer
from fitbot.evaluation.cases import Case, groups_of
from fitbot.evaluation.checks import passes
from fitbot.evaluation.intervals import Estimate, estimate_mean, estimate_rate

PASSES = "passes"


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
