"""An Evaluation → plots, as SVG inside a page; they take the page's colours and font."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

from fitbot.evaluation.intervals import Estimate
from fitbot.report.plots import BLUE, GREEN, GREY, INK, ORANGE, as_svg, new_figure

_COLOURS = (GREY, BLUE, GREEN, "#a06cc8", "#c85c7c")  # of models, the base first; then again
_BINS = 40


class Line(NamedTuple):
    """One group in a plot: its rates by model, and the best rule's, if there is one."""

    label: str
    rates: Mapping[str, Estimate]
    rule: float | None


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
