"""Draw results of `train.py`: speed, start, memory, how a step grows, and where its time goes.

python benchmarks/plot.py RESULT.json … --out docs/speed.png

Panels for which no result has figures are left out. Results of `serve.py` make another picture: the
tokens a second of each machine by the number of streams.
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


def answers_by_streams(report: Report) -> dict[str, list[tuple[int, float]]]:
    """Return tokens a second for numbers of streams, by what they were read from."""
    adapter = f", an adapter of rank {report['ranks']}" if report["ranks"] else ""
    found = {
        f"engine{adapter}": report["engine"],
        f"over HTTP{adapter}": [one["server"] for one in report.get("http", ())],
        f"over HTTP, no health layer{adapter}": [
            one["without_health_layer"] for one in report.get("http", ())
        ],
        "transformers' generate": [one | {"streams": one["batch"]} for one in report["generate"]],
    }
    for group in report.get("http", ()):
        for name, one in group.get("beside", {}).items():
            found.setdefault(f"{name}, over HTTP", []).append(one)
    return {
        name: [(one["streams"], one["tokens_per_second"]) for one in rows]
        for name, rows in found.items()
        if rows
    }


def draw_answers(reports: list[Report], path: Path) -> None:
    """Draw a panel for each machine."""
    machines: dict[str, dict[str, dict[int, float]]] = {}
    for report in reports:
        machine = report["machine"]
        for name, found in answers_by_streams(report).items():
            series = machines.setdefault(machine["gpu"] or f"CPU, {machine['threads']} threads", {})
            series.setdefault(name, {}).update(found)
    figure, grid = plt.subplots(1, len(machines), figsize=(6 * len(machines), 4.5), squeeze=False)
    figure.set_layout_engine("constrained")
    names = list(dict.fromkeys(name for series in machines.values() for name in series))
    for axes, (machine, series) in zip(grid.flat, machines.items(), strict=True):
        for name, points in series.items():
            streams, speeds = zip(*sorted(points.items()), strict=True)
            color = f"C{names.index(name)}"
            axes.plot(streams, speeds, marker="o", label=name, color=color)
            for place, speed in zip(streams, speeds, strict=True):
                axes.annotate(
                    f"{speed:,.0f}", (place, speed), (0, 5), textcoords="offset points", fontsize=7
                )
        axes.set(title=machine, xlabel="streams", ylabel="tokens a second")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,.0f}")
            axis.set_minor_formatter("")
        axes.margins(0.1)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in args.results]
    (draw_answers if "engine" in reports[0] else draw)(reports, args.out)


if __name__ == "__main__":
    main()
