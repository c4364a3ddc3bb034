"""Loss curves of both engines and of TRL, in bfloat16 and in float32, on the same pairs in order.

    python benchmarks/exactness.py --model DIR --data dpo_train.json --out benchmarks/results/NAME

Writes NAME.json, which pictures.py draws. All train the same adapter from the same start over the
same unquantised base, dropout off, AdamW in float32, 8 pairs a step; three of them compute in
bfloat16. Every run is a process of its own. The first loss must be ln 2 in all of them.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from train import command_line

SYSTEM = "You are a helpful AI fitness assistant for gym-goers and vegetarians."
PAIRS = 8  # a step
RUNS = {
    "float32": {"trainer.precision": "32-true", "model.engine": "eager"},
    "compiled": {"model.engine": "compiled"},
    "eager": {"model.engine": "eager"},
    "trl": {},
    "trl float32": {},
}


def run_fitbot(args: argparse.Namespace, settings: dict[str, str]) -> dict[str, Any]:
    """Train by `fitbot fit`; returns every step's loss and the order of the pairs."""
    import lightning
    import torch
    from fit import fit, last_log

    losses: list[float] = []
    norms: list[float] = []
    order: list[int] = []

    class Watch(lightning.Callback):
        def on_train_start(self, trainer: Any, module: Any) -> None:
            if not args.order.exists():
                torch.save(module.state_dict(), args.order.with_suffix(".pt"))

        def on_train_batch_end(self, trainer: Any, module: Any, *rest: Any) -> None:
            batch = rest[1]
            order.extend(i for part in batch for i in part.records.tolist())
            norms.append(float(module.grad_norm))
            losses.append(last_log(trainer)["train/loss"])

    everything = {
        "model.base_model": args.model,
        "model.load_in_4bit": "false",
        "model.lora.dropout": 0.0,
        "model.optimizer": "adamw",
        "model.learning_rate": args.learning_rate,
        "model.reference": "online",
        "data.train_path": args.data,
        "trainer.max_steps": args.steps,
        "trainer.log_every_n_steps": 1,
        **settings,
    }
    fit("dpo.yaml", everything, Watch())
    return {"losses": losses, "grad_norms": norms, "order": order}


def run_trl(args: argparse.Namespace, order: list[int]) -> dict[str, Any]:
    """Train by TRL on the same pairs in the same order."""
    import torch
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    from fitbot.base_model.adapter_files import adapter_config
    from fitbot.base_model.settings import LoraSettings
    from fitbot.pairs.preferences import load_pairs

    class InOrder(DPOTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(dataset or self.train_dataset)

    pairs = load_pairs(args.data, limit=4200).pairs
    rows = [
        {
            "prompt": [
                {"role": "system", "content": SYSTEM},
                *[message._asdict() for message in pairs[i].prompt],
            ],
            "chosen": [{"role": "assistant", "content": pairs[i].chosen}],
            "rejected": [{"role": "assistant", "content": pairs[i].rejected}],
            "chat_template_kwargs": {"enable_thinking": False},
        }
        for i in order
    ]
    lora = LoraSettings(dropout=0.0)
    in_float32 = args.one == "trl float32"
    dtype = torch.float32 if in_float32 else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(
        args.model, dtype=dtype, device_map={"": 0 if torch.cuda.is_available() else "cpu"}
    )
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            output_dir=folder,
            per_device_train_batch_size=PAIRS,
            max_steps=args.steps,
            learning_rate=args.learning_rate,
            warmup_steps=math.ceil(0.1 * args.steps),
            lr_scheduler_type="linear",
            weight_decay=0.01,
            optim="adamw_torch",
            beta=0.1,
            max_length=1024,
            bf16=not in_float32,
            use_cpu=not torch.cuda.is_available(),
            gradient_checkpointing=False,
            logging_steps=1,
            report_to="none",
            save_strategy="no",
        )
        trainer = InOrder(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(args.model),
            peft_config=adapter_config(lora, args.model),
        )
        start = torch.load(args.order.with_suffix(".pt"))
        for name, parameter in trainer.model.named_parameters():
            if parameter.requires_grad:
                parameter.data.copy_(start[f"policy.network.{name}"])
        dtypes = {str(p.dtype) for p in trainer.model.parameters() if p.requires_grad}
        trainer.train()
    log = [row for row in trainer.state.log_history if "loss" in row]
    return {
        "losses": [row["loss"] for row in log],
        "grad_norms": [row["grad_norm"] for row in log],
        "adapter_dtypes": sorted(dtypes),
    }


def main() -> None:
    """Run all, the one in float32 first: its order of pairs is everybody's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="an unquantised base model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--learning-rate", type=float, default=5e-6)
    parser.add_argument("--only", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--out", type=Path, required=True, help="without a suffix")
    parser.add_argument("--one", choices=list(RUNS), help=argparse.SUPPRESS)
    parser.add_argument("--order", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        if args.one.startswith("trl"):
            result = run_trl(args, json.loads(args.order.read_text()))
        else:
            result = run_fitbot(args, RUNS[args.one])
        args.out.write_text(json.dumps(result))
        return
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        order, one = Path(folder) / "order.json", Path(folder) / "one.json"
        for name in args.only:
            command = [sys.executable, __file__, "--one", name, "--model", args.model]
            command += ["--data", args.data, "--steps", str(args.steps), "--order", str(order)]
            command += ["--learning-rate", str(args.learning_rate), "--out", str(one)]
            subprocess.run(command, check=True)
            results[name] = json.loads(one.read_text())
            seen = results[name].pop("order", None)  # TRL is told the order
            if not order.exists():
                order.write_text(json.dumps(seen))
            if seen is not None and seen != json.loads(order.read_text()):
                raise SystemExit(f"{name} saw the pairs in another order")
            # After every run: what was measured survives whatever comes.
            write(results, args.out)


def write(results: dict[str, Any], out: Path) -> None:
    """Compare every run with the one in float32, write and print."""
    exact = results["float32"]["losses"]
    away = {
        name: math.sqrt(
            sum((a - b) ** 2 for a, b in zip(run["losses"], exact, strict=True)) / len(exact)
        )
        for name, run in results.items()
    }
    command = command_line("exactness.py")
    report = {"command": command, "rms_away_from_float32_nats": away, "runs": results}
    out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(away, indent=1), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
