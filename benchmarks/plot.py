"""Draw results of `train.py`: speed, start, memory, how a step grows, and where its time goes.

python benchmarks/plot.py RESULT.json … --out docs/speed.png

Panels for which no result has figures are left out.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

Report = dict[str, Any]


def name_of(report: Report) -> str:
    """Say what was trained on, in two lines."""
    work = report["work"]
    return f"{work['pairs_of'].removesuffix('.json')}\n{work['pairs_per_step']} pairs a step"


def medians(report: Report, key: str) -> dict[str, float]:
    """Return one figure by contender, the median over rounds; runs that failed are left out."""
    found = {
        contender: [run[key] for run in runs if run.get(key) is not None]
        for contender, runs in report["results"].items()
    }
    return {contender: statistics.median(values) for contender, values in found.items() if values}


def bars(key: str, title: str, *, log: bool = False) -> Callable[[Axes, list[Report]], None]:
    """Make a panel of one figure by contender, for works that several contenders did."""

    def panel(axes: Axes, reports: list[Report]) -> None:
        reports = [report for report in reports if len(medians(report, key)) > 1]
        contenders = list(dict.fromkeys(name for report in reports for name in report["results"]))
        width = 0.8 / max(1, len(contenders))
        for i, contender in enumerate(contenders):
            found = [(x, medians(report, key).get(contender)) for x, report in enumerate(reports)]
            known = [(x, value) for x, value in found if value is not None]
            if known:
                places, heights = [x + i * width for x, _ in known], [value for _, value in known]
                drawn = axes.bar(places, heights, width, color=f"C{i}", label=contender)
                axes.bar_label(drawn, fmt="%.3g", fontsize=7)
        axes.set_xticks([x + 0.4 - width / 2 for x in range(len(reports))], map(name_of, reports))
        axes.set(title=title, yscale="log" if log else "linear")

    return panel


def by_length(axes: Axes, reports: list[Report]) -> None:
    """Draw fitbot's step against the tokens of a synthetic pair, a line for each step's size."""
    points: dict[str, list[tuple[float, float]]] = {}
    for report in reports:
        step, lengths = medians(report, "median_ms").get("fitbot"), tokens_of(report)
        if step is not None and lengths:
            name = f"{report['work']['pairs_per_step']} pairs a step"
            points.setdefault(name, []).append((lengths, step))
    _lines(axes, points, "tokens a pair")


def by_pairs(axes: Axes, reports: list[Report]) -> None:
    """Draw fitbot's step against the pairs of a step, a line for each data set."""
    points: dict[str, list[tuple[float, float]]] = {}
    for report in reports:
        step, work = medians(report, "median_ms").get("fitbot"), report["work"]
        if step is not None and not tokens_of(report):
            points.setdefault(work["pairs_of"], []).append((work["pairs_per_step"], step))
    _lines(axes, points, "pairs a step")


def tokens_of(report: Report) -> int:
    """Return the tokens of a synthetic pair, 0 for other data."""
    lengths = report["work"]["pairs_of"].split("x")
    return sum(map(int, lengths)) if all(length.isdigit() for length in lengths) else 0


def _lines(axes: Axes, points: dict[str, list[tuple[float, float]]], of: str) -> None:
    for series, found in points.items():
        if len(dict(found)) > 1:
            axes.plot(*zip(*sorted(found), strict=True), marker="o", label=series)
    axes.set(title=f"fitbot: ms a step by {of}", xlabel=of, xscale="log", yscale="log")


def taken_apart(axes: Axes, reports: list[Report]) -> None:
    """Draw where the kernels' time of fitbot's step goes."""
    known = [
        (name_of(report), run["parts_ms"])
        for report in reports
        for run in report["results"].get("fitbot", [])[-1:]
        if run.get("parts_ms")
    ]
    left = [0.0] * len(known)
    for part in dict.fromkeys(part for _, parts in known for part in parts if part != "wall"):
        values = [100 * parts.get(part, 0.0) / parts["wall"] for _, parts in known]
        axes.barh([name for name, _ in known], values, left=left, label=part)
        left = [a + b for a, b in zip(left, values, strict=True)]
    title = "fitbot: a step taken apart (% of its time; some kernels overlap)"
    axes.set(title=title, xlim=(0, 165))  # the legend stands beside the bars


PANELS = (
    bars("pairs_per_second", "pairs a second, captures included", log=True),
    bars("seconds_to_first_step", "seconds to the first step's end"),
    bars("peak_gib", "peak GPU memory (GiB)"),
    by_length,
    by_pairs,
    taken_apart,
)


def draw(reports: list[Report], path: Path) -> None:
    """Draw every panel that has figures."""
    scratch = plt.figure()
    shown = []
    for panel in PANELS:
        axes = scratch.add_subplot()
        panel(axes, reports)
        if axes.has_data():
            shown.append(panel)
    plt.close(scratch)
    figure, grid = plt.subplots(
        (len(shown) + 1) // 2, 2, figsize=(14, 4.2 * ((len(shown) + 1) // 2)), squeeze=False
    )
    figure.set_layout_engine("constrained")
    for axes, panel in zip(grid.flat, shown, strict=False):
        panel(axes, reports)
        axes.legend(fontsize=7)
    for axes in list(grid.flat)[len(shown) :]:
        axes.remove()
    figure.suptitle(str(reports[0]["machine"]["gpu"]))
    figure.savefig(path, dpi=100)


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    draw([json.loads(path.read_text(encoding="utf-8")) for path in args.results], args.out)


if __name__ == "__main__":
    main()
