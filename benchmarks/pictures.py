"""Draw every picture of docs/pictures from benchmarks/results, in one style.

python benchmarks/pictures.py            # all
python benchmarks/pictures.py speed      # some
"""

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cost import read_points
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from recipe import RECIPES
from recipe_tables import (
    TESTED,
    bag_of_words,
    best_trivial,
    estimates,
    over_seeds,
    passes,
    read,
)

ROOT = Path(__file__).parent.parent
RESULTS, PICTURES = ROOT / "benchmarks/results", ROOT / "docs/pictures"
BLUE, GREY, ORANGE, INK = "#2f6fb5", "#b4bac2", "#d9822b", "#2b2f36"
COLOURS = {"base": INK, "published": GREY, "v1.1": ORANGE, "v2": BLUE}


def load(name: str) -> Any:
    """Read a result."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def new_figure(panels: int, height: float, title: str, below: str) -> tuple[Figure, list[Axes]]:
    """Make a figure 9 inches wide: what it shows above, under which conditions below."""
    figure = Figure(figsize=(9, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=13, weight="bold")
    figure.supxlabel(below, x=0.01, ha="left", color=INK, fontsize=9)
    all_axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for axes in all_axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=10)
        axes.set_axisbelow(True)
    return figure, all_axes


def bars(axes: Axes, rows: Sequence[tuple[str, float, str, str]]) -> None:
    """Draw a row each: what, how much, how that is written, colour; the first row on top."""
    names, values, texts, colours = zip(*rows, strict=True)
    drawn = axes.barh(range(len(rows)), values, color=colours, height=0.62)
    for text in axes.bar_label(drawn, texts, padding=5, fontsize=10, color=INK):
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * max(values))
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def step_ms(report: Any) -> dict[str, float]:
    """Return the median milliseconds of a step by contender."""
    return {name: runs[-1]["median_ms"] for name, runs in report["results"].items()}


def speed() -> Figure:
    """Draw a training step, fitbot beside the others."""
    found = step_ms(load("train_h200_published_2026-11-23_all.json"))
    names = {
        "fitbot": "fitbot",
        "trl tuned": "TRL, tuned by hand",
        "unsloth tuned": "Unsloth, tuned by hand",
        "trl as published": "TRL, settings as published",
    }
    rows = []
    for key, name in names.items():
        ratio = found[key] / found["fitbot"]
        text = f"{found[key]:,.1f} ms" if key == "fitbot" else f"{found[key]:,.0f} ms"
        text += "" if key == "fitbot" else f"   {ratio:.0f} times as long"
        rows.append((name, found[key], text, BLUE if key == "fitbot" else GREY))
    below = "Qwen3-0.6B's shape, the recipe's pairs, 8 a step, one NVIDIA H200; median step."
    figure, (axes,) = new_figure(1, 2.9, "Time for one training step (shorter is better)", below)
    bars(axes, rows)
    return figure


def serving() -> Figure:
    """Draw tokens a second for several numbers of requests at once."""
    found = load("serve_h200_2026-11-30.json")
    engine = {one["streams"]: one["tokens_per_second"] for one in found["engine"]}
    plain = {one["batch"]: one["tokens_per_second"] for one in found["generate"]}
    below = (
        "Qwen3-0.6B's shape without adapter, 100 tokens in, 200 out, one NVIDIA H200. "
        "The two panels have different scales."
    )
    figure, panels = new_figure(2, 2.4, "Tokens a second (longer is better)", below)
    for axes, at_once in zip(panels, plain, strict=True):
        ours, theirs = engine[at_once], plain[at_once]
        rows = [
            ("fitbot", ours, f"{ours:,.0f}   {ours / theirs:.0f} times as fast", BLUE),
            ("transformers'\ngenerate", theirs, f"{theirs:,.0f}", GREY),
        ]
        bars(axes, rows)
        axes.set_xlim(0, 1.75 * ours)
        axes.set_title(f"{at_once} answer{'s' * (at_once > 1)} at once", fontsize=11, loc="left")
    return figure


def memory() -> Figure:
    """Draw how much memory a fit takes, by the size of the base."""
    peaks = {
        point.size: point.peak_gib
        for point in read_points("H200")
        if point.pairs_of == "50x25x25" and point.pairs == 8 and point.peak_gib
    }
    kept = next(
        one
        for one in load("ways_h200_2026-11-28.json")["results"]
        if (one["size"], one["way"]) == ("70b", "nf4 whole, compiled, recomputed")
    )
    rows = [
        (f"{size.upper()}, expanded to 16 bits", peak, f"{peak:.0f} GiB", BLUE)
        for size, peak in peaks.items()
    ]
    peak = max(kept["peak_gib_of_steps"])
    rows.append(("70B, kept in 4 bits", peak, f"{peak:.0f} GiB", ORANGE))
    below = (
        "8 pairs a step on one H200: of 134 tokens each; of 534 for 70B, activations recomputed."
    )
    figure, (axes,) = new_figure(1, 3.9, "Most GPU memory that a fit took, by base", below)
    bars(axes, rows)
    for gib in (16, 24, 80):
        axes.axvline(gib, color=INK, linewidth=0.8, linestyle=":", zorder=0)
        above = axes.get_xaxis_transform()
        axes.text(gib + 1, 1, f"{gib} GB", transform=above, fontsize=8, color=INK, va="top")
    return figure


def exactness() -> Figure:
    """Draw the loss of 16-bit training beside that of float32."""
    runs = load("exactness_h200_2026-11-23.json")["runs"]
    below = "Same pairs, same order, same start, dropout off; Qwen3-0.6B's shape, one H200."
    figure, (axes,) = new_figure(1, 3.6, "Loss in 16 bits follows the loss in 32 bits", below)
    for key, name, colour, width in (
        ("float32", "fitbot in 32 bits", GREY, 6),
        ("compiled", "fitbot in 16 bits", BLUE, 1.8),
        ("trl", "TRL in 16 bits", ORANGE, 1.8),
    ):
        losses = runs[key]["losses"]
        axes.plot(range(1, len(losses) + 1), losses, color=colour, linewidth=width, label=name)
    level(axes, math.log(2), "ln 2: nothing learned")
    axes.set(xlabel="optimizer step", ylabel="loss (nats)", ylim=(0, 0.78))
    axes.legend(frameon=False, loc="center right")
    return figure


def level(axes: Axes, y: float, text: str) -> None:
    """Draw a level that means something."""
    axes.axhline(y, color=INK, linewidth=0.8, linestyle=":")
    beside = axes.get_yaxis_transform()
    axes.text(1, y, text, transform=beside, fontsize=9, color=INK, ha="right", va="bottom")


def recipe() -> Figure:
    """Draw what the three recipes reach on test pairs, and what needs no understanding."""
    runs = finals("fitness")
    below = (
        "SmolLM2-135M-Instruct, second edition of the pairs. Bars: mean of three seeds; lines: "
        "lowest and highest end of their 95 % intervals.\n"
        "Right: the independent judge's questions. Dotted: a bag of words; the best trivial answer."
    )
    figure, panels = new_figure(3, 3.6, "What a recipe teaches", below)
    of = {name: [run for run in runs if run["recipe"] == name] for name in RECIPES}
    preferred = {name: over_seeds([estimates(run, "all") for run in of[name]]) for name in RECIPES}
    levels = [bag_of_words(runs[0], "all")["value"]]
    drawn = [preferred]
    for evaluation in TESTED:
        said = {"base": over_seeds([passes(runs[0], "greedy", 0, evaluation)])}
        for name in RECIPES:
            said[name] = over_seeds([passes(run, "greedy", 1, evaluation) for run in of[name]])
        drawn.append(said)
        levels.append(best_trivial(runs[0], evaluation)[1])
    titles = ("prefers what is right", "says what is right", "says it to another author")
    for axes, title, found, bar in zip(panels, titles, drawn, levels, strict=True):
        for place, (name, (mean, low, high)) in enumerate(found.items()):
            axes.bar(place, mean, 0.62, color=COLOURS[name])
            axes.plot([place] * 2, [low, high], color=INK, linewidth=1)
            text = axes.text(place, high + 0.03, f"{mean:.2f}", color=INK, ha="center")
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
        axes.axhline(bar, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xticks(range(len(found)), found)
        axes.set_ylim(0, 1)
        axes.set_title(title, fontsize=11, loc="left")
    return figure


def curves() -> Figure:
    """Draw how the three recipes learn the two data sets."""
    below = (
        "SmolLM2-135M-Instruct, three seeds each. Dot: fitbot calls the pairs saturated. "
        "Left without v2, whose loss has other terms."
    )
    title = "The published pairs are learned in 200 steps, fitbot's pairs take longer"
    figure, panels = new_figure(2, 3.6, title, below)
    for axes, data, metric in zip(
        panels,
        ("published", "fitness"),
        ("train/loss", "val/rewards/accuracies"),
        strict=True,
    ):
        for run in finals(data):
            if (data, run["recipe"]) == ("published", "v2"):
                continue
            rows = {row["step"]: row[metric] for row in run["curves"] if metric in row}
            colour = COLOURS[run["recipe"]]
            label = run["recipe"] if run["seed"] == 42 else None
            axes.plot(*zip(*rows.items(), strict=True), color=colour, linewidth=1.4, label=label)
            if data == "published":
                at = run["summary"]["saturated_at"]
                axes.plot(at, rows[at], "o", color=colour)
        axes.set_xlabel("optimizer step")
    panels[0].set_title("loss on the published pairs", fontsize=11, loc="left")
    panels[0].set(xlim=(0, 1000), ylim=(0, 0.8))
    level(panels[0], math.log(2), "ln 2: nothing learned")
    panels[1].set_title("validation accuracy on fitbot's pairs", fontsize=11, loc="left")
    panels[1].set_ylim(0.4, 1)
    level(panels[1], 0.5, "0.5: chance")
    panels[1].legend(frameon=False, loc="upper right", ncols=3)
    return figure


def finals(data: str) -> list[dict[str, Any]]:
    """Return the runs that the three recipes were judged by, on the newest pairs of this name."""
    names = {"published": "final_h200_2026-11-23", "fitness": "second_edition_h200_2026-12-01"}
    return [run for run in read(RESULTS / f"recipe_{names[data]}.json") if run["data"] == data]


DRAWN: dict[str, Callable[[], Figure]] = {
    one.__name__: one for one in (speed, serving, memory, exactness, recipe, curves)
}


def main() -> None:
    """Draw those that are named, or all."""
    for name in sys.argv[1:] or DRAWN:
        DRAWN[name]().savefig(PICTURES / f"{name}.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
