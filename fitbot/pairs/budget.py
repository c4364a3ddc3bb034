"""How many tokens one forward pass may have."""

import logging
from collections.abc import Callable

import torch

from fitbot.errors import ConfigError

logger = logging.getLogger(__name__)


class PassBudget:
    """Tokens of one forward pass: set by hand, or as memory allows, and less once it ran out."""

    def __init__(self, fixed: int | None):
        """Take what was set by hand; None where memory decides."""
        self._fixed = fixed
        self._found: int | None = None  # measured, or lower since memory ran out

    def tokens(self, device: torch.device) -> int:
        """Return the tokens that a pass on a device may have now."""
        if self._fixed is not None:
            return self._fixed
        return default_token_budget(device) if self._found is None else self._found

    def choose(self, device: torch.device, tokens_that_fit: Callable[[int], int]) -> None:
        """Let the memory that a token takes decide, unless the budget was set by hand.

        Args:
            device: Where passes run; on a CPU the default stays.
            tokens_that_fit: Returns the tokens of a forward pass for which a device of so many
                bytes has room.
        """
        if device.type == "cuda":
            total = torch.cuda.get_device_properties(device).total_memory
            self._found = rounded_budget(tokens_that_fit(total))

    def lower(self, num_tokens: int, *, can_be_smaller: bool) -> None:
        """Halve the budget, after a forward pass of so many tokens ran out of memory.

        Raises:
            ConfigError: The budget was set by hand, or no pass can be smaller.
        """
        if self._fixed is not None or not can_be_smaller:
            raise ConfigError(
                f"out of GPU memory in a forward pass of {num_tokens:,} tokens; lower "
                "data.max_tokens_per_pass (or unset it), or data.max_length, or set "
                "model.gradient_checkpointing: true and model.expand_4bit: false"
            )
        self._found = num_tokens // 2
        logger.warning(
            "out of GPU memory in a forward pass of %s tokens: from now on at most %s, which "
            "changes no result",
            f"{num_tokens:,}",
            f"{self._found:,}",
        )


def default_token_budget(device: torch.device) -> int:
    """Choose the tokens of one forward pass before anything is measured, and without backward.

    On a GPU about 3 MB a token are reckoned for a model of Qwen3-0.6B's size (activations kept for
    backward, its share of the attention mask), and half of the card is left to everything else.
    """
    if device.type != "cuda":
        return 2048
    total = torch.cuda.get_device_properties(device).total_memory
    return max(2048, rounded_budget(total // 2 // 3_000_000))


def rounded_budget(num_tokens: int) -> int:
    """Round the tokens of one forward pass down, for graphs are captured by size, and limit them.

    Where there is room for next to nothing every pair has a pass of its own, and memory may do.
    """
    return max(256, min(16384, num_tokens // 256 * 256))
