"""Print what benchmarks/recipe.py found as the tables of docs/explanation/recipe.md.

python benchmarks/recipe_tables.py SEARCH.json REFINE.json --final FINAL.json
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from recipe import RECIPES, figures

Run = dict[str, Any]

KEPT = 0.05  # of perplexity: who has forgotten no more may be chosen


def read(path: Path) -> list[Run]:
    """Read a result's runs, those that failed left out and told."""
    runs: list[Run] = json.loads(path.read_text())["runs"]
    for run in runs:
        if "failed" in run:
            print(f"{path.name}: {run['name']} failed: {run['failed']}")  # noqa: T201
    return [run for run in runs if "failed" not in run]


def score(run: Run) -> float:
    """Return what runs are chosen by: right in preference and in words, half and half."""
    found = figures(run)
    return (found["all"] + found["greedy pass"]) / 2


def choose(runs: list[Run]) -> Run:
    """Choose among the runs that have not forgotten how to write."""
    return max((run for run in runs if figures(run)["perplexity"] <= KEPT), key=score)


def estimates(run: Run, group: str, evaluation: str = "evaluation") -> dict[str, float]:
    """Return reward accuracy in a group with its interval."""
    told = run[evaluation]
    name = told["models"][1]["model"]["name"]
    of = next(one for one in told["groups"] if one["value"] == group)
    found: dict[str, float] = of["figures"][name]["rewards/accuracies"]
    return found


def passes(run: Run, kind: str, model: int) -> dict[str, float]:
    """Return the share of answers that pass, with its interval; of the base 0, of the tuned 1."""
    found: dict[str, float] = run["evaluation"]["models"][model]["answers"][kind]["passes"]
    return found


def over_seeds(found: list[dict[str, float]]) -> tuple[float, float, float]:
    """Return the mean over seeds, and the lowest and highest end of their intervals."""
    return (
        statistics.mean(one["value"] for one in found),
        min(one["low"] for one in found),
        max(one["high"] for one in found),
    )


def rows_of(runs: list[Run]) -> dict[str, dict[str, tuple[float, float, float] | None]]:
    """Return the table of the test pairs of fitbot: row → column → mean and interval."""
    ours = [run for run in runs if run["data"] == "fitness"]
    rows: dict[str, dict[str, tuple[float, float, float] | None]] = {}
    for name in RECIPES:
        of = [run for run in ours if run["recipe"] == name]
        rows[name] = {
            group: over_seeds([estimates(run, group) for run in of])
            for group in ("all", "seen facts", "unseen forms", "unseen facts")
        }
        for kind in ("greedy", "sampled"):
            rows[name][f"{kind} pass"] = over_seeds([passes(run, kind, 1) for run in of])
    base = {
        f"{kind} pass": over_seeds([passes(ours[0], kind, 0)]) for kind in ("greedy", "sampled")
    }
    nothing: dict[str, tuple[float, float, float] | None] = dict.fromkeys(rows["v2"])
    return {"base": nothing | base} | rows


def table(head: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def show(one: tuple[float, float, float] | None) -> str:
    """Write a mean with its interval."""
    return "" if one is None else "{:.3f} [{:.3f}, {:.3f}]".format(*one)


def tables(searched: list[Run], final: list[Run]) -> str:
    """Write all tables."""
    rows = rows_of(final)
    tested = table(
        ["test pairs of fitbot", *rows["v2"]],
        [[name, *(show(one) for one in row.values())] for name, row in rows.items()],
    )
    costs = []
    for name in RECIPES:
        found = [
            figures(run) for run in final if run["recipe"] == name and run["data"] == "fitness"
        ]
        kept = [f"{100 * x:+.1f} %" for x in sorted(one["perplexity"] for one in found)]
        kl = statistics.mean(one["kl"] for one in found)
        chosen = statistics.mean(one["chosen"] for one in found)
        costs.append([name, ", ".join(kept), f"{kl:.2f}", f"{chosen:+.1f}"])
    head = ["the same adapters", "perplexity", "KL, nats a token", "chosen, nats"]
    cost = table(head, costs)
    known = []
    for run in (one for one in final if one["data"] == "published" and "elsewhere" in one):
        told = run["summary"]
        answers = run["elsewhere"]["models"]
        known.append(
            [
                run["recipe"],
                f"{told['steps']:,}",
                str(told["saturated_at"]),
                f"{told['val_loss']:.4f}",
                f"{told['val_accuracy']:.3f}",
                f"{told['val_margin']:.2f}",
                f"{told['grad_norm']:.4f}",
                show(over_seeds([estimates(run, "all", "elsewhere")])),
                " → ".join(f"{one['answers']['greedy']['passes']['value']:.3f}" for one in answers),
            ]
        )
    head = ["trained on the published pairs", "steps", "saturated at", "val loss", "val accuracy"]
    head += ["val margin", "last gradient norm", "fitbot's test pairs", "greedy pass there"]
    ranking = [
        [
            run["name"],
            *(f"{one[key]:.3f}" for key in ("all", "seen facts", "unseen forms", "unseen facts")),
            f"{one['greedy pass']:.3f}",
            f"{one['sampled pass']:.3f}",
            f"{100 * one['perplexity']:+.1f} %",
            f"{one['kl']:.2f}",
        ]
        for run in sorted(searched, key=score, reverse=True)
        for one in [figures(run)]
    ]
    names = ["run", "all", "seen facts", "unseen forms", "unseen facts", "greedy", "sampled"]
    searching = table([*names, "perplexity", "KL"], ranking)
    return "\n".join([tested, cost, table(head, known), searching])


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("searched", nargs="+", type=Path)
    parser.add_argument("--final", type=Path, required=True)
    args = parser.parse_args()
    searched = [run for path in args.searched for run in read(path)]
    final = read(args.final)
    print(tables(searched, final))  # noqa: T201
    print(f"chosen: {choose(searched)['name']}")  # noqa: T201


if __name__ == "__main__":
    main()
