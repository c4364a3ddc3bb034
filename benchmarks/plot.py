"""Draw results of `train.py`: pairs a second by contender and work, and fitbot's step taken apart.

python benchmarks/plot.py RESULT.json … --out docs/speed.png
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt


def name_of(report: dict[str, Any]) -> str:
    """Say what was trained on, in two lines."""
    work = report["work"]
    return f"{work['pairs_of'].removesuffix('.json')}\n{work['pairs_per_step']} pairs a step"


def speeds(report: dict[str, Any]) -> dict[str, float]:
    """Return pairs a second by contender, the median over rounds; runs that failed are left out."""
    done = {
        name: [run["pairs_per_second"] for run in runs if "pairs_per_second" in run]
        for name, runs in report["results"].items()
    }
    return {name: statistics.median(values) for name, values in done.items() if values}


def draw(reports: list[dict[str, Any]], path: Path) -> None:
    """Draw both panels."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 8), layout="constrained")
    contenders = list(dict.fromkeys(name for report in reports for name in report["results"]))
    width = 0.8 / len(contenders)
    for i, contender in enumerate(contenders):
        found = [(x, speeds(report).get(contender)) for x, report in enumerate(reports)]
        bars = [(x, value) for x, value in found if value is not None]
        if not bars:
            continue
        drawn = above.bar([x + i * width for x, _ in bars], [v for _, v in bars], width)
        drawn.set_label(contender)
        above.bar_label(drawn, fmt="%.3g", fontsize=7)
    above.set_xticks([x + 0.4 - width / 2 for x in range(len(reports))], map(name_of, reports))
    above.set(
        yscale="log",
        ylim=(1, None),
        ylabel="pairs a second",
        title=str(reports[0]["machine"]["gpu"]),
    )
    above.legend(fontsize=8)
    taken_apart = [
        (name_of(report), report["results"]["fitbot"][-1].get("parts_ms", {}))
        for report in reports
        if "fitbot" in report["results"]
    ]
    parts = [part for _, by_part in taken_apart for part in by_part if part not in ("idle", "wall")]
    left = [0.0] * len(taken_apart)
    for part in dict.fromkeys(parts):
        values = [by_part.get(part, 0.0) for _, by_part in taken_apart]
        below.barh([name for name, _ in taken_apart], values, left=left, label=part)
        left = [a + b for a, b in zip(left, values, strict=True)]
    below.set(xlabel="ms of kernels a step of fitbot's")
    below.legend(fontsize=8)
    figure.savefig(path, dpi=110)


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
