"""llama.cpp draws the tokens, on a CPU, from a GGUF file.

llama.cpp answers a request as a whole. So each answer has a thread, which puts its tokens into a
queue, and `advance` takes one from the queue of each slot.

The server of package xllamacpp answers in text, and leaves out the ids of tokens that end within a
character. So it reads the base with another vocabulary, in which a token's text is its number; see
`gguf_file.write_numbered`. It is given token ids, which no vocabulary changes.

Each model has a server of its own, because one server answers a request of another adapter only
when all answers before it are complete. The servers share the weights, which are mapped; all but
those of q4_0, which llama.cpp copies into an order that is faster to compute with.
"""

import logging
import os
import queue
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from fitbot.base_model.adapter_files import AdapterWeights
from fitbot.base_model.architecture import longest_of
from fitbot.base_model.gguf_file import Kind, write_adapter, write_numbered
from fitbot.errors import ConfigError, EngineError
from fitbot.generation.decoders.decoder import Decoder, Drawing, Part
from fitbot.generation.sampling import Draw, Drawn
from fitbot.pairs.chat import Chat

LARGEST_RANK = 2**16  # of an adapter; llama.cpp sets no limit
_SEEDS = 2**32 - 1  # llama.cpp takes this many; the next one has it draw a seed itself
_ERRORS = 1  # of llama.cpp's levels of log lines


class LlamaAnswer:
    """One answer of a server: its tokens, as they come. `run` has it answered.

    Args:
        server: Of `LlamaDecoder.open`.
        wanted: The request in the words of llama.cpp's server.
        top: How many likeliest tokens to return with each, if log-probs are asked for.
        first: How many tokens it has before one of `ends` may be drawn. llama.cpp knows no such
            number: these are an answer of their own, which the rest then follows as its prompt.
        ends: Tokens that end an answer.
    """

    def __init__(
        self,
        server: Any,
        wanted: dict[str, Any],
        *,
        top: int = 1,
        first: int = 0,
        ends: Sequence[int] = (),
    ):
        self._server, self._top = server, top
        self._wanted = {"cache_prompt": False, **wanted, "stream": True}
        self._first, self._ends = first, ends
        self._drawn: list[int] = []
        self._tokens: queue.SimpleQueue[Drawn | Exception] = queue.SimpleQueue()
        self.over = False  # whether no more tokens are wanted

    def run(self) -> None:
        """Have it drawn; returns when it is complete, or no more tokens are wanted."""
        end: Exception = EngineError("llama.cpp ended an answer before it was complete")
        wanted, first = self._wanted, self._first
        try:
            if first:
                banned = {"n_predict": first, "logit_bias": [[end, False] for end in self._ends]}
                self._server.handle_completions(wanted | banned, self._read)
                rest = wanted["n_predict"] - first
                prompt = [*wanted["prompt"], *self._drawn]
                wanted = wanted | {"prompt": prompt, "n_predict": rest, "seed": wanted["seed"] + 1}
            if wanted.get("n_predict", 1) and not self.over:
                self._server.handle_completions(wanted, self._read)
        except Exception as error:
            end = error
        self._tokens.put(end)  # nobody waits for it, unless the answer is not complete

    def _read(self, chunk: dict[str, Any]) -> bool:
        """Take what llama.cpp sends, and stop it by True."""
        try:
            if error := chunk.get("error"):
                raise EngineError(f"llama.cpp: {error.get('message', error)}")
            choice = chunk["choices"][0]
            for drawn in _tokens(choice, self._top):
                self._drawn.append(drawn.token)
                self._tokens.put(drawn)
        except Exception as error:  # xllamacpp would swallow it
            self._tokens.put(error)
            return True
        return self.over or bool(choice["finish_reason"])

    def next(self) -> Drawn:
        """Wait for the next token; raises what llama.cpp failed with."""
        drawn = self._tokens.get()
        if isinstance(drawn, Exception):
            raise drawn
        return drawn


class LlamaDecoder(Decoder):
    """See `Decoder`; llama.cpp holds weights and cache. Each adapter has a server of its own."""

    overlaps = False
    device = torch.device("cpu")
    pass_tokens = pass_prompts = 2**31  # llama.cpp divides prompts by itself
    pass_block = 1

    def __init__(
        self,
        file: Path,
        config: Any,
        chat: Chat,
        kind: Kind,
        *,
        slots: int,
        context: int,
        adapters: int = 0,
    ):
        """Prepare the files that llama.cpp opens; `warm_up` has it open the base.

        Args:
            file: The base, as `gguf_file.write_base` writes it.
            config: transformers' configuration of its network.
            chat: Of its tokenizer.
            kind: Of the base's matrices.
            slots: Requests that each model answers at once.
            context: Tokens that prompt and answer may have together, at most what the base takes.
            adapters: How many there is room for, each of up to `LARGEST_RANK`.

        Raises:
            ConfigError: llama.cpp is not installed, or the base was written by an earlier fitbot.
        """
        try:
            import xllamacpp
        except ImportError as error:
            raise ConfigError(
                "llama.cpp is not installed here; run pip install 'fitbot[cpu]'"
            ) from error
        logging.getLogger("gguf").setLevel(logging.WARNING)  # it tells each file that it writes
        self._llama: Any = xllamacpp
        self.file, self.config, self.precision, self.slots = file, config, kind, slots
        self.context = longest_of(config, context)
        self.tokens = slots * self.context
        self.vocabulary, self.ranks = config.vocab_size, adapters * LARGEST_RANK
        self._ends = sorted(chat.ends)
        self._folder = Path(tempfile.mkdtemp(prefix="fitbot-"))
        self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._numbered = write_numbered(self._folder, file, config, self._ends)
        self._opened = 0
        self.servers: dict[int | None, Any] = {}  # by an adapter's first rank; None for the base
        self._answers: dict[int, tuple[LlamaAnswer, Draw]] = {}  # by slot
        self._threads: list[threading.Thread] = []

    def warm_up(self) -> None:
        """Open the base.

        Raises:
            ConfigError: llama.cpp cannot.
        """
        self.servers[None] = self.open()

    def admit(self, slot: int, ids: Sequence[int], ranks: slice | None, wanted: Draw) -> int:
        """See `Decoder`; llama.cpp has a cache of its own."""
        server = self.servers[None if ranks is None else ranks.start]
        top = wanted.sampling.logprobs or 0  # llama.cpp returns one at least
        request = self._request(ids, wanted)
        first = min(wanted.sampling.min_tokens, request["n_predict"])
        answer = LlamaAnswer(server, request, top=top, first=first, ends=self._ends)
        self._answers[slot] = answer, wanted
        return 0

    def grow(self, slot: int) -> int:
        """See `Decoder`; each slot has room for `context` tokens."""
        return 1

    def run(self, parts: Sequence[Part], slots: Sequence[int]) -> Drawing:
        """See `Decoder`; a prompt is always read as a whole."""
        for part in parts:
            answer, _ = self._answers[part.slot]
            thread = threading.Thread(target=answer.run, daemon=True)
            self._threads = [*(one for one in self._threads if one.is_alive()), thread]
            thread.start()
        held = [self._answers[slot] for slot in (*(part.slot for part in parts), *slots)]
        for _, draw in held:
            draw.drawn += 1
        return lambda: [answer.next() for answer, _ in held]

    def release(self, slot: int) -> None:
        """Stop a slot's answer at its next token, if llama.cpp goes on with it."""
        self._answers.pop(slot)[0].over = True

    def adapt(self, ranks: slice, weights: AdapterWeights) -> None:
        """Open a server with an adapter; everything waits meanwhile. See `Decoder`."""
        self.servers.pop(ranks.start, None)  # it closes
        self.servers[ranks.start] = self.open(weights)

    def close(self) -> None:
        """See `Decoder`; the servers close too."""
        for slot in list(self._answers):
            self.release(slot)
        for thread in self._threads:
            thread.join()
        self.servers.clear()
        self._remove()

    def open(self, weights: AdapterWeights | None = None) -> Any:
        """Open a server, which closes when nobody holds it any more; all threads wait meanwhile.

        Args:
            weights: An adapter's; None for the base alone.

        Raises:
            ConfigError: llama.cpp cannot open the base, or refuses the adapter.
        """
        self._opened += 1
        options = self._options()
        # A socket in this folder can be reached by this user alone; a port, by the whole machine.
        options.hostnames = [str(self._folder / f"{self._opened}.sock")]
        adapter = self._folder / f"{self._opened}.gguf"
        if weights:
            write_adapter(adapter, weights, self.config)
            options.lora_adapters = [self._llama.CommonAdapterLoraInfo(str(adapter), 1.0)]
        unopened = f"{self.file} cannot be opened by llama.cpp"
        failure = "llama.cpp refuses the adapter" if weights else unopened
        try:
            server = _listen(lambda: self._llama.Server(options), failure)
        finally:
            adapter.unlink(missing_ok=True)  # llama.cpp has read it
        # Reads the weights; and a server that is closed before it has begun would never end.
        _draw_one(server, {"prompt": self._ends})
        return server

    def _request(self, ids: Sequence[int], draw: Draw) -> dict[str, Any]:
        """Put a request into the words of llama.cpp's server; the engine finds stop strings."""
        sampling = draw.sampling
        most = min(sampling.max_new_tokens, self.context - len(ids))
        return {
            "prompt": list(ids),
            "n_predict": most,
            # In this order: top_p is of probabilities that temperature has changed, as in `draw`.
            "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"],
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "repeat_penalty": sampling.repetition_penalty,
            # llama.cpp counts the prompt's tokens for these two as well.
            "frequency_penalty": sampling.frequency_penalty,
            "presence_penalty": sampling.presence_penalty,
            "repeat_last_n": len(ids) + most,  # all
            "seed": draw.seed % (_SEEDS - 1),  # and there is a next one
            "n_probs": 0 if sampling.logprobs is None else max(1, sampling.logprobs),
        }

    def _options(self) -> Any:
        """Return the settings of every server."""
        llama = self._llama
        options = llama.CommonParams()
        options.model.path = str(self._numbered)
        options.verbosity = _ERRORS
        options.n_gpu_layers = 0
        options.n_parallel, options.n_ctx = self.slots, self.slots * self.context
        options.cpuparams.n_threads = options.cpuparams_batch.n_threads = torch.get_num_threads()
        options.n_threads_http = 1  # nobody asks there
        types = llama.ggml_type
        type_ = types.GGML_TYPE_F32 if self.precision == "f32" else types.GGML_TYPE_F16
        options.cache_type_k = options.cache_type_v = type_
        # It adds up in 16 bits.
        options.flash_attn_type = llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        options.fit_params = False  # or else it chooses a shorter context
        options.warmup = False  # `open` does it
        options.cache_ram_mib = options.n_ctx_checkpoints = 0  # nothing is kept of old prompts
        return options


def _draw_one(server: Any, wanted: dict[str, Any]) -> Drawn:
    answer = LlamaAnswer(server, wanted | {"n_predict": 1})
    answer.run()
    return answer.next()


def score_forced(server: Any, prompt: list[int], answer: list[int]) -> list[tuple[float, int]]:
    """Return the log-probability of each token of a given answer, nats, and the likeliest token.

    Raises:
        EngineError: llama.cpp failed.
    """
    found = []
    for place, token in enumerate(answer):
        wanted = {
            "prompt": [*prompt, *answer[:place]],
            "cache_prompt": True,
            "n_probs": 1,
            "temperature": 0,
            "logit_bias": [[token, 1e6]],  # it is drawn; log-probs are those without the bias
        }
        drawn = _draw_one(server, wanted)
        assert drawn.logprob is not None
        found.append((drawn.logprob, drawn.top[0][0]))
    return found


def _tokens(choice: dict[str, Any], most: int) -> list[Drawn]:
    """Read a chunk: the tokens' numbers, and their log-probabilities if they were asked for."""
    if choice["logprobs"] is None:
        return [Drawn(int(number), None, []) for number in choice["text"].split(",") if number]
    return [
        Drawn(
            one["id"],
            one["logprob"],
            [(top["id"], top["logprob"]) for top in one["top_logprobs"][:most]],
        )
        for one in choice["logprobs"]["content"]
    ]


def _listen(make: Callable[[], Any], failure: str) -> Any:
    """Run what may fail within llama.cpp, which then is a `ConfigError` with llama.cpp's reason.

    Its errors are written to the process's stderr, which goes to a file meanwhile. Python's threads
    write nothing there: xllamacpp keeps them waiting while it opens a server.
    """
    with tempfile.TemporaryFile() as file:
        terminal = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            return make()
        except RuntimeError as error:
            time.sleep(0.2)  # a thread of its own writes them
            file.seek(0)
            lines = file.read().decode(errors="replace").splitlines()
            said = [" ".join(line.partition(" E ")[2].split()) for line in lines if " E " in line]
            why = "; ".join(said[:3]) or str(error)  # the later ones say less
            raise ConfigError(f"{failure}: {why}") from error
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
