"""What the number of pairs costs: encoding them once, starting, a step, memory.

    python benchmarks/many_pairs.py --pairs 10000 1000000 --folder DIR --out FILE.json

Pairs are generated, short, all different. Every number of them is a process of its own that does
the first steps of configs/quickstart.yaml on them, without validation.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from train import command_line, describe_machine


def write_pairs(path: Path, count: int) -> None:
    """Write pairs that no two of are the same."""
    rng = random.Random(0)
    foods = ("rice", "tofu", "oats", "lentils", "paneer", "an apple", "almonds", "soy milk")
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            record = {
                "question": f"How much protein is in {rng.randint(1, 9999)} g of "
                f"{rng.choice(foods)}, order {number}?",
                "chosen": f"About {rng.randint(1, 400)} g.",
                "rejected": f"Nobody knows that; {rng.randint(1, 400)} perhaps.",
            }
            file.write(json.dumps(record) + "\n")


def anonymous_mib() -> float:
    """Return this process's own memory: pages of mapped files are the system's to take back."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    return round(kib / 1024, 1)


def run_one(path: Path, cache: Path, num_steps: int) -> dict[str, Any]:
    """Encode or open the pairs, and train on the first of them in the run's order."""
    import lightning
    from fit import fit

    from fitbot.base_model.embedded import EMBEDDED_SYSTEM_PROMPT
    from fitbot.pairs.chat import Chat, LengthLimits, load_tokenizer
    from fitbot.pairs.store import open_pairs

    chat = Chat(load_tokenizer("embedded"), system_prompt=EMBEDDED_SYSTEM_PROMPT)
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        pairs = open_pairs(path, chat, LengthLimits(256, 1024), cache=cache)
        seconds.append(round(time.perf_counter() - started, 3))
    result: dict[str, Any] = {
        "pairs": len(pairs),
        "encode_seconds": seconds[0],
        "open_seconds": seconds[1],
    }
    ends: list[float] = []
    memory: list[float] = []
    started = time.perf_counter()

    class Watch(lightning.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            ends.append(time.perf_counter())
            memory.append(anonymous_mib())

    settings = {
        "data.train_path": str(path),
        "data.train_limit": "null",
        "data.pair_cache": str(cache),
        "trainer.max_steps": num_steps,
        "run.sample_every_n_steps": "null",
    }
    fit("quickstart.yaml", settings, Watch())
    steps = [1000 * (b - a) for a, b in zip(ends, ends[1:], strict=False)][num_steps // 3 :]
    return result | {
        "first_step_seconds": round(ends[0] - started, 2),
        "steps": num_steps,
        "step_ms": round(statistics.median(steps), 1),
        "anonymous_mib": {"third": memory[num_steps // 3], "last": memory[-1]},
    }


def main() -> None:
    """Let every number of pairs take its turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", type=int, default=60, help="the first third is left out")
    parser.add_argument("--folder", type=Path, required=True, help="for pairs and their encoding")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        args.out.write_text(json.dumps(run_one(args.one, args.folder / "cache", args.steps)))
        return
    report: dict[str, Any] = {
        "command": command_line("many_pairs.py"),
        "machine": describe_machine(),
        "results": [],
    }
    args.folder.mkdir(parents=True, exist_ok=True)
    for count in args.pairs:
        path = args.folder / f"pairs-{count}.jsonl"
        if not path.exists():
            write_pairs(path, count)
        one = args.folder / "one.json"
        command = [sys.executable, __file__, "--one", str(path)]
        command += ["--steps", str(args.steps), "--folder", str(args.folder), "--out", str(one)]
        subprocess.run(command, check=True)
        found = {"file_mib": round(path.stat().st_size / 2**20, 1), **json.loads(one.read_text())}
        report["results"].append(found)
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(found, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
