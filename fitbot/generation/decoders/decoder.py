"""The contract of every decoder: requests are admitted to slots, read, and drawn token by token.

`torch_decoder` and `cuda_graph_decoder` compute with fitbot's own code, `llama_decoder` with
llama.cpp. The engine, see `scheduler`, calls all methods from one thread.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch

from fitbot.base_model.adapter_files import AdapterWeights
from fitbot.generation.sampling import Draw, Drawn

Drawing = Callable[[], list[Drawn]]  # tokens that may still be being drawn; waits for them


class Part(NamedTuple):
    """Some tokens of a prompt, which are read in one pass.

    Args:
        slot: Of the request.
        ids: The tokens.
        start: The first one's position.
        ends: Whether they are the prompt's last ones: then a token is drawn.
    """

    slot: int
    ids: Sequence[int]
    start: int
    ends: bool


class Decoder(Protocol):
    """Anything that draws tokens.

    Attributes:
        slots: Requests that it answers at once.
        context: Tokens that a request may have, of prompt and answer together.
        tokens: Tokens that its cache holds, of all requests.
        pass_tokens: Tokens of prompts that a pass reads at most.
        pass_block: Each part of a prompt takes a multiple of this of `pass_tokens`.
        pass_prompts: Prompts that may end in a pass.
        vocabulary: Number of tokens.
        ranks: The room for adapters; each takes a part of them.
        device: Where it computes.
        overlaps: Whether what was begun goes on while the caller does something else.
        scores_prompts: Whether it puts the scores of a prompt's tokens into its `Draw`.
    """

    slots: int
    context: int
    tokens: int
    pass_tokens: int
    pass_block: int
    pass_prompts: int
    vocabulary: int
    ranks: int
    device: torch.device
    overlaps: bool
    scores_prompts: bool = False

    def warm_up(self) -> None:
        """Do now what the first requests would wait for; by default, nothing."""
        return

    def admit(self, slot: int, ids: Sequence[int], ranks: slice | None, wanted: Draw) -> int | None:
        """Give a request a slot and room for its prompt.

        Args:
            slot: That no request has.
            ids: The prompt; of a request that goes on, with what was drawn.
            ranks: Of the adapter; None for the base.
            wanted: How tokens are drawn.

        Returns:
            How many of the prompt's tokens need not be read, as an earlier prompt began with them;
            None if there is no room now.
        """

    def grow(self, slot: int) -> int:
        """Make room for more tokens of a request; returns for how many there is, 0 if none."""

    def run(self, parts: Sequence[Part], slots: Sequence[int]) -> Drawing:
        """Read parts of prompts and draw one token more for each of some slots, in one pass.

        Args:
            parts: Of slots that were admitted, in the order of their tokens.
            slots: Whose prompts have been read, and that have room for the token.

        Returns:
            A token for each part that ends its prompt, then one for each slot.
        """

    def release(self, slot: int) -> None:
        """Take a slot from its request; what was begun for it may go on."""

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
