"""An Evaluation → one HTML page that needs nothing else: styles and plots inside, no script."""

from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from fitbot.evaluation.answering import GREEDY
from fitbot.evaluation.groups import ALL, Group
from fitbot.evaluation.overview import measure_label, overview
from fitbot.evaluation.plots import Line, plot_changes, plot_rates
from fitbot.evaluation.preference import LIKELIER
from fitbot.evaluation.report import RATED, Evaluation, ModelReport, QuestionReport
from fitbot.report.page import render

_SHOWN = 40  # questions of each outcome


def html_page(evaluation: Evaluation) -> str:
    """Write the whole page."""
    names = [report.model.name for report in evaluation.models]
    adapters = names[1:]
    return render(
        "evaluation/page.html.j2",
        evaluation=evaluation,
        title=f"{', '.join(adapters) or evaluation.lineup.base_model} on {evaluation.pairs.path}",
        names=names,
        columns=[f"#{name}" for name in names],
        grouped=adapters or names,
        group_columns=[f"#{name}" for name in adapters or names],
        has_adapters=bool(adapters),
        overview=overview(evaluation),
        differences=[
            (measure_label(found.measure), found)
            for found in evaluation.comparisons
            if found.gained + found.lost
        ],
        labels=list(_labels(evaluation.groups, names)),
        changes=[
            (report, plot_changes(report.logps, report.reference_logps))
            for report in evaluation.models[1:]
        ],
        pass_rates=list(_pass_rates(evaluation.models, names)),
        outcomes=_outcomes(evaluation.exchanges, names),
        most_shown=_SHOWN,
    )


def _labels(
    groups: Sequence[Group], names: Sequence[str]
) -> Iterator[tuple[str, list[Group], Markup | None]]:
    """Yield label, its groups, and their plot; flaws are too many for one."""
    for label in dict.fromkeys(group.label for group in groups if group.label != ALL):
        own = [group for group in groups if group.label == label]
        lines = [
            Line(
                group.value,
                {name: figures[LIKELIER] for name, figures in group.figures.items()},
                group.rules[0].accuracy,
            )
            for group in own
        ]
        what = "share with the chosen answer likelier"
        yield (label, own, None if label == "flaw" else plot_rates(lines, names, what))


def _pass_rates(
    models: Sequence[ModelReport], names: Sequence[str]
) -> Iterator[tuple[str, str, Markup]]:
    """Yield kind of answers, label and plot."""
    for kind in RATED if models[0].answers else ():
        rates = {report.model.name: report.answers[kind].passes_by for report in models}
        for label, values in rates[names[0]].items():
            lines = [
                Line(value, {name: rates[name][label][value] for name in names}, None)
                for value in values
            ]
            if label != "flaw" and lines:
                yield kind, label, plot_rates(lines, names, "share that passes")


def _outcomes(
    questions: Sequence[QuestionReport], names: Sequence[str]
) -> Mapping[str, Sequence[QuestionReport]]:
    """Sort questions by whose greedy answers pass, the rarest outcome first."""
    found: dict[str, list[QuestionReport]] = {}
    for question in questions:
        passing = [name for name in names if question.answers[name][GREEDY].passes]
        outcome = f"Greedy answers that pass: {', '.join(passing) or 'none'}"
        if question.answers[names[0]][GREEDY].passes is None:
            outcome = "Questions without a check"
        found.setdefault(outcome, []).append(question)
    return dict(sorted(found.items(), key=lambda item: len(item[1])))
