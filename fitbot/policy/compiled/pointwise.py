"""What lies between a decoder layer's matrix products: norms, rotary positions, SwiGLU, dropout.

Pure functions, forward and backward, computing in float32 and rounding once. Plain PyTorch here is
the definition, and runs on a CPU; on a GPU each function is one Triton kernel, tested against it
(`pointwise_kernels`). Sources: RMSNorm https://arxiv.org/abs/1910.07467, rotary positions
https://arxiv.org/abs/2104.09864, SwiGLU https://arxiv.org/abs/2002.05202. T tokens, H hidden
size, F feed-forward width, D head size.

Dropout masks are not stored: whether an element is kept is a hash of its index and of a seed, so
backward computes the same mask again, and so does a replayed graph with another seed in the same
place.
"""

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from fitbot.policy.compiled.operands import Dropout, JoinedGradient, kept


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
        result: Tensor = _kernels().norm(x, weight, eps, dropout, out, copy)
        return result
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
        result: Tensor = _kernels().norm_backward(dx, dout, x, weight, eps, dropout)
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
        _kernels().rotate(heads, weight, eps, cos, sin, out)
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
        _kernels().rotate_backward(dout, heads, weight, eps, cos, sin, out)
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
        result: Tensor = _kernels().swiglu(gate_up, dropout, out)
        return result
    gate, up = gate_up.float().chunk(2, dim=-1)
    product = F.silu(gate) * up
    out.copy_(product)
    return (product * kept(product, dropout)).to(out.dtype) if dropout else out


def swiglu_backward(dout: JoinedGradient, gate_up: Tensor, dropout: Dropout | None) -> Tensor:
    """Return the gradient with respect to gate_up: (T, 2F)."""
    if gate_up.is_cuda:
        result: Tensor = _kernels().swiglu_backward(dout, gate_up, dropout)
        return result
    gate, up = gate_up.float().chunk(2, dim=-1)
    dproduct = dout.total(dropout)
    sigmoid = torch.sigmoid(gate)
    dgate = dproduct * up * sigmoid * (1 + gate * (1 - sigmoid))
    return torch.cat([dgate, dproduct * gate * sigmoid], dim=-1).to(gate_up.dtype)


def drop(x: Tensor, dropout: Dropout) -> Tensor:
    """Return x, (T, I), after dropout."""
    if x.is_cuda:
        result: Tensor = _kernels().drop(x, dropout)
        return result
    return (x.float() * kept(x, dropout)).to(x.dtype)


def drop_backward(dout: JoinedGradient, dropout: Dropout | None) -> Tensor:
    """Return the gradient of a group's input: (T, I)."""
    if dout.dx.is_cuda:
        result: Tensor = _kernels().drop_backward(dout, dropout)
        return result
    return dout.total(dropout).to(dout.dx.dtype)


def _kernels() -> ModuleType:
    from fitbot.policy.compiled import pointwise_kernels

    return pointwise_kernels


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    other_half = x.unflatten(-1, (2, -1)).flip(-2).flatten(-2)  # type: ignore[no-untyped-call]
    rotated: Tensor = x * cos + other_half * sin
    return rotated
