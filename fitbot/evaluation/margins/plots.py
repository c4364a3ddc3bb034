"""Margins → pictures: distribution, over training, by label, against length, calibration."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from fitbot.dpo.report import read_metrics
from fitbot.evaluation.cases import groups_of
from fitbot.evaluation.margins.margins import Bin, Margins
from fitbot.report.plots import BLUE, GREEN, GREY, INK, ORANGE, new_figure

_BINS = 40
_DPI = 120


class Picture:
    """A figure as PNG, on white: a notebook's page may be light or dark and does not say which."""

    def __init__(self, figure: Any, label: str):
        """Draw a matplotlib figure; `label` describes it to those who cannot see it."""
        file = io.BytesIO()
        # The same figure gives the same bytes, whatever draws it.
        figure.savefig(file, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
        self.png, self.label = file.getvalue(), label

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        """Return the label, which a notebook keeps beside the picture."""
        return self.label


def plot_distribution(found: Margins) -> Picture:
    """Draw the histogram of margins: above 0 are the pairs that it gets right."""
    figure, axes = new_figure(height=2.6, xlabel="margin", ylabel="pairs")
    edges = _edges_through_zero(found.values)
    for name, colour, where in (
        ("chosen preferred", BLUE, found.values > 0),
        ("not so", ORANGE, found.values <= 0),
    ):
        counts, _ = np.histogram(found.values[where], bins=edges)
        label = f"{name}: {where.sum():,} of {len(where):,}"
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.6, label=label)
    axes.axvline(0, color=INK, linewidth=0.8)
    mean = float(found.values.mean())
    axes.axvline(mean, color=INK, linewidth=1, linestyle="--", label=f"mean {mean:.2f}")
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    return Picture(figure, "Histogram of the margins of all pairs")


def plot_training(run: Path) -> Picture:
    """Draw what a run logged of margins, and of the two rewards they are the difference of.

    Args:
        run: The run's folder, or its adapter's; without metrics the picture says so.
    """
    curves = read_metrics(run) or read_metrics(run.parent)
    figure, axes = new_figure(height=2.6, xlabel="optimizer step", ylabel="reward")
    for name, key, colour in (
        ("margin", "rewards/margins", BLUE),
        ("chosen reward", "rewards/chosen", GREEN),
        ("rejected reward", "rewards/rejected", ORANGE),
    ):
        for stage, style, what in (("train", "-", "train"), ("val", "o", "validation")):
            if curve := curves.get(f"{stage}/{key}"):
                look = {"color": colour, "markersize": 6, "label": f"{name}, {what}"}
                axes.plot(*zip(*curve, strict=True), style, **look)
    axes.axhline(0, color=INK, linewidth=0.8, alpha=0.5)
    if curves:
        figure.legend(loc="outside right center", frameon=False, labelcolor=INK, fontsize=8)
    else:
        axes.set_title("no metrics beside this adapter", fontsize=9, color=INK)
    return Picture(figure, "Margin and rewards over training")


def plot_by_label(found: Margins, label: str) -> Picture:
    """Draw the margins of every value of a label: middle half, median, and nine tenths of them.

    Args:
        found: Margins of pairs, of which some have the label.
        label: category, flaw or split; where no pair has it, all are one group.
    """
    everything = {"all pairs": list(range(len(found.values)))}
    parts = groups_of(found.cases).get(label, everything)
    figure, axes = new_figure(height=0.9 + 0.28 * len(parts), xlabel="margin")
    medians = {name: float(np.median(found.values[where])) for name, where in parts.items()}
    names = sorted(parts, key=lambda name: medians[name])
    for row, name in enumerate(names):
        values = found.values[parts[name]]
        low, left, right, high = np.quantile(values, (0.05, 0.25, 0.75, 0.95))
        axes.hlines(row, low, high, color=GREY, linewidth=1.5)
        axes.hlines(row, left, right, color=BLUE, linewidth=8, alpha=0.6)
        axes.plot([medians[name]], [row], "o", color=INK, markersize=4)
    axes.axvline(0, color=INK, linewidth=0.8, alpha=0.5)
    axes.set_yticks(range(len(names)), [_share(name, found, parts[name]) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    return Picture(figure, f"Margins by {label}")


def plot_length_difference(found: Margins) -> Picture:
    """Draw each pair's margin against how many tokens longer its chosen answer is."""
    xlabel = "tokens the chosen answer is longer"
    figure, axes = new_figure(height=2.8, xlabel=xlabel, ylabel="margin")
    x, y = found.length_differences, found.values
    for colour, where in ((BLUE, y > 0), (ORANGE, y <= 0)):
        axes.plot(x[where], y[where], "o", color=colour, markersize=3, alpha=0.5, linewidth=0)
    axes.axhline(0, color=INK, linewidth=0.8, alpha=0.5)
    axes.axvline(0, color=INK, linewidth=0.8, alpha=0.5)
    varied = len(set(x.tolist())) > 1 and len(set(y.tolist())) > 1
    rank = f"Spearman's rank correlation {spearmanr(x, y).statistic:+.2f}" if varied else ""
    axes.set_title(rank, fontsize=9, color=INK)
    return Picture(figure, "Margin against difference of lengths")


def plot_calibration(bins: Sequence[Bin]) -> Picture:
    """Draw how often preferences are right against how sure the model was, with 95 % intervals."""
    xlabel = "probability that the model gives what it prefers"
    figure, axes = new_figure(height=3.4, xlabel=xlabel, ylabel="share that is right")
    axes.plot([0.5, 1], [0.5, 1], color=GREY, linewidth=1, linestyle="--", label="calibrated")
    for number, one in enumerate(bins):
        if one.right.low is not None:
            label = "95 % interval" if number == 0 else None
            ends = (one.right.low, one.right.high)
            axes.vlines(one.confidence, *ends, color=BLUE, linewidth=4, alpha=0.4, label=label)
    points = [one.confidence for one in bins], [one.right.value for one in bins]
    axes.plot(*points, "o", color=BLUE, markersize=6, label="share that is right")
    for one in bins:
        at = (one.confidence, one.right.value)
        note = {"textcoords": "offset points", "fontsize": 8, "color": INK}
        axes.annotate(f"{one.pairs}", at, xytext=(7, -3), **note)
    axes.set_xlim(0.48, 1.03)
    axes.set_ylim(min(0.4, *(one.right.low or 1.0 for one in bins)) - 0.03, 1.03)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    return Picture(figure, "Calibration of preferences")


def _edges_through_zero(values: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    """Divide the range into bins of like width, none of which has margins of both signs."""
    low, high = min(0.0, values.min()), max(0.0, values.max())
    width = (high - low or 1.0) / _BINS
    return width * np.arange(np.floor(low / width), np.ceil(high / width) + 1)


def _share(name: str, found: Margins, where: Sequence[int]) -> str:
    right = int((found.values[where] > 0).sum())
    return f"{name}: {right} of {len(where)} right".replace("$", r"\$")
