"""Answers on a CPU: fitbot by llama.cpp, llama.cpp's own loop, and fitbot's own decoder, in turn.

    python benchmarks/serve_cpu.py --model DIR --out FILE

All are in this process, take turns in every round, and get as many tokens and threads; the time is
that of whole answers, their short prompts included. llama.cpp's own loop is what its llama-bench
does: decode, take the likeliest token, nothing else. It calls the C functions of xllamacpp's
library, with llama.cpp's default settings. So a ratio says what fitbot's engine costs: its queue,
text, stop strings and streams. On a machine that others use too, processor time tells more.
"""

import argparse
import ctypes
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from train import command_line, describe_machine
from transformers import AutoModelForCausalLM

from fitbot.base_model.gguf_file import KINDS, write_base
from fitbot.generation.decoders.llama_decoder import LlamaDecoder
from fitbot.generation.decoders.torch_decoder import TorchDecoder
from fitbot.generation.messages import Sampling
from fitbot.generation.scheduler import LocalEngine
from fitbot.pairs.chat import Chat, load_tokenizer

_CONTEXT = 512
_DECODE = 1  # of llama.cpp's kinds of passes

Prompts = Sequence[list[int]]


class OwnLoop:
    """llama.cpp without a server: prompts one by one, then a pass for a token of each stream."""

    def __init__(self, file: Path, streams: int, threads: int):
        """Open a GGUF file."""
        import xllamacpp.xllamacpp as library

        self.lib: Any = ctypes.CDLL(library.__file__)
        settings = type("Settings", (ctypes.Structure,), {"_fields_": [("it", ctypes.c_int * 128)]})
        for name in ("model_load_from_file", "init_from_model", "batch_ext_init", "get_memory"):
            self._c(name).restype = ctypes.c_void_p
        for name in ("model_default_params", "context_default_params"):
            self._c(name).restype = settings
        self._c("get_logits_ith").restype = ctypes.POINTER(ctypes.c_float)
        self._quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
            lambda *_: None
        )
        self._c("log_set")(self._quiet, None)
        path, options = str(file).encode(), self._c("context_default_params")()
        # The first four are tokens of all streams, of a pass, of a pass at once, and streams.
        options.it[:4] = [streams * _CONTEXT, 2048, 512, streams]
        model = self._c("model_load_from_file")(path, self._c("model_default_params")())
        context = self._c("init_from_model")(ctypes.c_void_p(model), options)
        self._context = ctypes.c_void_p(context)
        self._c("set_n_threads")(self._context, threads, threads)
        self._batch = ctypes.c_void_p(self._c("batch_ext_init")(self._context))

    def _c(self, name: str) -> Any:
        return getattr(self.lib, f"llama_{name}")

    def _pass(self, rows: list[tuple[int, int, int, bool]]) -> None:
        self._c("batch_ext_clear")(self._batch)
        for stream, token, position, is_scored in rows:
            row = self._c("batch_ext_add_token")(self._batch, stream, token)
            self._c("batch_ext_set_pos")(self._batch, row, ctypes.byref(ctypes.c_int(position)))
            if is_scored:
                self._c("batch_ext_set_output_logits")(self._batch, row, True)
        if self._c("process")(self._context, _DECODE, self._batch):
            raise SystemExit("llama.cpp failed")

    def _likeliest(self, row: int, vocabulary: int) -> int:
        logits = self._c("get_logits_ith")(self._context, row)
        buffer = ctypes.cast(logits, ctypes.POINTER(ctypes.c_float * vocabulary)).contents
        return int(torch.frombuffer(buffer, dtype=torch.float32).argmax())

    def answer(self, prompts: Prompts, new: int, vocabulary: int) -> None:
        """Read prompts, and draw so many tokens after each."""
        self._c("memory_clear")(ctypes.c_void_p(self._c("get_memory")(self._context)), True)
        tokens = []
        for stream, ids in enumerate(prompts):
            last = len(ids) - 1
            self._pass([(stream, token, n, n == last) for n, token in enumerate(ids)])
            tokens.append(self._likeliest(last, vocabulary))
        for drawn in range(new - 1):
            self._pass([(i, tokens[i], len(ids) + drawn, True) for i, ids in enumerate(prompts)])
            tokens = [self._likeliest(row, vocabulary) for row in range(len(prompts))]


def ask_engine(engine: LocalEngine, prompts: Prompts, new: int, sampling: dict[str, Any]) -> None:
    """Ask an engine, each client a thread."""
    # Nothing ends an answer before it has all its tokens.
    wanted = Sampling(max_new_tokens=new, min_tokens=new, seed=1, **sampling)

    def ask(ids: list[int]) -> None:
        last = list(engine.submit(ids, wanted))[-1]
        if last.usage is None or last.usage.completion != new:
            raise SystemExit(f"an answer ended early: {last}")

    with ThreadPoolExecutor(len(prompts)) as clients:
        list(clients.map(ask, prompts))


_calls = count()


def timed(ask: Callable[[Prompts, int], None], args: Any, streams: int) -> dict[str, float]:
    """Time answers from the prompts on."""
    call = next(_calls)  # no prompt begins as one before: none is remembered
    prompts = [[200 + call, *range(100 + i, 99 + i + args.prompt)] for i in range(streams)]
    started = time.perf_counter(), time.process_time()
    ask(prompts, args.new)
    tokens = args.new * streams
    return {
        "tokens_per_second": tokens / (time.perf_counter() - started[0]),
        "processor_ms_per_token": 1e3 * (time.process_time() - started[1]) / tokens,
    }


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder with a model, not in 4 bits")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=["q8_0", "q4_k_m"])
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=20, help="tokens")
    parser.add_argument("--new", type=int, default=64, help="tokens")
    parser.add_argument("--without-torch", action="store_true", help="no turns of fitbot's decoder")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    report = {"command": command_line("serve_cpu.py"), "machine": describe_machine()}
    report |= {"threads": args.threads, "prompt": args.prompt, "new": args.new, "measured": []}
    with tempfile.TemporaryDirectory() as folder:
        for streams in args.streams:
            for found in compare(args, Path(folder), streams):
                report["measured"].append(found)
                print(json.dumps(found), flush=True)  # noqa: T201
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def compare(args: argparse.Namespace, folder: Path, streams: int) -> list[dict[str, Any]]:
    """Let all take turns with so many streams; returns their medians."""
    chat = Chat(load_tokenizer(args.model))
    model: Any = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    vocabulary, config = model.config.vocab_size, model.config
    turns: dict[str, Callable[[Prompts, int], None]] = {}
    engines = []
    for kind in args.kinds:
        file = folder / f"{kind}.gguf"
        if not file.exists():
            end = chat.end_of_turn_id
            write_base(file, model, chat.tokenizer, kind, end_of_turn_id=end)
        loop = OwnLoop(file, streams, args.threads)
        decoder = LlamaDecoder(file, config, chat, kind, slots=streams, context=_CONTEXT)
        decoder.warm_up()
        engine = LocalEngine(decoder, chat)
        engines.append(engine)
        turns[f"llama.cpp's loop, {kind}"] = partial(loop.answer, vocabulary=vocabulary)
        for name, sampling in _SAMPLINGS.items():
            turns[f"fitbot, {kind}, {name}"] = partial(ask_engine, engine, sampling=sampling)
    if not args.without_torch:
        own = TorchDecoder(model, slots=streams, context=_CONTEXT, precision="float32", takes=True)
        engines.append(LocalEngine(own, chat))
        turns["fitbot's decoder, float32"] = partial(
            ask_engine, engines[-1], sampling=_SAMPLINGS["greedy"]
        )
    del model
    found: dict[str, list[dict[str, float]]] = {name: [] for name in turns}
    for _ in range(args.rounds):
        for name, turn in turns.items():
            found[name].append(timed(turn, args, streams))
    for engine in engines:
        engine.close()
    return [{"streams": streams, "who": name} | _medians(ones) for name, ones in found.items()]


_SAMPLINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "t 0.7 top_p 0.9": {"temperature": 0.7, "top_p": 0.9},
}


def _medians(rounds: list[dict[str, float]]) -> dict[str, Any]:
    medians = {key: round(statistics.median(one[key] for one in rounds), 2) for key in rounds[0]}
    return medians | {"rounds": [[round(v, 2) for v in one.values()] for one in rounds]}


if __name__ == "__main__":
    main()
