"""An Evaluation → one HTML page that needs nothing else: styles and plots inside, no script.

Plots are SVG; they take the page's colours and font.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

from fitbot.evaluation.answer_rates import PASSES
from fitbot.evaluation.answering import GREEDY
from fitbot.evaluation.intervals import Comparison, Estimate
from fitbot.evaluation.preference import ALL, ENOUGH, FIGURES, LIKELIER, Group, Standing
from fitbot.evaluation.report import (
    RATED,
    Evaluation,
    ModelReport,
    QuestionReport,
    headline,
    overview,
    points,
)
from fitbot.generation.messages import BASE
from fitbot.report.page import render
from fitbot.report.plots import BLUE, GREEN, GREY, INK, ORANGE, as_svg, new_figure

# How bad a standing is: what is not above chance or a rule asks for something to be done.
SEVERITIES: dict[Standing, str] = {
    "worse than chance": "error",
    "not clearly better than chance": "warning",
    "no better than a rule": "warning",
    "no better than a bag of words": "warning",
    "better than chance": "good",
    "better than every rule": "good",
}
_SHOWN = 40  # questions of each outcome
_COLOURS = (GREY, BLUE, GREEN, "#a06cc8", "#c85c7c")  # of models, the base first; then again
_BINS = 40


class Line(NamedTuple):
    """One group in a plot: its rates by model, and the best rule's, if there is one."""

    label: str
    rates: Mapping[str, Estimate]
    rule: float | None


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
        adapters=adapters,
        has_adapters=bool(adapters),
        headline=headline(evaluation),
        severities=SEVERITIES,
        enough=ENOUGH,
        question_rules=sorted(f"#{score.rule}" for score in evaluation.whole.question_rules),
        points=points,
        overview=overview(evaluation),
        differences=[
            (FIGURES.get(found.measure, found.measure), found, _is_worse(found))
            for found in evaluation.comparisons
            if found.gained + found.lost
        ],
        labels=list(_labels(evaluation.groups, names)),
        changes=[
            (report, plot_changes(report.logps, report.reference_logps))
            for report in evaluation.models[1:]
        ],
        trivial_columns=[f"#{group.value}" for group in evaluation.answered],
        pass_rates=list(_pass_rates(evaluation.models, names)),
        outcomes=_outcomes(evaluation.exchanges, names),
        most_shown=_SHOWN,
    )


def _is_worse(found: Comparison) -> bool:
    """Say whether an adapter is clearly worse than its base in something."""
    counts_errors = ":" in found.measure and not found.measure.endswith(PASSES)
    less = found.difference.value < 0
    return found.one == BASE and found.is_clear and less != counts_errors


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


def plot_rates(lines: Sequence[Line], models: Sequence[str], what: str) -> Markup:
    """Draw each group's rates with their intervals, model beside model; a bar marks the best rule.

    Args:
        lines: From top to bottom.
        models: Whose rates there may be; they decide the colours.
        what: The axis' title.
    """
    from matplotlib import rc_context

    with rc_context({"text.parse_math": False}):  # a dollar sign in a label is one
        height = 0.8 + len(lines) * (0.12 + 0.14 * len(models))
        figure, axes = new_figure(height=height, xlabel=what)
        for row, line in enumerate(reversed(lines)):
            for number, name in enumerate(models):
                place = row + (0.5 - (number + 0.5) / len(models)) * 0.7
                colour, rate = _COLOURS[number % len(_COLOURS)], line.rates.get(name)
                if rate is not None and rate.low is not None:
                    axes.hlines(place, rate.low, rate.high, color=colour, linewidth=3, alpha=0.5)
                    label = name if row == 0 else None
                    axes.plot([rate.value], [place], "o", color=colour, markersize=5, label=label)
            if line.rule is not None:
                mark = "best rule" if row == 0 else None
                axes.plot([line.rule] * 2, [row - 0.4, row + 0.4], color=ORANGE, label=mark)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.6, len(lines) - 0.4)
        axes.set_yticks(range(len(lines)), [line.label for line in reversed(lines)])
        figure.legend(loc="outside upper center", ncols=3, frameon=False, labelcolor=INK)
        return as_svg(figure, f"{what} by group and model, with 95 % confidence intervals")


def plot_changes(logps: ArrayLike, reference: ArrayLike) -> Markup:
    """Draw histograms of how both answers' log-probs changed.

    Args:
        logps: (N, 2) nats: chosen, rejected.
        reference: (N, 2) the same under the reference.
    """
    change = np.subtract(logps, reference)
    xlabel = "change against the reference, nats"
    figure, axes = new_figure(height=2.4, xlabel=xlabel, ylabel="pairs")
    edges = np.histogram_bin_edges(change, bins=_BINS)
    for name, colour, values in zip(("chosen", "rejected"), (BLUE, ORANGE), change.T, strict=True):
        counts, _ = np.histogram(values, bins=edges)
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.3)
        axes.stairs(counts, edges, color=colour, linewidth=1.5, label=name)
    axes.axvline(0, color=INK, linewidth=0.8, alpha=0.5)
    axes.legend(frameon=False, labelcolor=INK)
    return as_svg(figure, "Histogram of the changes of log-probs: chosen, rejected")
