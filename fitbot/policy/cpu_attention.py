"""Attention over a packed row that computes only what its mask shows: one pair at a time.

The dense mask of a row of T tokens has T² entries, of which a pair needs the few that are its own.
On a CPU, where launching an operation costs little, attending pair by pair skips all the rest.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BY_PAIR = "fitbot_by_pair"  # its name among transformers' attention functions

# Of one pair: the tokens of its prompt, its chosen and its rejected part.
Segment = tuple[int, int, int]


def segments_of(pair_index: Tensor, part: Tensor) -> list[Segment]:
    """Measure the pairs of a packed row, in its order: (T,), (T,) → one segment a pair.

    Padding, which owns the last pair index, is a pair with nothing but a prompt.
    """
    counts = torch.bincount(pair_index * 3 + part, minlength=3 * (int(pair_index.max()) + 1))
    return [(prompt, chosen, rejected) for prompt, chosen, rejected in counts.view(-1, 3).tolist()]


def attend_by_pair(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    segments: list[Segment] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers' own SDPA function does, pair by pair where segments are given.

    Args:
        module: The attention layer.
        query: (1, heads, T, D).
        key: (1, key-value heads, T, D); value likewise.
        value: See key.
        attention_mask: (1, 1, T, T) bool, or None for causal; used when there are no segments.
        scaling: Of the dot products.
        dropout: Probability of dropping an attention weight.
        segments: The pairs' lengths; passed through the decoder as a keyword.
        **kwargs: What transformers hands to every attention function.

    Returns:
        (1, T, heads, D), and None for the attention weights, which are not computed.
    """
    if segments is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **kwargs
        )
        return output, None
    # In float32 whatever the products run in: in bfloat16 a CPU takes three times as long for it.
    with torch.autocast("cpu", enabled=False):
        pieces = (query.float(), key.float(), value.float())
        output = _attend(*pieces, segments, scale=scaling, dropout_p=dropout)
    return output.to(query.dtype).transpose(1, 2).contiguous(), None


def _attend(
    query: Tensor, key: Tensor, value: Tensor, segments: list[Segment], **settings: Any
) -> Tensor:
    settings["enable_gqa"] = True
    lengths = [length for segment in segments for length in segment]
    # Split once and joined again: the gradient of every slice would be as long as the row.
    pieces = [
        zip(*[iter(torch.split(t, lengths, 2))] * 3, strict=True) for t in (query, key, value)
    ]
    outputs = []
    for queries, keys, values in zip(*pieces, strict=True):
        q, k, v = (torch.cat(parts[:2], 2) for parts in (queries, keys, values))
        outputs.append(F.scaled_dot_product_attention(q, k, v, is_causal=True, **settings))
        prompt, rejected = keys[0].shape[2], keys[2].shape[2]
        if rejected:
            # The rejected completion sees the prompt and itself, not the chosen one between them.
            k, v = (torch.cat([parts[0], parts[2]], 2) for parts in (keys, values))
            mask = torch.ones(rejected, prompt + rejected, dtype=torch.bool).tril(prompt)
            outputs.append(
                F.scaled_dot_product_attention(
                    queries[2], k, v, attn_mask=mask.to(query.device), **settings
                )
            )
    return torch.cat(outputs, 2)
