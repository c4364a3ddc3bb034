"""How evenly a step's tokens are dealt out to processes: by length, and as they come.

    python benchmarks/shares.py --model DIR --data dpo_train.json … --out R.json

The process with most tokens decides when a step ends. So does one that meets a size of batch for
the first or second time, for it launches kernel by kernel, then captures: of how many steps that is
true, if each pads its own share, and if all pad as the one that has most. Nothing is computed but
lengths.
"""

import argparse
import json
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from train import MAX_LENGTH, SYSTEM, command_line, describe_machine

from fitbot.cluster import processes
from fitbot.pairs.batch import Extent, padded_scored, padded_size
from fitbot.pairs.chat import Chat, LengthLimits, load_tokenizer
from fitbot.pairs.store import open_pairs

STEPS = 200


def total(share: Sequence[Extent]) -> Extent:
    """Sum up what a process has."""
    return Extent(sum(pair.tokens for pair in share), sum(pair.scored for pair in share))


def busiest(loads: Sequence[Extent]) -> float:
    """Say how much more than the mean the busiest process has to do."""
    tokens = [load.tokens for load in loads]
    return max(tokens) / statistics.mean(tokens)


def padded(load: Extent) -> tuple[int, int]:
    """Say what size of batch a share becomes."""
    tokens = padded_size(load.tokens)
    return tokens, padded_scored(load.scored, tokens)


def compare(pairs: list[Extent], num_processes: int, pairs_each: int) -> dict[str, Any]:
    """Deal random steps out both ways, and pad what was dealt out by length both ways."""
    by_length, as_they_come = [], []
    met = {"each its own": 0, "as the largest": 0}
    seen: dict[str, Counter[Any]] = {way: Counter() for way in met}
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        chosen = torch.randint(len(pairs), (num_processes * pairs_each,), generator=generator)
        step = [pairs[i] for i in chosen.tolist()]
        as_they_come.append(busiest([total(step[r::num_processes]) for r in range(num_processes)]))
        with patch.object(processes, "num_processes", return_value=num_processes):
            shares = processes.balanced_shares(step, lambda pair: pair.tokens)
        loads = [total(share) for share in shares]
        by_length.append(busiest(loads))
        most = Extent(max(load.tokens for load in loads), max(load.scored for load in loads))
        for way, room in (("each its own", loads), ("as the largest", [most] * num_processes)):
            sizes = [(process, padded(extent)) for process, extent in enumerate(room)]
            seen[way].update(sizes)
            met[way] += any(seen[way][size] <= 2 for size in sizes)
    return {
        "busiest_over_mean": {
            "as they come": round(statistics.mean(as_they_come), 3),
            "by length": round(statistics.mean(by_length), 3),
        },
        "steps_that_meet_a_size": met,
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
            store = open_pairs(data, chat, LengthLimits(768, MAX_LENGTH), cache=Path(folder))
            pairs_of = [store.extent(i) for i in range(len(store))]
        sizes = [pair.tokens for pair in pairs_of]
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
                    **compare(pairs_of, num_processes, pairs),
                }
                results.append(found)
                print(found, flush=True)  # noqa: T201
    report = {"command": command_line("shares.py"), "machine": describe_machine()}
    text = json.dumps(report | {"steps": STEPS, "results": results}, indent=1)
    args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
