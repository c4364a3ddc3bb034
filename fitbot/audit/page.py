"""An Audit → one HTML page that needs nothing else: styles and plots inside, no script.

Plots are SVG; they take the page's colours and font.
"""

from collections.abc import Sequence

from markupsafe import Markup

from fitbot.audit.kinds import KINDS
from fitbot.audit.leaks import LeakReport
from fitbot.audit.report import Audit
from fitbot.audit.rules import SHORTCUT_ABOVE, RuleScore
from fitbot.audit.tokens import TokenReport
from fitbot.report.page import render
from fitbot.report.plots import BLUE, GREEN, GREY, INK, ORANGE, as_svg, new_figure


def html_page(audit: Audit) -> str:
    """Write the whole page."""
    train, *val = [file.path for file in audit.files]
    return render(
        "audit/page.html.j2",
        audit=audit,
        train=train,
        against=f" against {', '.join(val)}" if val else "",
        kinds=KINDS,
        shortcuts=[
            (report, plot_rules(report.question_rules + report.rules)) for report in audit.shortcuts
        ],
        leaks=[(report, plot_leaks(report)) for report in audit.leaks],
        files=[(file, plot_lengths(file.tokens)) for file in audit.files],
    )


def plot_lengths(tokens: TokenReport) -> Markup:
    """Draw the histograms of prompt, chosen and rejected over tokens."""
    figure, axes = new_figure(height=2.4, xlabel="tokens", ylabel="texts")
    for (name, lengths), colour in zip(tokens.lengths.items(), (GREY, BLUE, ORANGE), strict=True):
        axes.stairs(lengths.counts, lengths.edges, fill=True, color=colour, alpha=0.35)
        axes.stairs(lengths.counts, lengths.edges, color=colour, linewidth=1.5, label=name)
    axes.legend(frameon=False, labelcolor=INK)
    return as_svg(figure, "Histogram of lengths in tokens: prompt, chosen, rejected")


def plot_rules(rules: Sequence[RuleScore]) -> Markup:
    """Draw each rule's accuracy with its interval, and the line above which it is a shortcut.

    Rules that read the question are no shortcuts and have a colour of their own.
    """
    figure, axes = new_figure(height=0.6 + 0.25 * len(rules), xlabel="accuracy")
    for place, score in enumerate(reversed(rules)):
        colour = ORANGE if score.is_shortcut else BLUE if score.reads_question else GREY
        axes.plot([score.low, score.high], [place, place], color=colour, linewidth=4, alpha=0.5)
        axes.plot([score.accuracy], [place], "o", color=colour, markersize=6)
    axes.axvline(0.5, color=INK, linewidth=0.8, alpha=0.5)
    axes.axvline(SHORTCUT_ABOVE, color=ORANGE, linewidth=1, linestyle="--")
    axes.set_xlim(-0.02, 1.02)
    axes.set_yticks(range(len(rules)), [score.rule for score in reversed(rules)])
    return as_svg(figure, "Accuracy of each rule with its 95 % confidence interval")


def plot_leaks(report: LeakReport) -> Markup:
    """Draw the shares of prompts and answers that are also in the training file."""
    figure, axes = new_figure(height=1.6, xlabel="share that stands in the training file")
    names = list(reversed(report.parts))
    for place, name in enumerate(names):
        part = report.parts[name]
        left = 0.0
        for kind, colour in (("exact", ORANGE), ("near", BLUE), ("template", GREEN)):
            share = getattr(part, kind) / part.texts
            axes.barh(place, share, left=left, color=colour, label=kind if place == 0 else None)
            left += share
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, 1)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, labelcolor=INK)
    return as_svg(figure, "Share of prompts and answers that stand in the training file")
