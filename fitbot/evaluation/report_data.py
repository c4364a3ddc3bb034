"""What was measured → one Evaluation: estimates with intervals, comparisons, a verdict in words."""

from collections.abc import Sequence
from itertools import combinations

from fitbot.audit.records import prompt_text
from fitbot.audit.shortcuts import Preferences
from fitbot.evaluation.answer_errors import FAULTS
from fitbot.evaluation.cases import Case, dependent_groups
from fitbot.evaluation.comparison import Comparison, compare
from fitbot.evaluation.drift import drift_of
from fitbot.evaluation.groups import measure_groups
from fitbot.evaluation.judging import PASSES, judge, passed, verdicts_on
from fitbot.evaluation.measure import Asked, Machine, Measured, lengths_of
from fitbot.evaluation.models import Lineup
from fitbot.evaluation.preference import ACCURACY, LIKELIER, PairFigures, displacement_of
from fitbot.evaluation.report import (
    JUDGED,
    Evaluation,
    Exchange,
    ModelReport,
    PairsReport,
    Shown,
)
from fitbot.evaluation.verdict import say_what_it_means
from fitbot.pairs.chat import EncodedPair, report_cuts
from fitbot.version import __version__


def report_on(
    found: Sequence[Measured],
    lineup: Lineup,
    *,
    asked: Asked,
    machine: Machine,
    cases: Sequence[Case],
    pairs: Sequence[EncodedPair],
    preferences: Preferences,
    path: str,
    train: str | None,
    seconds: dict[str, float],
) -> Evaluation:
    """Draw up the report.

    Args:
        found: What was measured, one a model of the line-up.
        lineup: The models.
        asked: How questions were asked.
        machine: What computed it.
        cases: N pairs.
        pairs: The same, encoded.
        preferences: What rules that never read the question prefer.
        path: Of the pairs.
        train: Of the pairs that the rules learned from; None: by cross-validation.
        seconds: What took how long.
    """
    hang_together = dependent_groups([case.pair for case in cases])
    lengths = lengths_of(pairs)
    figures = [PairFigures(x.model, x.logps, x.reference_logps, lengths) for x in found]
    groups = measure_groups(cases, hang_together, figures, preferences)
    put = [cases[i] for i in asked.where]  # the questions
    put_groups = [hang_together[i] for i in asked.where]
    models = [
        _model_report(x, own, hang_together, put, put_groups)
        for x, own in zip(found, figures, strict=True)
    ]
    comparisons = _compare_pairs(figures, hang_together) + _compare_answers(found, put, put_groups)
    return Evaluation(
        version=__version__,
        lineup=lineup,
        asked=asked,
        machine=machine,
        pairs=PairsReport(
            path=path,
            pairs=len(cases),
            independent=len(set(hang_together)),
            labels=list(dict.fromkeys(group.label for group in groups[1:])),
            checked=sum(case.check is not None for case in cases),
            cut=report_cuts(pairs),
            rules_learned_from=train,
            asked=len(put),
        ),
        models=models,
        groups=groups,
        rules_unmeasured=preferences.unmeasured,
        comparisons=comparisons,
        verdicts=say_what_it_means(models, groups[0], comparisons),
        exchanges=_exchanges(found, put),
        seconds=seconds,
    )


def _model_report(
    found: Measured,
    figures: PairFigures,
    hang_together: Sequence[int],
    put: Sequence[Case],
    put_groups: Sequence[int],
) -> ModelReport:
    return ModelReport(
        model=found.model,
        displacement=displacement_of(figures, hang_together),
        drift=drift_of(found, put_groups),
        answers={
            kind: judge(found.answers[kind], put, put_groups) for kind in JUDGED if found.answers
        },
        logps=found.logps.tolist(),
        reference_logps=found.reference_logps.tolist(),
    )


def _compare_pairs(
    figures: Sequence[PairFigures], hang_together: Sequence[int]
) -> list[Comparison]:
    return [
        compare(
            measure,
            (one.model.name, other.model.name),
            (one.columns[measure], other.columns[measure]),
            hang_together,
        )
        for one, other in combinations(figures, 2)
        for measure in (LIKELIER, ACCURACY)
        if measure in one.columns
    ]


def _compare_answers(
    found: Sequence[Measured], put: Sequence[Case], put_groups: Sequence[int]
) -> list[Comparison]:
    checked = [i for i, case in enumerate(put) if case.check is not None]
    compared = []
    for kind in JUDGED if put else ():
        marks = {one.model.name: verdicts_on(one.answers[kind], put) for one in found}
        for one, other in combinations(marks, 2):
            for measure in (PASSES, *FAULTS):
                where = checked if measure == PASSES else range(len(put))
                holds = [[marks[name][measure][i] for i in where] for name in (one, other)]
                together = [put_groups[i] for i in where]
                if together:
                    label = f"{kind}: {measure}"
                    compared.append(compare(label, (one, other), (holds[0], holds[1]), together))
    return compared


def _exchanges(found: Sequence[Measured], put: Sequence[Case]) -> list[Exchange]:
    def shown(one: Measured, kind: str, place: int) -> Shown:
        answer = one.answers[kind][place]
        return Shown(answer.text, passed(answer, put[place]), answer.faults)

    return [
        Exchange(
            record=case.pair.record,
            question=prompt_text(case.pair),
            chosen=case.pair.chosen,
            labels=case.labels,
            answers={
                one.model.name: {kind: shown(one, kind, place) for kind in JUDGED} for one in found
            },
        )
        for place, case in enumerate(put)
    ]
