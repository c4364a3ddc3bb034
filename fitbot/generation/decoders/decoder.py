"""The contract of every decoder: prompts are read into slots, and each slot draws token by token.

`torch_decoder` and `cuda_graph_decoder` compute with fitbot's own code, `llama_decoder` with
llama.cpp. The engine, see `scheduler`, calls all methods from one thread.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from fitbot.base_model.adapter_files import AdapterWeights
from fitbot.generation.sampling import Draw, Drawn

Drawing = Callable[[], list[Drawn]]  # tokens that may still be being drawn; waits for them


class Decoder(Protocol):
    """Anything that draws tokens.

    Attributes:
        slots: Requests that it answers at once.
        context: Tokens that a slot holds, of prompt and answer together.
        vocabulary: Number of tokens.
        ranks: The room for adapters; each takes a part of them.
        device: Where it computes.
        overlaps: Whether what was begun goes on while the caller does something else.
    """

    slots: int
    context: int
    vocabulary: int
    ranks: int
    device: torch.device
    overlaps: bool

    def warm_up(self) -> None:
        """Do now what the first requests would wait for; by default, nothing."""
        return

    def begin(self, slot: int, ids: Sequence[int], ranks: slice | None, wanted: Draw) -> Drawing:
        """Read a prompt into a slot and draw the token that follows.

        Args:
            slot: Its earlier contents are forgotten.
            ids: The prompt.
            ranks: Of the adapter; None for the base.
            wanted: How tokens are drawn.
        """

    def advance(self, slots: Sequence[int]) -> Drawing:
        """Draw one token more for each of some slots that a prompt was read into."""

    def release(self, slot: int) -> None:
        """Stop what still goes on for a slot, whose answer has ended; by default, nothing."""
        return

    def adapt(self, ranks: slice, weights: AdapterWeights) -> None:
        """Put an adapter where its ranks are, in place of what was there.

        Args:
            ranks: As many as its own rank; no slot uses what was there.
            weights: The adapter's.

        Raises:
            ConfigError: It does not fit the base.
        """

    def close(self) -> None:
        """Stop all that goes on, as nothing else is called afterwards; by default, nothing."""
        return
