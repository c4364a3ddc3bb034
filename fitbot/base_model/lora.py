"""A LoRA layer whose output is rounded once: x and the layer's weights → base + update.

In 16 bits, the usual way (PEFT's, and so TRL's) rounds the base's output, adds the update and
rounds again. Whatever is smaller than half a step of the rounded output vanishes, every time and
not on average: early in a run, where an update is a thousandth of the output, the policy shows a
fifth of the change that its weights have made. Here both products are one:

    y = [x | h] [W | B]^T,   h = scaling · dropout(x) A^T

which the hardware adds up in float32 and rounds at the end. Small updates then come out noisy but
unbiased. T tokens, I and O the layer's widths, r the rank.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

POLICY_ADAPTER = "default"  # PEFT's name of the adapter that is trained
REFERENCE_ADAPTER = "reference"  # and of the frozen one that a run has gone on from


def round_once(network: nn.Module) -> None:
    """Give every LoRA layer of a PEFT model a forward pass that rounds its output once."""
    from peft.tuners.lora import LoraLayer

    for module in network.modules():
        if isinstance(module, LoraLayer):
            module.forward = partial(_forward, module)


def _forward(layer: Any, x: Tensor) -> Any:
    """Compute base + update; the base alone when the adapter is off or merged."""
    if layer.merged:
        return layer.get_base_layer()(x)
    (adapter,) = layer.active_adapters
    base = layer.get_base_layer()
    x = x.to(getattr(base, "compute_dtype", base.weight.dtype))
    a, b = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    if layer.disable_adapters:
        # The same product with zeros, so that the reference is rounded as the policy is: another
        # shape adds up in another order, and the first loss would not be ln 2.
        h, b = x.new_zeros(*x.shape[:-1], a.shape[0]), torch.zeros_like(b)
    else:
        dropped, scale = _drop(x, layer.lora_dropout[adapter])
        h = F.linear(dropped, a.to(x.dtype)) * (scale * layer.scaling[adapter])  # (…, r)
    return _BasePlusUpdate.apply(x, h, b, base)  # type: ignore[no-untyped-call]


class _BasePlusUpdate(torch.autograd.Function):
    """[x | h] [W | B]^T with W frozen: neither x nor the joined matrices are kept for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, b: Tensor, base: nn.Module) -> Tensor:
        weight = frozen_weight(base)
        ctx.base = base
        ctx.save_for_backward(h, b)
        joined = torch.cat([weight, b.to(weight.dtype)], dim=-1)  # (O, I + r)
        return F.linear(torch.cat([x, h.to(x.dtype)], dim=-1), joined, base.bias)  # type: ignore[arg-type]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = upstream  # (…, O)
        h, b = ctx.saved_tensors
        weight = frozen_weight(ctx.base)
        dx = dy @ weight if ctx.needs_input_grad[0] else None
        dh = dy @ b.to(dy.dtype)
        db = dy.flatten(0, -2).T @ h.flatten(0, -2)
        return dx, dh, db.to(b.dtype), None


def _drop(x: Tensor, dropout: nn.Module) -> tuple[Tensor, float]:
    """Apply a dropout module; returns the rest and what is still to be multiplied by.

    On a CPU random bits are drawn for four elements at a time, which was a fifth of a small model's
    step there, and the scale is left to the few columns of h. The probability is rounded to
    1 / 65,536.
    """
    if not isinstance(dropout, nn.Dropout) or not dropout.training or x.device.type != "cpu":
        return dropout(x), 1.0
    threshold = round(dropout.p * 65536)
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    keep = bits.view(torch.int16)[: x.numel()].view(x.shape) >= threshold - 32768
    return torch.where(keep, x, 0.0), 65536 / (65536 - threshold)


def frozen_weight(base: Any) -> Tensor:
    """Read a linear layer's (O, I) in the compute dtype; dequantised anew where it holds NF4."""
    weight: Tensor = base.weight
    state = getattr(weight, "quant_state", None) or getattr(base, "quant_state", None)
    if state is not None:
        import bitsandbytes as bnb

        weight = bnb.functional.dequantize_4bit(weight.data, state)
    return weight.T if isinstance(base, Conv1D) else weight
