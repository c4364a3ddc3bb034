"""What lies between the matrix products of one decoding step on a GPU, in Triton.

`TorchDecoder` defines what they compute. One token for each of B requests; H hidden size, F
feed-forward width, D head size, S slots, M positions of a slot. Sums are float32, products bf16.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

CHUNK, BLOCK = 128, 64  # keys that one program attends to, and at once
_UNIT = 16  # rows that the matrix units take at the least
_DEPTH = 64  # of a product's sum, at once


class Cache(NamedTuple):
    """One layer's keys and values: (S, key heads, M, D) each."""

    keys: Tensor
    values: Tensor


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
    X, W, Y, rows, height, width, share,
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
    where = (part * rows + n[None, :]).to(tl.int64) * height + o[:, None]
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
def _place_heads(
    Heads, B, Starts, Counts, QueryNorm, KeyNorm, Cos, Sin, Queries, Keys, Values, Slots, Lengths,
    M, stride, part, eps,
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
    y = Heads + row * stride
    h = y + heads * D + member * R
    x = _sum_parts(y, head * D + d, real, part, PARTS)
    x += _update(h, B, head * D + d, real, start, count, part, R, PARTS)
    position = tl.load(Lengths + row).to(tl.int64)
    slot = tl.load(Slots + row).to(tl.int64)
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
        place = ((slot * KEY_HEADS + head - HEADS) * M + position) * D
        tl.store(Keys + place + d, x.to(Keys.dtype.element_ty))
    else:
        place = ((slot * KEY_HEADS + head - HEADS - KEY_HEADS) * M + position) * D
        tl.store(Values + place + d, x.to(Values.dtype.element_ty))


@triton.jit
def _attend_chunk(
    Queries, Keys, Values, Slots, Lengths, Sums, Stats, M, scale,
    KEY_HEADS: tl.constexpr, GROUP: tl.constexpr, PADDED: tl.constexpr, D: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, head, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    chunks = tl.num_programs(2)
    length = tl.load(Lengths + row) + 1
    if chunk * CHUNK < length:
        slot = tl.load(Slots + row).to(tl.int64)
        g, d, k = tl.arange(0, PADDED), tl.arange(0, D), tl.arange(0, BLOCK)
        real = g < GROUP
        place = (row * KEY_HEADS + head) * GROUP + g
        q = tl.load(Queries + place[:, None] * D + d, mask=real[:, None], other=0.0)
        base = (slot * KEY_HEADS + head) * M * D
        peak = tl.full((PADDED,), -1e30, tl.float32)
        total = tl.zeros((PADDED,), tl.float32)
        out = tl.zeros((PADDED, D), tl.float32)
        for start in range(chunk * CHUNK, tl.minimum((chunk + 1) * CHUNK, length), BLOCK):
            seen = start + k < length
            where = base + (start + k)[:, None] * D + d
            keys = tl.load(Keys + where, mask=seen[:, None], other=0.0)
            scores = tl.dot(q, tl.trans(keys), input_precision="ieee") * scale
            scores = tl.where(seen[None, :], scores, -1e30)
            new_peak = tl.maximum(peak, tl.max(scores, 1))
            weights = tl.exp(scores - new_peak[:, None])
            shrink = tl.exp(peak - new_peak)
            values = tl.load(Values + where, mask=seen[:, None], other=0.0)
            update = tl.dot(weights.to(values.dtype), values, input_precision="ieee")
            out = out * shrink[:, None] + update
            total = total * shrink + tl.sum(weights, 1)
            peak = new_peak
        target = place * chunks + chunk
        tl.store(Sums + target[:, None] * D + d, out, mask=real[:, None])
        tl.store(Stats + target * 2, peak, mask=real)
        tl.store(Stats + target * 2 + 1, total, mask=real)


@triton.jit
def _join_chunks(
    Sums, Stats, Lengths, Out,
    CHUNKS: tl.constexpr, PADDED: tl.constexpr, HEADS: tl.constexpr, D: tl.constexpr,
    CHUNK: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    c, d = tl.arange(0, PADDED), tl.arange(0, D)
    real = c * CHUNK < tl.load(Lengths + row) + 1
    place = (row * HEADS + head) * CHUNKS + c
    peaks = tl.load(Stats + place * 2, mask=real, other=-1e30)
    totals = tl.load(Stats + place * 2 + 1, mask=real, other=0.0)
    weights = tl.where(real, tl.exp(peaks - tl.max(peaks)), 0.0)
    sums = tl.load(Sums + place[:, None] * D + d, mask=real[:, None], other=0.0)
    out = tl.sum(sums * weights[:, None], 0) / tl.sum(totals * weights)
    tl.store(Out + (row * HEADS + head) * D + d, out.to(Out.dtype.element_ty))


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
        out: (P, B, O), written to.
    """
    (rows, width), height = x.shape, weight.shape[0]
    block = min(128, max(_UNIT, triton.next_power_of_2(rows)))
    tile, share = _tile(height), triton.cdiv(width, parts)
    grid = (triton.cdiv(height, tile), triton.cdiv(rows, block), parts)
    _multiply[grid](
        x, weight, out, rows, height, width, share, BLOCK_O=tile, BLOCK_N=block, BLOCK_K=_DEPTH,
        num_stages=5,
    )  # fmt: skip


def parts_for(weight: Tensor, processors: int) -> int:
    """Return into how many parts to split a product, so that all multiprocessors have work."""
    height, width = weight.shape
    tiles = triton.cdiv(height, _tile(height))
    fits = [n for n in (2, 4, 8) if tiles * n <= processors and width % (n * _DEPTH) == 0]
    return max(fits, default=1)


def _tile(height: int) -> int:
    """Return how many outputs a program computes: more of them where there are many."""
    return 64 if height < 16_384 else 128


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
    slots: Tensor,
    lengths: Tensor,
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
        slots: (B,) integers.
        lengths: (B,) integers: the position of the new token.
        eps: Of the norms.
        queries: (B, heads, D), written to.
    """
    rows, num_heads, size = queries.shape
    key_heads, positions = cache.keys.shape[1:3]
    query_norm, key_norm = norms or (rotary[0], rotary[0])
    _place_heads[(rows, num_heads + 2 * key_heads)](
        *heads, *ranks, query_norm, key_norm, *rotary, queries, *cache, slots, lengths,
        positions, heads.y.stride(1), heads.y.stride(0), eps,
        HEADS=num_heads, KEY_HEADS=key_heads, D=size, NORMS=bool(norms),
        R=heads.b.shape[1], PARTS=len(heads.y),
    )  # fmt: skip


def attend(queries: Tensor, cache: Cache, slots: Tensor, lengths: Tensor, out: Tensor) -> None:
    """Let every request's new token attend to its slot.

    Args:
        queries: (B, heads, D).
        cache: Keys and values.
        slots: (B,) integers.
        lengths: (B,) integers; so many tokens and the new one are seen.
        out: (B, heads D), written to.
    """
    rows, heads, size = queries.shape
    key_heads, positions = cache.keys.shape[1:3]
    chunks = triton.cdiv(positions, CHUNK)
    sums = torch.empty(rows, heads, chunks, size, device=queries.device)
    stats = torch.empty(rows, heads, chunks, 2, device=queries.device)
    group = heads // key_heads
    _attend_chunk[(rows, key_heads, chunks)](
        queries, *cache, slots, lengths, sums, stats, positions, size**-0.5,
        KEY_HEADS=key_heads, GROUP=group, PADDED=max(_UNIT, triton.next_power_of_2(group)),
        D=size, CHUNK=CHUNK, BLOCK=BLOCK,
    )  # fmt: skip
    _join_chunks[(rows, heads)](
        sums, stats, lengths, out,
        CHUNKS=chunks, PADDED=triton.next_power_of_2(chunks), HEADS=heads, D=size, CHUNK=CHUNK,
    )  # fmt: skip


def swiglu(both: Adapted, ranks: Ranks, out: Tensor) -> None:
    """Write silu(gate) · up: of 2F outputs → (B, F)."""
    rows, width = out.shape
    _swiglu[(rows, triton.cdiv(width, 1024))](
        *both, *ranks, out, both.y.stride(1), both.y.stride(0), width,
        BLOCK=1024, R=both.b.shape[1], PARTS=len(both.y), num_warps=8,
    )  # fmt: skip
