"""The network's weights as a fast decoder wants them: frozen weight and adapter in one matrix.

Linear layers that share an input are one group: q, k and v; gate and up. A group's weight and its
update are one product (see `policy.lora` for why it is one, and is rounded once):

    y = [x | h] [W | s·B]^T,   h = dropout(x) A^T

L decoder layers, I and O a group's widths, g the ranks of its adapted layers added up. The network
keeps its own layers, whose weights become views of the joined ones: nothing is held twice.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from fitbot.policy.adapter import AdapterVector
from fitbot.policy.base import POLICY_ADAPTER

GROUPS = (
    ("self_attn", ("q_proj", "k_proj", "v_proj")),
    ("self_attn", ("o_proj",)),
    ("mlp", ("gate_proj", "up_proj")),
    ("mlp", ("down_proj",)),
)


class Member(NamedTuple):
    """An adapted linear layer of a group, in all L decoder layers."""

    rows: slice  # of the group's output
    ranks: slice  # of the group's ranks
    b_offset: int  # of the first layer's B in the adapter's vector


class Group(NamedTuple):
    """Linear layers with one input, in all L decoder layers."""

    weight: Tensor  # (L, O, I + g): [W | s·B] in the compute dtype
    a: Tensor  # (L, g, I) in the compute dtype, a view of all A matrices
    a_offset: int  # of the first layer's A in the adapter's vector
    members: list[Member]
    rank: int
    scaling: float

    @property
    def width(self) -> int:
        """I."""
        return self.weight.shape[2] - self.ranks

    @property
    def ranks(self) -> int:
        """g."""
        return self.a.shape[1]


class Gradients(NamedTuple):
    """Where the gradients of a group go: views of the gradient of the adapter's vector."""

    a: Tensor  # (L, g, I)
    b: list[Tensor]  # for every member (L, rows, r)


class JoinedWeights:
    """Joins the layers of a network with an adapter of the shape that it has in all of them.

    Raises:
        ValueError: The network's layers are not alike, or have what cannot be joined.
    """

    def __init__(self, layers: Any, weights: AdapterVector, dtype: torch.dtype):
        """Join; from then on the network's weights are views."""
        self.weights = weights
        self.taken: Tensor | None = None  # the vector whose weights are in the joined ones
        self._adapted = {layer.name: layer for layer in weights.layers}
        self._names = {module: name for name, module in weights.network.named_modules()}
        self._per_layer = _size_of_one_layer(weights, len(layers))
        self._all_a = torch.empty(
            weights.a_size, dtype=dtype, device=weights.vector.device
        )  # every A in the compute dtype
        self.groups = [self._join(layers, block, names, dtype) for block, names in GROUPS]

    def refresh(self, vector: Tensor) -> None:
        """Take the adapter's weights over, those of its vector or of another of its kind."""
        self.taken = vector
        self._all_a.copy_(vector[: self.weights.a_size])
        for group in self.groups:
            for member, b in zip(group.members, self._views_of_b(vector, group), strict=True):
                joined = group.weight[:, member.rows, group.width :][..., member.ranks]
                torch.mul(b, group.scaling, out=joined)

    def gradients(self, vector: Tensor) -> list[Gradients]:
        """Find where each group's gradients lie in the gradient of the adapter's vector."""
        return [
            Gradients(
                vector.as_strided(
                    group.a.shape, (self._per_layer[0], group.width, 1), group.a_offset
                ),
                self._views_of_b(vector, group),
            )
            for group in self.groups
        ]

    def _views_of_b(self, vector: Tensor, group: Group) -> list[Tensor]:
        views = []
        for member in group.members:
            shape = (len(group.weight), member.rows.stop - member.rows.start, group.rank)
            strides = (self._per_layer[1], group.rank, 1)
            views.append(vector.as_strided(shape, strides, member.b_offset))
        return views

    def _join(self, layers: Any, block: str, names: tuple[str, ...], dtype: torch.dtype) -> Group:
        """Build one group out of its linear layers, PEFT's or plain ones."""
        linears = [[getattr(getattr(layer, block), name) for name in names] for layer in layers]
        bases = [[_base_of(linear) for linear in row] for row in linears]
        if any(base.bias is not None for row in bases for base in row):
            raise ValueError("its linear layers have biases")
        heights = [base.weight.shape[0] for base in bases[0]]
        width = bases[0][0].weight.shape[1]
        members: list[Member] = []
        start, ranks, first_a, rank, scaling = 0, 0, 0, 0, 1.0
        for linear, height in zip(linears[0], heights, strict=True):
            found = self._adapted.get(self._names[linear])
            if found is not None:
                rank, scaling = found.a.shape[0], linear.scaling[POLICY_ADAPTER]
                first_a = first_a if members else found.a_offset
                rows, columns = slice(start, start + height), slice(ranks, ranks + rank)
                members.append(Member(rows, columns, found.b_offset))
                ranks += rank
            start += height
        weight = torch.zeros(
            len(layers), start, width + ranks, dtype=dtype, device=self._all_a.device
        )
        strides = (self._per_layer[0], width, 1)
        a = self._all_a.as_strided((len(layers), ranks, width), strides, first_a)
        group = Group(weight, a, first_a, members, rank, scaling)
        for joined, row in zip(weight, bases, strict=True):
            for view, base in zip(joined[:, :width].split(heights), row, strict=True):
                view.copy_(base.weight.data)
                base.weight.data = view
        self._check(linears, group)
        return group

    def _check(self, linears: list[list[Any]], group: Group) -> None:
        """Make sure that every layer's weights lie where the first layer's place says."""
        for i, row in enumerate(linears):
            found = [self._adapted[n] for n in map(self._names.get, row) if n in self._adapted]
            expected = [
                (group.a_offset + i * self._per_layer[0] + member.ranks.start * group.width,
                 member.b_offset + i * self._per_layer[1])
                for member in group.members
            ]  # fmt: skip
            if [(layer.a_offset, layer.b_offset) for layer in found] != expected:
                raise ValueError("the adapter is not of one shape in all layers")


def _base_of(linear: Any) -> Any:
    from peft.tuners.lora import LoraLayer

    return linear.get_base_layer() if isinstance(linear, LoraLayer) else linear


def _size_of_one_layer(weights: AdapterVector, num_layers: int) -> tuple[int, int]:
    """Elements of A and of B in one decoder layer."""
    total_b = weights.vector.numel() - weights.a_size
    return weights.a_size // num_layers, total_b // num_layers
