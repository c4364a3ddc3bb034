"""llama.cpp draws the tokens, on a CPU, from the files that `fitbot export --gguf` wrote.

llama.cpp answers a request as a whole. So each answer has a thread, which puts its tokens into a
queue, and `advance` takes one from the queue of each slot.
"""

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fitbot.errors import EngineError
from fitbot.generation.decoders.decoder import Decoder
from fitbot.generation.llama_models import LlamaModels, ask
from fitbot.generation.messages import FinishReason
from fitbot.generation.sampling import Draw, Drawn

LARGEST_RANK = 2**16  # of an adapter; llama.cpp sets no limit
_SEEDS = 2**32 - 1  # llama.cpp takes this many; the next one has it draw a seed itself


@dataclass
class LlamaAnswer:
    """One answer while llama.cpp draws it."""

    draw: Draw
    over: bool = False  # whether no more tokens are wanted
    _tokens: "queue.SimpleQueue[Drawn | Exception]" = field(default_factory=queue.SimpleQueue)

    def run(self, server: Any, wanted: dict[str, Any]) -> None:
        """Have a server draw it; returns when it is complete, or no more tokens are wanted."""

        def put(tokens: list[Drawn], _: FinishReason | None) -> bool:
            for drawn in tokens:
                self._tokens.put(drawn)
            return self.over

        try:
            ask(server, wanted, put)
        except Exception as error:  # for the engine's thread
            self._tokens.put(error)
        else:
            # Read only if llama.cpp stopped early.
            self._tokens.put(EngineError("llama.cpp ended an answer that is not complete"))

    def next(self) -> Drawn:
        """Wait for the next token.

        Raises:
            EngineError: llama.cpp failed.
        """
        drawn = self._tokens.get()
        if isinstance(drawn, Exception):
            raise drawn
        return drawn


@dataclass
class PendingAnswers:
    """The next token of some answers."""

    answers: list[LlamaAnswer]

    def drawn(self) -> list[Drawn]:
        """Wait for the tokens and return them."""
        return [answer.next() for answer in self.answers]


class LlamaDecoder(Decoder):
    """See `Decoder`; llama.cpp holds weights and cache. Each adapter has a server of its own."""

    overlaps = False
    device = torch.device("cpu")

    def __init__(self, models: LlamaModels, *, adapters: int = 0):
        """Open the base.

        Args:
            models: Opens a server for each model; the decoder closes it.
            adapters: How many there is room for, each of up to `LARGEST_RANK`.

        Raises:
            ConfigError: llama.cpp cannot open the base.
        """
        self.models, self.slots, self.context = models, models.slots, models.context
        self.vocabulary, self.ranks = models.config.vocab_size, adapters * LARGEST_RANK
        self.servers: dict[int | None, Any] = {None: models.open()}  # by an adapter's first rank
        self._answers: dict[int, LlamaAnswer] = {}  # by slot
        self._threads: list[threading.Thread] = []

    def begin(
        self, slot: int, ids: Sequence[int], ranks: slice | None, wanted: Draw
    ) -> PendingAnswers:
        """See `Decoder`."""
        answer = self._answers[slot] = LlamaAnswer(wanted)
        server = self.servers[None if ranks is None else ranks.start]
        request = request_of(ids, wanted, self.context - len(ids))
        thread = threading.Thread(target=answer.run, args=(server, request), daemon=True)
        self._threads = [*(one for one in self._threads if one.is_alive()), thread]
        thread.start()
        return self.advance([slot])

    def advance(self, slots: Sequence[int]) -> PendingAnswers:
        """See `Decoder`."""
        answers = [self._answers[slot] for slot in slots]
        for answer in answers:
            answer.draw.drawn += 1
        return PendingAnswers(answers)

    def release(self, slot: int) -> None:
        """Stop a slot's answer at its next token, if llama.cpp goes on with it."""
        self._answers.pop(slot).over = True

    def adapt(self, ranks: slice, weights: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Open a server with an adapter; everything waits meanwhile. See `Decoder`."""
        self.servers.pop(ranks.start, None)  # it closes
        self.servers[ranks.start] = self.models.open(weights)

    def close(self) -> None:
        """See `Decoder`; the servers close too."""
        for slot in list(self._answers):
            self.release(slot)
        for thread in self._threads:
            thread.join()
        self.servers.clear()
        self.models.close()


def request_of(ids: Sequence[int], draw: Draw, room: int) -> dict[str, Any]:
    """Put a request into the words of llama.cpp's server; stop strings are found by the engine.

    Args:
        ids: The prompt.
        draw: How tokens are drawn.
        room: How many may be drawn.
    """
    sampling = draw.sampling
    most = min(sampling.max_new_tokens, room)
    return {
        "prompt": list(ids),
        "n_predict": most,
        # In this order: top_p is of the probabilities that temperature has changed, as in `draw`.
        "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"],
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": len(ids) + most,  # all
        "seed": draw.seed % _SEEDS,
        "n_probs": 0 if sampling.logprobs is None else max(1, sampling.logprobs),
    }
