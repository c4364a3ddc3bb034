"""A model that writes pieces of its template at random: control tokens, halves of them, thoughts.

As a program it is `fitbot serve` with that model in the worker: python -m tests.generation.babble
"""

import random
import sys
from collections.abc import Iterator, Sequence

import torch

from fitbot.base_model.adapter_files import AdapterWeights
from fitbot.base_model.provenance import provenance_of
from fitbot.commands.serve import main
from fitbot.generation.decoders.decoder import Decoder, Drawing, Part
from fitbot.generation.loading import chat_of
from fitbot.generation.sampling import Draw, Drawn
from fitbot.generation.scheduler import LocalEngine
from fitbot.pairs.chat import Chat

WORDS = ("Squat", " three", " sets", ".", "\n", " of", " 8", " é", " 🥦", " 3 < 5", " a|b")
CONTROLS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
THOUGHTS = ("<think>", "</think>")
HALVES = ("<|im_", "<|", "<", "<|end", "</th", "<thi", "</", "start|>", "nk>")
ROLES = ("system\n", "user\n", "assistant\n", "You are a helpful AI fitness assistant")
# How probable each is: most of an answer is words. Roles follow a control.
PIECES = {WORDS: 8, HALVES: 3, THOUGHTS: 2, CONTROLS: 1}


def babble(seed: int) -> Iterator[tuple[str, bool]]:
    """Write pieces without end; of each, whether control strings in it are tokens, not spelled."""
    rng = random.Random(seed)
    while True:
        (kind,) = rng.choices(list(PIECES), list(PIECES.values()))
        yield rng.choice(kind), rng.random() < 0.5
        if kind is CONTROLS:
            yield rng.choice(ROLES), False


class Babbler(Decoder):
    """Draws the tokens of `babble`, by the request's seed."""

    slots, context, tokens, ranks = 4, 4096, 16_384, 8
    pass_tokens, pass_block, pass_prompts = 4096, 1, 4
    overlaps, device, precision = False, torch.device("cpu"), "float32"

    def __init__(self, chat: Chat):
        self.chat, self.vocabulary = chat, len(chat.tokenizer)
        self._drawn: dict[int, tuple[Draw, Iterator[int]]] = {}

    def admit(self, slot: int, ids: Sequence[int], ranks: slice | None, wanted: Draw) -> int:
        self._drawn[slot] = (wanted, self._tokens(wanted.seed))
        return 0

    def grow(self, slot: int) -> bool:
        return True

    def run(self, parts: Sequence[Part], slots: Sequence[int]) -> Drawing:
        found = []
        for slot in [*(part.slot for part in parts if part.ends), *slots]:
            draw, tokens = self._drawn[slot]
            draw.drawn += 1
            found.append(Drawn(next(tokens), None, []))
        return lambda: found

    def adapt(self, ranks: slice, weights: AdapterWeights) -> None:
        raise AssertionError("it has no adapters")

    def release(self, slot: int) -> None:
        del self._drawn[slot]

    def _tokens(self, seed: int) -> Iterator[int]:
        for text, is_token in babble(seed):
            if is_token:
                yield from self.chat.tokenizer(text, add_special_tokens=False).input_ids
            else:
                yield from self.chat.encode_text(text)


def open_babbler() -> LocalEngine:
    """Open an engine whose base, the embedded model, babbles."""
    chat = chat_of(provenance_of(None))
    return LocalEngine(Babbler(chat), chat, max_waiting=512)


if __name__ == "__main__":
    sys.exit(main(["serve", "--health_encoder=none", *sys.argv[1:]], open_babbler))
