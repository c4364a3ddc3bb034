"""What was measured → one Evaluation: estimates with intervals, comparisons, conclusions."""

from collections.abc import Sequence
from itertools import combinations

from fitbot import __version__
from fitbot.audit.records import prompt_text
from fitbot.audit.shortcuts import Preferences
from fitbot.evaluation.answer_errors import ANSWER_ERRORS
from fitbot.evaluation.answer_rates import PASSES, mark_answers, passes_check, rate_answers
from fitbot.evaluation.cases import Case, dependent_groups
from fitbot.evaluation.comparison import Comparison, compare
from fitbot.evaluation.conclusions import draw_conclusions
from fitbot.evaluation.drift import drift_of
from fitbot.evaluation.groups import Group, measure_groups
from fitbot.evaluation.inputs import EvaluationInputs
from fitbot.evaluation.measure import ComputeInfo, Measurements, lengths_of
from fitbot.evaluation.preference import ACCURACY, LIKELIER, PairFigures, displacement_of
from fitbot.evaluation.report import (
    RATED,
    AnswerReport,
    Evaluation,
    ModelReport,
    PairsReport,
    QuestionReport,
)
from fitbot.pairs.chat import report_cuts


def build_evaluation(
    found: Sequence[Measurements],
    inputs: EvaluationInputs,
    machine: ComputeInfo,
    preferences: Preferences,
    seconds: dict[str, float],
) -> Evaluation:
    """Draw up the report.

    Args:
        found: What was measured, one a model of the line-up.
        inputs: What was evaluated.
        machine: What computed it.
        preferences: What rules that never read the question prefer.
        seconds: What took how long.
    """
    cases, asked = inputs.cases, inputs.questions
    group_ids = dependent_groups([case.pair for case in cases])
    lengths = lengths_of(inputs.pairs)
    figures = [PairFigures(x.model, x.logps, x.reference_logps, lengths) for x in found]
    groups = measure_groups(cases, group_ids, figures, preferences)
    questions = [cases[i] for i in asked.where]
    question_ids = [group_ids[i] for i in asked.where]
    models = [
        _model_report(x, own, group_ids, questions, question_ids)
        for x, own in zip(found, figures, strict=True)
    ]
    comparisons = _compare_pairs(figures, group_ids)
    comparisons += _compare_answers(found, questions, question_ids)
    return Evaluation(
        version=__version__,
        lineup=inputs.lineup,
        asked=asked,
        machine=machine,
        pairs=_pairs_report(inputs, group_ids, groups),
        models=models,
        groups=groups,
        rules_unmeasured=preferences.unmeasured,
        comparisons=comparisons,
        verdicts=draw_conclusions(models, groups[0], comparisons),
        exchanges=_question_reports(found, questions),
        seconds=seconds,
    )


def _pairs_report(
    inputs: EvaluationInputs, group_ids: Sequence[int], groups: Sequence[Group]
) -> PairsReport:
    return PairsReport(
        path=inputs.path,
        pairs=len(inputs.cases),
        independent=len(set(group_ids)),
        labels=list(dict.fromkeys(group.label for group in groups[1:])),
        checked=sum(case.check is not None for case in inputs.cases),
        cut=report_cuts(inputs.pairs),
        rules_learned_from=inputs.train_path,
        asked=len(inputs.questions.where),
    )


def _model_report(
    found: Measurements,
    figures: PairFigures,
    group_ids: Sequence[int],
    questions: Sequence[Case],
    question_ids: Sequence[int],
) -> ModelReport:
    return ModelReport(
        model=found.model,
        displacement=displacement_of(figures, group_ids),
        drift=drift_of(found, question_ids),
        answers={
            kind: rate_answers(found.answers[kind], questions, question_ids)
            for kind in RATED
            if found.answers
        },
        logps=found.logps.tolist(),
        reference_logps=found.reference_logps.tolist(),
    )


def _compare_pairs(figures: Sequence[PairFigures], group_ids: Sequence[int]) -> list[Comparison]:
    return [
        compare(
            measure,
            (one.model.name, other.model.name),
            (one.columns[measure], other.columns[measure]),
            group_ids,
        )
        for one, other in combinations(figures, 2)
        for measure in (LIKELIER, ACCURACY)
        if measure in one.columns
    ]


def _compare_answers(
    found: Sequence[Measurements], questions: Sequence[Case], question_ids: Sequence[int]
) -> list[Comparison]:
    checked = [i for i, case in enumerate(questions) if case.check is not None]
    compared = []
    for kind in RATED if questions else ():
        marks = {one.model.name: mark_answers(one.answers[kind], questions) for one in found}
        for one, other in combinations(marks, 2):
            for measure in (PASSES, *ANSWER_ERRORS):
                where = checked if measure == PASSES else range(len(questions))
                holds = [[marks[name][measure][i] for i in where] for name in (one, other)]
                ids = [question_ids[i] for i in where]
                if ids:
                    label = f"{kind}: {measure}"
                    compared.append(compare(label, (one, other), (holds[0], holds[1]), ids))
    return compared


def _question_reports(
    found: Sequence[Measurements], questions: Sequence[Case]
) -> list[QuestionReport]:
    def report(one: Measurements, kind: str, place: int) -> AnswerReport:
        answer = one.answers[kind][place]
        return AnswerReport(answer.text, passes_check(answer, questions[place]), answer.errors)

    return [
        QuestionReport(
            record=case.pair.record,
            question=prompt_text(case.pair),
            chosen=case.pair.chosen,
            labels=case.labels,
            answers={
                one.model.name: {kind: report(one, kind, place) for kind in RATED} for one in found
            },
        )
        for place, case in enumerate(questions)
    ]
