"""Figures in one style."""

import io
from typing import Any

from markupsafe import Markup, escape


def new_figure(*, height: float, xlabel: str = "", ylabel: str = "") -> tuple[Any, Any]:
    """Make a figure as wide as a page's column and `height` inches high; → figure and axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, height), layout="constrained")
    axes = figure.subplots()
    axes.tick_params(colors=INK)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(INK)
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    return figure, axes


def as_svg(figure: Any, label: str) -> Markup:
    """Write the figure as an svg element; `label` describes it to those who cannot see it."""
    from matplotlib import rc_context

    file = io.StringIO()
    # The same figure gives the same bytes; text stays text.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(INK, _CURRENT)
    return Markup(text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1))


# Matplotlib knows no currentColor: ink is drawn in this colour and renamed afterwards.
INK, _CURRENT = "#010203", "currentColor"
BLUE, ORANGE, GREY, GREEN = "#4a90d9", "#cc7a2a", "#8a8f98", "#3fa37a"  # on light and on dark
