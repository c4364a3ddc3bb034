"""Time training steps of fitbot and of its peers on the same work, side by side on one machine.

    python benchmarks/train.py --model DIR --data dpo_train.json --out benchmarks/results/FILE.json

Every run is a process of its own and trains by its trainer's own loop; the trainers take turns. The
recipe is configs/dpo.yaml's: LoRA r 16 on seven projections, dropout 0.05, NF4, 8 pairs a step. See
benchmarks/README.md for what the names mean and how to read the result.
"""

import argparse
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from work import lengths_of, shape_of, work_of

STARTED = time.perf_counter()
ROOT = Path(__file__).parent.parent
SYSTEM = "You are a helpful AI fitness assistant for gym-goers and vegetarians."
MAX_LENGTH = 1024  # tokens
PROFILED = 10  # steps, the last ones
WARM_UP = 3  # steps before them in which the profiler is on, too
CONTENDERS: dict[str, dict[str, Any]] = {
    "fitbot": {"steps": 300},
    "fitbot eager": {"steps": 30, "engine": "eager"},
    "trl as published": {"steps": 24, "batch": 2},
    "trl tuned": {"steps": 30, "batch": 8, "precompute": True},
    "unsloth as published": {"steps": 24, "batch": 2},
    "unsloth tuned": {"steps": 30, "batch": 8},
}


class Clock:
    """When optimizer steps ended, by the GPU's own clock: nobody waits for it."""

    def __init__(self) -> None:
        """Start with no steps."""
        import torch

        self.torch, self.marks, self.first = torch, [], 0.0
        self.on_gpu = torch.cuda.is_available()

    def tick(self) -> None:
        """Note the end of a step."""
        if not self.marks:
            if self.on_gpu:
                self.torch.cuda.synchronize()
            self.first = time.perf_counter() - STARTED
        if self.on_gpu:
            self.marks.append(self.torch.cuda.Event(enable_timing=True))
            self.marks[-1].record()
        else:
            self.marks.append(time.perf_counter())

    def milliseconds(self) -> list[float]:
        """Return the duration of every step but the first."""
        ends = zip(self.marks, self.marks[1:], strict=False)
        if self.on_gpu:
            self.torch.cuda.synchronize()
            return [earlier.elapsed_time(later) for earlier, later in ends]
        return [1000 * (later - earlier) for earlier, later in ends]

    def result(self, **more: Any) -> dict[str, Any]:
        """Sum up, with every sample."""
        cuda = self.torch.cuda
        return {
            "step_ms": [round(ms, 3) for ms in self.milliseconds()],
            "seconds_to_first_step": round(self.first, 2),
            "peak_gib": round(cuda.max_memory_allocated() / 2**30, 3) if self.on_gpu else None,
            **more,
        }


def run_fitbot(args: argparse.Namespace, contender: dict[str, Any]) -> dict[str, Any]:
    """Train by `fitbot fit` and take the last steps apart by kernel."""
    import lightning
    import torch
    from fit import fit, last_log

    clock = Clock()
    records: list[Any] = []
    result: dict[str, Any] = {}
    compiled = contender.get("engine", "compiled") == "compiled" and torch.cuda.is_available()
    # The eager engine's many thousand kernels take a profiler minutes.
    steps = contender["steps"]
    # The last step writes a checkpoint, which is no part of a step.
    profile_from = steps - 1 - PROFILED - WARM_UP if compiled else steps

    class Watch(lightning.Callback):
        def on_train_batch_end(
            self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any
        ) -> None:
            step = trainer.global_step
            if self.profiler is None:
                clock.tick()
                records.append([part.records for part in batch])
            else:
                if step in (profile_from + WARM_UP, steps - 1):
                    torch.cuda.synchronize()  # no kernel of other steps is counted
                self.profiler.step()
            if step == profile_from < steps:
                self.profiler = torch.profiler.profile(
                    activities=[torch.profiler.ProfilerActivity.CUDA],
                    schedule=torch.profiler.schedule(
                        wait=0, warmup=WARM_UP, active=PROFILED, repeat=1
                    ),
                )
                self.profiler.__enter__()

        def on_train_end(self, trainer: Any, module: Any) -> None:
            result.update(clock.result(last_log=last_log(trainer)))
            if self.profiler is not None:
                self.profiler.__exit__(None, None, None)
                result["parts_ms"] = take_apart(self.profiler.events(), num_steps=PROFILED)
            if torch.cuda.is_available():
                result.update(work_done(trainer, module, records, clock.milliseconds()))

        profiler: Any = None

    settings = {
        "model.base_model": args.model,
        "model.reference": "cached",
        "model.engine": "compiled" if compiled else "eager",
        "data.train_path": args.data,
        "data.train_limit": args.records,
        "data.max_prompt_length": 768,
        "data.max_length": MAX_LENGTH,
        "data.batch_size": args.pairs,
        "data.accumulate_batches": 1,
        "trainer.max_steps": contender["steps"],
        "trainer.log_every_n_steps": 10,
        "trainer.max_epochs": 1000,
        "trainer.precision": "bf16-mixed" if torch.cuda.is_available() else "32-true",
    }
    fit("dpo.yaml", settings, Watch())
    return result


def work_done(
    trainer: Any, module: Any, records: list[Any], milliseconds: list[float]
) -> dict[str, float]:
    """Compare the arithmetic of the last two thirds of the steps with what the GPU can do."""
    import torch

    first = 1 + len(milliseconds) // 3  # the first step has no duration
    indices = torch.cat([part.cpu() for step in records[first:] for part in step]).tolist()
    lengths = lengths_of(trainer.datamodule.pairs["train"][index] for index in indices)
    work = work_of(shape_of(module.policy.network.config), lengths, module.lora.r)
    reached = sum(work) / sum(milliseconds[first - 1 :]) / 1e9
    peak = peak_tflops()
    return {
        "tflops": round(reached, 1),
        "peak_tflops": round(peak, 1),
        "share_of_peak": round(reached / peak, 3),
    }


def peak_tflops() -> float:
    """Measure the GPU's bf16 product of two 8192 x 8192 matrices, half a second long."""
    import torch

    a, b = torch.randn(2, 8192, 8192, device="cuda", dtype=torch.bfloat16)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for repeats in (10, 300):
        start.record()
        for _ in range(repeats):
            a @ b
        end.record()
        torch.cuda.synchronize()
    return 300 * 2 * 8192**3 / start.elapsed_time(end) / 1e9


def take_apart(events: Any, num_steps: int) -> dict[str, float]:
    """Sum kernels by what they are for, ms a step; products may overlap what runs beside them."""
    kernels = [
        e
        for e in events
        if e.device_type.name == "CUDA" and e.device_time_total > 0 and not e.is_user_annotation
    ]
    kernels.sort(key=lambda e: e.time_range.start)
    # The head's products are those next to its softmax.
    softmaxes = [i for i, event in enumerate(kernels) if "_score_tile" in event.name]
    near = {k for i in softmaxes for k in (i - 1, i + 1, i + 2)}
    parts: dict[str, float] = {}
    for i, event in enumerate(kernels):
        part = part_of(event.name, near_head=i in near)
        parts[part] = parts.get(part, 0.0) + event.device_time_total / 1000 / num_steps
    spans = sorted((e.time_range.start, e.time_range.end) for e in kernels)
    busy, reached = 0.0, spans[0][0]
    for start, end in spans:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    wall = (reached - spans[0][0]) / 1000 / num_steps
    return {
        **{k: round(v, 3) for k, v in parts.items()},
        "idle": round(wall - busy / 1000 / num_steps, 3),
        "wall": round(wall, 3),
    }


def part_of(kernel: str, *, near_head: bool) -> str:
    """Say what a kernel is for."""
    if "_attend" in kernel or "_delta" in kernel:
        return "attention"
    if "_score_tile" in kernel:
        return "softmax of the head"
    if any(word in kernel for word in ("nvjet", "gemm", "cublas", "cutlass", "splitK")):
        return f"matrix products of the {'head' if near_head else 'layers'}"
    if any(word in kernel for word in ("_norm", "_swiglu", "_rotate", "_drop")):
        return "norms, rotary, SwiGLU, dropout"
    if "ptimizer" in kernel:
        return "optimizer"
    return "other"


def run_peer(args: argparse.Namespace, contender: dict[str, Any]) -> dict[str, Any]:
    """Train by TRL's DPOTrainer, Unsloth's patches under it where it is asked for."""
    unsloth = args.one.startswith("unsloth")
    if unsloth:
        from unsloth import FastLanguageModel, PatchDPOTrainer

        PatchDPOTrainer()
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        BitsAndBytesConfig,
        TrainerCallback,
    )
    from trl import DPOConfig, DPOTrainer

    from fitbot.pairs.preferences import load_pairs

    steps, batch = contender["steps"], min(contender["batch"], args.pairs)
    pairs = load_pairs(args.data, limit=args.records).pairs
    shuffled = random.Random(42).choices(pairs, k=steps * args.pairs)
    rows = [
        {
            "prompt": [{"role": "system", "content": SYSTEM}, *[m._asdict() for m in pair.prompt]],
            "chosen": [{"role": "assistant", "content": pair.chosen}],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
            "chat_template_kwargs": {"enable_thinking": False},
        }
        for pair in shuffled
    ]
    lora: dict[str, Any] = {"r": 16, "lora_alpha": 64, "lora_dropout": 0.05, "bias": "none"}
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    lora["target_modules"] = [*names]
    tokenizer, extra = AutoTokenizer.from_pretrained(args.model), {}
    if unsloth:
        model, tokenizer = FastLanguageModel.from_pretrained(
            args.model, max_seq_length=2048, dtype=None, load_in_4bit=True, local_files_only=True
        )
        model = FastLanguageModel.get_peft_model(
            model, use_gradient_checkpointing=False, random_state=3407, **lora
        )
    else:
        nf4 = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        model = AutoModelForCausalLM.from_pretrained(
            args.model, dtype=torch.bfloat16, device_map={"": 0}, quantization_config=nf4
        )
        extra["peft_config"] = LoraConfig(task_type="CAUSAL_LM", **lora)
    clock = Clock()

    class Tick(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            output_dir=folder,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=args.pairs // batch,
            max_steps=steps,
            learning_rate=5e-6,
            warmup_steps=max(1, steps // 10),
            logging_steps=10,
            optim="adamw_8bit",
            weight_decay=0.01,
            seed=42,
            beta=0.1,
            max_length=MAX_LENGTH,
            bf16=True,
            gradient_checkpointing=False,
            precompute_ref_log_probs=contender.get("precompute", False),
            report_to="none",
            save_strategy="no",
            dataloader_num_workers=2,
        )
        trainer = DPOTrainer(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[Tick()],
            **extra,
        )
        trainer.train()
    return clock.result(losses=[r["loss"] for r in trainer.state.log_history if "loss" in r])


def write_synthetic(path: Path, lengths: str, count: int) -> None:
    """Write pairs of about so many tokens, "prompt x chosen x rejected", out of common words."""
    words = [
        "the",
        "lift",
        "sets",
        "rest",
        "week",
        "food",
        "train",
        "good",
        "more",
        "less",
        "day",
        "work",
        "time",
        "body",
        "form",
    ]
    rng = random.Random(0)

    def text(num_tokens: str) -> str:
        return " ".join(rng.choices(words, k=int(num_tokens)))

    names = ("question", "chosen", "rejected")
    records = [dict(zip(names, map(text, lengths.split("x")), strict=True)) for _ in range(count)]
    path.write_text(json.dumps(records), encoding="utf-8")


def summary(run: dict[str, Any], pairs: int) -> dict[str, float]:
    """Median, spread and pairs a second over the last two thirds of the steps."""
    settled = run["step_ms"][len(run["step_ms"]) // 3 :]
    mean = statistics.mean(settled)
    deciles = statistics.quantiles(settled, n=10)
    return {
        "median_ms": round(statistics.median(settled), 2),
        "mean_ms": round(mean, 2),
        "p10_ms": round(deciles[0], 2),
        "p90_ms": round(deciles[-1], 2),
        "pairs_per_second": round(1000 * pairs / mean, 1),
    }


def without_folders(text: str) -> str:
    """Name files by their last part: where they lay on a machine is nobody's business."""
    return re.sub(r"(?<![\w.:/])/(?:[\w.-]+/)*([\w.-]+)", r"\1", text)


def command_line(script: str) -> str:
    """Say what was typed, for a result."""
    return without_folders(" ".join(["python", f"benchmarks/{script}", *sys.argv[1:]]))


def describe_machine() -> dict[str, Any]:
    """Say what the figures were measured on."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    packages = ("torch", "transformers", "peft", "bitsandbytes", "lightning", "trl", "unsloth")
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except ModuleNotFoundError:
            versions[package] = "not installed"
    return {
        "gpu": gpu,
        "gpus": torch.cuda.device_count(),
        "cpu_cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "commit": os.environ.get("FITBOT_COMMIT") or commit or "unknown",
    }


def main() -> None:
    """Let the contenders take turns; write every sample, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder or hub id of the base model")
    parser.add_argument("--data", help="preference file; or give --lengths")
    parser.add_argument("--lengths", help="synthetic pairs: tokens as PROMPTxCHOSENxREJECTED")
    parser.add_argument("--records", type=int, default=4200, help="use the first so many")
    parser.add_argument("--pairs", type=int, default=8, help="pairs an optimizer step")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--limit", type=int, default=180, help="seconds a run may take")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--one", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        run = run_fitbot if args.one.startswith("fitbot") else run_peer
        args.out.write_text(json.dumps(run(args, CONTENDERS[args.one])))
        return
    with tempfile.TemporaryDirectory() as folder:
        if args.lengths:
            args.records = 512
            args.data = str(Path(folder) / "synthetic.json")
            write_synthetic(Path(args.data), args.lengths, args.records)
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in args.only}
        report = {
            "command": command_line("train.py"),
            "machine": describe_machine(),
            "work": {
                "pairs_of": args.lengths or Path(args.data).name,
                "pairs_per_step": args.pairs,
            },
            "results": results,
        }
        args.out.parent.mkdir(parents=True, exist_ok=True)
        for name in args.only * args.rounds:
            run = run_one(args, name, Path(folder) / "one.json")
            results[name].append(run)
            # After every run: what was measured survives whatever comes.
            args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            line = run.get("failed") or f"{run['mean_ms']} ms, {run['pairs_per_second']} pairs/s"
            print(f"{name:24}{line}", flush=True)  # noqa: T201


def run_one(args: argparse.Namespace, name: str, out: Path) -> dict[str, Any]:
    """Let one contender train in a process of its own; returns its figures, or why it failed."""
    command = [sys.executable, __file__, "--one", name, "--out", str(out)]
    for option in ("model", "data", "records", "pairs"):
        command += [f"--{option}", str(getattr(args, option))]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=args.limit, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {args.limit} s"}
    if done.returncode:
        return {"failed": done.stderr[-2000:]}
    run = json.loads(out.read_text())
    return {**summary(run, args.pairs), **run}


if __name__ == "__main__":
    main()
