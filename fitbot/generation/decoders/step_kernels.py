"""The products of one pass of answering on a GPU, and what lies between them, in Triton.

`TorchDecoder` defines what they compute. N tokens of a pass, of which the first B are one of each
request; H hidden size, F feed-forward width, D head size, M positions of the cache. Sums are
float32, products in the weight's precision.
"""

from collections.abc import Sequence
from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from fitbot.base_model.gpu import gpu_of, product_sizes


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
    keys: Tensor,
    values: Tensor,
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
        keys: (M, key heads, D), written to.
        values: (M, key heads, D), written to.
        places: (N,) int64: where in the cache each token is, see `pass_kernels.Pass`.
        positions: (N,) integers: each token's.
        eps: Of the norms.
        queries: (N, heads, D), written to.
    """
    rows, num_heads, size = queries.shape
    key_heads = keys.shape[1]
    query_norm, key_norm = norms or (rotary[0], rotary[0])
    _place_heads[(rows, num_heads + 2 * key_heads)](
        *heads, *ranks, query_norm, key_norm, *rotary, queries,
        keys, values, places, positions,
        heads.y.stride(1), heads.y.stride(0), eps,
        HEADS=num_heads, KEY_HEADS=key_heads, D=size, NORMS=bool(norms),
        R=heads.b.shape[1], PARTS=len(heads.y),
    )  # fmt: skip


def swiglu(both: Adapted, ranks: Ranks, out: Tensor) -> None:
    """Write silu(gate) · up: of 2F outputs → (B, F)."""
    rows, width = out.shape
    _swiglu[(rows, triton.cdiv(width, 1024))](
        *both, *ranks, out, both.y.stride(1), both.y.stride(0), width,
        BLOCK=1024, R=both.b.shape[1], PARTS=len(both.y), num_warps=8,
    )  # fmt: skip
