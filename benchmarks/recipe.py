"""Search for a recipe: train and judge many adapters, several at a time, and keep every figure.

    python benchmarks/recipe.py search --model DIR --at-once 4 --out benchmarks/results/FILE.json

A run is `fitbot fit` with configs/dpo.yaml and what its line below changes, then `fitbot evaluate`.
`search` and `refine`, which goes on where the search ended, judge on validation pairs; `final`
takes the recipes in configs/, three seeds each, on both data sets, and judges on test pairs.
benchmarks/recipe_tables.py prints the results, benchmarks/pictures.py draws them.

`losses` trains every loss on fitbot's pairs with dpo_v2's budget and judges on validation pairs;
`before` compares DPO alone, SFT alone, and SFT then DPO, three seeds each, on test pairs. Both end
in a table. `--records` and `--questions` make them small enough for a rehearsal on a CPU:

    python benchmarks/recipe.py before --model embedded --records 32 --questions 4 --out /tmp/b.json
"""

import argparse
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from csv import DictReader
from pathlib import Path
from typing import Any

from train import ROOT, command_line, describe_machine, without_folders

Settings = dict[str, Any]

# What all runs of the search share: fitbot's pairs, 16 a step.
BASIS: Settings = {
    "data.batch_size": 4,
    "model.optimizer": "adamw",
    "model.learning_rate": 1e-3,
    "model.nll_weight": 0.1,
    "trainer.max_epochs": 3,
    "trainer.log_every_n_steps": 25,
}


def search() -> dict[str, Settings]:
    """One thing at a time away from BASIS, and learning rate with NLL term as a grid."""
    runs: dict[str, Settings] = {}
    for rate in (1e-4, 3e-4, 1e-3, 2e-3):
        for weight in (0, 0.1, 0.3):
            runs[f"rate {rate:g}, nll {weight}"] = {
                "model.learning_rate": rate,
                "model.nll_weight": weight,
            }
    runs["nll 1"] = {"model.nll_weight": 1}
    for beta in (0.03, 0.3, 1):
        runs[f"beta {beta}"] = {"model.beta": beta}
    for epochs in (1, 2, 5):
        runs[f"epochs {epochs}"] = {"trainer.max_epochs": epochs}
    for share in (0.02, 0.3):
        runs[f"warm-up {share}"] = {"model.warmup_ratio": share}
    runs["cosine"] = {"model.lr_schedule": "cosine"}
    runs["constant"] = {"model.lr_schedule": "constant"}
    for beta in (0.1, 0.3):
        runs[f"ipo, beta {beta}"] = {"model.loss": "ipo", "model.beta": beta}
    runs["label smoothing 0.1"] = {"model.label_smoothing": 0.1}
    for pairs in (8, 32):
        runs[f"{pairs} pairs a step"] = {"data.batch_size": pairs // 4}
    for dropout in (0.0, 0.2):
        runs[f"dropout {dropout}"] = {"model.lora.dropout": dropout}
    for rank in (4, 64):
        runs[f"rank {rank}"] = {"model.lora.r": rank, "model.lora.alpha": 4 * rank}
    return {name: BASIS | changed for name, changed in runs.items()}


def refine() -> dict[str, Settings]:
    """Where the search led: a slower rate, a stronger pull, hedged labels, fewer projections."""
    runs: dict[str, Settings] = {}

    def add(name: str, rate: float, beta: float, weight: float, epochs: int, **more: Any) -> None:
        name = f"rate {rate:g}, beta {beta}, nll {weight}, epochs {epochs}{name}"
        runs[name] = BASIS | {
            "model.learning_rate": rate,
            "model.beta": beta,
            "model.nll_weight": weight,
            "trainer.max_epochs": epochs,
            **{f"model.{option}": value for option, value in more.items()},
        }

    for rate, epochs in ((1e-4, 5), (1e-4, 10), (2e-4, 3), (2e-4, 5)):
        add("", rate, 0.1, 0.3, epochs)
    for rate, weight, epochs in ((3e-4, 0.1, 5), (5e-4, 0.1, 3), (5e-4, 0.1, 5)):
        add("", rate, 0.3, weight, epochs)
    for rate, weight, epochs in ((2e-4, 0.3, 5), (3e-4, 0.3, 5), (5e-4, 0.3, 3), (5e-4, 1, 3)):
        add("", rate, 0.3, weight, epochs)
    for rate, beta, weight, epochs in (
        (3e-4, 0.1, 0.3, 5),
        (5e-4, 0.1, 0.1, 3),
        (5e-4, 0.3, 0.1, 3),
        (1e-3, 0.3, 0.1, 3),
    ):
        add(", smoothing 0.1", rate, beta, weight, epochs, label_smoothing=0.1)
    attention = "[q_proj, k_proj, v_proj, o_proj]"
    for rate, beta in ((5e-4, 0.1), (1e-3, 0.1), (1e-3, 0.3)):
        add(", attention only", rate, beta, 0.1, 3, **{"lora.target_modules": attention})
    add(", rank 4", 5e-4, 0.3, 0.1, 3, **{"lora.r": 4, "lora.alpha": 16})
    add(", decay 0.1", 1e-3, 0.3, 0.1, 3, weight_decay=0.1)
    return runs


# What takes back dpo_v2's settings that the losses below do not all read.
PLAIN: Settings = {
    "model.label_smoothing": 0,
    "model.nll_weight": 0,
    "run.stop_when_saturated": "false",
}
SFT: Settings = PLAIN | {"model.loss": "sft"}


def losses() -> dict[str, Settings]:
    """Every loss as its paper has it, and with the NLL term of dpo_v2 where it can have that."""
    usual: dict[str, Settings] = {
        "sigmoid": {},
        "sigmoid, smoothing 0.1": {"model.label_smoothing": 0.1},
        "sigmoid, length-normalised": {"model.length_normalised": "true", "model.beta": 2},
        "robust": {"model.loss": "robust", "model.label_smoothing": 0.1},
        "hinge": {"model.loss": "hinge"},
        "ipo": {"model.loss": "ipo"},
        "apo_zero": {"model.loss": "apo_zero"},
        "simpo": {"model.loss": "simpo", "model.beta": 2, "model.gamma": 1},
    }
    runs = {name: PLAIN | settings for name, settings in usual.items()}
    runs |= {f"{name}, nll 0.1": its | {"model.nll_weight": 0.1} for name, its in runs.items()}
    return runs | {"orpo": PLAIN | {"model.loss": "orpo"}, "sft": SFT}


def before() -> dict[str, list[Settings]]:
    """DPO alone, SFT alone and both, three epochs each; a run is one fit after another."""
    dpo, sft = {"run.stop_when_saturated": "false"}, SFT
    return {
        "DPO alone": [dpo],
        "SFT alone": [sft],
        "SFT, then DPO": [sft | {"trainer.max_epochs": 1}, dpo | {"trainer.max_epochs": 2}],
    }


RECIPES = {"published": "dpo", "v1.1": "dpo_v1_1", "v2": "dpo_v2"}  # names of presets
SEEDS = (42, 43, 44)
# Records. The published log is of so many of the published ones.
LIMITS = {"fitness": {"train": 7800, "val": 894}, "published": {"train": 4200, "val": 500}}


def plan(args: argparse.Namespace) -> list[dict[str, Any]]:
    """List the runs: name, recipe, data set, seed and settings; the longest first."""
    if args.what == "losses":
        runs = [
            {"name": name, "recipe": "v2", "data": "fitness", "seed": SEEDS[0], "settings": more}
            for name, more in losses().items()
        ]
    elif args.what == "before":
        runs = [
            {
                "name": f"{name}, {seed}",
                "of": name,
                "recipe": "v2",
                "data": "fitness",
                "seed": seed,
                "before": steps[:-1],
                "settings": steps[-1],
            }
            for seed in SEEDS
            for name, steps in before().items()
        ]
    elif args.what != "final":
        settings = search() if args.what == "search" else refine()
        runs = [
            {"name": name, "recipe": "published", "data": "fitness", "seed": 42, "settings": more}
            for name, more in settings.items()
        ]
    else:
        runs = [
            {"name": f"{recipe}, {data}, {seed}", "recipe": recipe, "data": data, "seed": seed}
            for seed in SEEDS
            for data in LIMITS
            for recipe in RECIPES
        ]
    for run in runs:
        run.setdefault("settings", {})
    if args.only:
        whole = {run["name"] for run in runs}.intersection(args.only)
        parts = [name for name in args.only if name not in whole]
        runs = [r for r in runs if r["name"] in whole or any(part in r["name"] for part in parts)]
    return sorted(runs, key=lambda run: -run["settings"].get("trainer.max_epochs", 5))


def pairs_of(data: str, args: argparse.Namespace) -> dict[str, str]:
    """Say where a data set's files lie; the published one has no test pairs: its validation's."""
    folder, name = (ROOT / "data", "fitness") if data == "fitness" else (args.published, "dpo")
    files = {split: f"{folder}/{name}_{split}.json" for split in ("train", "val")}
    is_tested = data == "fitness" and args.what in ("final", "before")
    return files | {"judged": f"{folder}/{name}_test.json" if is_tested else files["val"]}


def commands(run: dict[str, Any], args: argparse.Namespace, folder: Path) -> dict[str, list[str]]:
    """Return what trains and what judges, as a shell would be told.

    An adapter is judged on pairs of its own kind; at the end by the independent judge, too, and one
    of each kind on the other's pairs.
    """
    fitbot = [sys.executable, "-m", "fitbot"]
    files = pairs_of(run["data"], args)
    settings: Settings = {
        "seed_everything": run["seed"],
        "model.lora.random_state": run["seed"],
        "model.base_model": args.model,
        "model.reference_cache": str(folder / "reference"),
        "data.train_path": files["train"],
        "data.val_path": files["val"],
        "run.root": str(folder),
        "run.name": "run",
        "run.wandb_project": "null",
        "run.save_every_n_steps": 1_000_000,
        "trainer.enable_progress_bar": "false",
        "data.train_limit": args.records or LIMITS[run["data"]]["train"],
        "data.val_limit": args.records or LIMITS[run["data"]]["val"],
    }

    def fit(changed: Settings) -> list[str]:
        words = (settings | changed).items()
        command = [*fitbot, "fit", "--config", RECIPES[run["recipe"]]]
        return command + [word for name, value in words for word in (f"--{name}", str(value))]

    def judge(data: str, name: str) -> list[str]:
        command = [*fitbot, "evaluate", str(folder / "run" / "adapter")]
        command += ["--pairs", pairs_of(data, args)["judged"], "--train", files["train"]]
        limit = args.records or LIMITS[data]["val"]
        command += ["--limit", str(limit), "--questions", str(args.questions)]
        return [*command, "--out", str(folder / name)]

    todo: dict[str, list[str]] = {}
    start: Settings = {}
    for number, changed in enumerate(run.get("before", [])):
        todo[f"fit before {number}"] = fit(changed | start | {"run.name": f"before{number}"})
        start = {"model.adapter": str(folder / f"before{number}" / "adapter")}
    todo["fit"] = fit(run["settings"] | start)
    todo["evaluation"] = judge(run["data"], "evaluation")
    if args.what == "final" and run["data"] == "fitness":
        todo["independent"] = [*fitbot, "evaluate", str(folder / "run" / "adapter")]
        todo["independent"] += ["--questions", "independent", "--out", str(folder / "independent")]
    if args.what == "final" and run["seed"] == SEEDS[0]:
        other = "published" if run["data"] == "fitness" else "fitness"
        todo["elsewhere"] = judge(other, "elsewhere")
    return todo


def train_and_judge(run: dict[str, Any], args: argparse.Namespace, gpu: int) -> dict[str, Any]:
    """Run its commands; returns what they found, and why one failed."""
    threads = str(max(1, (os.cpu_count() or 1) // args.at_once))
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": str(gpu), "OMP_NUM_THREADS": threads}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        found: dict[str, Any] = {"seconds": {}}
        for name, command in commands(run, args, folder).items():
            started = time.perf_counter()
            left = args.until - time.time()
            try:
                done = subprocess.run(
                    command,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=max(left, 1),
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return found | {"failed": f"{name}: --limit was over"}
            if done.returncode:
                return found | {"failed": f"{name}: {done.stderr[-2000:]}"}
            found["seconds"][name] = round(time.perf_counter() - started, 1)
            if not name.startswith("fit"):
                told = json.loads((folder / name / "evaluation.json").read_text())
                found[name] = shorten(told)
        found["summary"] = json.loads((folder / "run" / "summary.json").read_text())
        found["curves"] = read_curves(next((folder / "run" / "metrics").glob("*/metrics.csv")))
        return found


def read_curves(path: Path) -> list[dict[str, float]]:
    """Read what the run logged, to four digits."""
    with path.open(newline="") as file:
        rows = [{key: value for key, value in row.items() if value} for row in DictReader(file)]
    return [{key: float(f"{float(value):.4g}") for key, value in row.items()} for row in rows]


def shorten(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is there for each pair, category, flaw, and each rule but the best."""
    groups = [group for group in evaluation["groups"] if group["label"] in ("all", "split")]
    for group in groups:
        group["rules"] = group["rules"][:1]  # the best comes first
    for model in evaluation["models"]:
        del model["logps"], model["reference_logps"]
        model["model"].pop("adapter")
        for rates in model["answers"].values():
            rates["passes_by"].pop("flaw", None)
    for key in ("path", "rules_learned_from"):
        evaluation["pairs"][key] = without_folders(evaluation["pairs"][key])
    shown = ("pairs", "machine", "models", "comparisons", "answered", "verdicts")
    return {key: evaluation[key] for key in shown} | {"groups": groups}


def main() -> None:
    """Let runs take turns on the GPUs; write after every one, print a line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["search", "refine", "final", "losses", "before"])
    parser.add_argument("--model", required=True, help="folder or hub id of the base model")
    parser.add_argument("--published", help="folder of dpo_train.json and dpo_val.json; for final")
    parser.add_argument("--only", nargs="+", help="runs of these names, or whose names hold one")
    parser.add_argument("--at-once", type=int, default=1, help="runs at a time")
    parser.add_argument("--questions", type=int, default=300, help="answered and judged, a run")
    parser.add_argument("--records", type=int, help="of each file, for a rehearsal; all of them")
    parser.add_argument("--limit", type=int, default=36_000, help="seconds for everything")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.what == "final" and not args.published:
        parser.error("final: --published DIR says where the published pairs lie")
    args.until = time.time() + args.limit
    report: dict[str, Any] = {
        "command": command_line("recipe.py"),
        "machine": describe_machine(),
        "runs": [],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    for run in plan(args):
        waiting.put(run)
    lock = threading.Lock()

    def work(gpu: int) -> None:
        while not waiting.empty() and time.time() < args.until:
            try:
                run = waiting.get_nowait()
            except queue.Empty:
                return
            found = train_and_judge(run, args, gpu)
            with lock:
                report["runs"].append(run | found)
                args.out.write_text(json.dumps(report) + "\n", encoding="utf-8")
                print(line(run | found), flush=True)  # noqa: T201

    workers = [threading.Thread(target=work, args=(n % gpus(),)) for n in range(args.at_once)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if args.what in ("losses", "before"):
        print(table(report["runs"]))  # noqa: T201


def gpus() -> int:
    """Count the GPUs; 1 where there is none."""
    import torch

    return max(1, torch.cuda.device_count())


def figures(run: dict[str, Any]) -> dict[str, float]:
    """Pick the figures that runs are compared by."""
    evaluation = run["evaluation"]
    base, tuned = evaluation["models"]
    name = tuned["model"]["name"]
    picked = {"perplexity": tuned["drift"]["perplexity"] / base["drift"]["perplexity"] - 1}
    for group in evaluation["groups"]:
        found = group["figures"][name]
        picked[group["value"]] = found["rewards/accuracies"]["value"]
        if group["label"] == "all":
            picked["loss"] = found["loss"]["value"]
            picked["margin"] = found["rewards/margins"]["value"]
            picked["chosen"] = found["logratios/chosen"]["value"]
            base_logps = group["figures"][base["model"]["name"]]["logps/chosen"]["value"]
            picked["chosen, from base"] = found["logps/chosen"]["value"] - base_logps
    for kind, rates in tuned["answers"].items():
        if rates["passes"]:
            picked[f"{kind} pass"] = rates["passes"]["value"]
            picked[f"{kind} pass, base"] = base["answers"][kind]["passes"]["value"]
    if tuned["drift"]["divergence"]:
        picked["kl"] = tuned["drift"]["divergence"]["value"]
    return picked


def line(run: dict[str, Any]) -> str:
    """Say what a run came to."""
    if "failed" in run:
        return f"{run['name']}: {run['failed']}"
    told = ", ".join(f"{name} {value:.3f}" for name, value in figures(run).items())
    return f"{run['name']}: {run['summary']['steps']} steps, {told}"


def table(runs: list[dict[str, Any]]) -> str:
    """Write what runs came to as a Markdown table, those of several seeds as one row.

    `chosen, from base` is the displacement: nats by which chosen answers became likelier than under
    the base. Accuracy is against each run's own reference, or the base if it has none.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for run in runs:
        if "failed" not in run:
            found.setdefault(run.get("of", run["name"]), []).append(figures(run))
    heads = {"all": "accuracy", "chosen, from base": "chosen, nats"}
    heads |= {"greedy pass": "right greedy", "sampled pass": "right sampled"}
    heads |= {"perplexity": "perplexity"}

    def cell(figure: str, of: list[dict[str, float]]) -> str:
        values = [one[figure] for one in of if figure in one]
        if not values:
            return ""
        mean = f"{statistics.mean(values):.3f}"
        return mean + f" [{min(values):.3f}, {max(values):.3f}]" * (len(values) > 1)

    rows = [[name, *(cell(figure, of) for figure in heads)] for name, of in found.items()]
    if found:
        base = next(iter(found.values()))
        passes = [cell(f"{kind} pass, base", base[:1]) for kind in ("greedy", "sampled")]
        rows.insert(0, ["base", "", "", *passes, ""])
    lines = [["run", *heads.values()], ["---"] * (1 + len(heads)), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
