"""Triton kernels of `pointwise`: each computes what the function of its name there defines.

T tokens, H hidden size, F feed-forward width, D head size, V vocabulary.
"""

import triton
import triton.language as tl

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
def norm(
    X, Weight, Out, Dropped, Copy, Seeds, site, threshold, scale, out_row, eps,
    H: tl.constexpr, BLOCK: tl.constexpr, DROPS: tl.constexpr, COPIES: tl.constexpr,
):  # fmt: skip
    """Take one row of `pointwise.norm`."""
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
def norm_backward(
    DX, DOut, DDropped, X, Weight, Result, Seeds, site, threshold, scale, dout_row, eps,
    H: tl.constexpr, BLOCK: tl.constexpr, ADAPTER: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """Take one row of `pointwise.norm_backward`."""
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
def rotate(
    Heads, Weight, Cos, Sin, Out, heads_row, out_row, eps,
    HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, NORMS: tl.constexpr,
):  # fmt: skip
    """Take one token of `pointwise.rotate`."""
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
def rotate_backward(
    DOut, Heads, Weight, Cos, Sin, Out, dout_row, heads_row, out_row, eps,
    HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, NORMS: tl.constexpr,
):  # fmt: skip
    """Take one token of `pointwise.rotate_backward`."""
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
def swiglu(
    GateUp, Out, Dropped, Seeds, site, threshold, scale, out_row,
    F: tl.constexpr, BLOCK: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """Take a part of one row of `pointwise.swiglu`."""
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
    DX, DH, A, Seeds, site, threshold, scale, row_stride, T,
    WIDTH: tl.constexpr, RANKS: tl.constexpr, BLOCK_R: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """Compute `JoinedGradient.total` for this program's rows and columns; returns those as well."""
    rows = tl.program_id(0) * M + tl.arange(0, M)
    columns = tl.program_id(1) * N + tl.arange(0, N)
    inside, real = rows < T, columns < WIDTH
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
    return total, rows[:, None], columns[None, :], both


@triton.jit(do_not_specialize=[*_VARYING, "T"])
def swiglu_backward(
    DOut, DH, A, GateUp, Result, Seeds, site, threshold, scale, dout_row, T,
    WIDTH: tl.constexpr, RANKS: tl.constexpr, BLOCK_R: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """Take some rows and columns of `pointwise.swiglu_backward`."""
    dproduct, rows, columns, both = _joined_gradient(
        DOut, DH, A, Seeds, site, threshold, scale, dout_row, T,
        WIDTH, RANKS, BLOCK_R, M, N, DROPS,
    )  # fmt: skip
    at = rows * 2 * WIDTH + columns
    gate = tl.load(GateUp + at, mask=both, other=0.0).to(tl.float32)
    up = tl.load(GateUp + at + WIDTH, mask=both, other=0.0).to(tl.float32)
    sigmoid = tl.sigmoid(gate)
    dgate = dproduct * up * sigmoid * (1 + gate * (1 - sigmoid))
    dup = dproduct * gate * sigmoid
    tl.store(Result + at, dgate.to(Result.dtype.element_ty), mask=both)
    tl.store(Result + at + WIDTH, dup.to(Result.dtype.element_ty), mask=both)


@triton.jit(do_not_specialize=_VARYING)
def drop(
    X, Result, Seeds, site, threshold, scale, x_row, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Take a part of one row of `pointwise.drop`."""
    row, i = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = i < WIDTH
    x = tl.load(X + row * x_row + i, mask=real, other=0.0).to(tl.float32)
    x *= _kept(row * WIDTH + i, Seeds, site, threshold, scale)
    tl.store(Result + row * WIDTH + i, x.to(Result.dtype.element_ty), mask=real)


@triton.jit(do_not_specialize=[*_VARYING, "T"])
def drop_backward(
    DOut, DH, A, Result, Seeds, site, threshold, scale, dout_row, T,
    WIDTH: tl.constexpr, RANKS: tl.constexpr, BLOCK_R: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """Take some rows and columns of `pointwise.drop_backward`."""
    dx, rows, columns, both = _joined_gradient(
        DOut, DH, A, Seeds, site, threshold, scale, dout_row, T,
        WIDTH, RANKS, BLOCK_R, M, N, DROPS,
    )  # fmt: skip
    tl.store(Result + rows * WIDTH + columns, dx.to(Result.dtype.element_ty), mask=both)


@triton.jit
def score_tile(
    Logits, Targets, Logps, Probs, V, BLOCK: tl.constexpr, WITH_PROBS: tl.constexpr
):  # fmt: skip
    """Take one row of `logps.score_tile`."""
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
