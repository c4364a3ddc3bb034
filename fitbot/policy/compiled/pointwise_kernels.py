"""Triton kernels of `pointwise`: each computes what the function of its name there defines.

T tokens, H hidden size, F feed-forward width, D head size, V vocabulary.
"""

from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fitbot.policy.compiled.launch import launch

if TYPE_CHECKING:
    from fitbot.policy.compiled.operands import Dropout, JoinedGradient

# Numbers that differ from call to call must not compile the kernel anew.
_VARYING = ["site", "threshold"]


@triton.jit
def _kept(index, Seeds, site, threshold, scale):
    """Return 0 where the element of this index is dropped, 1 / (1 - p) where not."""
    h = index.to(tl.uint32) ^ tl.load(Seeds + site).to(tl.uint32)
    h = (h ^ (h >> 16)) * 0x7FEB352D
    h = (h ^ (h >> 15)) * 0x846CA68B
    h = (h ^ (h >> 16)) & 0x7FFFFFFF
    return tl.where(h.to(tl.int32) >= threshold, scale, 0.0)


@triton.jit(do_not_specialize=_VARYING)
def _norm(
    X, Weight, Out, Dropped, Copy, Seeds, site, threshold, scale, out_row, eps,
    H: tl.constexpr, BLOCK: tl.constexpr, DROPS: tl.constexpr, COPIES: tl.constexpr,
):  # fmt: skip
    row, h = tl.program_id(0), tl.arange(0, BLOCK)
    real = h < H
    x = tl.load(X + row * H + h, mask=real, other=0.0)
    if COPIES:
        tl.store(Copy + row * H + h, x, mask=real)
    x = x.to(tl.float32)
    weight = tl.load(Weight + h, mask=real, other=0.0).to(tl.float32)
    normal = x * tl.rsqrt(tl.sum(x * x) / H + eps) * weight
    tl.store(Out + row * out_row + h, normal.to(Out.dtype.element_ty), mask=real)
    if DROPS:
        dropped = normal * _kept(row * H + h, Seeds, site, threshold, scale)
        tl.store(Dropped + row * H + h, dropped.to(Out.dtype.element_ty), mask=real)


@triton.jit(do_not_specialize=_VARYING)
def _norm_backward(
    DX, DOut, DDropped, X, Weight, Result, Seeds, site, threshold, scale, dout_row, eps,
    H: tl.constexpr, BLOCK: tl.constexpr, ADAPTER: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    row, h = tl.program_id(0), tl.arange(0, BLOCK)
    real = h < H
    x = tl.load(X + row * H + h, mask=real, other=0.0).to(tl.float32)
    dnormal = tl.load(DOut + row * dout_row + h, mask=real, other=0.0).to(tl.float32)
    if ADAPTER:
        ddropped = tl.load(DDropped + row * H + h, mask=real, other=0.0).to(tl.float32)
        if DROPS:
            ddropped *= _kept(row * H + h, Seeds, site, threshold, scale)
        dnormal += ddropped
    dnormal *= tl.load(Weight + h, mask=real, other=0.0).to(tl.float32)
    length = tl.rsqrt(tl.sum(x * x) / H + eps)
    direction = x * length
    dx = length * (dnormal - direction * (tl.sum(dnormal * direction) / H))
    dx += tl.load(DX + row * H + h, mask=real, other=0.0).to(tl.float32)
    tl.store(Result + row * H + h, dx.to(Result.dtype.element_ty), mask=real)


@triton.jit
def _rotated(
    Pointer, at, other_at, real, scale, Weight, w_at, w_other_at, cos, sin, NORMS: tl.constexpr
):
    """Load heads, normalise them (scale, weight) and rotate them by cos and sin."""
    x = tl.load(Pointer + at, mask=real, other=0.0).to(tl.float32) * scale
    other = tl.load(Pointer + other_at, mask=real, other=0.0).to(tl.float32) * scale
    if NORMS:
        x *= tl.load(Weight + w_at, mask=real, other=0.0).to(tl.float32)
        other *= tl.load(Weight + w_other_at, mask=real, other=0.0).to(tl.float32)
    return x * cos + other * sin


@triton.jit
def _rotate(
    Heads, Weight, Cos, Sin, Out, heads_row, out_row, eps,
    HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, NORMS: tl.constexpr,
):  # fmt: skip
    token, head, d = tl.program_id(0), tl.arange(0, BLOCK)[:, None], tl.arange(0, D)[None, :]
    real = head < HEADS
    other_d = (d + D // 2) % D
    scale = 1.0
    if NORMS:
        x = tl.load(Heads + token * heads_row + head * D + d, mask=real, other=0.0).to(tl.float32)
        scale = tl.rsqrt(tl.sum(x * x, 1, keep_dims=True) / D + eps)
    cos, sin = tl.load(Cos + token * D + d), tl.load(Sin + token * D + d)
    rotated = _rotated(
        Heads + token * heads_row, head * D + d, head * D + other_d, real, scale,
        Weight, head * D + d, head * D + other_d, cos, sin, NORMS,
    )  # fmt: skip
    at = Out + token * out_row + head * D + d
    tl.store(at, rotated.to(Out.dtype.element_ty), mask=real)


@triton.jit
def _rotate_backward(
    DOut, Heads, Weight, Cos, Sin, Out, dout_row, heads_row, out_row, eps,
    HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, NORMS: tl.constexpr,
):  # fmt: skip
    token, head, d = tl.program_id(0), tl.arange(0, BLOCK)[:, None], tl.arange(0, D)[None, :]
    real = head < HEADS
    cos, sin = tl.load(Cos + token * D + d), tl.load(Sin + token * D + d)
    dx = _rotated(
        DOut + token * dout_row, head * D + d, head * D + (d + D // 2) % D, real, 1.0,
        Weight, 0, 0, cos, -sin, False,
    )  # fmt: skip
    if NORMS:
        dx *= tl.load(Weight + head * D + d, mask=real, other=0.0).to(tl.float32)
        x = tl.load(Heads + token * heads_row + head * D + d, mask=real, other=0.0).to(tl.float32)
        length = tl.rsqrt(tl.sum(x * x, 1, keep_dims=True) / D + eps)
        direction = x * length
        dx = length * (dx - direction * (tl.sum(dx * direction, 1, keep_dims=True) / D))
    tl.store(Out + token * out_row + head * D + d, dx.to(Out.dtype.element_ty), mask=real)


@triton.jit(do_not_specialize=_VARYING)
def _swiglu(
    GateUp, Out, Dropped, Seeds, site, threshold, scale, out_row,
    F: tl.constexpr, BLOCK: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    row, f = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = f < F
    gate = tl.load(GateUp + row * 2 * F + f, mask=real, other=0.0).to(tl.float32)
    up = tl.load(GateUp + row * 2 * F + F + f, mask=real, other=0.0).to(tl.float32)
    product = gate * tl.sigmoid(gate) * up
    tl.store(Out + row * out_row + f, product.to(Out.dtype.element_ty), mask=real)
    if DROPS:
        dropped = product * _kept(row * F + f, Seeds, site, threshold, scale)
        tl.store(Dropped + row * F + f, dropped.to(Out.dtype.element_ty), mask=real)


@triton.jit
def _joined_gradient(
    DX, DH, A, Seeds, site, threshold, scale, row_stride, rows, columns, inside, real,
    WIDTH: tl.constexpr, RANKS: tl.constexpr, BLOCK_R: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """Compute `pointwise.JoinedGradient.total` for some rows and columns."""
    both = inside[:, None] & real[None, :]
    at = rows[:, None] * row_stride + columns[None, :]
    total = tl.load(DX + at, mask=both, other=0.0).to(tl.float32)
    if RANKS:
        r = tl.arange(0, BLOCK_R)
        dh = tl.load(
            DH + rows[:, None] * row_stride + r[None, :],
            mask=inside[:, None] & (r < RANKS)[None, :],
            other=0.0,
        )
        a = tl.load(
            A + r[:, None] * WIDTH + columns[None, :],
            mask=(r < RANKS)[:, None] & real[None, :],
            other=0.0,
        )
        ddropped = tl.dot(dh, a, input_precision="ieee")
        if DROPS:
            index = rows[:, None] * WIDTH + columns[None, :]
            ddropped *= _kept(index, Seeds, site, threshold, scale)
        total += ddropped
    return total


@triton.jit(do_not_specialize=[*_VARYING, "T"])
def _swiglu_backward(
    DOut, DH, A, GateUp, Result, Seeds, site, threshold, scale, dout_row, T,
    F: tl.constexpr, RANKS: tl.constexpr, BLOCK_R: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * M + tl.arange(0, M)
    columns = tl.program_id(1) * N + tl.arange(0, N)
    inside, real = rows < T, columns < F
    dproduct = _joined_gradient(
        DOut, DH, A, Seeds, site, threshold, scale, dout_row, rows, columns, inside, real,
        F, RANKS, BLOCK_R, DROPS,
    )  # fmt: skip
    both = inside[:, None] & real[None, :]
    at = rows[:, None] * 2 * F + columns[None, :]
    gate = tl.load(GateUp + at, mask=both, other=0.0).to(tl.float32)
    up = tl.load(GateUp + at + F, mask=both, other=0.0).to(tl.float32)
    sigmoid = tl.sigmoid(gate)
    dgate = dproduct * up * sigmoid * (1 + gate * (1 - sigmoid))
    dup = dproduct * gate * sigmoid
    tl.store(Result + at, dgate.to(Result.dtype.element_ty), mask=both)
    tl.store(Result + at + F, dup.to(Result.dtype.element_ty), mask=both)


@triton.jit(do_not_specialize=_VARYING)
def _drop(
    X, Result, Seeds, site, threshold, scale, x_row, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    row, i = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = i < WIDTH
    x = tl.load(X + row * x_row + i, mask=real, other=0.0).to(tl.float32)
    x *= _kept(row * WIDTH + i, Seeds, site, threshold, scale)
    tl.store(Result + row * WIDTH + i, x.to(Result.dtype.element_ty), mask=real)


@triton.jit(do_not_specialize=[*_VARYING, "T"])
def _drop_backward(
    DOut, DH, A, Result, Seeds, site, threshold, scale, dout_row, T,
    WIDTH: tl.constexpr, RANKS: tl.constexpr, BLOCK_R: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * M + tl.arange(0, M)
    columns = tl.program_id(1) * N + tl.arange(0, N)
    inside, real = rows < T, columns < WIDTH
    dx = _joined_gradient(
        DOut, DH, A, Seeds, site, threshold, scale, dout_row, rows, columns, inside, real,
        WIDTH, RANKS, BLOCK_R, DROPS,
    )  # fmt: skip
    at = Result + rows[:, None] * WIDTH + columns[None, :]
    tl.store(at, dx.to(Result.dtype.element_ty), mask=inside[:, None] & real[None, :])


@triton.jit
def _score_tile(
    Logits, Targets, Logps, Probs, V, BLOCK: tl.constexpr, WITH_PROBS: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    v = tl.arange(0, BLOCK)
    peaks = tl.full((BLOCK,), -1e30, tl.float32)
    sums = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, V, BLOCK):
        logits = tl.load(Logits + row * V + start + v, mask=start + v < V, other=-1e30)
        new_peaks = tl.maximum(peaks, logits)
        sums = sums * tl.exp(peaks - new_peaks) + tl.exp(logits - new_peaks)
        peaks = new_peaks
    peak = tl.max(peaks)
    normaliser = peak + tl.log(tl.sum(sums * tl.exp(peaks - peak)))
    target = tl.load(Logits + row * V + tl.load(Targets + row))
    tl.store(Logps + row, target - normaliser)
    if WITH_PROBS:
        for start in range(0, V, BLOCK):
            real = start + v < V
            logits = tl.load(Logits + row * V + start + v, mask=real, other=-1e30)
            probs = tl.exp(logits - normaliser).to(Probs.dtype.element_ty)
            tl.store(Probs + row * V + start + v, probs, mask=real)


def norm(
    x: Tensor,
    weight: Tensor,
    eps: float,
    dropout: "Dropout | None",
    out: Tensor,
    copy: Tensor | None = None,
) -> Tensor:
    """See `pointwise.norm`."""
    rows, width = x.shape
    dropped = torch.empty_like(x) if dropout else out
    launch(
        _norm, (rows,),
        x, weight, out, dropped, x if copy is None else copy,
        *_arguments(dropout, x), out.stride(0), eps,
        H=width, BLOCK=triton.next_power_of_2(width),
        DROPS=dropout is not None, COPIES=copy is not None,
    )  # fmt: skip
    return dropped


def norm_backward(
    dx: Tensor,
    dout: "JoinedGradient",
    x: Tensor,
    weight: Tensor,
    eps: float,
    dropout: "Dropout | None",
) -> Tensor:
    """See `pointwise.norm_backward`."""
    rows, width = x.shape
    result = torch.empty_like(dx)
    adapter = dout.dh.shape[1] > 0
    # Whole rows leave too few programs to multiply in: cuBLAS does that better before.
    ddropped = dout.dh @ dout.a if adapter else dout.dx
    launch(
        _norm_backward, (rows,),
        dx, dout.dx, ddropped, x, weight, result, *_arguments(dropout, x), dout.dx.stride(0), eps,
        H=width, BLOCK=triton.next_power_of_2(width), ADAPTER=adapter, DROPS=dropout is not None,
    )  # fmt: skip
    return result


def rotate(
    heads: Tensor, weight: Tensor | None, eps: float, cos: Tensor, sin: Tensor, out: Tensor
) -> None:
    """See `pointwise.rotate`."""
    tokens, count, size = heads.shape
    launch(
        _rotate, (tokens,),
        heads, cos if weight is None else weight, cos, sin, out, heads.stride(0), out.stride(0),
        eps, HEADS=count, D=size, BLOCK=triton.next_power_of_2(count), NORMS=weight is not None,
    )  # fmt: skip


def rotate_backward(
    dout: Tensor,
    heads: Tensor,
    weight: Tensor | None,
    eps: float,
    cos: Tensor,
    sin: Tensor,
    out: Tensor,
) -> None:
    """See `pointwise.rotate_backward`."""
    tokens, count, size = heads.shape
    launch(
        _rotate_backward, (tokens,),
        dout, heads, cos if weight is None else weight, cos, sin, out,
        dout.stride(0), heads.stride(0), out.stride(0), eps,
        HEADS=count, D=size, BLOCK=triton.next_power_of_2(count), NORMS=weight is not None,
    )  # fmt: skip


def swiglu(gate_up: Tensor, dropout: "Dropout | None", out: Tensor) -> Tensor:
    """See `pointwise.swiglu`."""
    rows, width = out.shape
    dropped = out.new_empty(rows, width) if dropout else out
    launch(
        _swiglu, _grid(rows, width),
        gate_up, out, dropped, *_arguments(dropout, gate_up), out.stride(0),
        F=width, BLOCK=_BLOCK, DROPS=dropout is not None,
    )  # fmt: skip
    return dropped


def swiglu_backward(dout: "JoinedGradient", gate_up: Tensor, dropout: "Dropout | None") -> Tensor:
    """See `pointwise.swiglu_backward`."""
    rows, width = dout.dx.shape
    result = torch.empty_like(gate_up)
    launch(
        _swiglu_backward, (triton.cdiv(rows, 16), triton.cdiv(width, 128)),
        *dout, gate_up, result, *_arguments(dropout, gate_up), dout.dx.stride(0), rows,
        F=width, M=16, N=128, **_ranks(dout, dropout),
    )  # fmt: skip
    return result


def drop(x: Tensor, dropout: "Dropout") -> Tensor:
    """See `pointwise.drop`."""
    rows, width = x.shape
    result = x.new_empty(rows, width)
    launch(
        _drop, _grid(rows, width),
        x, result, *_arguments(dropout, x), x.stride(0), WIDTH=width, BLOCK=_BLOCK,
    )  # fmt: skip
    return result


def drop_backward(dout: "JoinedGradient", dropout: "Dropout | None") -> Tensor:
    """See `pointwise.drop_backward`."""
    rows, width = dout.dx.shape
    result = dout.dx.new_empty(rows, width)
    launch(
        _drop_backward, (triton.cdiv(rows, 16), triton.cdiv(width, 128)),
        *dout, result, *_arguments(dropout, result), dout.dx.stride(0), rows,
        WIDTH=width, M=16, N=128, **_ranks(dout, dropout),
    )  # fmt: skip
    return result


def score_tile(logits: Tensor, targets: Tensor, dtype: torch.dtype | None) -> Any:
    """See `logps.score_tile`."""
    rows, vocabulary = logits.shape
    logps = torch.empty(rows, dtype=torch.float32, device=logits.device)
    probs = logps if dtype is None else torch.empty_like(logits, dtype=dtype)
    launch(
        _score_tile, (rows,),
        logits, targets, logps, probs, vocabulary,
        BLOCK=4096, WITH_PROBS=dtype is not None, num_warps=8,
    )  # fmt: skip
    return logps, None if dtype is None else probs


_BLOCK = 1024


def _grid(rows: int, width: int) -> tuple[int, int]:
    return rows, triton.cdiv(width, _BLOCK)


def _ranks(dout: "JoinedGradient", dropout: "Dropout | None") -> dict[str, Any]:
    ranks = dout.dh.shape[1]
    block = max(16, triton.next_power_of_2(ranks))  # the matrix units' smallest
    return {"RANKS": ranks, "BLOCK_R": block, "DROPS": dropout is not None}


def _arguments(dropout: "Dropout | None", like: Tensor) -> tuple[Any, ...]:
    return dropout or (like, 0, 0, 1.0)
