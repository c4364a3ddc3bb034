"""Measure what a token costs the host: the engine's own Python, over a decoder that costs nothing.

    python benchmarks/host.py --streams 32 256 --beside OTHER_TREE --out RESULT.json

So many streams of 200 tokens are read in one asyncio thread, as the server's worker reads them.
Processor time, not wall time: microseconds a token of the engine's thread, and of the process.
--beside measures another checkout of fitbot, in turn with this one; medians of --rounds.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NEW = 200  # tokens


def measure(streams: int) -> tuple[float, float]:
    """Return the microseconds a token of the engine's thread and of the whole process."""
    import torch
    from transformers import AutoTokenizer

    from fitbot.base_model.embedded import EMBEDDED, resolve_base_model
    from fitbot.generation.decoders.paged_cache import PagedCache
    from fitbot.generation.messages import Sampling
    from fitbot.generation.sampling import Drawn
    from fitbot.generation.scheduler import LocalEngine
    from fitbot.pairs.chat import Chat

    class Free(PagedCache):
        """A decoder whose tokens are there at once."""

        overlaps, scores_prompts = True, False
        context, pass_tokens, pass_block, pass_prompts = 1024, 512, 64, 64
        vocabulary, ranks = 4000, 0

        def run(self, parts: Any, slots: Any) -> Any:
            drawing = [*(part.slot for part in parts if part.ends), *slots]
            for slot in slots:
                self.held[slot].length += 1
            for slot in drawing:
                self.held[slot].draw.drawn += 1
            drawn = [plain[(slot * 7 + self.held[slot].length) % 500] for slot in drawing]
            return lambda: drawn

        def close(self) -> None:
            seconds.append(time.thread_time())

    seconds: list[float] = []
    plain = [Drawn(300 + number, None, []) for number in range(500)]
    device = torch.device("cpu")
    decoder = Free((1, 1, 8), torch.float32, device, slots=streams, most=streams * 1024)
    decoder.allocate()
    chat = Chat(AutoTokenizer.from_pretrained(resolve_base_model(EMBEDDED)))
    engine = LocalEngine(decoder, chat)  # type: ignore[arg-type]

    async def one(number: int) -> None:
        prompt = [5 + number % 200] * 100
        async for _ in engine.submit(prompt, Sampling(max_new_tokens=NEW)):
            pass

    async def every() -> None:
        await asyncio.gather(*map(one, range(streams)))

    asyncio.run(every())  # what happens once
    asyncio.run(every())
    begun = time.process_time()
    asyncio.run(every())
    whole = time.process_time() - begun
    engine.close()
    return 1e6 * seconds[0] / (3 * streams * NEW), 1e6 * whole / (streams * NEW)


def main() -> None:
    """Measure each number of streams, and another checkout beside."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--streams", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        sys.stdout.write(json.dumps(measure(args.one)))
        return
    here = Path(__file__).resolve().parent.parent
    trees = {"this": here} | ({"beside": args.beside.resolve()} if args.beside else {})
    found: dict[str, dict[str, Any]] = {}
    for streams in args.streams:
        runs: dict[str, list[list[float]]] = {name: [] for name in trees}
        for _ in range(args.rounds):
            for name, tree in trees.items():
                command = [sys.executable, __file__, "--one", str(streams)]
                env = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
                out = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
                runs[name].append(json.loads(out.stdout.splitlines()[-1]))
        for name, pairs in runs.items():
            engine, whole = (statistics.median(column) for column in zip(*pairs, strict=True))
            found.setdefault(name, {})[str(streams)] = {
                "engine_us_per_token": engine,
                "process_us_per_token": whole,
                "rounds": pairs,
            }
            costs = f"engine {engine:5.2f}, process {whole:5.2f} us a token"
            sys.stdout.write(f"{name:<7}{streams:>5} streams: {costs}\n")
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
