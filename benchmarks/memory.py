"""What a fit says that it will take of a GPU's memory, beside what it takes; on cards of any size.

    python benchmarks/memory.py --model DIR --out benchmarks/results/FILE.json
    python benchmarks/memory.py --model DIR --gib 8 12 16 24 --cap FOLDER --ways auto float16 …

Every line is a short `fitbot fit --config configs/dpo.yaml` in a process of its own, its base DIR.
With --gib it sees so much of the GPU only: FOLDER has a sitecustomize.py that reads GPU_GIB, caps
what PyTorch reports and may allocate, and is put on the process's path; 0 is the GPU as it is.

`expected` is what the fit said at its start and `allocated` the most that PyTorch's tensors took in
its steps, the reference's passes among them. `reserved` is what PyTorch had from the driver, at
most, and `driver` all that was gone from the GPU at the end, with CUDA's own and other programs'.
"""

import argparse
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

from train import MAX_LENGTH, command_line, describe_machine, without_folders, write_synthetic

GIB = 2**30
WAYS: dict[str, dict[str, Any]] = {
    "auto": {},  # the recipe as it is
    "float16": {"trainer.precision": "16-mixed"},  # what auto is on a T4
    "eager": {"model.engine": "eager"},
    "nf4": {"model.expand_4bit": False},
    "recomputed": {"model.gradient_checkpointing": True},
    "nf4 recomputed": {"model.expand_4bit": False, "model.gradient_checkpointing": True},
    "not 4-bit": {"model.load_in_4bit": False},
}
COLUMNS = ("gib", "pairs_of", "way", "expected", "allocated", "off", "reserved", "driver", "ms")


class Listen(logging.Handler):
    """Keeps what a fit says of its device and memory."""

    def __init__(self) -> None:
        """Begin to listen."""
        super().__init__()
        self.said: list[str] = []
        # The handlers of "fitbot" itself are taken away when a run begins to log.
        for name in ("dpo", "policy", "pairs"):
            logging.getLogger(f"fitbot.{name}").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        line = record.getMessage()
        if re.match("device|engine|memory|out of|loss scale|reference|first loss", line):
            self.said.append(without_folders(line))


def train(args: argparse.Namespace) -> dict[str, Any]:
    """Fit; returns what it said and what it took."""
    import lightning
    import torch
    from fit import fit, last_log

    from fitbot.errors import FitbotError

    listener, on_gpu = Listen(), torch.cuda.is_available()
    found: dict[str, Any] = {"said": listener.said}

    class Watch(lightning.Callback):
        started = 0.0

        def on_train_start(self, trainer: Any, module: Any) -> None:
            memory, data = module.memory, trainer.datamodule
            found["measured"] = {n: v for n, v in memory._asdict().items() if n != "lengths"}
            found["lengths"] = memory.lengths._asdict()
            found["engine"] = module.policy.engine_name
            found["tokens_per_pass"] = data.token_budget

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == args.steps // 2:
                self.started = time.perf_counter()

        def on_train_end(self, trainer: Any, module: Any) -> None:
            steps = args.steps - args.steps // 2
            found["ms"] = round(1000 * (time.perf_counter() - self.started) / steps, 1)
            found["loss"] = last_log(trainer)["train/loss"]
            if on_gpu:
                found.update(taken())

    settings = {
        "model.base_model": args.model,
        "model.reference": "cached",
        "model.learning_rate": 1e-4,
        "data.train_path": args.data,
        "data.train_limit": args.records,
        "data.max_prompt_length": 768,
        "data.max_length": MAX_LENGTH,
        "data.batch_size": args.pairs,
        "data.accumulate_batches": 1,
        "trainer.max_steps": args.steps,
        "trainer.max_epochs": 1000,
        "trainer.log_every_n_steps": args.steps,
        **WAYS[args.one],
    }
    try:
        fit("dpo.yaml", settings, Watch())
    except FitbotError as error:
        found["failed"] = str(error)
    expected = re.search(r"memory expected: ([\d,]+) MiB", "\n".join(listener.said))
    if expected:
        found["expected"] = int(expected[1].replace(",", "")) / 1024
    if {"expected", "allocated"} <= found.keys():
        found["off"] = found["expected"] / found["allocated"] - 1
    return found


def taken() -> dict[str, float]:
    """Ask PyTorch and CUDA's driver, GiB; no cap changes what the driver says."""
    import torch

    free, total = torch.cuda.cudart().cudaMemGetInfo(0)
    return {
        "allocated": torch.cuda.max_memory_allocated() / GIB,
        "reserved": torch.cuda.max_memory_reserved() / GIB,
        "driver": (total - free) / GIB,
    }


def run_one(args: argparse.Namespace, point: dict[str, Any], data: Path) -> dict[str, Any]:
    """Let one line fit in a process of its own."""
    env = dict(os.environ)
    if point["gib"]:
        paths = [str(args.cap), env.get("PYTHONPATH", "")]
        env |= {"GPU_GIB": str(point["gib"]), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    out = data.with_suffix(".out")
    options = {
        "one": point["way"],
        "model": args.model,
        "data": data,
        "records": args.records,
        "pairs": args.pairs,
        "steps": args.steps,
        "out": out,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, __file__, *words],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"failed": f"exit status {done.returncode}", "output": done.stdout[-8000:]}
    run: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return run


def line_of(result: dict[str, Any]) -> str:
    """Draw a line of the table: GiB, and how far off the expectation is."""
    if "failed" in result:
        return " ".join([*(f"{result[name]:>12}" for name in COLUMNS[:3]), result["failed"]])
    forms = {"gib": "", "off": "+.1%", "ms": ".1f"}
    texts = []
    for name in COLUMNS:
        value = result.get(name)
        form = forms.get(name, ".2f" if isinstance(value, float) else "")
        texts.append("-" if value is None else format(value, form))
    chosen = next(line for line in result["said"] if line.startswith("device: "))
    return " ".join(f"{text:>12}" for text in texts) + f"  {chosen.removeprefix('device: ')}"


def main() -> None:
    """Let all combinations fit; print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="the base: folder or hub id")
    parser.add_argument("--gib", type=float, nargs="+", default=[0], help="GiB that are to be seen")
    parser.add_argument("--cap", type=Path, help="folder of the sitecustomize.py that caps")
    parser.add_argument("--ways", nargs="+", default=["auto"], choices=list(WAYS))
    parser.add_argument("--lengths", nargs="+", default=["50x25x25", "400x300x300"])
    parser.add_argument("--data", nargs="+", default=[], help="preference files, besides")
    parser.add_argument("--records", type=int, default=256, help="of them, the first so many")
    parser.add_argument("--pairs", type=int, default=8, help="a step")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--one", choices=list(WAYS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        args.data = args.data[0]
        args.out.write_text(json.dumps(train(args)), encoding="utf-8")
        return
    if any(args.gib) and args.cap is None:
        parser.error("--gib needs --cap")
    report = {"command": command_line("memory.py"), "machine": describe_machine(), "results": []}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    print(" ".join(f"{name:>12}" for name in COLUMNS), flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory() as name:
        files = {Path(file).name: Path(file).resolve() for file in args.data}
        for lengths in args.lengths:
            files[lengths] = Path(name) / f"{lengths}.json"
            write_synthetic(files[lengths], lengths, args.records)
        for gib, pairs_of, way in product(args.gib, files, args.ways):
            point = {"gib": gib, "pairs_of": pairs_of, "way": way}
            result = point | run_one(args, point, files[pairs_of])
            report["results"].append(result)
            # After every line: what was measured survives whatever comes.
            args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            print(line_of(result), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
