"""How many tokens one forward pass may have."""

import torch


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
