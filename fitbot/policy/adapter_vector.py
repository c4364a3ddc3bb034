"""The adapter as one float32 vector: all LoRA weights of a network are views of it.

Optimizer, gradient clipping and the reduction over processes then handle one tensor instead of
four hundred. All A matrices come first, in the network's order, then all B matrices: the A matrices
of layers that share an input (q, k and v) lie one below the other and are one matrix already.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class LoraWeights(NamedTuple):
    """One LoRA layer's weights within an `AdapterVector`."""

    name: str  # of the layer in the network
    a: nn.Parameter  # (r, I)
    b: nn.Parameter  # (O, r)
    a_offset: int  # where they start in the vector
    b_offset: int


class AdapterVector:
    """One adapter of a PEFT network, tied to a vector."""

    def __init__(self, network: Any, adapter: str):
        """Copy the adapter's weights into a new vector and make them views of it.

        Args:
            network: A PEFT model.
            adapter: Name of an adapter in it; its `vector` is (N,) float32.
        """
        from peft.tuners.lora import LoraLayer

        self.network = network
        found = [
            (name, module.lora_A[adapter].weight, module.lora_B[adapter].weight)
            for name, module in network.named_modules()
            if isinstance(module, LoraLayer) and adapter in module.lora_A
        ]
        a_size = sum(a.numel() for _, a, _ in found)
        offsets = [0, a_size]
        self.layers: list[LoraWeights] = []
        for name, a, b in found:
            self.layers.append(LoraWeights(name, a, b, *offsets))
            offsets = [offsets[0] + a.numel(), offsets[1] + b.numel()]
        self.a_size, size = a_size, offsets[1]
        self.vector = nn.Parameter(torch.empty(size, device=found[0][1].device))
        self.tie()

    @property
    def is_tied(self) -> bool:
        """Whether the weights are views of the vector."""
        views = self._views(self.vector.data)
        return all(
            w.data_ptr() == v.data_ptr() for w, v in zip(self._weights(), views, strict=True)
        )

    def tie(self) -> None:
        """Make the weights views again, after they were moved to a device one by one."""
        for weight, view in zip(self._weights(), self._views(self.vector.data), strict=True):
            view.copy_(weight.data)
            weight.data = view

    def gradient_of(self, outputs: Tensor, upstream: Tensor) -> Tensor:
        """Run autograd's backward pass and collect the weights' gradients: (N,) float32."""
        gradient = torch.zeros_like(self.vector.data)
        for weight, view in zip(self._weights(), self._views(gradient), strict=True):
            weight.grad = view  # autograd adds to it in place
        torch.autograd.backward(outputs, upstream)
        for weight in self._weights():
            weight.grad = None
        return gradient

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """Cut a vector like the adapter's, such as its gradient, into named matrices."""
        names = [f"{layer.name}.{letter}" for letter in "AB" for layer in self.layers]
        return dict(zip(names, self._views(vector), strict=True))

    def _weights(self) -> list[nn.Parameter]:
        return [layer.a for layer in self.layers] + [layer.b for layer in self.layers]

    def _views(self, vector: Tensor) -> list[Tensor]:
        weights = self._weights()
        parts = torch.split(vector, [weight.numel() for weight in weights])
        return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]
