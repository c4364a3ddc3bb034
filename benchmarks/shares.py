"""How evenly a step's tokens are dealt out to processes: by length, and as they come.

    python benchmarks/shares.py --model DIR --data dpo_train.json … --out R.json

The process with most tokens decides when a step ends. Nothing is computed but lengths.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from unittest.mock import patch

import torch
from train import MAX_LENGTH, SYSTEM, command_line, describe_machine

from fitbot import processes
from fitbot.pairs.chat import Chat, Limits, load_tokenizer
from fitbot.pairs.store import open_pairs

STEPS = 200


def busiest(loads: list[int]) -> float:
    """Say how much more than the mean the busiest process has to do."""
    return max(loads) / statistics.mean(loads)


def compare(sizes: list[int], num_processes: int, pairs_each: int) -> dict[str, float]:
    """Deal random steps out both ways; the mean of the busiest process's share over the mean."""
    by_length, as_they_come = [], []
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        chosen = torch.randint(len(sizes), (num_processes * pairs_each,), generator=generator)
        step = [sizes[i] for i in chosen.tolist()]
        as_they_come.append(busiest([sum(step[r::num_processes]) for r in range(num_processes)]))
        loads = []
        with patch.object(processes, "num_processes", return_value=num_processes):
            for rank in range(num_processes):
                with patch.object(processes, "rank", return_value=rank):
                    loads.append(sum(processes.balanced_share_of(step, int)))
        by_length.append(busiest(loads))
    return {
        "as they come": round(statistics.mean(as_they_come), 3),
        "by length": round(statistics.mean(by_length), 3),
    }


def main() -> None:
    """Write JSON, print lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder or hub id whose tokenizer counts")
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 8, 64])
    parser.add_argument("--pairs", type=int, nargs="+", default=[2, 8], help="a process and step")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    chat = Chat(load_tokenizer(args.model), system_prompt=SYSTEM)
    results = []
    for data in args.data:
        with tempfile.TemporaryDirectory() as folder:
            store = open_pairs(data, chat, Limits(768, MAX_LENGTH), cache=Path(folder))
            sizes = store.sizes().tolist()
        for num_processes in args.processes:
            for pairs in args.pairs:
                found = {
                    "pairs_of": Path(data).name,
                    "tokens": {
                        "mean": round(statistics.mean(sizes), 1),
                        "standard deviation": round(statistics.pstdev(sizes), 1),
                    },
                    "processes": num_processes,
                    "pairs_each": pairs,
                    "busiest_over_mean": compare(sizes, num_processes, pairs),
                }
                results.append(found)
                print(found, flush=True)  # noqa: T201
    report = {"command": command_line("shares.py"), "machine": describe_machine()}
    text = json.dumps(report | {"steps": STEPS, "results": results}, indent=1)
    args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
