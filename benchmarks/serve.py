"""Measure how fast answers come, beside transformers' generate, and over HTTP.

    python benchmarks/serve.py --model DIR --streams 1 32 128 --http 64 --soak 60 --out RESULT.json

The engine answers --requests requests at once for each number of streams, of --prompt tokens and
--new tokens each, sampled; a stream that ends makes room for the next request. Measured from the
first submission to the last chunk, reading of prompts included. Give a model with random weights,
which hardly ever ends an answer by itself; the tokens are counted, whatever they are.

--http starts `fitbot serve` on an adapter that changes nothing, and lets so many clients stream
answers from it: with the health layer, which shows whole sentences, and without; and from the same
engine in process, read in one asyncio thread as the server's worker reads it. --beside does the
same with other servers of that model, one after the other. --soak lets twice as many clients ask as
the server takes, and looks at statuses, memory and how it ends. --overload 1 4 has as many clients
ask as it answers at once, then four times as many.
"""

import argparse
import asyncio
import atexit
import gc
import json
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from serve_beside import CONTENDERS, check_installed, client_of, start
from serve_http import (
    Client,
    Process,
    Server,
    asking_engine,
    measure,
    measure_server,
    soak,
    spread,
    write_adapter,
    write_question,
)
from train import command_line, describe_machine

from fitbot.base_model.architecture import family_of
from fitbot.base_model.gguf_file import KINDS, Kind, write_base
from fitbot.generation.decoders.choice import open_decoder
from fitbot.generation.decoders.llama_decoder import LARGEST_RANK, LlamaDecoder
from fitbot.generation.loading import open_fastest
from fitbot.generation.messages import BASE, TUNED, Sampling
from fitbot.generation.scheduler import LocalEngine
from fitbot.pairs.chat import Chat, load_tokenizer

_PLACES = {"cpu": 16, "cuda": 64}  # requests that a server takes at once, being soaked
_SLOTS_SHARE = 0.75  # of them are answered, the others wait in the engine
_LONE_RANK = 16


def main() -> None:
    """Measure, print, write."""
    parser = _parser()
    args = parser.parse_args()
    if args.beside and (not args.http or args.ranks):
        parser.error("--beside: needs --http, and no --ranks: the others serve the base alone")
    check_installed(args.beside)
    report: dict[str, Any] = {
        "command": command_line("serve.py"),
        "machine": describe_machine() | {"threads": torch.get_num_threads()},
        "prompt": args.prompt,
        "new": args.new,
        "ranks": args.ranks,
        "generate": [],
        "engine": [],
        "http": [],
    }
    try:
        measure_all(report, args)
    finally:  # what was measured before something failed is worth keeping
        if args.out:
            args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print("\n".join(["", *_table(report)]), flush=True)  # noqa: T201


def measure_all(report: dict[str, Any], args: argparse.Namespace) -> None:
    """Measure what the options ask for."""
    if args.streams or args.generate:
        time_in_process(report, args)
    _free()
    if not (args.http or args.soak or args.overload):
        return
    with tempfile.TemporaryDirectory() as scratch:
        adapter = write_adapter(Path(scratch) / "adapter", args.model, args.ranks or _LONE_RANK)
        if args.http:
            over_http(report, adapter, args)
            for name in args.beside:
                beside(report, name, Path(scratch) / f"{name}.log", args)
        if args.overload:
            overload(report, adapter, args)
        if args.soak:
            report["soak"] = found = soak_server(adapter, args)
            _say("soak", {k: v for k, v in found.items() if not k.startswith("memory_mib")})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder with a model, not in 4 bits")
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 4], help="in the engine")
    parser.add_argument("--requests", type=int, default=2, help="for each stream")
    parser.add_argument("--prompt", type=int, default=100, help="tokens")
    parser.add_argument("--new", type=int, default=200, help="tokens")
    parser.add_argument("--ranks", type=int, default=0, help="of an adapter, unmerged beside it")
    parser.add_argument("--precision", help="of --streams; default: the engine's own choice")
    parser.add_argument(
        "--llama", choices=KINDS, help="of --streams: by llama.cpp, in this precision"
    )
    parser.add_argument("--generate", type=int, nargs="*", default=[], help="batches of generate")
    parser.add_argument("--http", type=int, nargs="*", default=[], help="numbers of clients")
    parser.add_argument(
        "--beside", nargs="*", default=[], choices=CONTENDERS, help="other servers, with --http"
    )
    parser.add_argument(
        "--overload", type=int, nargs="*", default=[], help="clients for each answer at once"
    )
    parser.add_argument("--overload-seconds", type=float, default=60, help="for each of them")
    parser.add_argument("--soak", type=float, default=0, help="seconds")
    parser.add_argument("--places", type=int, help="of the soaked server; default: 64, 16 on a CPU")
    parser.add_argument("--out", type=Path)
    return parser


def time_in_process(report: dict[str, Any], args: argparse.Namespace) -> None:
    """Time generate and the engine, each client a thread."""
    from transformers import AutoModelForCausalLM

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model: Any = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16).to(device)
    for size in args.generate:
        report["generate"].append(time_generate(model.eval(), size, args.prompt, args.new))
        _say("generate", report["generate"][-1])
    if not args.streams:
        return
    started = time.perf_counter()
    chat = Chat(load_tokenizer(args.model))
    size = {"slots": max(args.streams), "context": 2048}
    if args.llama:
        report["precision"] = args.llama
        engine = _llama_engine(model, chat, args.llama, **size)
    else:
        decoder = open_decoder(
            lambda: model, device, precision=args.precision, ranks=args.ranks, **size
        )
        report["precision"] = decoder.precision
        engine = LocalEngine(decoder, chat, rank=args.ranks)
    report["seconds_to_build"] = round(time.perf_counter() - started, 1)
    if args.ranks:
        engine.add("tuned", _idle_adapter(model, args.ranks))
        engine.prefer("tuned")
    run(engine, 1, 1, args)  # nobody waits for what happens once
    for streams in args.streams:
        report["engine"].append(run(engine, streams, args.requests, args))
        _say("engine", report["engine"][-1])
    engine.close()


def _llama_engine(model: Any, chat: Chat, kind: Kind, **size: int) -> LocalEngine:
    scratch = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, scratch)  # adding an adapter opens the file once more
    file = Path(scratch) / "base.gguf"
    write_base(file, model, chat.tokenizer, kind, end_of_turn_id=chat.end_of_turn_id)
    decoder = LlamaDecoder(file, model.config, chat, kind, adapters=1, **size)
    decoder.warm_up()
    return LocalEngine(decoder, chat, rank=LARGEST_RANK)


def _idle_adapter(model: Any, rank: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Make an adapter on all layers that changes nothing."""
    return {
        f"{number}.{name}": (
            torch.zeros(rank, linear.in_features),
            torch.zeros(linear.out_features, rank),
        )
        for number, layer in enumerate(model.model.layers)
        for name, linear in family_of(model.config).linears(layer).items()
    }


def over_http(report: dict[str, Any], adapter: Path, args: argparse.Namespace) -> None:
    """Let clients stream from the engine in process, from the server, and from one that is bare."""
    question = write_question(args.model, args.prompt)
    model = TUNED if args.ranks else BASE
    engine = open_fastest(adapter, slots=max(args.http))
    ask = asking_engine(engine, question, model)
    asyncio.run(measure([ask], 8, 1))  # nobody waits for what happens once
    for streams in args.http:
        found = asyncio.run(measure([ask] * streams, args.new, args.requests))
        report["http"].append({"streams": streams, "engine": found})
        _say("engine, asyncio", found)
    engine.close()
    del engine, ask
    _free()
    for key in ("server", "without_health_layer"):
        server = Server(
            adapter,
            adapter.parent / f"{key}.log",
            slots=max(args.http),
            health_layer=key == "server",
        )
        client = partial(Client, server.port, question, model, numbered=True)
        for group in report["http"]:
            group[key] = found = stream_from(server, client, group, args)
            _say(key.replace("_", " "), found)
        server.stop()


def beside(report: dict[str, Any], name: str, log: Path, args: argparse.Namespace) -> None:
    """Let clients stream from another server."""
    question = write_question(args.model, args.prompt)
    server = start(name, args.model, log)
    client = partial(client_of, name, server, question)
    try:
        # vLLM has an environment of its own; transformers' version is the machine's.
        report.setdefault("beside", {})[name] = server.get("/version")
        for group in report["http"]:
            found = stream_from(server, client, group, args)
            group.setdefault("beside", {})[name] = found
            _say(name, found)
            if set(found["statuses"]) != {"200"}:
                raise SystemExit(f"{name}: answers ended {found['statuses']}:\n{server.said()}")
    finally:
        server.stop()


def stream_from(
    server: Process, client: Callable[[], Client], group: dict[str, Any], args: argparse.Namespace
) -> dict[str, Any]:
    """Let clients stream from a server; add how much of the engine's speed it is."""
    clients = [client().ask for _ in range(group["streams"])]
    found = asyncio.run(measure_server(server, clients, args.new, args.requests))
    share = found["tokens_per_second"] / group["engine"]["tokens_per_second"]
    return found | {"share_of_engine": round(share, 3)}


def overload(report: dict[str, Any], adapter: Path, args: argparse.Namespace) -> None:
    """Ask one server for what it can do, then for several times as much."""
    slots = _PLACES["cuda" if torch.cuda.is_available() else "cpu"]
    server = Server(adapter, adapter.parent / "overload.log", slots=slots)
    asyncio.run(soak(server, slots, 5))  # nobody waits for what happens once
    report["overload"] = []
    for times in args.overload:
        found = asyncio.run(soak(server, times * slots, args.overload_seconds))
        report["overload"].append({"times": times, "slots": slots} | found)
        _say("overload", {k: v for k, v in found.items() if not k.startswith("memory_mib")})
    server.stop()


def soak_server(adapter: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Ask a server for more than it can do, and see how it stands that."""
    places = args.places or _PLACES["cuda" if torch.cuda.is_available() else "cpu"]
    slots = max(1, int(places * _SLOTS_SHARE))
    server = Server(adapter, adapter.parent / "soak.log", slots=slots, places=places)
    report: dict[str, Any] = {"places": places, "slots": slots}
    report |= asyncio.run(soak(server, 2 * places, args.soak))
    report["left_over"] = server.left_over()
    report["exit_status"] = server.stop()
    return report


def _free() -> None:
    """Give back the memory of a model that is not needed any more; a server wants it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _say(what: str, found: dict[str, Any]) -> None:
    print(what, json.dumps(found), flush=True)  # noqa: T201


def _table(report: dict[str, Any]) -> list[str]:
    """Put tokens a second and waiting times in rows."""
    heads = ("first text", "busy: first byte", "first text", "between texts")
    lines = [
        f"{'':32}{'tok/s':>9}" + "".join(f"{head:>18}" for head in heads),
        f"{'':41}" + f"{'p50 / p99, ms':>18}" * len(heads),
    ]
    for one in report["generate"]:
        lines.append(_row("generate, batch of", one | {"streams": one["batch"]}))
    for one in report["engine"]:
        lines.append(_row("engine, threads", one, one["first_token_ms"]))
    for group in report["http"]:
        servers = {key: group[key] for key in ("engine", "server", "without_health_layer")}
        for key, one in (servers | group.get("beside", {})).items():
            byte, text = one["first_byte_ms"], one["first_text_ms"]
            name = "engine, asyncio" if key == "engine" else key.replace("_", " ")
            waits = text["at_once"], byte["busy"], text["busy"], one["gap_ms"]
            lines.append(_row(name, one, *waits))
    for one in report.get("overload", []):
        lines.append(
            f"{one['times']} times {one['slots']} clients: {one['tokens_per_second']} tok/s, "
            f"{one['statuses']}, /livez p99 {one['livez_ms']['p99']} ms"
        )
    if soaked := report.get("soak"):
        left_over = {name: count for name, count in soaked["left_over"].items() if count}
        lines.append(
            f"soak: {soaked['clients']} clients on {soaked['places']} places for "
            f"{soaked['seconds']:.0f} s: {soaked['statuses']}; memory "
            f"{100 * soaked['memory_growth']:+.1f} %; left over {left_over or 'nothing'}; "
            f"exit status {soaked['exit_status']}"
        )
    return lines


def _row(name: str, one: dict[str, Any], *spreads: dict[str, float] | None) -> str:
    cells = [f"{each['p50']:.0f} / {each['p99']:.0f}" if each else "" for each in spreads]
    line = f"{name:<24}{one['streams']:>6}  {one['tokens_per_second']:>9.0f}"
    return (line + "".join(f"{cell:>18}" for cell in cells)).rstrip()


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
    times = [firsts.get() for _ in range(firsts.qsize())]
    total = sum(tokens.get() for _ in range(tokens.qsize()))
    return {
        "streams": streams,
        "tokens": total,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(total / seconds, 1),
        "first_token_ms": spread(times),
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
