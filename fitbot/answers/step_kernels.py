"""What lies between the matrix products of one decoding step on a GPU, in Triton.

`decoder.Decoder` defines what they compute. One token for each of B requests; H hidden size, F
feed-forward width, D head size, S slots, M positions of a slot. Sums are float32, products bf16.
"""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

CHUNK = 256  # keys that one program attends to


class Cache(NamedTuple):
    """One layer's keys and values: (S, key heads, M, D) each."""

    keys: Tensor
    values: Tensor


@triton.jit
def _add_norm(
    X, Y, Weight, Out, stride, eps, H: tl.constexpr, BLOCK: tl.constexpr, ADDS: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    h = tl.arange(0, BLOCK)
    real = h < H
    x = tl.load(X + row * H + h, mask=real, other=0.0)
    if ADDS:
        x += tl.load(Y + row * H + h, mask=real, other=0.0).to(tl.float32)
        tl.store(X + row * H + h, x, mask=real)
    scale = tl.rsqrt(tl.sum(x * x) / H + eps)
    weight = tl.load(Weight + h, mask=real, other=0.0)
    tl.store(Out + row * stride + h, (x * scale * weight).to(Out.dtype.element_ty), mask=real)


@triton.jit
def _place_heads(
    Heads, QueryNorm, KeyNorm, Cos, Sin, Queries, Keys, Values, Slots, Lengths, M, eps,
    HEADS: tl.constexpr, KEY_HEADS: tl.constexpr, D: tl.constexpr, NORMS: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    d = tl.arange(0, D)
    other = (d + D // 2) % D  # the half that it is turned with
    source = Heads + (row * (HEADS + 2 * KEY_HEADS) + head) * D
    x = tl.load(source + d).to(tl.float32)
    position = tl.load(Lengths + row).to(tl.int64)
    slot = tl.load(Slots + row).to(tl.int64)
    if head < HEADS + KEY_HEADS:
        swapped = tl.load(source + other).to(tl.float32)
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
    slot = tl.load(Slots + row).to(tl.int64)
    g, d, k = tl.arange(0, PADDED), tl.arange(0, D), tl.arange(0, BLOCK)
    real = g < GROUP
    place = (row * KEY_HEADS + head) * GROUP + g
    q = tl.load(Queries + place[:, None] * D + d, mask=real[:, None], other=0.0).to(tl.float32)
    base = (slot * KEY_HEADS + head) * M * D
    peak = tl.full((PADDED,), -1e30, tl.float32)
    total = tl.zeros((PADDED,), tl.float32)
    out = tl.zeros((PADDED, D), tl.float32)
    for start in range(chunk * CHUNK, tl.minimum((chunk + 1) * CHUNK, length), BLOCK):
        seen = start + k < length
        where = base + (start + k)[:, None] * D + d
        keys = tl.load(Keys + where, mask=seen[:, None], other=0.0).to(tl.float32)
        scores = tl.sum(q[:, None, :] * keys[None, :, :], 2) * scale
        scores = tl.where(seen[None, :], scores, -1e30)
        new_peak = tl.maximum(peak, tl.max(scores, 1))
        weights = tl.exp(scores - new_peak[:, None])
        shrink = tl.exp(peak - new_peak)
        values = tl.load(Values + where, mask=seen[:, None], other=0.0).to(tl.float32)
        out = out * shrink[:, None] + tl.sum(weights[:, :, None] * values[None, :, :], 1)
        total = total * shrink + tl.sum(weights, 1)
        peak = new_peak
    target = place * chunks + chunk
    tl.store(Sums + target[:, None] * D + d, out, mask=real[:, None])
    tl.store(Stats + target * 2, peak, mask=real)
    tl.store(Stats + target * 2 + 1, total, mask=real)


@triton.jit
def _join_chunks(
    Sums, Stats, Out, stride,
    CHUNKS: tl.constexpr, PADDED: tl.constexpr, HEADS: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    c, d = tl.arange(0, PADDED), tl.arange(0, D)
    real = c < CHUNKS
    place = (row * HEADS + head) * CHUNKS + c
    peaks = tl.load(Stats + place * 2, mask=real, other=-1e30)
    totals = tl.load(Stats + place * 2 + 1, mask=real, other=0.0)
    weights = tl.exp(peaks - tl.max(peaks))
    sums = tl.load(Sums + place[:, None] * D + d, mask=real[:, None], other=0.0)
    out = tl.sum(sums * weights[:, None], 0) / tl.sum(totals * weights)
    tl.store(Out + row * stride + head * D + d, out.to(Out.dtype.element_ty))


@triton.jit
def _swiglu(Both, Out, stride, F, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    f = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(Both + row * 2 * F + f, mask=f < F, other=0.0).to(tl.float32)
    up = tl.load(Both + row * 2 * F + F + f, mask=f < F, other=0.0).to(tl.float32)
    out = gate * tl.sigmoid(gate) * up
    tl.store(Out + row * stride + f, out.to(Out.dtype.element_ty), mask=f < F)


def add_norm(x: Tensor, y: Tensor | None, weight: Tensor, eps: float, out: Tensor) -> None:
    """Add y to x in place and write the sum's RMS norm.

    Args:
        x: (B, H) float32.
        y: (B, H), or None.
        weight: (H,) float32.
        eps: Of the norm.
        out: (B, H), rows may be further apart.
    """
    rows, width = x.shape
    _add_norm[(rows,)](
        x, x if y is None else y, weight, out, out.stride(0), eps,
        H=width, BLOCK=triton.next_power_of_2(width), ADDS=y is not None,
    )  # fmt: skip


def place_heads(
    heads: Tensor,
    norms: tuple[Tensor, Tensor] | None,
    turns: tuple[Tensor, Tensor],
    cache: Cache,
    slots: Tensor,
    lengths: Tensor,
    eps: float,
    queries: Tensor,
) -> None:
    """Normalise and turn queries and keys; put keys and values where they belong.

    Args:
        heads: (B, (heads + 2 key heads) D).
        norms: (D,) each, of queries and keys, or None.
        turns: (M, D) cosine and sine, the sine's first half negated.
        cache: Written to.
        slots: (B,) integers.
        lengths: (B,) integers: the position of the new token.
        eps: Of the norms.
        queries: (B, heads, D), written to.
    """
    rows, num_heads, size = queries.shape
    key_heads, positions = cache.keys.shape[1:3]
    query_norm, key_norm = norms or (turns[0], turns[0])
    _place_heads[(rows, num_heads + 2 * key_heads)](
        heads, query_norm, key_norm, *turns, queries, *cache, slots, lengths, positions, eps,
        HEADS=num_heads, KEY_HEADS=key_heads, D=size, NORMS=norms is not None,
    )  # fmt: skip


def attend(
    queries: Tensor, cache: Cache, slots: Tensor, lengths: Tensor, out: Tensor, scratch: Tensor
) -> None:
    """Let every request's new token attend to its slot.

    Args:
        queries: (B, heads, D).
        cache: Keys and values.
        slots: (B,) integers.
        lengths: (B,) integers; so many tokens and the new one are seen.
        out: (B, heads D), rows may be further apart; written to.
        scratch: float32, at least `scratch_size` elements.
    """
    rows, heads, size = queries.shape
    key_heads, positions = cache.keys.shape[1:3]
    chunks = triton.cdiv(positions, CHUNK)
    parts = rows * heads * chunks
    sums, stats = scratch[: parts * size], scratch[parts * size :]
    group = heads // key_heads
    _attend_chunk[(rows, key_heads, chunks)](
        queries, *cache, slots, lengths, sums, stats, positions, size**-0.5,
        KEY_HEADS=key_heads, GROUP=group, PADDED=triton.next_power_of_2(group), D=size,
        CHUNK=CHUNK, BLOCK=32,
    )  # fmt: skip
    _join_chunks[(rows, heads)](
        sums, stats, out, out.stride(0),
        CHUNKS=chunks, PADDED=triton.next_power_of_2(chunks), HEADS=heads, D=size,
    )  # fmt: skip


def scratch_size(rows: int, heads: int, size: int, positions: int) -> int:
    """Count the elements that `attend` wants of its scratch."""
    return rows * heads * int(triton.cdiv(positions, CHUNK)) * (size + 2)


def swiglu(both: Tensor, out: Tensor) -> None:
    """Write silu(gate) · up: (B, 2F) → (B, F), whose rows may be further apart."""
    rows, width = both.shape[0], both.shape[1] // 2
    _swiglu[(rows, triton.cdiv(width, 1024))](both, out, out.stride(0), width, BLOCK=1024)
