"""Attention over a packed row, forward and backward, that skips what a pair cannot see.

T tokens, Hq query heads, Hk key-value heads, D head size. Token i sees j if j ≤ i and j lies in i's
own part or in the prompt of i's pair; a rejected completion's view has a hole where the chosen one
lies. `Visibility` holds those bounds for every token, so no mask of T² entries exists anywhere.

On a GPU three Triton kernels in the manner of FlashAttention 2 (https://arxiv.org/abs/2307.08691);
elsewhere the definition in plain PyTorch, which the kernels are tested against.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor

from fitbot.base_model.gpu import attention_backward_sizes, attention_sizes, gpu_of
from fitbot.pairs.batch import PROMPT
from fitbot.policy.compiled.launch import blocks, launch
from fitbot.policy.compiled.operands import Heads, Visibility


def visibility(pair_index: Tensor, part: Tensor) -> Visibility:
    """Find the bounds of every token's view: (T,), (T,) → five times (T,)."""
    segment = 3 * pair_index + part  # ascending along the row
    prompt = 3 * pair_index + PROMPT

    def first(codes: Tensor) -> Tensor:
        return torch.searchsorted(segment, codes, out_int32=True)

    return Visibility(
        first(prompt), first(prompt + 1), first(segment), first(segment + 1), first(prompt + 3)
    )


def attend(heads: Heads, visible: Visibility, out: Tensor) -> Tensor:
    """Write attention into `out`.

    Args:
        heads: Queries, keys and values.
        visible: Bounds of the tokens' views.
        out: (T, Hq, D), may be a part of a wider matrix.

    Returns:
        (Hq, T) float32: log of the sum of exponentials, in base 2, for backward.
    """
    query, key, value = heads
    scale = query.shape[-1] ** -0.5
    tokens, num_heads, width = query.shape
    lse = torch.empty(num_heads, tokens, device=query.device)
    if query.is_cuda:
        from fitbot.policy.compiled import attention_kernels

        sizes = attention_sizes(gpu_of(query.device), query.dtype)
        launch(
            attention_kernels.attend, (blocks(tokens, sizes.m), num_heads),
            *heads, out, lse, *visible[:4],
            *_strides(*heads, out), tokens, scale / math.log(2),
            GROUP=num_heads // key.shape[1], D=width, M=sizes.m, N=sizes.n,
            num_warps=sizes.warps, num_stages=sizes.stages,
        )  # fmt: skip
        return lse
    for pair in _pairs(visible):
        probs, lse[:, pair] = _probs(query, key, visible, scale, pair)
        out[pair] = (probs @ _repeat(value[pair], query)).transpose(0, 1)
    return lse


def attend_backward(
    dout: Tensor, heads: Heads, out: Tensor, lse: Tensor, visible: Visibility, gradients: Heads
) -> None:
    """Write the gradients of `attend` into `gradients`, given dout (T, Hq, D)."""
    query, key, value = heads
    scale = query.shape[-1] ** -0.5
    if query.is_cuda:
        from fitbot.policy.compiled import attention_kernels

        tokens, num_heads, width = query.shape
        sizes = attention_backward_sizes(gpu_of(query.device), query.dtype)
        key_heads = key.shape[1]
        delta = torch.empty_like(lse)
        launch(
            attention_kernels.delta, (blocks(tokens, 16), num_heads),
            out, dout, delta, *_strides(out, dout), tokens, D=width, M=16,
        )  # fmt: skip
        programs = blocks(tokens, sizes.n) * key_heads + blocks(tokens, sizes.m) * num_heads
        launch(
            attention_kernels.attend_backward, (programs,),
            *heads, dout, *gradients, lse, delta, *visible,
            *_strides(*heads, dout, *gradients), tokens, scale, scale / math.log(2),
            HEADS=num_heads, GROUP=num_heads // key_heads, D=width, M=sizes.m, N=sizes.n,
            num_warps=sizes.warps, num_stages=sizes.stages,
        )  # fmt: skip
        return
    for pair in _pairs(visible):
        probs, _ = _probs(query, key, visible, scale, pair)
        dpair = dout[pair].float().transpose(0, 1)  # (Hq, n, D)
        dprobs = dpair @ _repeat(value[pair], query).mT
        delta = (dout[pair].float() * out[pair].float()).sum(-1).T[..., None]  # (Hq, n, 1)
        dscores = probs * (dprobs - delta) * scale  # (Hq, n, n)
        groups = (key.shape[1], -1, *dpair.shape[1:])  # (Hk, Hq / Hk, n, D)
        dkeys = (dscores.mT @ query[pair].float().transpose(0, 1)).view(groups).sum(1)
        dvalues = (probs.mT @ dpair).view(groups).sum(1)
        gradients.queries[pair] = (dscores @ _repeat(key[pair], query)).transpose(0, 1)
        gradients.keys[pair] = dkeys.transpose(0, 1)
        gradients.values[pair] = dvalues.transpose(0, 1)


def visible_mask(visible: Visibility) -> Tensor:
    """Spell the bounds out: (T, T) bool, True where token i sees j."""
    i = torch.arange(len(visible.pair_start), device=visible.pair_start.device)
    j = i[None, :]
    in_prompt = (j >= visible.pair_start[:, None]) & (j < visible.prompt_end[:, None])
    return (j <= i[:, None]) & (in_prompt | (j >= visible.part_start[:, None]))


def _strides(*tensors: Tensor) -> list[int]:
    return [stride for tensor in tensors for stride in tensor.stride()[:2]]


def _pairs(visible: Visibility) -> list[slice]:
    """Find where the pairs lie: on a CPU attention runs over one after another."""
    starts = torch.unique_consecutive(visible.pair_start).tolist()
    return [slice(a, b) for a, b in pairwise([*starts, len(visible.pair_start)])]


def _probs(
    query: Tensor, key: Tensor, visible: Visibility, scale: float, pair: slice
) -> tuple[Tensor, Tensor]:
    """Compute a pair's attention weights, (Hq, n, n), and their log normalisers, (Hq, n)."""
    own = Visibility(*(bound[pair] - pair.start for bound in visible))
    scores = query[pair].float().transpose(0, 1) @ _repeat(key[pair], query).mT * scale
    scores = scores.masked_fill(~visible_mask(own), -math.inf)
    lse = scores.logsumexp(-1)
    return (scores - lse[..., None]).exp(), lse / math.log(2)


def _repeat(heads: Tensor, query: Tensor) -> Tensor:
    """Give every query head its key head: (n, Hk, D) → (Hq, n, D) float32."""
    groups = query.shape[1] // heads.shape[1]
    return heads.float().transpose(0, 1).repeat_interleave(groups, dim=0)
