"""Time an optimizer step of `configs/quickstart.yaml` beside TRL's on the same work, on a CPU.

    OMP_NUM_THREADS=2 python benchmarks/cpu_step.py --out FILE

Both train the embedded model, NF4, LoRA r 16 with dropout 0.05, float32, 16 pairs a step, on the
first of the fitness pairs; every run is a process of its own, the trainers take turns. TRL's
log-prob kernel needs a GPU: here it gets plain log_softmax, over the same scored tokens. Needs the
dev extra.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAIRS = 16  # a step
WORK = {
    "fitbot": {},
    "trl 16 x 1": {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1},
    "trl 2 x 8": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 8},
}


def time_fitbot(steps: int) -> list[float]:
    """Return the seconds of every optimizer step."""
    import lightning
    from fit import fit

    ends: list[float] = []

    class Clock(lightning.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            ends.append(time.perf_counter())

    settings = {"model.reference": "cached", "data.train_limit": PAIRS * steps}
    fit("quickstart.yaml", settings, Clock())
    return [later - earlier for earlier, later in zip(ends, ends[1:], strict=False)]


def time_trl(steps: int, split: dict[str, int]) -> list[float]:
    """Return the seconds of every optimizer step; reference precomputed, as fitbot's is cached."""
    import torch
    import trl.trainer.utils
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        BitsAndBytesConfig,
        TrainerCallback,
    )
    from trl import DPOConfig, DPOTrainer

    from fitbot.base_model.embedded import EMBEDDED_SYSTEM_PROMPT, embedded_model

    class PlainHead:
        @staticmethod
        def apply(hidden: Any, weight: Any, bias: None, targets: Any, *_: Any) -> tuple[Any, ...]:
            scores = (hidden @ weight.T).log_softmax(-1)
            logps = scores.gather(-1, targets[:, None]).squeeze(-1)
            unused = torch.zeros(len(logps))
            return logps, unused, None, unused, unused.bool()

    trl.trainer.utils._ChunkedLogProbFunction = PlainHead
    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    folder = embedded_model()
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, quantization_config=nf4, device_map={"": "cpu"}
    )
    targets = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    lora = LoraConfig(
        r=16, lora_alpha=64, lora_dropout=0.05, target_modules=[*targets], task_type="CAUSAL_LM"
    )
    records = json.loads((ROOT / "data" / "fitness_train.json").read_text(encoding="utf-8"))
    pairs = [
        {
            "prompt": [
                {"role": "system", "content": EMBEDDED_SYSTEM_PROMPT},
                *(record.get("prompt") or [{"role": "user", "content": record["question"]}]),
            ],
            "chosen": [{"role": "assistant", "content": record["chosen"]}],
            "rejected": [{"role": "assistant", "content": record["rejected"]}],
        }
        for record in records[: PAIRS * steps]
    ]
    with tempfile.TemporaryDirectory() as output:
        config = DPOConfig(
            output_dir=output,
            max_steps=steps,
            learning_rate=2e-4,
            beta=0.3,
            max_length=1024,
            disable_dropout=False,
            precompute_ref_log_probs=True,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_steps=6,
            disable_tqdm=True,
            **split,
        )
        DPOTrainer(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(pairs),
            processing_class=AutoTokenizer.from_pretrained(folder),
            peft_config=lora,
            callbacks=[Clock()],
        ).train()
    return [later - earlier for earlier, later in zip(ends, ends[1:], strict=False)]


def main() -> None:
    """Let the trainers take turns, each in a process of its own, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=19, help="optimizer steps a run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--one", choices=list(WORK), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        seconds = time_fitbot(args.steps) if args.one == "fitbot" else None
        seconds = seconds or time_trl(args.steps, WORK[args.one])
        args.out.write_text(json.dumps(seconds[3:]))  # the first steps warm up
        return
    results: dict[str, list[float]] = {name: [] for name in WORK}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.rounds):
            for name in WORK:
                out = Path(folder) / "seconds.json"
                command = [sys.executable, __file__, "--steps", str(args.steps), "--one", name]
                subprocess.run([*command, "--out", str(out)], check=True, capture_output=True)
                results[name].append(statistics.median(json.loads(out.read_text())))
    ours = results["fitbot"]
    report = {
        "command": f"python benchmarks/cpu_step.py --steps {args.steps} --rounds {args.rounds}",
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "median_step_seconds_of_every_round": results,
        "fitbot_is_faster_by": {
            name: statistics.median(x / y for x, y in zip(seconds, ours, strict=True))
            for name, seconds in results.items()
        },
    }
    args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report["fitbot_is_faster_by"], indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
