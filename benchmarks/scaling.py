"""What a step takes, seconds and memory, as bases, pairs, steps and processes grow.

    python benchmarks/scaling.py --sizes 0.6b 1.7b --lengths 50x25x25 200x150x150 --pairs 8 32 \
        --models DIR --out benchmarks/results/FILE.json
    python benchmarks/scaling.py --sizes 8b --ways "whole" "in parts" --processes 2 …

Every combination is a few steps of `fitbot fit` in processes of its own, one a GPU; torchrun starts
them where they are several. Bases have random weights and a Qwen3's (or Llama's) shape; they are
written to --models, file by file, unless they are there. Results are added to --out: `cost.py` fits
its formula to them. All ways to hold a base see the same pairs; with --dropout 0 they find the same
loss and gradient.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

from train import MAX_LENGTH, Clock, command_line, describe_machine, write_synthetic
from work import Shape, lengths_of, shape_of

GIB = 2**30
SIZES = {  # by the config.json of Qwen/Qwen3-… and meta-llama/Llama-3.3-70B-Instruct
    "tiny": Shape(128, 384, 4, 4, 2, 32, 16_384, tied=True),
    "20m": Shape(256, 768, 8, 4, 2, 64, 32_768, tied=True),
    "60m": Shape(512, 1536, 12, 8, 4, 64, 49_152, tied=True),
    "135m": Shape(576, 1536, 30, 9, 3, 64, 49_152, tied=True),
    "0.6b": Shape(1024, 3072, 28, 16, 8, 128, 151_936, tied=True),
    "1.7b": Shape(2048, 6144, 28, 16, 8, 128, 151_936, tied=True),
    "4b": Shape(2560, 9728, 36, 32, 8, 128, 151_936, tied=True),
    "8b": Shape(4096, 12288, 36, 32, 8, 128, 151_936, tied=False),
    "14b": Shape(5120, 17408, 40, 40, 8, 128, 151_936, tied=False),
    "32b": Shape(5120, 25600, 64, 64, 8, 128, 151_936, tied=False),
    "70b": Shape(8192, 28672, 80, 64, 8, 128, 128_256, tied=False),
}
KEPT = {"model.load_in_4bit": True, "model.expand_4bit": False}
EXPANDED = {"model.load_in_4bit": True, "model.expand_4bit": True}
PLAIN = {"model.load_in_4bit": False}
PARTS = {"trainer.strategy": "sharded"}
COMPILED = {"model.engine": "compiled"}
RECOMPUTED = {"model.gradient_checkpointing": True}
WAYS: dict[str, dict[str, Any]] = {
    "compiled": EXPANDED | COMPILED,
    "whole": PLAIN,
    "nf4 whole": KEPT,
    "nf4 whole, compiled": KEPT | COMPILED,
    "nf4 whole, recomputed": KEPT | RECOMPUTED,
    "nf4 whole, compiled, recomputed": KEPT | COMPILED | RECOMPUTED,
    "in parts": PLAIN | PARTS,
    "in parts, compiled": PLAIN | PARTS | COMPILED,
    "nf4 in parts": KEPT | PARTS,
    "nf4 in parts, compiled": KEPT | PARTS | COMPILED,
    "nf4 expanded in parts, compiled, recomputed": EXPANDED | PARTS | COMPILED | RECOMPUTED,
    "nf4 expanded in parts, recomputed": EXPANDED | PARTS | RECOMPUTED,
}


def write_model(folder: Path, size: str, *, nf4: bool) -> None:
    """Write a random Qwen3 as a hub folder is, one file a layer: no memory ever holds all of it.

    Args:
        folder: Where to.
        size: One of SIZES.
        nf4: Store linear layers in 4 bits, as the hub's folders named *-bnb-4bit do.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        BitsAndBytesConfig,
        Qwen3Config,
    )

    from fitbot.base_model.embedded import resolve_base_model

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(resolve_base_model("embedded"))
    shape = SIZES[size]
    config = Qwen3Config(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_size,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=40_960,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        rms_norm_eps=1e-6,
        # So that logits have a standard deviation of 1 and log-probs are no constants.
        initializer_range=shape.hidden**-0.5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype=torch.bfloat16,
        architectures=["Qwen3ForCausalLM"],
    )
    with torch.device("meta"):
        shapes = AutoModelForCausalLM.from_config(config).state_dict()
    if shape.tied:
        del shapes["lm_head.weight"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    blocks: dict[str, list[str]] = {}
    for name in shapes:
        blocks.setdefault(name.split(".")[2] if ".layers." in name else "rest", []).append(name)
    files: dict[str, str] = {}
    for block, names in blocks.items():
        file, tensors = f"model-{block}.safetensors", {}
        for name in names:
            tensor = torch.ones(shapes[name].shape, dtype=torch.bfloat16, device=device)
            if not name.endswith("norm.weight"):
                tensor.normal_(std=config.initializer_range)
            stored = as_nf4(tensor) if nf4 and "_proj." in name else {"": tensor}
            tensors |= {f"{name}{part}": value.cpu() for part, value in stored.items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        files |= dict.fromkeys(tensors, file)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": files})
    )
    if nf4:
        config.quantization_config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        ).to_dict()
    config.save_pretrained(folder)  # last: a folder that has it is whole


def as_nf4(weight: Any) -> dict[str, Any]:
    """Quantise a weight; returns what bitsandbytes stores of it, by what follows its name."""
    import bitsandbytes as bnb

    packed, state = bnb.functional.quantize_4bit(weight, compress_statistics=True, quant_type="nf4")
    rest = {f".{part}": value for part, value in state.as_dict(packed=True).items()}
    return {"": packed, **rest}


def allocated(*, peak: bool = False) -> float | None:
    """Weigh what this process has on its GPU, GiB; None without one."""
    import torch

    if not torch.cuda.is_available():
        return None
    bytes_ = torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    return round(bytes_ / GIB, 3)


def train(args: argparse.Namespace) -> None:
    """Be one of the processes of a fit; the first one writes what all of them measured."""
    import lightning
    import torch
    from fit import fit, last_log

    from fitbot.cluster.processes import gather, rank

    clock, on_gpu = Clock(), torch.cuda.is_available()

    class Watch(lightning.Callback):
        def setup(self, trainer: Any, module: Any, stage: str) -> None:
            self.started = time.perf_counter()

        def on_fit_start(self, trainer: Any, module: Any) -> None:
            self.steps: list[tuple[int, int]] = []
            self.apart = [trainer.max_steps]  # steps that do something besides: save, start over
            self.figures: dict[str, Any] = {
                "seconds_to_load": round(time.perf_counter() - self.started, 1),
                "peak_gib_of_loading": allocated(peak=True),
                "gib_after_loading": allocated(),
            }

        def on_train_start(self, trainer: Any, module: Any) -> None:
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()

        def on_train_batch_end(
            self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            clock.tick()
            if batch_idx == 0:
                self.apart.append(trainer.global_step)
            self.steps.append((len(batch), sum(part.input_ids.numel() for part in batch)))

        def on_train_end(self, trainer: Any, module: Any) -> None:
            passes, tokens = zip(*settled(self.steps[1:]), strict=True)
            self.figures |= {
                "peak_gib_of_steps": allocated(peak=True),
                "passes": mean(passes),
                "tokens_with_padding": mean(tokens),
                "step_ms": [round(ms, 2) for ms in clock.milliseconds()],
                "steps_apart": sorted(self.apart),
            }
            processes = gather(self.figures)
            if rank() == 0:
                pairs = list(trainer.datamodule.pairs["train"])
                seen = {
                    "engine": module.policy.engine_name,
                    "shape": shape_of(module.policy.network.config)._asdict(),
                    "of_a_pair": lengths_of(pairs).times(1 / len(pairs))._asdict(),
                    "last_log": last_log(trainer),
                    "by_process": processes,
                }
                args.out.write_text(json.dumps(seen))

    settings = {
        "model.engine": "eager",
        "trainer.strategy": "auto" if args.processes == 1 else "ddp",
        **WAYS[args.one],
        "model.base_model": args.model,
        "model.reference": "cached",
        "model.reference_cache": args.models / "reference",
        "model.lora.dropout": args.dropout,
        "model.learning_rate": 1e-4,  # a few steps should move something
        "run.sample_every_n_steps": "null",
        "data.train_path": args.data,
        "data.train_limit": args.records,
        "data.max_prompt_length": 768,
        "data.max_length": MAX_LENGTH,
        "data.batch_size": args.pairs,
        "data.accumulate_batches": 1,
        "trainer.devices": args.processes,
        "trainer.max_steps": args.steps,
        "trainer.log_every_n_steps": args.steps,
        "trainer.max_epochs": 1000,
        "trainer.precision": "bf16-mixed" if on_gpu else "32-true",
        "trainer.accelerator": "auto",
    }
    if args.tokens:
        settings["data.max_tokens_per_pass"] = args.tokens
    fit("dpo.yaml", settings, Watch())


def settled(values: list[Any]) -> list[Any]:
    """Leave out the first third, in which sizes are captured and clocks rise."""
    return values[len(values) // 3 :]


def mean(values: Any) -> float:
    """Average, to three digits behind the point."""
    return round(sum(values) / len(values), 3)


def usual(step_ms: list[float], apart: list[int]) -> float:
    """Average settled steps as a long run has them: without captures, epochs' ends, checkpoints.

    Args:
        step_ms: Of the second step, the third, …
        apart: Numbers of steps that did something besides; the first step has number 1.
    """
    numbered = settled(list(enumerate(step_ms, start=2)))
    steps = sorted(ms for number, ms in numbered if number not in apart)
    cut = len(steps) // 10
    return mean(steps[cut : len(steps) - cut])


def folder_of(args: argparse.Namespace, size: str) -> Path:
    """Say where a base of a size lies."""
    models: Path = args.models
    return models / (f"{size}-nf4" if args.nf4_files else size)


def run_one(args: argparse.Namespace, point: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Let one combination train; returns its figures, or why it failed."""
    out = folder / "one.json"
    command = [sys.executable]
    if point["processes"] > 1:
        launcher = "-m torch.distributed.run --standalone --nproc-per-node"
        command += [*launcher.split(), str(point["processes"])]
    command += [__file__, "--one", point["way"], "--out", str(out)]
    options = {
        "models": args.models,
        "model": folder_of(args, point["size"]),
        "data": point["file"],
        "pairs": point["pairs_per_step"],
        "processes": point["processes"],
        "records": args.records,
        "steps": args.steps,
        "dropout": args.dropout,
    }
    if args.tokens:
        options["tokens"] = args.tokens
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=args.limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            said, _ = process.communicate()
            return {"failed": f"not done after {args.limit} s", "said": said[-12_000:]}
    if process.returncode:  # torchrun's own words, some 2,000 of them, come after those of the fit
        return {"failed": f"exit status {process.returncode}", "said": said[-12_000:]}
    run: dict[str, Any] = json.loads(out.read_text())
    first = run["by_process"][0]
    ms = usual(first["step_ms"], first["steps_apart"])  # processes wait for each other in each
    return {
        "usual_ms": ms,
        "pairs_per_second": round(1000 * point["pairs_per_step"] / ms, 3),
        "peak_gib_of_steps": [one["peak_gib_of_steps"] for one in run["by_process"]],
        "gib_after_loading": [one["gib_after_loading"] for one in run["by_process"]],
        "loss": run["last_log"]["train/loss"],
        "grad_norm": run["last_log"]["train/grad_norm"],
        "seconds": round(time.perf_counter() - started, 1),
        **run,
    }


def main() -> None:
    """Write the bases that are missing, let all combinations train, write JSON, print lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["0.6b"], choices=list(SIZES))
    parser.add_argument("--ways", nargs="+", default=["compiled"], choices=list(WAYS))
    parser.add_argument("--lengths", nargs="+", default=[], help="tokens: PROMPTxCHOSENxREJECTED")
    parser.add_argument("--data", nargs="+", default=[], help="preference files")
    parser.add_argument("--records", type=int, default=512, help="of them, the first so many")
    parser.add_argument("--pairs", type=int, nargs="+", default=[8], help="pairs a step, of all")
    parser.add_argument("--processes", type=int, nargs="+", default=[1], help="one a GPU")
    parser.add_argument("--nf4-files", action="store_true", help="bases are stored in 4 bits")
    parser.add_argument("--dropout", type=float, default=0.05, help="of the adapter's inputs")
    parser.add_argument("--tokens", type=int, help="at most, of a forward pass")
    parser.add_argument("--steps", type=int, default=45)
    parser.add_argument("--limit", type=int, default=240, help="seconds a combination may take")
    parser.add_argument("--models", type=Path, help="folder of bases, one each size")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--one", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        args.data, args.pairs, args.processes = args.data[0], args.pairs[0], args.processes[0]
        train(args)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        args.models = args.models or folder
        files = {Path(file).name: Path(file) for file in args.data}
        for lengths in args.lengths:
            files[lengths] = folder / f"{lengths}.json"
            write_synthetic(files[lengths], lengths, args.records)
        report: dict[str, Any] = {"calls": [], "results": []}
        if args.out.exists():
            report = json.loads(args.out.read_text(encoding="utf-8"))
        call = {"command": command_line("scaling.py"), "machine": describe_machine()}
        report["calls"].append(call | {"omp_num_threads": os.environ.get("OMP_NUM_THREADS")})
        args.out.parent.mkdir(parents=True, exist_ok=True)
        for size, way, data, pairs, processes in product(
            args.sizes, args.ways, files, args.pairs, args.processes
        ):
            if not (folder_of(args, size) / "config.json").exists():
                write_model(folder_of(args, size), size, nf4=args.nf4_files)
            point = {
                "size": size,
                "way": way,
                "pairs_of": data,
                "pairs_per_step": pairs,
                "processes": processes,
            }
            run = run_one(args, point | {"file": files[data]}, folder)
            report["results"].append(point | {"call": len(report["calls"]) - 1} | run)
            # After every run: what was measured survives whatever comes.
            args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            line = run.get("failed") or (
                f"{run['usual_ms']} ms, {run['pairs_per_second']} pairs/s, peak GiB "
                f"{run['peak_gib_of_steps']}, loss {run['loss']:.6f}, {run['seconds']} s"
            )
            print(f"{' '.join(str(word) for word in point.values()):48} {line}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
