"""Do two ways to compute log-probs agree? Asked on made-up pairs, before a run relies on it."""

import logging

import torch
from torch import Tensor

from fitbot.base_model.architecture import window_of
from fitbot.base_model.gpu import is_out_of_memory, what_failed
from fitbot.pairs.batch import LAYOUTS, Layout, PairBatch, collate_pairs
from fitbot.pairs.chat import EncodedPair
from fitbot.policy.policy import Policy, to_device

logger = logging.getLogger(__name__)

_ATTENTION = ("full_attention", "sliding_attention")  # within the window both see all before them


def fitting_layout(policy: Policy, layout: Layout, max_length: int) -> Layout:
    """Return the layout that is wanted, or `rows`, which always is exact, if that one is not.

    Args:
        policy: The model.
        layout: What its batches are to have.
        max_length: Tokens of the longest prompt and completion.
    """
    if layout == "rows" or (reason := why_not_shared(policy, max_length)) is None:
        return layout
    logger.warning("data.layout: rows instead of shared, %s", reason)
    return "rows"


def why_not_shared(policy: Policy, max_length: int) -> str | None:
    """Return the reason why the packed layout is not exact for this model; None if it is."""
    config = policy.eager.decoder.config
    kinds: list[str] = getattr(config, "layer_types", None) or []
    if odd := sorted(set(kinds).difference(_ATTENTION)):
        return f"for packed pairs would see each other in this base's layers: {', '.join(odd)}"
    window = window_of(config)
    if window is not None and max_length > window:
        return (
            f"which cannot express this base's sliding window of {window} tokens, and "
            f"data.max_length is {max_length}"
        )
    try:
        logps = {name: policy.reference_logps(made_up_batch(policy, name)) for name in LAYOUTS}
    except Exception as error:  # whatever a network's own modules do with such a mask
        if is_out_of_memory(error):
            raise
        return f"which this base's own modules cannot compute: {what_failed(error)}"
    difference = relative_difference(logps["shared"], logps["rows"])
    if not difference < same_within(policy.compute_dtype):
        return (
            f"which changes this base's log-probs by {difference:.2%}: its layers are not all "
            "ordinary attention"
        )
    return None


def made_up_batch(policy: Policy, layout: Layout) -> PairBatch:
    """Make up three pairs, to compare one way of computing with another.

    Their tokens lie all over the vocabulary: what a model has never seen, such as the special
    tokens at its start, it computes so unevenly that 16 bits round it by several per cent.
    """
    size = 9 * policy.eager.decoder.config.vocab_size // 10  # the last are often no tokens
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
