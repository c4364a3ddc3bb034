"""Measure how fast answers come, beside transformers' generate.

    python benchmarks/serve.py --model DIR --streams 1 32 128 --out RESULT.json

The engine answers --requests requests at once for each number of streams, of --prompt tokens and
--new tokens each, sampled; a stream that ends makes room for the next request. Measured from the
first submission to the last chunk, reading of prompts included. Give a model with random weights,
which hardly ever ends an answer by itself; the tokens are counted, whatever they are.
"""

import argparse
import json
import platform
import queue
import statistics
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fitbot.answers.decoder import Decoder
from fitbot.answers.engine import Sampling
from fitbot.answers.loading import decoder_for, precision_for
from fitbot.answers.local import LocalEngine
from fitbot.pairs.chat import Chat, load_tokenizer


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder with a model, not in 4 bits")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--requests", type=int, default=2, help="for each stream")
    parser.add_argument("--prompt", type=int, default=100, help="tokens")
    parser.add_argument("--new", type=int, default=200, help="tokens")
    parser.add_argument("--ranks", type=int, default=0, help="of an adapter, unmerged beside it")
    parser.add_argument("--precision", help="default: the engine's own choice")
    parser.add_argument("--generate", type=int, nargs="*", default=[], help="batches of generate")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    from transformers import AutoModelForCausalLM

    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    model: Any = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16).to(device)
    report: dict[str, Any] = {
        "command": "python benchmarks/serve.py " + " ".join(sys.argv[1:]),
        "machine": {
            "gpu": torch.cuda.get_device_name() if on_gpu else None,
            "cpu": platform.processor(),
            "threads": torch.get_num_threads(),
            "versions": {name: version(name) for name in ("torch", "transformers")},
        },
        "prompt": args.prompt,
        "new": args.new,
        "ranks": args.ranks,
        "generate": [],
        "engine": [],
    }
    for size in args.generate:
        report["generate"].append(time_generate(model.eval(), size, args.prompt, args.new))
        print("generate", report["generate"][-1], flush=True)  # noqa: T201
    started = time.perf_counter()
    decoder: Decoder = decoder_for(device)(
        model,
        slots=max(args.streams),
        context=2048,
        precision=args.precision or precision_for(model, device),
        ranks=args.ranks,
    )
    decoder.warm_up()
    report["precision"] = decoder.precision
    report["seconds_to_build"] = round(time.perf_counter() - started, 1)
    engine = LocalEngine(decoder, Chat(load_tokenizer(args.model)), rank=args.ranks)
    if args.ranks:
        size = model.config.hidden_size
        height = decoder.layers[0].rows["q_proj"][1].stop
        a, b = torch.zeros(args.ranks, size), torch.zeros(height, args.ranks)
        engine.add("tuned", {"0.q_proj": (a, b)})  # all layers compute, whatever is in them
        engine.prefer("tuned")
    run(engine, 1, 1, args)  # nobody waits for what happens once
    for streams in args.streams:
        report["engine"].append(run(engine, streams, args.requests, args))
        print("engine", report["engine"][-1], flush=True)  # noqa: T201
    engine.close()
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def run(engine: LocalEngine, streams: int, rounds: int, args: argparse.Namespace) -> dict[str, Any]:
    """Let so many clients ask, each again when it is answered."""
    firsts: queue.SimpleQueue[float] = queue.SimpleQueue()
    tokens: queue.SimpleQueue[int] = queue.SimpleQueue()

    def client(number: int) -> None:
        for turn in range(rounds):
            ids = [1000 + (37 * number + 101 * turn + 7 * n) % 50_000 for n in range(args.prompt)]
            ids = [token % engine.decoder.vocabulary for token in ids]
            asked = time.perf_counter()
            sampling = Sampling(max_new_tokens=args.new, seed=number)
            stream = engine.submit(ids, sampling)
            for n, chunk in enumerate(stream):
                if n == 0:
                    firsts.put(time.perf_counter() - asked)
                if chunk.usage:
                    tokens.put(chunk.usage.completion)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(streams)]
    started = time.perf_counter()
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    seconds = time.perf_counter() - started
    times = sorted(firsts.get() for _ in range(firsts.qsize()))
    total = sum(tokens.get() for _ in range(tokens.qsize()))
    return {
        "streams": streams,
        "tokens": total,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(total / seconds, 1),
        "first_token_ms": {
            "p50": round(1000 * statistics.median(times), 1),
            "p99": round(1000 * times[min(len(times) - 1, int(0.99 * len(times)))], 1),
        },
    }


def time_generate(model: Any, size: int, prompt: int, new: int) -> dict[str, Any]:
    """Time transformers' generate for one batch, sampling as the engine does."""
    new = min(new, 64)  # it is slow, and its speed hardly depends on it
    ids = torch.randint(1000, 50_000, (size, prompt), device=model.device) % model.config.vocab_size
    how = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "eos_token_id": None}
    for tokens in (2, new):
        started = time.perf_counter()
        mask = torch.ones_like(ids)
        model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=tokens, **how)
        if model.device.type == "cuda":
            torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    return {"batch": size, "tokens_per_second": round(size * new / seconds, 1)}


if __name__ == "__main__":
    main()
