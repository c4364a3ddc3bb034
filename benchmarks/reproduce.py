"""For whoever doubts: train the real base by fitbot and by TRL, judge both, end in one page.

    make reproduce
    python benchmarks/reproduce.py --published dpo_train.json dpo_val.json --out DIR
    python benchmarks/reproduce.py --rehearse --out /tmp/r     # the embedded model, a CPU, minutes

fitbot trains with the presets dpo and dpo_v2 on fitbot's own pairs, and on the published ones where
they are named; TRL with the settings of dpo, read from the same file. All adapters of one set of
pairs are judged by one `fitbot evaluate` on pairs they were not trained on, beside their base and
beside rules. docs/how-to/reproduce.md says what to expect.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from recipe import LIMITS
from recipe_tables import show, table
from train import ROOT, command_line, describe_machine, without_folders

Settings = dict[str, Any]

PRESETS = ("dpo", "dpo_v2")
BASE = "Qwen/Qwen3-0.6B"
HEAD = ["run", "steps", "minutes", "GiB", "preference", "right, greedy", "perplexity"]


def pairs_of(args: argparse.Namespace) -> dict[str, dict[str, str]]:
    """Name the files of each set of pairs: to train on, to validate with, to be judged on."""
    ours = {split: str(ROOT / "data" / f"fitness_{split}.json") for split in ("train", "val")}
    sets = {"fitness": ours | {"judged": str(ROOT / "data" / "fitness_test.json")}}
    if args.published:  # it has no test pairs
        train, val = args.published
        sets["published"] = {"train": train, "val": val, "judged": val}
    return sets


def settings_of(pairs: str, args: argparse.Namespace) -> Settings:
    """Return what changes a preset: base and pairs; in a rehearsal all is small."""
    files = pairs_of(args)[pairs]
    settings: Settings = {
        "model.base_model": args.model,
        "model.reference_cache": str(args.out / "reference"),
        "data.train_path": files["train"],
        "data.val_path": files["val"],
        "data.train_limit": LIMITS[pairs]["train"],  # records, as docs/explanation/recipe.md has it
        "data.val_limit": LIMITS[pairs]["val"],
        "run.root": str(args.out),
        "run.wandb_project": "null",
        "trainer.enable_progress_bar": "false",
    }
    if args.rehearse:
        small = {"train_limit": 8, "val_limit": 8, "batch_size": 2, "accumulate_batches": 2}
        settings |= {f"data.{name}": value for name, value in small.items()}
        settings |= {"trainer.max_steps": args.steps, "trainer.log_every_n_steps": 1}
    return settings


def fit(preset: str, pairs: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train by fitbot; returns the run's summary."""
    name = f"{preset}-{pairs}"
    settings = settings_of(pairs, args) | {"run.name": name}
    words = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    run([sys.executable, "-m", "fitbot", "fit", "--config", preset, *words])
    summary: dict[str, Any] = json.loads((args.out / name / "summary.json").read_text())
    return {
        "steps": summary["steps"],
        "seconds": summary["runtime_seconds"],
        "gib": summary["peak_gpu_memory_gib"],
        "verdict": summary["verdict"],
    }


def fit_trl(pairs: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train by TRL with the settings of dpo's fit, in a process of its own."""
    folder = args.out / f"trl-{pairs}"
    twin = args.out / f"dpo-{pairs}" / "adapter"
    run([sys.executable, __file__, "--trl", str(twin), "--out", folder])
    found: dict[str, Any] = json.loads((folder / "trl.json").read_text())
    return found


def train_trl(twin: Path, out: Path) -> None:
    """Train as the fit of an adapter did, and leave an adapter that fitbot can judge."""
    import torch

    on_gpu = torch.cuda.is_available()
    if not on_gpu:  # TRL's kernels are Triton's
        os.environ.setdefault("TRITON_INTERPRET", "1")
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    from fitbot.base_model.embedded import resolve_base_model
    from fitbot.base_model.provenance import sha256_of
    from fitbot.pairs.preferences import load_pairs

    told = json.loads((twin / "fitbot.json").read_text())
    config = yaml.safe_load((twin.parent / "config.yaml").read_text())
    model, data = config["model"], config["data"]
    rows = []
    for pair in load_pairs(data["train_path"], limit=data["train_limit"]).pairs:
        system = {"role": "system", "content": told["data"]["system_prompt"]}
        rows.append(
            {
                "prompt": [system, *[message._asdict() for message in pair.prompt]],
                "chosen": [{"role": "assistant", "content": pair.chosen}],
                "rejected": [{"role": "assistant", "content": pair.rejected}],
                "chat_template_kwargs": {"enable_thinking": False},
            }
        )
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if on_gpu else torch.float32,
    )
    source = resolve_base_model(model["base_model"])
    network = AutoModelForCausalLM.from_pretrained(
        source, device_map={"": 0 if on_gpu else "cpu"}, quantization_config=nf4
    )
    lora = told["settings"]["lora"]
    limits: dict[str, Any] = {"num_train_epochs": config["trainer"]["max_epochs"] or 1}
    if (steps := config["trainer"]["max_steps"]) > 0:
        limits = {"max_steps": steps}
    trainer = DPOTrainer(
        model=network,
        args=DPOConfig(
            output_dir=str(out / "trl"),
            # A step's pairs at once, and the reference beforehand: four times as fast.
            per_device_train_batch_size=data["batch_size"] * data["accumulate_batches"],
            precompute_ref_log_probs=on_gpu,
            learning_rate=model["learning_rate"],
            lr_scheduler_type=model["lr_schedule"],
            warmup_steps=model["warmup_ratio"],  # below 1: a share
            optim="adamw_8bit" if on_gpu else "adamw_torch",
            weight_decay=model["weight_decay"],
            max_grad_norm=model["max_grad_norm"],
            beta=model["beta"],
            max_length=data["max_length"],
            seed=config["seed_everything"],
            bf16=on_gpu,
            use_cpu=not on_gpu,
            gradient_checkpointing=False,
            report_to="none",
            save_strategy="no",
            **limits,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(source),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=lora["r"],
            lora_alpha=lora["alpha"],
            lora_dropout=lora["dropout"],
            target_modules=lora["target_modules"],
        ),
    )
    started = time.perf_counter()
    trainer.train()
    figures = {
        "steps": trainer.state.global_step,
        "seconds": time.perf_counter() - started,
        "gib": torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None,
    }
    trainer.save_model(str(out / "adapter"))
    hashes = {name: sha256_of(out / "adapter" / name) for name in told["sha256"]}
    told = {key: told[key] for key in ("base_model", "settings", "data") if key in told}
    (out / "adapter" / "fitbot.json").write_text(json.dumps({**told, "sha256": hashes}))
    (out / "trl.json").write_text(json.dumps(figures))


def judge(names: list[str], pairs: str, args: argparse.Namespace) -> dict[str, Any]:
    """Evaluate the adapters of one set of pairs at once; returns evaluation.json."""
    files, out = pairs_of(args)[pairs], args.out / f"evaluation-{pairs}"
    adapters = [str(args.out / name / "adapter") for name in names]
    words = ["--pairs", files["judged"], "--train", files["train"], "--out", str(out)]
    words += ["--questions", str(args.questions if pairs == "fitness" else 0)]
    words += ["--limit", "16" if args.rehearse else str(LIMITS[pairs]["val"])]
    run([sys.executable, "-m", "fitbot", "evaluate", *adapters, *words])
    found: dict[str, Any] = json.loads((out / "evaluation.json").read_text())
    return found


def run(command: list[Any]) -> None:
    """Run what prints its own progress; its error ends this program, too."""
    print("+", *command[1:4], "...", flush=True)  # noqa: T201
    if subprocess.run([str(word) for word in command], check=False).returncode:
        sys.exit(f"reproduce: this failed: {' '.join(map(str, command))}")


def rows_of(found: dict[str, Any], costs: dict[str, Any]) -> list[list[str]]:
    """Write a set's rows: the base, the rules, every run; with 95 % intervals."""
    whole, (base, *tuned) = found["groups"][0], found["models"]
    rows = []
    for report in (base, *tuned):
        name = report["model"]["name"]
        cost, figures = costs.get(name, {}), whole["figures"][name]
        preference = figures.get("rewards/accuracies")
        rates = report["answers"].get("greedy", {}).get("passes")
        ratio = report["drift"]["perplexity"] / base["drift"]["perplexity"] - 1
        row = [name, str(cost.get("steps", "")), f"{cost['seconds'] / 60:.1f}" if cost else ""]
        row += [f"{cost['gib']:.2f}" if cost.get("gib") else ""]
        row += [show([preference]) if preference else "", show([rates]) if rates else ""]
        rows.append([*row, f"{ratio:+.1%}" if cost else ""])
    for rule in (*whole["rules"][:1], *whole["question_rules"][:1]):
        told = show([rule | {"value": rule["accuracy"]}])
        rows.append([f"a rule: {rule['rule']}", "", "", "", told, "", ""])
    return rows


def page_of(report: dict[str, Any]) -> str:
    """Write everything as one page of Markdown."""
    machine = report["machine"]
    parts = [
        "# Reproduced",
        f"`{report['command']}`, commit {machine['commit']}, "
        f"{machine['gpu'] or str(machine['cpu_cores']) + ' CPU cores'}, base `{report['base']}`.",
    ]
    parts += [f"{text}." for text in report["skipped"]]
    if report["rehearsal"]:
        parts.append("A rehearsal: a few steps on a few pairs. Its figures say nothing.")
    for pairs, found in report["evaluations"].items():
        rows = rows_of(found, report["runs"])
        parts += [f"## {pairs}, {found['groups'][0]['pairs']} pairs", table(HEAD, rows)]
    parts.append(
        "Preference: share of pairs whose chosen answer gained more [95 % interval]; rules know no "
        "language. Right: greedy answers that pass their checks. Perplexity: of neutral text, "
        "against the base's."
    )
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Train, judge, write; every finished part is kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help=f"hub id or folder of the base; default: {BASE}")
    parser.add_argument(
        "--published", nargs=2, metavar=("TRAIN", "VAL"), help="the published pairs: files, or hub "
        "data sets as owner/name:split; without them that half is skipped"
    )  # fmt: skip
    parser.add_argument("--questions", type=int, default=300, help="answered and judged")
    parser.add_argument("--no-trl", action="store_true", help="leave TRL out")
    parser.add_argument("--rehearse", action="store_true", help="few steps, pairs and questions")
    parser.add_argument("--steps", type=int, default=3, help="of a rehearsal's fits")
    parser.add_argument("--out", type=Path, required=True, help="a new folder for everything")
    parser.add_argument("--trl", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.trl:
        train_trl(args.trl, args.out)
        return
    args.out = args.out.resolve()
    if args.out.exists() and any(args.out.iterdir()):
        parser.error(f"--out {args.out} is not empty; name a new folder")
    args.model = args.model or ("embedded" if args.rehearse else BASE)
    args.questions = min(args.questions, 2) if args.rehearse else args.questions
    report: dict[str, Any] = {
        **{"command": command_line("reproduce.py"), "machine": describe_machine()},
        **{"base": without_folders(args.model), "rehearsal": args.rehearse},
        **{"skipped": [], "runs": {}, "evaluations": {}},
    }
    if not args.published:
        report["skipped"].append("Skipped: the published pairs, which --published names")
    with_trl = not args.no_trl and importlib.util.find_spec("trl") is not None
    if args.rehearse or not with_trl:
        why = (
            "in a rehearsal: its kernels want a GPU" if args.rehearse else "not installed or wanted"
        )
        report["skipped"].append(f"Skipped: TRL, {why}")
    print(*report["skipped"], sep="\n", flush=True)  # noqa: T201
    for pairs in pairs_of(args):
        runs = {f"{preset}-{pairs}": fit(preset, pairs, args) for preset in PRESETS}
        if with_trl and not args.rehearse:
            runs[f"trl-{pairs}"] = fit_trl(pairs, args)
        report["runs"] |= runs
        report["evaluations"][pairs] = judge(list(runs), pairs, args)
        (args.out / "reproduced.json").write_text(json.dumps(report) + "\n", encoding="utf-8")
    page = page_of(report)
    (args.out / "reproduced.md").write_text(page, encoding="utf-8")
    print(f"\n{page}\nwrote {args.out / 'reproduced.md'}")  # noqa: T201


if __name__ == "__main__":
    main()
