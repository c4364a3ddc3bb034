"""What lies between a decoder layer's matrix products: norms, rotary positions, SwiGLU, dropout.

Pure functions in plain PyTorch, forward and backward, computing in float32 and rounding once. On a
GPU each is compiled into one kernel (`compile_all`), on a CPU they run as they stand. T tokens, H
hidden size, F feed-forward width, D head size.

Dropout masks are not stored: whether an element is kept is a hash of its index and of a seed, so
backward computes the same mask again, and so does a replayed graph with another seed in the same
place.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fitbot.policy.logps import log_normaliser, probabilities


class Dropout(NamedTuple):
    """Which elements of one input are dropped. All on the device, so that they may change."""

    seed: Tensor  # () int32
    threshold: Tensor  # () int32: probability · 2^31; 0 keeps everything
    scale: Tensor  # () float32: 1 / (1 - probability)


def norm(x: Tensor, weight: Tensor, eps: float, dropout: Dropout | None, out: Tensor) -> Tensor:
    """Write RMSNorm(x) into `out`, (T, H), and return it after dropout: (T, H)."""
    wide = x.float()
    normal = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight.float()
    out.copy_(normal)
    return (normal * _kept(x, dropout)).to(x.dtype) if dropout else out


def norm_backward(
    dx: Tensor,
    dout: Tensor,
    ddropped: Tensor | None,
    x: Tensor,
    weight: Tensor,
    eps: float,
    dropout: Dropout | None,
) -> Tensor:
    """Add RMSNorm's share to dx, the gradient that passes it by: (T, H)."""
    wide, dnormal = x.float(), dout.float()
    if ddropped is not None and dropout is not None:
        dnormal = dnormal + ddropped.float() * _kept(x, dropout)
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    direction, dnormal = wide * scale, dnormal * weight.float()
    across = (dnormal * direction).mean(-1, keepdim=True)
    return (dx.float() + scale * (dnormal - direction * across)).to(dx.dtype)


def rotate(
    heads: Tensor, weight: Tensor | None, eps: float, cos: Tensor, sin: Tensor, out: Tensor
) -> None:
    """Normalise every head (if weight, (heads, D), is given) and turn it by its position.

    Args:
        heads: (T, heads, D), queries and keys.
        weight: Of the norm, a row a head; None where the family has no such norm.
        eps: Of the norm.
        cos: (T, D) float32.
        sin: (T, D) float32, its first half negated.
        out: (T, heads, D).
    """
    wide = heads.float()
    if weight is not None:
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        wide = wide * scale * weight.float()
    out.copy_(_turn(wide, cos[:, None], sin[:, None]))


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
    dwide = _turn(dout.float(), cos[:, None], -sin[:, None])  # turned back
    if weight is not None:
        wide, dwide = heads.float(), dwide * weight.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        direction = wide * scale
        dwide = scale * (dwide - direction * (dwide * direction).mean(-1, keepdim=True))
    out.copy_(dwide)


def swiglu(gate_up: Tensor, dropout: Dropout | None, out: Tensor) -> Tensor:
    """Write silu(gate) · up into `out`, (T, F), and return it after dropout: (T, F)."""
    gate, up = gate_up.float().chunk(2, dim=-1)
    product = F.silu(gate) * up
    out.copy_(product)
    return (product * _kept(product, dropout)).to(out.dtype) if dropout else out


def swiglu_backward(
    dout: Tensor,
    ddropped: Tensor | None,
    gate_up: Tensor,
    dropout: Dropout | None,
    out_gate: Tensor,
    out_up: Tensor,
) -> None:
    """Write the gradients with respect to gate and up, each (T, F)."""
    gate, up = gate_up.float().chunk(2, dim=-1)
    dproduct = dout.float()
    if ddropped is not None and dropout is not None:
        dproduct = dproduct + ddropped.float() * _kept(dproduct, dropout)
    sigmoid = torch.sigmoid(gate)
    out_gate.copy_(dproduct * up * sigmoid * (1 + gate * (1 - sigmoid)))
    out_up.copy_(dproduct * gate * sigmoid)


def drop(x: Tensor, dropout: Dropout) -> Tensor:
    """Return x, (T, I), after dropout."""
    return (x.float() * _kept(x, dropout)).to(x.dtype)


def drop_backward(dx: Tensor, ddropped: Tensor, dropout: Dropout) -> Tensor:
    """Add to dx the gradient that came through dropout: (T, I)."""
    return (dx.float() + ddropped.float() * _kept(dx, dropout)).to(dx.dtype)


def _kept(like: Tensor, dropout: Dropout) -> Tensor:
    """Return 0 where an element is dropped, 1 / (1 - p) where not: (T, I) float32.

    The hash is lowbias32 (https://github.com/skeeto/hash-prospector), in wrapping int32.
    """
    rows, columns = like.shape
    row = torch.arange(rows, dtype=torch.int32, device=like.device)
    column = torch.arange(columns, dtype=torch.int32, device=like.device)
    h = (row[:, None] * columns + column[None, :]) ^ dropout.seed
    h = (h ^ (h >> 16 & 0xFFFF)) * 0x7FEB352D
    h = (h ^ (h >> 15 & 0x1FFFF)) * -0x7B935975  # 0x846CA68B
    h = h ^ (h >> 16 & 0xFFFF)
    return torch.where((h & 0x7FFFFFFF) >= dropout.threshold, dropout.scale, 0.0)


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    other_half = x.unflatten(-1, (2, -1)).flip(-2).flatten(-2)  # type: ignore[no-untyped-call]
    turned: Tensor = x * cos + other_half * sin
    return turned


class Fused(NamedTuple):
    """The functions of this module and the head's softmax, compiled or not."""

    norm: Callable[..., Tensor] = norm
    norm_backward: Callable[..., Tensor] = norm_backward
    rotate: Callable[..., None] = rotate
    rotate_backward: Callable[..., None] = rotate_backward
    swiglu: Callable[..., Tensor] = swiglu
    swiglu_backward: Callable[..., None] = swiglu_backward
    drop: Callable[..., Tensor] = drop
    drop_backward: Callable[..., Tensor] = drop_backward
    log_normaliser: Callable[..., Tensor] = log_normaliser
    probabilities: Callable[..., Tensor] = probabilities


@cache
def compile_all() -> Fused:
    """Compile every function once, for any number of tokens."""
    return Fused(*(_compile(function) for function in Fused()))


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled = torch.compile(function, fullgraph=True)

    def call(*args: Any) -> Any:
        for arg in args:  # the number of tokens varies, no other size does
            if isinstance(arg, Tensor) and arg.dim() > 1 and arg.shape[0] == args[0].shape[0]:
                torch._dynamo.maybe_mark_dynamic(arg, 0)
        return compiled(*args)

    return call
