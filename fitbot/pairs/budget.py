"""How many tokens one forward pass may have."""

import logging
from collections.abc import Callable

import torch

logger = logging.getLogger(__name__)

MOST_TOKENS = 16384  # of a forward pass; more make it no faster
TOKENS_APART = 256  # budgets are multiples of it


class PassBudget:
    """Tokens of one forward pass: set by hand, or as memory allows, and less once it ran out."""

    def __init__(self, fixed: int | None):
        """Take what was set by hand; None where memory decides."""
        self._fixed = fixed
        self._found: int | None = None  # measured, or lower since memory ran out

    @property
    def fixed(self) -> int | None:
        """What was set by hand."""
        return self._fixed

    def tokens(self, device: torch.device) -> int:
        """Return the tokens that a pass on a device may have now."""
        if self._fixed is not None:
            return self._fixed
        return default_token_budget(device) if self._found is None else self._found

    def choose(self, device: torch.device, tokens_that_fit: Callable[[int], int]) -> None:
        """Let the memory that is free now decide, unless the budget was set by hand.

        Args:
            device: Where passes run; on a CPU the default stays.
            tokens_that_fit: Returns the tokens of a forward pass for which so many free bytes
                suffice.
        """
        if device.type == "cuda":
            self._found = rounded_budget(tokens_that_fit(free_bytes(device)))

    def lower(self, num_tokens: int, *, can_be_smaller: bool) -> bool:
        """Halve the budget, after a forward pass of so many tokens ran out of memory.

        Returns:
            Whether that could be done: not if it was set by hand, or no pass can be smaller.
        """
        if self._fixed is not None or not can_be_smaller:
            return False
        self._found = num_tokens // 2
        logger.warning(
            "out of GPU memory in a forward pass of %s tokens: from now on at most %s, which "
            "changes no result",
            f"{num_tokens:,}",
            f"{self._found:,}",
        )
        return True


def free_bytes(device: torch.device) -> int:
    """Count a GPU's bytes that this process could still take, or has taken and does not use."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + unused


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
    return max(TOKENS_APART, min(MOST_TOKENS, num_tokens // TOKENS_APART * TOKENS_APART))
