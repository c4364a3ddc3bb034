"""The products of one pass of answering on a GPU, and what lies between them, in Triton.

`TorchDecoder` defines what they compute. N tokens of a pass, of which the first B are one of each
request; H hidden size, F feed-forward width, D head size, M positions of the cache, S slots, W
pages of a request. Sums are float32, products in the weight's precision.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from fitbot.base_model.gpu import (
    gpu_of,
    product_sizes,
    prompt_attention_sizes,
    step_attention_sizes,
)
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


class Adapted(NamedTuple):
    """A product that is to be finished: y, and what the adapters make of the same input.

    Args:
        y: (P, B, O + R times the members of its group), see `linear.StackedProduct`; its P parts
            are to be summed up.
        b: (O, R) scaled B.
    """

    y: Tensor
    b: Tensor


class Ranks(NamedTuple):
    """Which ranks each row's adapter has: (B,) integers each; a count of 0 for the base."""

    starts: Tensor
    counts: Tensor


@triton.jit
def _multiply(
    X, W, Y, rows, part_rows, height, width, share,
    BLOCK_O: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    o = tl.program_id(0) * BLOCK_O + tl.arange(0, BLOCK_O)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    part = tl.program_id(2)
    real_o, real_n = (o < height)[:, None], (n < rows)[None, :]
    total = tl.zeros((BLOCK_O, BLOCK_N), tl.float32)
    for start in range(part * share, tl.minimum(part * share + share, width), BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        w = tl.load(
            W + o[:, None].to(tl.int64) * width + k, mask=real_o & (k < width)[None, :], other=0.0
        )
        x = tl.load(
            X + n[None, :] * width + k[:, None], mask=real_n & (k < width)[:, None], other=0.0
        )
        total = tl.dot(w, x, total, input_precision="ieee")
    where = (part * part_rows + n[None, :]).to(tl.int64) * height + o[:, None]
    tl.store(Y + where, total.to(Y.dtype.element_ty), mask=real_o & real_n)


@triton.jit
def _sum_parts(Y, at, mask, part, PARTS: tl.constexpr):
    """Sum up what the parts have at the same places."""
    total = tl.load(Y + at, mask=mask, other=0.0).to(tl.float32)
    for number in tl.static_range(1, PARTS):
        total += tl.load(Y + number * part + at, mask=mask, other=0.0).to(tl.float32)
    return total


@triton.jit
def _update(Y, B, o, real, start, count, part, R: tl.constexpr, PARTS: tl.constexpr):
    """Sum up B h for outputs o; Y points to the h of their member."""
    total = tl.zeros(o.shape, tl.float32)
    if R <= 64:  # all of them, so that no load waits for another
        for first in tl.static_range(0, R, 16):
            r = first + tl.arange(0, 16)
            h = _sum_parts(Y, r, r < R, part, PARTS)
            h = tl.where((r >= start) & (r < start + count), h, 0.0)
            seen = real[:, None] & (r < R)[None, :]
            b = tl.load(B + o[:, None] * R + r[None, :], mask=seen, other=0.0).to(tl.float32)
            total += tl.sum(b * h[None, :], 1)
    else:
        for first in range(0, count, 16):
            r = first + tl.arange(0, 16)
            h = _sum_parts(Y, start + r, r < count, part, PARTS)
            seen = real[:, None] & (r < count)[None, :]
            at = o[:, None] * R + start + r[None, :]
            total += tl.sum(tl.load(B + at, mask=seen, other=0.0).to(tl.float32) * h[None, :], 1)
    return total


@triton.jit
def _add_norm(
    X, Y, B, Starts, Counts, Weight, Out, stride, part, eps,
    H: tl.constexpr, BLOCK: tl.constexpr, ADDS: tl.constexpr, R: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    h = tl.arange(0, BLOCK)
    real = h < H
    x = tl.load(X + row * H + h, mask=real, other=0.0)
    if ADDS:
        start, count = tl.load(Starts + row), tl.load(Counts + row)
        x += _sum_parts(Y + row * stride, h, real, part, PARTS)
        x += _update(Y + row * stride + H, B, h, real, start, count, part, R, PARTS)
        tl.store(X + row * H + h, x, mask=real)
    scale = tl.rsqrt(tl.sum(x * x) / H + eps)
    weight = tl.load(Weight + h, mask=real, other=0.0)
    tl.store(Out + row * H + h, (x * scale * weight).to(Out.dtype.element_ty), mask=real)


@triton.jit
def _find_places(Table, Slots, Positions, Places, rows, W, PAGE: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = row < rows
    position = tl.load(Positions + row, mask=real, other=0)
    slot = tl.load(Slots + row, mask=real, other=0)
    page = tl.load(Table + slot * W + position // PAGE, mask=real, other=0).to(tl.int64)
    tl.store(Places + row, page * PAGE + position % PAGE, mask=real)


@triton.jit
def _place_heads(
    Heads, B, Starts, Counts, QueryNorm, KeyNorm, Cos, Sin, Queries, Keys, Values,
    Places, Positions, stride, part, eps,
    HEADS: tl.constexpr, KEY_HEADS: tl.constexpr, D: tl.constexpr, NORMS: tl.constexpr,
    R: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    d = tl.arange(0, D)
    real = d < D
    other = (d + D // 2) % D  # the half that it is rotated with
    heads: tl.constexpr = HEADS + 2 * KEY_HEADS
    member = (head >= HEADS).to(tl.int32) + (head >= HEADS + KEY_HEADS).to(tl.int32)
    start, count = tl.load(Starts + row), tl.load(Counts + row)
    position, place = tl.load(Positions + row).to(tl.int64), tl.load(Places + row)
    y = Heads + row * stride
    h = y + heads * D + member * R
    x = _sum_parts(y, head * D + d, real, part, PARTS)
    x += _update(h, B, head * D + d, real, start, count, part, R, PARTS)
    if head < HEADS + KEY_HEADS:
        swapped = _sum_parts(y, head * D + other, real, part, PARTS)
        swapped += _update(h, B, head * D + other, real, start, count, part, R, PARTS)
        if NORMS:
            scale = tl.rsqrt(tl.sum(x * x) / D + eps)
            norm = QueryNorm if head < HEADS else KeyNorm
            x = x * scale * tl.load(norm + d)
            swapped = swapped * scale * tl.load(norm + other)
        cos, sin = tl.load(Cos + position * D + d), tl.load(Sin + position * D + d)
        x = x * cos + swapped * sin
    if head < HEADS:
        tl.store(Queries + (row * HEADS + head) * D + d, x.to(Queries.dtype.element_ty))
    elif head < HEADS + KEY_HEADS:
        at = (place * KEY_HEADS + head - HEADS) * D + d
        tl.store(Keys + at, x.to(Keys.dtype.element_ty))
    else:
        at = (place * KEY_HEADS + head - HEADS - KEY_HEADS) * D + d
        tl.store(Values + at, x.to(Values.dtype.element_ty))


@triton.jit
def _attend_block(
    q, positions, start, stop, Pages, head, peak, total, out, Keys, Values, scale,
    KEY_HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, PAGE: tl.constexpr,
):  # fmt: skip
    """Let rows of queries see the keys from `start`, before `stop`, up to their own positions."""
    k, d = start + tl.arange(0, BLOCK), tl.arange(0, D)
    exists = k < stop
    page = tl.load(Pages + k // PAGE, mask=exists, other=0)
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
                q, position, start, stop, Table + row * W, head, peak, total, out, Keys, Values,
                scale, KEY_HEADS, D, BLOCK, PAGE,
            )  # fmt: skip
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
    slot = tl.load(Slots + first).to(tl.int64)
    positions = tl.load(Positions + token, mask=real, other=0).to(tl.int32)
    at = ((token * KEY_HEADS + head) * GROUP + m % GROUP)[:, None] * D + d
    q = tl.load(Queries + at, mask=real[:, None], other=0.0)
    peak = tl.full((PADDED,), -1e30, tl.float32)
    total = tl.zeros((PADDED,), tl.float32)
    out = tl.zeros((PADDED, D), tl.float32)
    stop = tl.max(positions) + 1
    for start in range(0, stop, BLOCK):
        peak, total, out = _attend_block(
            q, positions[:, None], start, stop, Table + slot * W, head, peak, total, out,
            Keys, Values, scale, KEY_HEADS, D, BLOCK, PAGE,
        )  # fmt: skip
    tl.store(Out + at, (out / total[:, None]).to(Out.dtype.element_ty), mask=real[:, None])


@triton.jit
def _swiglu(
    Both, B, Starts, Counts, Out, stride, part, F,
    BLOCK: tl.constexpr, R: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    f = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = f < F
    start, count = tl.load(Starts + row), tl.load(Counts + row)
    y = Both + row * stride
    gate = _sum_parts(y, f, real, part, PARTS)
    gate += _update(y + 2 * F, B, f, real, start, count, part, R, PARTS)
    up = _sum_parts(y, F + f, real, part, PARTS)
    up += _update(y + 2 * F + R, B, F + f, real, start, count, part, R, PARTS)
    out = gate * tl.sigmoid(gate) * up
    tl.store(Out + row * F + f, out.to(Out.dtype.element_ty), mask=real)


def multiply(x: Tensor, weight: Tensor, parts: int, out: Tensor) -> None:
    """Multiply by a weight, in so many parts of the sum; no row depends on its neighbours.

    One row wants the weight read by all of a GPU's multiprocessors: cuBLAS takes others for other
    numbers of rows, and adds up in other orders.

    Args:
        x: (B, K).
        weight: (O, K).
        parts: P.
        out: (P, B, O), written to; may be the first rows of more.
    """
    (rows, width), height = x.shape, weight.shape[0]
    m, n, depth, warps, stages = product_sizes(gpu_of(x.device), x.dtype, height, rows)
    _multiply[triton.cdiv(height, m), triton.cdiv(rows, n), parts](
        x, weight, out, rows, out.stride(0) // height, height, width, triton.cdiv(width, parts),
        BLOCK_O=m, BLOCK_N=n, BLOCK_K=depth, num_warps=warps, num_stages=stages,
    )  # fmt: skip


def parts_for(weight: Tensor) -> int:
    """Return into how many parts to split a product, so that all multiprocessors have work."""
    (height, width), gpu = weight.shape, gpu_of(weight.device)
    m, _, depth, _, _ = product_sizes(gpu, weight.dtype, height, 1)
    most = gpu.processors // triton.cdiv(height, m)
    return max((n for n in (2, 4, 8) if n <= most and width % (n * depth) == 0), default=1)


def add_norm(
    x: Tensor, added: Adapted | None, ranks: Ranks, weight: Tensor, eps: float, out: Tensor
) -> None:
    """Add a product to x in place and write the sum's RMS norm.

    Args:
        x: (B, H) float32.
        added: Of H outputs, or None.
        ranks: Of the adapters.
        weight: (H,) float32.
        eps: Of the norm.
        out: (B, H).
    """
    rows, width = x.shape
    y, b = added or (x, x)
    _add_norm[(rows,)](
        x, y, b, *ranks, weight, out, y.stride(-2), y.stride(0), eps,
        H=width, BLOCK=triton.next_power_of_2(width), ADDS=added is not None,
        R=b.shape[1], PARTS=len(y) if added else 1, num_warps=8,
    )  # fmt: skip


def place_heads(
    heads: Adapted,
    ranks: Ranks,
    norms: Sequence[Tensor],
    rotary: tuple[Tensor, Tensor],
    cache: Cache,
    places: Tensor,
    positions: Tensor,
    eps: float,
    queries: Tensor,
) -> None:
    """Normalise and rotate queries and keys; put keys and values where they belong.

    Args:
        heads: Of (heads + 2 key heads) D outputs.
        ranks: Of the adapters.
        norms: (D,) each, of queries and keys, or nothing.
        rotary: (M, D) cosine and sine, the sine's first half negated.
        cache: Written to.
        places: (N,) int64: where in the cache each token is, see `find_places`.
        positions: (N,) integers: each token's.
        eps: Of the norms.
        queries: (N, heads, D), written to.
    """
    rows, num_heads, size = queries.shape
    key_heads = cache.keys.shape[1]
    query_norm, key_norm = norms or (rotary[0], rotary[0])
    _place_heads[(rows, num_heads + 2 * key_heads)](
        *heads, *ranks, query_norm, key_norm, *rotary, queries,
        cache.keys, cache.values, places, positions,
        heads.y.stride(1), heads.y.stride(0), eps,
        HEADS=num_heads, KEY_HEADS=key_heads, D=size, NORMS=bool(norms),
        R=heads.b.shape[1], PARTS=len(heads.y),
    )  # fmt: skip


def find_places(table: Tensor, slots: Tensor, positions: Tensor) -> Tensor:
    """Return where in the cache tokens are, (N,) int64, given their slots and positions, (N,)."""
    places = torch.empty_like(positions)
    _find_places[(triton.cdiv(len(slots), 128),)](
        table, slots, positions, places, len(slots), table.shape[1], PAGE=PAGE, BLOCK=128
    )
    return places


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


def swiglu(both: Adapted, ranks: Ranks, out: Tensor) -> None:
    """Write silu(gate) · up: of 2F outputs → (B, F)."""
    rows, width = out.shape
    _swiglu[(rows, triton.cdiv(width, 1024))](
        *both, *ranks, out, both.y.stride(1), both.y.stride(0), width,
        BLOCK=1024, R=both.b.shape[1], PARTS=len(both.y), num_warps=8,
    )  # fmt: skip
