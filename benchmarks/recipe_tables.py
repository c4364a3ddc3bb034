"""Print what benchmarks/recipe.py found as the tables of docs/explanation/recipe.md.

python benchmarks/recipe_tables.py SEARCH.json REFINE.json --final FIRST.json SECOND.json

FIRST and SECOND are what `recipe.py final` found on the first and the second edition of the pairs.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from recipe import RECIPES, figures

Run = dict[str, Any]

# evaluation → its title, and the groups of pairs that are shown
TESTED = {
    "evaluation": ("test pairs of fitbot", ("all", "seen facts", "unseen forms", "unseen facts")),
    "independent": ("the independent judge", ("all",)),
}
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


def passes(run: Run, kind: str, model: int, evaluation: str = "evaluation") -> dict[str, float]:
    """Return the share of answers that pass, with its interval; of the base 0, of the tuned 1."""
    found: dict[str, float] = run[evaluation]["models"][model]["answers"][kind]["passes"]
    return found


def bag_of_words(run: Run, group: str, evaluation: str = "evaluation") -> dict[str, float]:
    """Return the accuracy of the rule that learns question's words times answer's words."""
    of = next(one for one in run[evaluation]["groups"] if one["value"] == group)
    rule = next(x for x in of["question_rules"] if x["rule"] == "question x answer words")
    return rule | {"value": rule["accuracy"]}


def best_trivial(run: Run, evaluation: str = "evaluation") -> tuple[str, float]:
    """Return the answer that passes most checks without an understanding, and its share."""
    return next(iter(run[evaluation]["answered"][0]["trivial"].items()))


def over_seeds(found: list[dict[str, float]]) -> tuple[float, float, float]:
    """Return the mean over seeds, and the lowest and highest end of their intervals."""
    return (
        statistics.mean(one["value"] for one in found),
        min(one["low"] for one in found),
        max(one["high"] for one in found),
    )


def tested(runs: list[Run], evaluation: str) -> str:
    """Write the table of one evaluation: base and recipes, and what needs no understanding."""
    title, groups = TESTED[evaluation]
    kinds = ("greedy", "sampled")
    without = [""] * len(groups)
    rows = [["base", *without, *(show([passes(runs[0], kind, 0, evaluation)]) for kind in kinds)]]
    for name in RECIPES:
        of = [run for run in runs if run["recipe"] == name]
        row = [show([estimates(run, group, evaluation) for run in of]) for group in groups]
        row += [show([passes(run, kind, 1, evaluation) for run in of]) for kind in kinds]
        rows.append([name, *row])
    if "answered" in runs[0][evaluation]:  # not in the first edition
        bars = [show([bag_of_words(runs[0], group, evaluation)]) for group in groups]
        answer, share = best_trivial(runs[0], evaluation)
        rows.append(["a bag of words", *bars, "", ""])
        rows.append([f"the answer: {answer}", *without, f"{share:.3f}", ""])
    return table([title, *groups, *(f"{kind} pass" for kind in kinds)], rows)


def by_category(runs: list[Run]) -> str:
    """Write how many greedy answers are right by category: base, v2, and the best trivial one."""
    of = [run["evaluation"]["answered"] for run in runs if run["recipe"] == "v2"]
    rows = []
    for same in list(zip(*of, strict=True))[1:]:  # the first are all
        answer, share = next(iter(same[0]["trivial"].items()))
        base, tuned = (same[0]["passes"]["base"], [one["passes"]["run"] for one in same])
        mean = f"{over_seeds(tuned)[0]:.3f}"
        what = [same[0]["value"], str(same[0]["questions"])]
        rows.append([*what, f"{base['value']:.3f}", mean, f"{share:.3f}: {answer}"])
    return table(["greedy pass", "questions", "base", "v2", "best trivial answer"], rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def show(found: list[dict[str, float]]) -> str:
    """Write the mean over seeds with its interval."""
    return "{:.3f} [{:.3f}, {:.3f}]".format(*over_seeds(found))


def found_in_the_end(final: list[Run]) -> str:
    """Write what an edition's last runs found on fitbot's pairs."""
    ours = [run for run in final if run["data"] == "fitness"]
    told = [tested(ours, evaluation) for evaluation in TESTED if evaluation in ours[0]]
    if "answered" in ours[0]["evaluation"]:
        told.append(by_category(ours))
    costs = []
    for name in RECIPES:
        found = [figures(run) for run in ours if run["recipe"] == name]
        kept = [f"{100 * x:+.1f} %" for x in sorted(one["perplexity"] for one in found)]
        kl = statistics.mean(one["kl"] for one in found)
        chosen = statistics.mean(one["chosen"] for one in found)
        costs.append([name, ", ".join(kept), f"{kl:.2f}", f"{chosen:+.1f}"])
    head = ["the same adapters", "perplexity", "KL, nats a token", "chosen, nats"]
    return "\n".join([*told, table(head, costs)])


def tables(searched: list[Run], first: list[Run], second: list[Run]) -> str:
    """Write all tables."""
    known = []
    for run in (one for one in first if one["data"] == "published" and "elsewhere" in one):
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
                show([estimates(run, "all", "elsewhere")]),
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
    ends = [found_in_the_end(second), found_in_the_end(first)]
    return "\n".join([*ends, table(head, known), searching])


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("searched", nargs="+", type=Path)
    parser.add_argument("--final", nargs=2, type=Path, required=True)
    args = parser.parse_args()
    searched = [run for path in args.searched for run in read(path)]
    print(tables(searched, *map(read, args.final)))  # noqa: T201
    print(f"chosen: {choose(searched)['name']}")  # noqa: T201


if __name__ == "__main__":
    main()
