"""The network's weights as the compiled layers want them: frozen weight and adapter in one matrix.

Linear layers that share an input are one group: q, k and v; gate and up. A group's weight and its
update are one product (see `base_model.lora` for why it is one, and is rounded once):

    y = [x | h] [W | s·B]^T,   h = dropout(x) A^T

L decoder layers, I and O a group's widths, g the ranks of its adapted layers added up. The network
keeps its own layers, whose weights become views of the joined ones: nothing is held twice. Where it
holds them as NF4, or a part of each, one layer is joined at a time, when its turn comes.
"""

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fitbot.base_model.architecture import Family
from fitbot.base_model.lora import POLICY_ADAPTER, frozen_weight
from fitbot.base_model.sharding import Gathering, is_sharded, whole_of
from fitbot.policy.adapter_vector import AdapterVector


class Member(NamedTuple):
    """An adapted linear layer of a group, in all L decoder layers."""

    rows: slice  # of the group's output
    ranks: slice  # of the group's ranks
    b_offset: int  # of the first layer's B in the adapter's vector


class Group(NamedTuple):
    """Linear layers with one input, in all L decoder layers."""

    weight: Tensor  # (L, O, I + g): [W | s·B] in the compute dtype; L is 1 for one at a time
    bias: list[Tensor | None]  # (O,) in the compute dtype, of every layer
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
    """Joins the layers of a network with an adapter of the shape that it has in all of them."""

    def __init__(
        self,
        family: Family,
        layers: Any,
        weights: AdapterVector,
        dtype: torch.dtype,
        *,
        one_at_a_time: bool,
    ):
        """Join; from then on the network's weights are views, unless it is one layer at a time.

        Args:
            family: What the network is of.
            layers: Its decoder layers.
            weights: The adapter's vector.
            dtype: What matrix products run in.
            one_at_a_time: Join a layer when its turn comes, of whatever the network holds.

        Raises:
            ValueError: The network's layers are not alike, or have what cannot be joined.
        """
        self.weights, self._one_at_a_time = weights, one_at_a_time
        self._gathering = Gathering(layers) if is_sharded(layers[0]) else None
        self._bases: list[list[list[Any]]] = []  # by group and layer: its linear layers
        self.adapter: Tensor | None = None  # the vector, (N,), whose weights are joined
        self._adapted = {layer.name: layer for layer in weights.layers}
        self._names = {module: name for name, module in weights.network.named_modules()}
        # Elements of A and of B in one decoder layer.
        total_b = weights.vector.numel() - weights.a_size
        self._per_layer = weights.a_size // len(layers), total_b // len(layers)
        self._all_a = torch.empty(
            weights.a_size, dtype=dtype, device=weights.vector.device
        )  # every A in the compute dtype
        linears = [family.linears(layer) for layer in layers]
        self.groups = [
            self._join(
                [[layer[name] for name in group.names] for layer in linears],
                dtype,
                group.names[0] in family.biased,
            )
            for group in family.groups
        ]

    @property
    def buffer_bytes(self) -> int:
        """Bytes in which one layer is joined at a time; 0 if all are joined for good."""
        return sum(group.weight.nbytes for group in self.groups) if self._one_at_a_time else 0

    def refresh(self, vector: Tensor) -> None:
        """Take the adapter's weights over, those of its vector or of another of its kind."""
        self.adapter = vector
        self._all_a.copy_(vector[: self.weights.a_size])
        if not self._one_at_a_time:
            self._join_adapter(vector, slice(None))

    def of_layer(self, layer: int, then: int) -> list[Tensor]:
        """Return a layer's joined matrices, (O, I + g), one a group.

        Args:
            layer: Its number.
            then: The number that is asked for next; the matrices hold until it is.
        """
        if not self._one_at_a_time:
            return [group.weight[layer] for group in self.groups]
        with nullcontext() if self._gathering is None else self._gathering.whole(layer, then):
            for group, bases in zip(self.groups, self._bases, strict=True):
                _join_frozen(group.weight[0], bases[layer])
        if self.adapter is not None:
            self._join_adapter(self.adapter, slice(layer, layer + 1))
        return [group.weight[0] for group in self.groups]

    def _join_adapter(self, vector: Tensor, layers: slice) -> None:
        for group in self.groups:
            for member, b in zip(group.members, self._views_of_b(vector, group), strict=True):
                joined = group.weight[:, member.rows, group.width :][..., member.ranks]
                torch.mul(b[layers], group.scaling, out=joined)

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
            shape = (len(group.a), member.rows.stop - member.rows.start, group.rank)
            strides = (self._per_layer[1], group.rank, 1)
            views.append(vector.as_strided(shape, strides, member.b_offset))
        return views

    def _join(self, linears: list[list[Any]], dtype: torch.dtype, has_bias: bool) -> Group:
        """Build one group out of its linear layers, PEFT's or plain ones, layer by layer."""
        bases = [[getattr(linear, "base_layer", linear) for linear in row] for row in linears]
        if any((base.bias is not None) != has_bias for row in bases for base in row):
            raise ValueError("its linear layers have other biases than its family's")
        heights, width = [base.out_features for base in bases[0]], bases[0][0].in_features
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
        joined_layers = 1 if self._one_at_a_time else len(linears)
        weight = torch.zeros(
            joined_layers, start, width + ranks, dtype=dtype, device=self._all_a.device
        )
        strides = (self._per_layer[0], width, 1)
        a = self._all_a.as_strided((len(linears), ranks, width), strides, first_a)
        bias = [
            torch.cat([whole_of(base.bias) for base in row]).to(dtype) if has_bias else None
            for row in bases
        ]
        group = Group(weight, bias, a, first_a, members, rank, scaling)
        self._bases.append(bases)
        if not self._one_at_a_time:
            for joined, row in zip(weight, bases, strict=True):
                for base, view in zip(row, _join_frozen(joined, row), strict=True):
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


def _join_frozen(joined: Tensor, bases: list[Any]) -> tuple[Tensor, ...]:
    """Copy the weights of linear layers into (O, I + g), one below the other; returns where."""
    heights = [base.out_features for base in bases]
    views = torch.split(joined[:, : bases[0].in_features], heights)
    for view, base in zip(views, bases, strict=True):
        view.copy_(frozen_weight(base))
    return views
