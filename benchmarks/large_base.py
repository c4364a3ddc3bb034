"""Train on a base too large for one GPU: memory and speed with the base in parts, and whole.

    python benchmarks/large_base.py --processes 2 --out benchmarks/results/FILE.json

A Qwen3 of --size with random weights is written to --model, file by file, unless it is there. Then
every way to hold it trains for a few steps of `fitbot fit`, in processes of its own that torchrun
starts. All ways see the same pairs; without dropout they must find the same loss and gradient.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from train import command_line, describe_machine, write_synthetic

GIB = 2**30
SIZES: dict[str, dict[str, int]] = {
    "8b": {  # Qwen/Qwen3-8B's config.json
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151_936,
    },
    "tiny": {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "vocab_size": 16_384,
    },
}
KEPT = {"model.load_in_4bit": True, "model.expand_4bit": False}
EXPANDED = {"model.load_in_4bit": True, "model.expand_4bit": True}
WHOLE, PARTS = {"trainer.strategy": "ddp"}, {"trainer.strategy": "sharded"}
WAYS: dict[str, dict[str, Any]] = {
    "bf16 in parts": {"model.load_in_4bit": False, **PARTS},
    "bf16 whole": {"model.load_in_4bit": False, **WHOLE},
    "bf16 in parts, recomputed": {
        "model.load_in_4bit": False,
        "model.gradient_checkpointing": True,
        **PARTS,
    },
    "nf4 in parts": {**KEPT, **PARTS},
    "nf4 whole": {**KEPT, **WHOLE},
    "nf4 expanded in parts": {**EXPANDED, **PARTS},
}


def write_model(folder: Path, size: str) -> None:
    """Write a random Qwen3 as a hub folder is, one file a layer: no memory ever holds all of it."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config

    from fitbot.embedded import resolve_base_model

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(resolve_base_model("embedded"))
    config = Qwen3Config(
        **SIZES[size],
        tie_word_embeddings=False,
        max_position_embeddings=40_960,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        rms_norm_eps=1e-6,
        # So that logits have a standard deviation of 1 and log-probs are no constants.
        initializer_range=SIZES[size]["hidden_size"] ** -0.5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype=torch.bfloat16,
        architectures=["Qwen3ForCausalLM"],
    )
    with torch.device("meta"):
        shapes = AutoModelForCausalLM.from_config(config).state_dict()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    files: dict[str, dict[str, torch.Tensor]] = {}
    for name in shapes:
        block = name.split(".")[2] if ".layers." in name else "rest"
        files.setdefault(f"model-{block}.safetensors", {})
    index: dict[str, str] = {}
    for file in files:
        tensors = {}
        for name, weight in shapes.items():
            block = name.split(".")[2] if ".layers." in name else "rest"
            if file == f"model-{block}.safetensors":
                tensor = torch.ones(weight.shape, dtype=torch.bfloat16, device=device)
                if not name.endswith("norm.weight"):
                    tensor.normal_(std=config.initializer_range)
                tensors[name], index[name] = tensor.cpu(), file
        save_file(tensors, folder / file, metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )
    config.save_pretrained(folder)  # last: a folder that has it is whole


def train(args: argparse.Namespace) -> None:
    """Be one of the processes of a fit; the first one writes what all of them measured."""
    import lightning
    import torch
    from fit import fit, last_log
    from train import Clock

    from fitbot.processes import gather, rank

    clock = Clock()
    on_gpu = torch.cuda.is_available()

    def allocated(peak: bool = False) -> float | None:
        if not on_gpu:
            return None
        cuda = torch.cuda
        bytes_ = cuda.max_memory_allocated() if peak else cuda.memory_allocated()
        return round(bytes_ / GIB, 3)

    class Watch(lightning.Callback):
        def setup(self, trainer: Any, module: Any, stage: str) -> None:
            self.started = time.perf_counter()

        def on_fit_start(self, trainer: Any, module: Any) -> None:
            self.figures: dict[str, Any] = {
                "seconds_to_load": round(time.perf_counter() - self.started, 1),
                "peak_gib_of_loading": allocated(peak=True),
                "gib_after_loading": allocated(),
            }

        def on_train_start(self, trainer: Any, module: Any) -> None:
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()

        def on_train_batch_end(
            self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any
        ) -> None:
            clock.tick()
            self.passes = len(batch)

        def on_train_end(self, trainer: Any, module: Any) -> None:
            self.figures |= {
                "peak_gib_of_steps": allocated(peak=True),
                "passes_of_last_step": self.passes,
                "step_ms": [round(ms, 2) for ms in clock.milliseconds()],
            }
            processes = gather(self.figures)
            if rank() == 0:
                logged = {"last_log": last_log(trainer), "processes": processes}
                args.out.write_text(json.dumps(logged))

    settings = {
        **WAYS[args.one],
        "model.base_model": args.model,
        "model.reference": "cached",
        "model.engine": "eager",
        "model.lora.dropout": 0,
        "model.learning_rate": 1e-4,  # a few steps should move something
        "run.sample_every_n_steps": "null",
        "data.train_path": args.data,
        "data.max_prompt_length": 768,
        "data.max_length": 2048,
        "data.batch_size": args.pairs,
        "data.accumulate_batches": 1,
        "data.max_tokens_per_pass": args.tokens,
        "trainer.devices": args.processes,
        "trainer.max_steps": args.steps,
        "trainer.log_every_n_steps": args.steps,
        "trainer.max_epochs": 1000,
        "trainer.precision": "bf16-mixed",
        "trainer.accelerator": "auto",
    }
    fit("dpo.yaml", settings, Watch())


def run_one(args: argparse.Namespace, way: str, out: Path) -> dict[str, Any]:
    """Let one way train; returns its figures, or why it failed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(args.processes), __file__, "--one", way, "--out", str(out)]
    for option in ("model", "data", "pairs", "steps", "tokens", "processes"):
        command += [f"--{option}", str(getattr(args, option))]
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=args.limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            said, _ = process.communicate()
            return {"failed": f"not done after {args.limit} s", "said": said[-3000:]}
    if process.returncode:
        return {"failed": f"exit status {process.returncode}", "said": said[-3000:]}
    run: dict[str, Any] = json.loads(out.read_text())
    # The first third of the steps is left out; processes wait for each other in every step.
    steps = run["processes"][0]["step_ms"]
    steps = steps[len(steps) // 3 :]
    mean = sum(steps) / len(steps)
    return {
        "mean_ms": round(mean, 1),
        "pairs_per_second": round(1000 * args.pairs / mean, 3),
        "peak_gib_of_steps": [one["peak_gib_of_steps"] for one in run["processes"]],
        "gib_after_loading": [one["gib_after_loading"] for one in run["processes"]],
        "loss": run["last_log"]["train/loss"],
        "grad_norm": run["last_log"]["train/grad_norm"],
        "seconds": round(time.perf_counter() - started, 1),
        **run,
    }


def main() -> None:
    """Write the model if it is missing, let all ways train, write JSON and a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=list(SIZES), default="8b")
    parser.add_argument("--model", help="folder of the model; by default a temporary one")
    parser.add_argument("--processes", type=int, default=2, help="one a GPU")
    parser.add_argument("--lengths", default="200x150x150", help="tokens: PROMPTxCHOSENxREJECTED")
    parser.add_argument("--pairs", type=int, default=16, help="pairs an optimizer step")
    parser.add_argument("--tokens", type=int, default=4096, help="at most, of a forward pass")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--only", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--limit", type=int, default=240, help="seconds a way may take")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--one", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        train(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        args.model = args.model or str(Path(folder) / "model")
        started = time.perf_counter()
        if not (Path(args.model) / "config.json").exists():
            write_model(Path(args.model), args.size)
        args.data = str(Path(folder) / "synthetic.json")
        write_synthetic(Path(args.data), args.lengths, 4 * args.pairs)
        results: dict[str, dict[str, Any]] = {}
        report = {
            "command": command_line("large_base.py"),
            "machine": describe_machine(),
            "work": {
                "size": {args.size: SIZES[args.size]},
                "pairs_of": args.lengths,
                "pairs_per_step": args.pairs,
                "tokens_per_pass": args.tokens,
                "processes": args.processes,
            },
            "seconds_to_write_the_model": round(time.perf_counter() - started, 1),
            "results": results,
        }
        args.out.parent.mkdir(parents=True, exist_ok=True)
        for way in args.only:
            results[way] = run = run_one(args, way, Path(folder) / "one.json")
            # After every run: what was measured survives whatever comes.
            args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            line = run.get("failed") or (
                f"{run['mean_ms']} ms, {run['pairs_per_second']} pairs/s, peak GiB of each GPU "
                f"{run['peak_gib_of_steps']}, loss {run['loss']:.6f}"
            )
            print(f"{way:28}{line}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
