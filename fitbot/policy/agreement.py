"""Do two ways to compute log-probs agree? Asked on made-up pairs, before a run relies on it."""

import torch
from torch import Tensor

from fitbot.errors import ConfigError
from fitbot.pairs.batch import LAYOUTS, Layout, PairBatch, collate_pairs
from fitbot.pairs.chat import EncodedPair
from fitbot.policy.policy import Policy, to_device


def check_layout(policy: Policy, layout: Layout, max_length: int) -> None:
    """Make sure that the packed layout is exact for this model; `rows` always is.

    Args:
        policy: The model.
        layout: What its batches will have.
        max_length: Tokens of the longest prompt and completion.

    Raises:
        ConfigError: The model has layers that the packed row's mask cannot describe.
    """
    if layout == "rows":
        return
    window = getattr(policy.network.config, "sliding_window", None)
    if window is not None and max_length > window:
        raise ConfigError(
            f"data.layout: shared cannot express this base model's sliding window of {window} "
            f"tokens, and data.max_length is {max_length}; set data.layout: rows"
        )
    logps = {name: policy.reference_logps(made_up_batch(policy, name)) for name in LAYOUTS}
    difference = relative_difference(logps["shared"], logps["rows"])
    if not difference < same_within(policy.compute_dtype):
        raise ConfigError(
            f"data.layout: shared changes this base model's log-probs by {difference:.2%} (its "
            "layers are not all ordinary attention); set data.layout: rows"
        )


def made_up_batch(policy: Policy, layout: Layout) -> PairBatch:
    """Make up three pairs, to compare one way of computing with another.

    Their tokens lie all over the vocabulary: what a model has never seen, such as the special
    tokens at its start, it computes so unevenly that 16 bits round it by several per cent.
    """
    size = 9 * policy.network.config.vocab_size // 10  # the last are often no tokens
    pairs = []
    for n in range(3):
        a, b, c = ([(104_729 * (i + 9 * n) + s) % size for i in range(8)] for s in (1, 2, 3))
        pairs.append(EncodedPair(a, b[:5], c[:7], 0, 0, 0, n))
    return to_device(collate_pairs(pairs, layout=layout, pad_id=0), policy.device)


def relative_difference(one: Tensor, other: Tensor) -> float:
    """Return how far two ways to compute log-probs, (B, 2), are apart, as a share of them."""
    return ((one - other).abs().sum() / other.abs().sum()).item()


def same_within(compute_dtype: torch.dtype) -> float:
    """Return the relative difference that rounding explains."""
    return 1e-4 if compute_dtype == torch.float32 else 0.02
