"""Attention to the pages of the cache on a GPU, in Triton.

`TorchDecoder` defines what is computed. B requests with one token each; N tokens of prompts; D head
size, M positions of the cache, S slots, W pages of a request. Sums are float32.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from fitbot.base_model.gpu import gpu_of, prompt_attention_sizes, step_attention_sizes
from fitbot.generation.pages import PAGE

CHUNK = 128  # keys that one program attends to
_JOINED = 16  # chunks that are joined at once: in one order, however many there are


class Cache(NamedTuple):
    """One layer's keys and values, and where they are.

    Args:
        keys: (M, key heads, D).
        values: (M, key heads, D).
        table: (S, W) int32, the pages of each request, see `generation.pages`.
    """

    keys: Tensor
    values: Tensor
    table: Tensor


@triton.jit
def _pages_from(start, Pages, W, BLOCK: tl.constexpr, PAGE: tl.constexpr):
    """Look up the pages of keys, before they are needed: what is computed waits for keys alone."""
    number = (start + tl.arange(0, BLOCK)) // PAGE
    return tl.load(Pages + number, mask=number < W, other=0)


@triton.jit
def _attend_block(
    q, positions, start, stop, page, head, peak, total, out, Keys, Values, scale,
    KEY_HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, PAGE: tl.constexpr,
):  # fmt: skip
    """Let rows of queries see the keys from `start`, before `stop`, up to their own positions."""
    k, d = start + tl.arange(0, BLOCK), tl.arange(0, D)
    exists = k < stop
    where = ((page * PAGE + k % PAGE) * KEY_HEADS + head)[:, None] * D + d
    keys = tl.load(Keys + where, mask=exists[:, None], other=0.0)
    values = tl.load(Values + where, mask=exists[:, None], other=0.0)  # while keys are on the way
    scores = tl.dot(q, tl.trans(keys), input_precision="ieee") * scale
    scores = tl.where(k[None, :] <= positions, scores, -1e30)
    new_peak = tl.maximum(peak, tl.max(scores, 1))
    weights = tl.exp(scores - new_peak[:, None])
    shrink = tl.exp(peak - new_peak)
    update = tl.dot(weights.to(values.dtype), values, input_precision="ieee")
    return new_peak, total * shrink + tl.sum(weights, 1), out * shrink[:, None] + update


@triton.jit
def _attend_chunk(
    Queries, Keys, Values, Table, Positions, Sums, Stats, W, scale,
    KEY_HEADS: tl.constexpr, GROUP: tl.constexpr, PADDED: tl.constexpr, D: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK: tl.constexpr, PAGE: tl.constexpr,
):  # fmt: skip
    row, head, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    chunks = tl.num_programs(2)
    Pages = Table + row * W
    page = _pages_from(chunk * CHUNK, Pages, W, BLOCK, PAGE)
    position = tl.load(Positions + row).to(tl.int32)  # wider numbers are slower
    if chunk * CHUNK <= position:
        g, d = tl.arange(0, PADDED), tl.arange(0, D)
        real = g < GROUP
        place = (row * KEY_HEADS + head) * GROUP + g
        q = tl.load(Queries + place[:, None] * D + d, mask=real[:, None], other=0.0)
        peak = tl.full((PADDED,), -1e30, tl.float32)
        total = tl.zeros((PADDED,), tl.float32)
        out = tl.zeros((PADDED, D), tl.float32)
        stop = tl.minimum((chunk + 1) * CHUNK, position + 1)
        for start in range(chunk * CHUNK, stop, BLOCK):
            peak, total, out = _attend_block(
                q, position, start, stop, page, head, peak, total, out, Keys, Values,
                scale, KEY_HEADS, D, BLOCK, PAGE,
            )  # fmt: skip
            page = _pages_from(start + BLOCK, Pages, W, BLOCK, PAGE)
        target = place * chunks + chunk
        tl.store(Sums + target[:, None] * D + d, out, mask=real[:, None])
        tl.store(Stats + target * 2, peak, mask=real)
        tl.store(Stats + target * 2 + 1, total, mask=real)


@triton.jit
def _join_some(
    first, place, length, peak, total, out, Sums, Stats,
    JOINED: tl.constexpr, D: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    c, d = first + tl.arange(0, JOINED), tl.arange(0, D)
    real = c * CHUNK < length
    peaks = tl.load(Stats + (place + c) * 2, mask=real, other=-1e30)
    totals = tl.load(Stats + (place + c) * 2 + 1, mask=real, other=0.0)
    new_peak = tl.maximum(peak, tl.max(peaks))
    weights = tl.where(real, tl.exp(peaks - new_peak), 0.0)
    sums = tl.load(Sums + (place + c)[:, None] * D + d, mask=real[:, None], other=0.0)
    shrink = tl.exp(peak - new_peak)
    out = out * shrink + tl.sum(sums * weights[:, None], 0)
    return new_peak, total * shrink + tl.sum(totals * weights), out


@triton.jit
def _join_chunks(
    Sums, Stats, Positions, Out, chunks,
    FEW: tl.constexpr, JOINED: tl.constexpr, HEADS: tl.constexpr, D: tl.constexpr,
    CHUNK: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    length = tl.load(Positions + row) + 1
    place = (row * HEADS + head) * chunks
    peak, total, out = -1e30, 0.0, tl.zeros((D,), tl.float32)
    if FEW:  # the same without a loop
        peak, total, out = _join_some(
            0, place, length, peak, total, out, Sums, Stats, JOINED, D, CHUNK
        )
    else:
        for first in range(0, tl.cdiv(length, CHUNK), JOINED):
            peak, total, out = _join_some(
                first, place, length, peak, total, out, Sums, Stats, JOINED, D, CHUNK
            )
    at = (row * HEADS + head) * D + tl.arange(0, D)
    tl.store(Out + at, (out / total).to(Out.dtype.element_ty))


@triton.jit
def _attend_prompt(
    Queries, Keys, Values, Table, Slots, Positions, Out, W, scale,
    KEY_HEADS: tl.constexpr, GROUP: tl.constexpr, TOKENS: tl.constexpr, PADDED: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr, PAGE: tl.constexpr,
):  # fmt: skip
    first, head = tl.program_id(0) * TOKENS, tl.program_id(1)
    m, d = tl.arange(0, PADDED), tl.arange(0, D)
    real = m < TOKENS * GROUP
    token = (first + m // GROUP).to(tl.int64)
    Pages = Table + tl.load(Slots + first).to(tl.int64) * W
    page = _pages_from(0, Pages, W, BLOCK, PAGE)
    positions = tl.load(Positions + token, mask=real, other=0).to(tl.int32)
    at = ((token * KEY_HEADS + head) * GROUP + m % GROUP)[:, None] * D + d
    q = tl.load(Queries + at, mask=real[:, None], other=0.0)
    peak = tl.full((PADDED,), -1e30, tl.float32)
    total = tl.zeros((PADDED,), tl.float32)
    out = tl.zeros((PADDED, D), tl.float32)
    stop = tl.max(positions) + 1
    for start in range(0, stop, BLOCK):
        peak, total, out = _attend_block(
            q, positions[:, None], start, stop, page, head, peak, total, out,
            Keys, Values, scale, KEY_HEADS, D, BLOCK, PAGE,
        )  # fmt: skip
        page = _pages_from(start + BLOCK, Pages, W, BLOCK, PAGE)
    tl.store(Out + at, (out / total[:, None]).to(Out.dtype.element_ty), mask=real[:, None])


def attend(queries: Tensor, cache: Cache, positions: Tensor, chunks: int, out: Tensor) -> None:
    """Let every request's new token attend to the request's tokens.

    Args:
        queries: (B, heads, D).
        cache: Keys and values; the table has a row for each of the B requests.
        positions: (B,) integers; the tokens up to there are seen.
        chunks: Of `CHUNK` tokens each, as many as the longest request has.
        out: (B, heads D), written to.
    """
    rows, heads, size = queries.shape
    key_heads = cache.keys.shape[1]
    sums = torch.empty(rows, heads, chunks, size, device=queries.device)
    stats = torch.empty(rows, heads, chunks, 2, device=queries.device)
    group, sizes = heads // key_heads, step_attention_sizes(gpu_of(queries.device), queries.dtype)
    _attend_chunk[rows, key_heads, chunks](
        queries, *cache, positions, sums, stats, cache.table.shape[1], size**-0.5,
        KEY_HEADS=key_heads, GROUP=group, PADDED=max(sizes.m, triton.next_power_of_2(group)),
        D=size, CHUNK=CHUNK, BLOCK=sizes.n, PAGE=PAGE,
        num_warps=sizes.warps, num_stages=sizes.stages,
    )  # fmt: skip
    _join_chunks[rows, heads](
        sums, stats, positions, out, chunks,
        FEW=chunks <= _JOINED, JOINED=_JOINED, HEADS=heads, D=size, CHUNK=CHUNK,
    )  # fmt: skip


def attend_prompts(
    queries: Tensor, cache: Cache, slots: Tensor, positions: Tensor, out: Tensor
) -> None:
    """Let tokens of prompts attend to the tokens before them.

    Args:
        queries: (N, heads, D); N is a multiple of `prompt_block`, and each block is of one request.
        cache: Keys and values, those of these tokens too.
        slots: (N,) integers; those of padding at the end of a block do not matter.
        positions: (N,) integers; 0 for padding.
        out: (N, heads D), written to.
    """
    rows, heads, size = queries.shape
    key_heads = cache.keys.shape[1]
    group, sizes = heads // key_heads, prompt_attention_sizes(gpu_of(queries.device), queries.dtype)
    tokens = prompt_block(queries.device, queries.dtype, group)
    _attend_prompt[rows // tokens, key_heads](
        queries, *cache, slots, positions, out, cache.table.shape[1], size**-0.5,
        KEY_HEADS=key_heads, GROUP=group, TOKENS=tokens,
        PADDED=triton.next_power_of_2(tokens * group), D=size, BLOCK=sizes.n, PAGE=PAGE,
        num_warps=sizes.warps, num_stages=sizes.stages,
    )  # fmt: skip


def prompt_block(device: torch.device, dtype: torch.dtype, group: int) -> int:
    """Return how many tokens of a prompt one program takes, given the queries of a key head."""
    queries: int = triton.next_power_of_2(group)
    return max(1, prompt_attention_sizes(gpu_of(device), dtype).m // queries)
