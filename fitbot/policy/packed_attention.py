"""Attention over a packed row, forward and backward, that skips what a pair cannot see.

T tokens, Hq query heads, Hk key-value heads, D head size. Token i sees j if j ≤ i and j lies in i's
own part or in the prompt of i's pair; a rejected completion's view has a hole where the chosen one
lies. `Visibility` holds those bounds for every token, so no mask of T² entries exists anywhere.

On a GPU three Triton kernels in the manner of FlashAttention 2 (https://arxiv.org/abs/2307.08691);
elsewhere the definition in plain PyTorch, which the kernels are tested against.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fitbot.pairs.batch import PROMPT


class Visibility(NamedTuple):
    """What the tokens of a packed row see; each (T,) int32, indices of tokens."""

    pair_start: Tensor  # where the token's pair begins
    prompt_end: Tensor  # where that pair's prompt ends
    part_start: Tensor  # where the token's own part begins
    part_end: Tensor  # where it ends
    pair_end: Tensor


def visibility(pair_index: Tensor, part: Tensor) -> Visibility:
    """Find the bounds of every token's view: (T,), (T,) → five times (T,)."""
    segment = 3 * pair_index + part  # ascending along the row
    prompt = 3 * pair_index + PROMPT

    def first(codes: Tensor) -> Tensor:
        return torch.searchsorted(segment, codes, out_int32=True)

    return Visibility(
        first(prompt), first(prompt + 1), first(segment), first(segment + 1), first(prompt + 3)
    )


def attend(
    query: Tensor, key: Tensor, value: Tensor, visible: Visibility, scale: float, out: Tensor
) -> Tensor:
    """Write attention into `out`.

    Args:
        query: (T, Hq, D); Hq is a multiple of Hk.
        key: (T, Hk, D).
        value: (T, Hk, D).
        visible: Bounds of the tokens' views.
        scale: Of the dot products.
        out: (T, Hq, D), may be a part of a wider matrix.

    Returns:
        (Hq, T) float32: log of the sum of exponentials, in base 2, for backward.
    """
    if query.is_cuda:
        from fitbot.policy import attention_kernels

        return attention_kernels.attend(query, key, value, visible, scale, out)
    probs, lse = _probs(query, key, visible, scale)
    out.copy_(torch.einsum("hij,jhd->ihd", probs, _repeat(value.float(), query)))
    return lse


def attend_backward(
    dout: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    visible: Visibility,
    scale: float,
    dquery: Tensor,
    dkey: Tensor,
    dvalue: Tensor,
) -> None:
    """Write the gradients of `attend` into dquery, dkey and dvalue, given dout (T, Hq, D)."""
    if query.is_cuda:
        from fitbot.policy import attention_kernels

        attention_kernels.attend_backward(
            dout, query, key, value, out, lse, visible, scale, dquery, dkey, dvalue
        )
        return
    probs, _ = _probs(query, key, visible, scale)
    dout = dout.float()
    dprobs = torch.einsum("ihd,jhd->hij", dout, _repeat(value.float(), query))
    delta = (dout * out.float()).sum(-1).T[..., None]  # (Hq, T, 1)
    dscores = probs * (dprobs - delta) * scale
    groups = (*key.shape[:2], -1, key.shape[2])  # (T, Hk, Hq / Hk, D)
    dquery.copy_(torch.einsum("hij,jhd->ihd", dscores, _repeat(key.float(), query)))
    dkey.copy_(torch.einsum("hij,ihd->jhd", dscores, query.float()).view(groups).sum(2))
    dvalue.copy_(torch.einsum("hij,ihd->jhd", probs, dout).view(groups).sum(2))


def visible_mask(visible: Visibility) -> Tensor:
    """Spell the bounds out: (T, T) bool, True where token i sees j."""
    i = torch.arange(len(visible.pair_start), device=visible.pair_start.device)
    j = i[None, :]
    in_prompt = (j >= visible.pair_start[:, None]) & (j < visible.prompt_end[:, None])
    return (j <= i[:, None]) & (in_prompt | (j >= visible.part_start[:, None]))


def _probs(query: Tensor, key: Tensor, visible: Visibility, scale: float) -> tuple[Tensor, Tensor]:
    scores = torch.einsum("ihd,jhd->hij", query.float(), _repeat(key.float(), query)) * scale
    scores = scores.masked_fill(~visible_mask(visible), -math.inf)
    lse = scores.logsumexp(-1)
    return (scores - lse[..., None]).exp(), lse / math.log(2)


def _repeat(heads: Tensor, query: Tensor) -> Any:
    return heads.repeat_interleave(query.shape[1] // heads.shape[1], dim=1)
