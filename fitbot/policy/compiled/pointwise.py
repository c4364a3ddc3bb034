"""What lies between a decoder layer's matrix products: norms, rotary positions, SwiGLU, dropout.

Pure functions, forward and backward, computing in float32 and rounding once. Plain PyTorch here is
the definition, and runs on a CPU; on a GPU each function launches one Triton kernel, tested against
it (`pointwise_kernels`). Sources: RMSNorm https://arxiv.org/abs/1910.07467, rotary positions
https://arxiv.org/abs/2104.09864, SwiGLU https://arxiv.org/abs/2002.05202. T tokens, H hidden
size, F feed-forward width, D head size.

Dropout masks are not stored: whether an element is kept is a hash of its index and of a seed, so
backward computes the same mask again, and so does a replayed graph with another seed in the same
place.
"""

from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fitbot.policy.compiled.launch import blocks, launch, power_of_two
from fitbot.policy.compiled.operands import Dropout, JoinedGradient, kept

_BLOCK = 1024  # elements that a program takes of a row
_TILE = {"M": 16, "N": 128}  # rows and columns that it takes where it multiplies


def norm(
    x: Tensor,
    weight: Tensor,
    eps: float,
    dropout: Dropout | None,
    out: Tensor,
    copy: Tensor | None = None,
) -> Tensor:
    """Write RMSNorm(x) into `out`, (T, H), and return it after dropout: (T, H).

    With `copy`, (T, H), x is written there, for a product that adds to it in place.
    """
    if x.is_cuda:
        rows, width = x.shape
        dropped = torch.empty_like(x) if dropout else out
        launch(
            _kernels().norm, (rows,),
            x, weight, out, dropped, x if copy is None else copy,
            *_arguments(dropout, x), out.stride(0), eps,
            H=width, BLOCK=power_of_two(width),
            DROPS=dropout is not None, COPIES=copy is not None,
        )  # fmt: skip
        return dropped
    if copy is not None:
        copy.copy_(x)
    wide = x.float()
    normal = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight.float()
    out.copy_(normal)
    return (normal * kept(x, dropout)).to(x.dtype) if dropout else out


def norm_backward(
    dx: Tensor, dout: JoinedGradient, x: Tensor, weight: Tensor, eps: float, dropout: Dropout | None
) -> Tensor:
    """Add RMSNorm's share to dx, the gradient that passes it by: (T, H)."""
    if x.is_cuda:
        rows, width = x.shape
        result = torch.empty_like(dx)
        adapter = dout.dh.shape[1] > 0
        # Whole rows leave too few programs to multiply in: cuBLAS does that better before.
        ddropped = dout.dh @ dout.a if adapter else dout.dx
        launch(
            _kernels().norm_backward, (rows,),
            dx, dout.dx, ddropped, x, weight, result,
            *_arguments(dropout, x), dout.dx.stride(0), eps,
            H=width, BLOCK=power_of_two(width), ADAPTER=adapter, DROPS=dropout is not None,
        )  # fmt: skip
        return result
    wide, dnormal = x.float(), dout.total(dropout)
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    direction, dnormal = wide * scale, dnormal * weight.float()
    across = (dnormal * direction).mean(-1, keepdim=True)
    return (dx.float() + scale * (dnormal - direction * across)).to(dx.dtype)


def rotate(
    heads: Tensor, weight: Tensor | None, eps: float, cos: Tensor, sin: Tensor, out: Tensor
) -> None:
    """Normalise every head (if weight, (heads, D), is given) and rotate it by its position.

    Args:
        heads: (T, heads, D), queries and keys.
        weight: Of the norm, a row a head; None where the family has no such norm.
        eps: Of the norm.
        cos: (T, D) float32.
        sin: (T, D) float32, its first half negated.
        out: (T, heads, D).
    """
    if heads.is_cuda:
        tokens, count, size = heads.shape
        launch(
            _kernels().rotate, (tokens,),
            heads, cos if weight is None else weight, cos, sin, out,
            heads.stride(0), out.stride(0), eps,
            HEADS=count, D=size, BLOCK=power_of_two(count), NORMS=weight is not None,
        )  # fmt: skip
        return
    wide = heads.float()
    if weight is not None:
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        wide = wide * scale * weight.float()
    out.copy_(_rotate(wide, cos[:, None], sin[:, None]))


def rotate_backward(
    dout: Tensor,
    heads: Tensor,
    weight: Tensor | None,
    eps: float,
    cos: Tensor,
    sin: Tensor,
    out: Tensor,
) -> None:
    """Write the gradient with respect to `heads` into `out`, (T, heads, D)."""
    if heads.is_cuda:
        tokens, count, size = heads.shape
        launch(
            _kernels().rotate_backward, (tokens,),
            dout, heads, cos if weight is None else weight, cos, sin, out,
            dout.stride(0), heads.stride(0), out.stride(0), eps,
            HEADS=count, D=size, BLOCK=power_of_two(count), NORMS=weight is not None,
        )  # fmt: skip
        return
    dwide = _rotate(dout.float(), cos[:, None], -sin[:, None])  # rotated back
    if weight is not None:
        wide, dwide = heads.float(), dwide * weight.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        direction = wide * scale
        dwide = scale * (dwide - direction * (dwide * direction).mean(-1, keepdim=True))
    out.copy_(dwide)


def swiglu(gate_up: Tensor, dropout: Dropout | None, out: Tensor) -> Tensor:
    """Write silu(gate) · up into `out`, (T, F), and return it after dropout: (T, F)."""
    if gate_up.is_cuda:
        rows, width = out.shape
        dropped = out.new_empty(rows, width) if dropout else out
        launch(
            _kernels().swiglu, (rows, blocks(width, _BLOCK)),
            gate_up, out, dropped, *_arguments(dropout, gate_up), out.stride(0),
            F=width, BLOCK=_BLOCK, DROPS=dropout is not None,
        )  # fmt: skip
        return dropped
    gate, up = gate_up.float().chunk(2, dim=-1)
    product = F.silu(gate) * up
    out.copy_(product)
    return (product * kept(product, dropout)).to(out.dtype) if dropout else out


def swiglu_backward(dout: JoinedGradient, gate_up: Tensor, dropout: Dropout | None) -> Tensor:
    """Return the gradient with respect to gate_up: (T, 2F)."""
    if gate_up.is_cuda:
        result = torch.empty_like(gate_up)
        _launch_joined(_kernels().swiglu_backward, dout, [gate_up, result], dropout)
        return result
    gate, up = gate_up.float().chunk(2, dim=-1)
    dproduct = dout.total(dropout)
    sigmoid = torch.sigmoid(gate)
    dgate = dproduct * up * sigmoid * (1 + gate * (1 - sigmoid))
    return torch.cat([dgate, dproduct * gate * sigmoid], dim=-1).to(gate_up.dtype)


def drop(x: Tensor, dropout: Dropout) -> Tensor:
    """Return x, (T, I), after dropout."""
    if x.is_cuda:
        rows, width = x.shape
        result = x.new_empty(rows, width)
        launch(
            _kernels().drop, (rows, blocks(width, _BLOCK)),
            x, result, *_arguments(dropout, x), x.stride(0), WIDTH=width, BLOCK=_BLOCK,
        )  # fmt: skip
        return result
    return (x.float() * kept(x, dropout)).to(x.dtype)


def drop_backward(dout: JoinedGradient, dropout: Dropout | None) -> Tensor:
    """Return the gradient of a group's input: (T, I)."""
    if dout.dx.is_cuda:
        result = dout.dx.new_empty(dout.dx.shape)
        _launch_joined(_kernels().drop_backward, dout, [result], dropout)
        return result
    return dout.total(dropout).to(dout.dx.dtype)


def _kernels() -> ModuleType:
    from fitbot.policy.compiled import pointwise_kernels

    return pointwise_kernels


def _arguments(dropout: Dropout | None, like: Tensor) -> tuple[Any, ...]:
    return dropout or (like, 0, 0, 1.0)


def _launch_joined(
    kernel: Any, dout: JoinedGradient, tensors: list[Tensor], dropout: Dropout | None
) -> None:
    """Launch a kernel that begins with the total of `dout`; its result is the last tensor."""
    (rows, width), ranks = dout.dx.shape, dout.dh.shape[1]
    launch(
        kernel, (blocks(rows, _TILE["M"]), blocks(width, _TILE["N"])),
        *dout, *tensors, *_arguments(dropout, tensors[-1]), dout.dx.stride(0), rows,
        WIDTH=width, RANKS=ranks, BLOCK_R=max(16, power_of_two(ranks)),  # the matrix units' least
        DROPS=dropout is not None, **_TILE,
    )  # fmt: skip


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    other_half = x.unflatten(-1, (2, -1)).flip(-2).flatten(-2)  # type: ignore[no-untyped-call]
    rotated: Tensor = x * cos + other_half * sin
    return rotated
