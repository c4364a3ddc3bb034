"""Models and pairs → their Evaluation: what is measured, estimated, compared and concluded."""

import time
from collections.abc import Mapping, Sequence
from itertools import combinations

from fitbot.audit.records import prompt_text
from fitbot.audit.shortcuts import rule_preferences
from fitbot.evaluation.answer_errors import ANSWER_ERRORS
from fitbot.evaluation.answer_rates import PASSES, AnswerReport, judge, rate_answers
from fitbot.evaluation.cases import Case, dependent_groups, groups_of
from fitbot.evaluation.comparison import Comparison, compare
from fitbot.evaluation.conclusions import draw_conclusions
from fitbot.evaluation.drift import drift_of
from fitbot.evaluation.groups import measure_groups
from fitbot.evaluation.inputs import EvaluationInputs
from fitbot.evaluation.measure import lengths_of, measure
from fitbot.evaluation.preference import ACCURACY, LIKELIER, PairFigures, displacement_of
from fitbot.evaluation.report import RATED, Evaluation, ModelReport, PairsReport, QuestionReport
from fitbot.pairs.chat import report_cuts
from fitbot.version import __version__

Judged = Mapping[str, Mapping[str, Sequence[AnswerReport]]]  # model → kind → one a question


def evaluate(inputs: EvaluationInputs) -> Evaluation:
    """Let the rules choose, load and measure every model, and draw up the report.

    Raises:
        AdapterError: An adapter does not fit its base, or gives no finite log-probs.
        ConfigError: The base is of a kind that cannot answer, or too short for the questions.
        EngineError: An answer failed.
    """
    cases, asked = inputs.cases, inputs.questions
    pairs = [case.pair for case in cases]
    preferences, unmeasured = rule_preferences(inputs.train, pairs)
    read = time.perf_counter()
    found, machine = measure(inputs.lineup, inputs.chat, inputs.pairs, asked)
    measured = time.perf_counter()
    seconds = {"reading": round(read - inputs.started, 1), "measuring": round(measured - read, 1)}
    group_ids, lengths = dependent_groups(pairs), lengths_of(inputs.pairs)
    figures = [PairFigures(x.model, x.logps, x.reference_logps, lengths) for x in found]
    groups = measure_groups(cases, group_ids, figures, preferences)
    questions = [cases[i] for i in asked.where]
    question_ids = [group_ids[i] for i in asked.where]
    judged = {
        x.model.name: {
            kind: [judge(*both) for both in zip(x.answers[kind], questions, strict=True)]
            for kind in (RATED if questions else ())
        }
        for x in found
    }
    models = [
        ModelReport(
            model=x.model,
            displacement=displacement_of(own, group_ids),
            drift=drift_of(x, question_ids),
            answers={
                kind: rate_answers(answers, x.answers[kind], questions, question_ids)
                for kind, answers in judged[x.model.name].items()
            },
            logps=x.logps.tolist(),
            reference_logps=x.reference_logps.tolist(),
        )
        for x, own in zip(found, figures, strict=True)
    ]
    comparisons = _compare_pairs(figures, group_ids)
    comparisons += _compare_answers(judged, questions, question_ids)
    return Evaluation(
        version=__version__,
        lineup=inputs.lineup,
        asked=asked,
        machine=machine,
        pairs=_pairs_report(inputs, group_ids),
        models=models,
        groups=groups,
        rules_unmeasured=unmeasured,
        comparisons=comparisons,
        verdicts={
            report.model.name: list(draw_conclusions(report, models[0], groups[0], comparisons))
            for report in models
        },
        exchanges=_exchanges(judged, questions),
        seconds=seconds,
    )


def _pairs_report(inputs: EvaluationInputs, group_ids: Sequence[int]) -> PairsReport:
    return PairsReport(
        path=inputs.path,
        pairs=len(inputs.cases),
        independent=len(set(group_ids)),
        labels=list(groups_of(inputs.cases)),
        checked=sum(case.check is not None for case in inputs.cases),
        cut=report_cuts(inputs.pairs),
        rules_learned_from=inputs.train_path,
        asked=len(inputs.questions.where),
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
    judged: Judged, questions: Sequence[Case], question_ids: Sequence[int]
) -> list[Comparison]:
    checked = [i for i, case in enumerate(questions) if case.check is not None]
    compared = []
    for kind in RATED if questions else ():
        for names in combinations(judged, 2):
            for what in (PASSES, *ANSWER_ERRORS):
                where = checked if what == PASSES else range(len(questions))
                one, other = ([judged[name][kind][i].has(what) for i in where] for name in names)
                ids = [question_ids[i] for i in where]
                if ids:
                    compared.append(compare(f"{kind}: {what}", names, (one, other), ids))
    return compared


def _exchanges(judged: Judged, questions: Sequence[Case]) -> list[QuestionReport]:
    return [
        QuestionReport(
            record=case.pair.record,
            question=prompt_text(case.pair),
            chosen=case.pair.chosen,
            labels=case.labels,
            answers={
                name: {kind: answers[place] for kind, answers in kinds.items()}
                for name, kinds in judged.items()
            },
        )
        for place, case in enumerate(questions)
    ]
