"""Figures of an Audit → SVG that stands inside a page and takes its colours and font."""

import io
from collections.abc import Sequence
from typing import Any

from fitbot.audit.leaks import LeakReport
from fitbot.audit.score import SHORTCUT_ABOVE, RuleScore
from fitbot.audit.tokens import Lengths, TokenReport

# Matplotlib knows no currentColor: ink is drawn in this colour and renamed afterwards.
INK, _CURRENT = "#010203", "currentColor"
BLUE, ORANGE, GREY, GREEN = "#4a90d9", "#e08a3c", "#8a8f98", "#3fa37a"  # on light and on dark


def plot_lengths(tokens: TokenReport) -> str:
    """Draw the histograms of prompt, chosen and rejected over tokens."""
    figure, axes = new_figure(height=2.4)
    parts = {"prompt": GREY, "chosen": BLUE, "rejected": ORANGE}
    for name, colour in parts.items():
        lengths: Lengths = getattr(tokens, name)
        axes.stairs(lengths.counts, lengths.edges, fill=True, color=colour, alpha=0.35)
        axes.stairs(lengths.counts, lengths.edges, color=colour, linewidth=1.5, label=name)
    axes.set_xlabel("tokens")
    axes.set_ylabel("texts")
    axes.legend(frameon=False, labelcolor=INK)
    return as_svg(figure, "Histogram of lengths in tokens: prompt, chosen, rejected")


def plot_rules(rules: Sequence[RuleScore]) -> str:
    """Draw each rule's accuracy with its interval, and the line above which it is a shortcut."""
    figure, axes = new_figure(height=0.6 + 0.25 * len(rules))
    for place, score in enumerate(reversed(rules)):
        colour = ORANGE if score.is_shortcut else GREY
        axes.plot([score.low, score.high], [place, place], color=colour, linewidth=4, alpha=0.5)
        axes.plot([score.accuracy], [place], "o", color=colour, markersize=6)
    axes.axvline(0.5, color=INK, linewidth=0.8, alpha=0.5)
    axes.axvline(SHORTCUT_ABOVE, color=ORANGE, linewidth=1, linestyle="--")
    axes.set_xlim(-0.02, 1.02)
    axes.set_yticks(range(len(rules)), [score.rule for score in reversed(rules)])
    axes.set_xlabel("accuracy")
    return as_svg(figure, "Accuracy of each rule with its 95 % confidence interval")


def plot_leaks(report: LeakReport) -> str:
    """Draw the shares of prompts and answers that stand in the training file."""
    figure, axes = new_figure(height=1.6)
    parts = {"rejected": report.rejected, "chosen": report.chosen, "prompts": report.prompts}
    for place, part in enumerate(parts.values()):
        left = 0.0
        for kind, colour in (("exact", ORANGE), ("near", BLUE), ("template", GREEN)):
            share = getattr(part, kind) / part.texts
            axes.barh(place, share, left=left, color=colour, label=kind if place == 0 else None)
            left += share
    axes.set_yticks(range(len(parts)), list(parts))
    axes.set_xlim(0, 1)
    axes.set_xlabel("share that stands in the training file")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, labelcolor=INK)
    return as_svg(figure, "Share of prompts and answers that stand in the training file")


def new_figure(*, height: float) -> tuple[Any, Any]:
    """Begin a picture as wide as a page's column and so many inches high: figure and axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, height), layout="constrained")
    axes = figure.subplots()
    axes.tick_params(colors=INK)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    return figure, axes


def as_svg(figure: Any, label: str) -> str:
    """Write the figure as an svg element; `label` says what it shows to who cannot see it."""
    from matplotlib import rc_context

    file = io.StringIO()
    # The same figure gives the same bytes; text stays text.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(INK, _CURRENT)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
