"""Answer many requests at once on as much GPU memory as there is, and say what it came to.

    python benchmarks/capped.py --model DIR [--nf4] [--gib 12] --out RESULT.json

With --gib the process behaves as on a card of that size: PyTorch has, and reports, no more. What
CUDA holds outside PyTorch is counted as 0.6 GiB.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from train import command_line, describe_machine

from fitbot.base_model.gpu import compute_dtype_on
from fitbot.base_model.loading import load_base
from fitbot.base_model.settings import BaseSettings
from fitbot.generation.decoders.choice import open_decoder
from fitbot.generation.messages import Sampling
from fitbot.generation.scheduler import LocalEngine
from fitbot.pairs.chat import Chat, load_tokenizer

_GIB = 2**30
_OUTSIDE = 0.6 * _GIB  # what CUDA and its libraries hold


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="folder with a model, not in 4 bits")
    parser.add_argument("--nf4", action="store_true", help="load it in 4 bits first")
    parser.add_argument("--gib", type=float, help="behave like a card of so many GiB")
    parser.add_argument("--streams", type=int, default=128, help="requests at once")
    parser.add_argument("--prompt", type=int, default=100, help="tokens")
    parser.add_argument("--new", type=int, default=200, help="tokens")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.gib:
        cap(int(args.gib * _GIB))
    report = {"command": command_line("capped.py"), "machine": describe_machine()} | measure(args)
    print(json.dumps(report), flush=True)  # noqa: T201
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def cap(most: int) -> None:
    """Let PyTorch have, and report, no more than so many bytes."""
    real = torch.cuda.mem_get_info
    total = real()[1]
    torch.cuda.set_per_process_memory_fraction((most - _OUTSIDE) / total)

    def capped(device: Any = None) -> tuple[int, int]:
        free, _ = real(device)
        return max(0, min(free, int(most - _OUTSIDE) - torch.cuda.memory_reserved(device))), most

    torch.cuda.mem_get_info = capped


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Ask all at once and wait for all."""
    device = torch.device("cuda")
    base = BaseSettings(args.model, load_in_4bit=args.nf4, expand_4bit=False)
    started = time.perf_counter()
    decoder = open_decoder(
        lambda: load_base(base, device=device, compute_dtype=compute_dtype_on(device)),
        device,
        ranks=16,
    )
    ready, reserved = time.perf_counter() - started, torch.cuda.memory_reserved()
    engine = LocalEngine(decoder, Chat(load_tokenizer(args.model)), rank=16, max_waiting=2**20)
    wanted = Sampling(max_new_tokens=args.new, temperature=0)
    started = time.perf_counter()
    streams = [
        engine.submit([(7 * i + j) % 5000 for j in range(args.prompt)], wanted)
        for i in range(args.streams)
    ]
    last = [list(stream)[-1] for stream in streams]
    seconds = time.perf_counter() - started
    drawn = sum(chunk.usage.completion for chunk in last if chunk.usage)
    found = {
        "precision": decoder.precision,
        "gib": args.gib,
        "seconds_to_open": round(ready, 1),
        "cache_tokens": decoder.tokens,
        "context": decoder.context,
        "gib_reserved_when_open": round(reserved / _GIB, 2),
        "gib_reserved_at_most": round(torch.cuda.max_memory_reserved() / _GIB, 2),
        "tokens_a_second": round(drawn / seconds),
        "preempted": engine.stats().preempted,
        "failed": sum(chunk.error is not None for chunk in last),
    }
    engine.close()
    return found


if __name__ == "__main__":
    main()
