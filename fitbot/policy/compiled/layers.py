"""A packed row → hidden states and back: the layers of the known families, backward by hand.

The network's own modules compute the same and are what this is tested against. Here the layers that
share an input are one product, pointwise stretches are one kernel each, what backward needs is
chosen by hand, and the gradients of all LoRA weights land in one vector. T tokens, H hidden size,
F feed-forward width, L layers, g a group's ranks (see `policy.compiled.joined_weights`).
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fitbot.policy.compiled import pointwise
from fitbot.policy.compiled.joined_weights import Gradients, Group, JoinedWeights
from fitbot.policy.compiled.operands import Dropout, Heads, JoinedGradient, Visibility
from fitbot.policy.compiled.packed_attention import attend, attend_backward


class Shape(NamedTuple):
    """Sizes and constants of the layers."""

    heads: int
    key_heads: int
    head_size: int
    eps: float


class LayerNorms(NamedTuple):
    """One layer's norms."""

    before_attention: Tensor  # (H,)
    before_mlp: Tensor  # (H,)
    heads: Tensor | None  # (heads + key_heads, D); None where the family does not normalise


class Row(NamedTuple):
    """What the layers must know about the packed row."""

    visible: Visibility
    cos: Tensor  # (T, D) float32
    sin: Tensor  # (T, D) float32, its first half negated


class Pass(NamedTuple):
    """How one pass runs."""

    adapter: bool  # off: the reference
    dropouts: list[list[Dropout | None]]  # by layer and group; None if the adapter has none


class Saved(NamedTuple):
    """What backward needs of one layer; all in the compute dtype but lse."""

    x: Tensor  # (T, H)
    normal_1: Tensor  # (T, H + g): [norm(x) | h]
    dropped_1: Tensor  # (T, H)
    qkv: Tensor  # (T, (heads + 2 key_heads) D)
    rotated: Tensor  # (T, heads + key_heads, D): queries and keys, normalised and rotated
    attended: Tensor  # (T, heads D + g): [attention | h]
    lse: Tensor  # (heads, T)
    dropped_2: Tensor  # (T, heads D)
    middle: Tensor  # (T, H)
    normal_3: Tensor  # (T, H + g)
    dropped_3: Tensor  # (T, H)
    gate_up: Tensor  # (T, 2F)
    product: Tensor  # (T, F + g)
    dropped_4: Tensor  # (T, F)


class CompiledLayers:
    """The layers between embedding and final norm."""

    def __init__(
        self, shape: Shape, norms: list[LayerNorms], joined: JoinedWeights, *, recompute: bool
    ):
        """Take the weights; to `recompute` is to save a layer's input and run it again."""
        self.shape, self.norms, self.joined, self.recompute = shape, norms, joined, recompute

    def forward(self, x: Tensor, row: Row, how: Pass, saved: list[Saved | Tensor] | None) -> Tensor:
        """Run all layers: (T, H) → (T, H).

        Args:
            x: Embedded tokens.
            row: Positions and views.
            how: Adapter on or off, dropout.
            saved: Filled with what backward needs; None when there will be none.
        """
        for layer in range(len(self.norms)):
            weights = self.joined.of_layer(layer, then=layer + 1)
            out, kept = self._layer(layer, weights, x, row, how)
            if saved is not None:
                saved.append(x if self.recompute else kept)
            x = out
            del kept  # or it would be held until the next layer has its own
        return x

    def saved_by(
        self, layer: int, weights: list[Tensor], saved: Saved | Tensor, row: Row, how: Pass
    ) -> Saved:
        """Return what backward needs of a layer, if need be by running it once more."""
        if isinstance(saved, Saved):
            return saved
        return self._layer(layer, weights, saved, row, how)[1]

    def backward(
        self,
        dx: Tensor,
        row: Row,
        how: Pass,
        saved: list[Saved | Tensor],
        gradients: list[Gradients],
    ) -> None:
        """Run all layers backward from dx, (T, H), and write the adapter's gradients.

        `saved` is emptied on the way, so that memory is free again as early as possible.
        """
        wide_b = [_wide_b(group) for group in self.joined.groups]
        side = SideStream(dx.device)
        try:
            for layer in reversed(range(len(self.norms))):
                weights = self.joined.of_layer(layer, then=layer - 1)
                kept = self.saved_by(layer, weights, saved.pop(), row, how)
                dx = self._layer_backward(
                    layer, weights, dx, row, how, kept, gradients, wide_b, side
                )
                del kept
                side.end_layer()
        finally:
            side.join()  # after an error, too: no stream may be left when a capture ends
        for group, gradient, wide in zip(self.joined.groups, gradients, wide_b, strict=True):
            for member, target in zip(group.members, gradient.b, strict=True):
                if wide is not None:
                    torch.mul(wide[:, member.rows, member.ranks], group.scaling, out=target)

    def _layer(
        self, layer: int, weights: list[Tensor], x: Tensor, row: Row, how: Pass
    ) -> tuple[Tensor, Saved]:
        shape, norms = self.shape, self.norms[layer]
        qkv_group, o_group, gate_up_group, down_group = self.joined.groups
        w_qkv, w_o, w_gate_up, w_down = weights
        drops = how.dropouts[layer]
        tokens, hidden = x.shape
        rotated_heads = shape.heads + shape.key_heads

        normal_1 = x.new_empty(tokens, hidden + qkv_group.ranks)
        middle = torch.empty_like(x)
        dropped_1 = pointwise.norm(
            x, norms.before_attention, shape.eps, drops[0], normal_1[:, :hidden], middle
        )
        _add_h(normal_1, dropped_1, qkv_group, layer, how)
        bias = qkv_group.bias[layer]
        qkv = normal_1 @ w_qkv.T if bias is None else torch.addmm(bias, normal_1, w_qkv.T)
        heads = qkv.view(tokens, -1, shape.head_size)
        rotated = torch.empty_like(heads[:, :rotated_heads])
        pointwise.rotate(
            heads[:, :rotated_heads], norms.heads, shape.eps, row.cos, row.sin, rotated
        )
        width = shape.heads * shape.head_size
        attended = x.new_empty(tokens, width + o_group.ranks)
        out_heads = attended[:, :width].view(tokens, shape.heads, -1)
        lse = attend(self._heads(rotated, heads), row.visible, out_heads)
        dropped_2 = attended[:, :width]
        if drops[1] is not None:
            dropped_2 = pointwise.drop(dropped_2, drops[1])
        _add_h(attended, dropped_2, o_group, layer, how)
        middle.addmm_(attended, w_o.T)

        normal_3 = x.new_empty(tokens, hidden + gate_up_group.ranks)
        out = torch.empty_like(x)
        dropped_3 = pointwise.norm(
            middle, norms.before_mlp, shape.eps, drops[2], normal_3[:, :hidden], out
        )
        _add_h(normal_3, dropped_3, gate_up_group, layer, how)
        gate_up = normal_3 @ w_gate_up.T
        product = x.new_empty(tokens, down_group.width + down_group.ranks)
        dropped_4 = pointwise.swiglu(gate_up, drops[3], product[:, : down_group.width])
        _add_h(product, dropped_4, down_group, layer, how)
        out.addmm_(product, w_down.T)
        return out, Saved(
            x, normal_1, dropped_1, qkv, rotated, attended, lse, dropped_2,
            middle, normal_3, dropped_3, gate_up, product, dropped_4,
        )  # fmt: skip

    def _layer_backward(
        self,
        layer: int,
        weights: list[Tensor],
        dx: Tensor,
        row: Row,
        how: Pass,
        saved: Saved,
        gradients: list[Gradients],
        wide_b: list[Tensor | None],
        side: "SideStream",
    ) -> Tensor:
        shape, norms = self.shape, self.norms[layer]
        drops = how.dropouts[layer]
        tokens = dx.shape[0]
        rotated_heads = shape.heads + shape.key_heads

        def linear(dy: Tensor, joined_x: Tensor, dropped: Tensor, index: int) -> JoinedGradient:
            """Go back through a group: dy (T, O) → gradients of [x | h], on the side of A and B."""
            group, wide = self.joined.groups[index], wide_b[index]
            djoined = dy @ weights[index]  # (T, I + g)
            dx, dh = djoined[:, : group.width], djoined[:, group.width :]
            if wide is not None:
                side.run(_mm_float32, dy.T, joined_x[:, group.width :], wide[layer])
                side.run(_mm_float32, dh.T, dropped, gradients[index].a[layer])
            return JoinedGradient(dx, dh, group.a[layer])

        dproduct = linear(dx, saved.product, saved.dropped_4, 3)
        dgate_up = pointwise.swiglu_backward(dproduct, saved.gate_up, drops[3])
        dnormal = linear(dgate_up, saved.normal_3, saved.dropped_3, 2)
        dmiddle = pointwise.norm_backward(
            dx, dnormal, saved.middle, norms.before_mlp, shape.eps, drops[2]
        )

        joined = linear(dmiddle, saved.attended, saved.dropped_2, 1)
        dattended = pointwise.drop_backward(joined, drops[1])
        dqkv = torch.empty_like(saved.qkv)
        dheads = dqkv.view(tokens, -1, shape.head_size)
        drotated = torch.empty_like(saved.rotated)
        heads = saved.qkv.view(tokens, -1, shape.head_size)
        width = shape.heads * shape.head_size
        attend_backward(
            dattended.view(tokens, shape.heads, -1),
            self._heads(saved.rotated, heads),
            saved.attended[:, :width].view(tokens, shape.heads, -1),
            saved.lse,
            row.visible,
            self._heads(drotated, dheads),
        )
        pointwise.rotate_backward(
            drotated, heads[:, :rotated_heads], norms.heads, shape.eps, row.cos, row.sin,
            dheads[:, :rotated_heads],
        )  # fmt: skip
        dnormal = linear(dqkv, saved.normal_1, saved.dropped_1, 0)
        if layer == 0:
            return dx  # the embedding is frozen
        return pointwise.norm_backward(
            dmiddle, dnormal, saved.x, norms.before_attention, shape.eps, drops[0]
        )

    def _heads(self, rotated: Tensor, qkv: Tensor) -> Heads:
        """Take queries and keys that were rotated, and the values, (T, heads, D) each."""
        heads, rotated_heads = self.shape.heads, rotated.shape[1]
        return Heads(rotated[:, :heads], rotated[:, heads:], qkv[:, rotated_heads:])


@cache
def _second_stream(device: torch.device) -> Any:
    # One for good: cuBLAS holds up to 32 MiB for every stream that it has been used on.
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class SideStream:
    """Runs work that nothing waits for beside the main line of a GPU, one or two layers behind.

    The gradients of A and B are many small products that leave most of the chip idle.
    """

    def __init__(self, device: torch.device):
        """Start with nothing to do; on a CPU work is done at once."""
        self.stream: Any = _second_stream(device) if device.type == "cuda" else None
        self._has_run = False  # a stream that has not may not be waited for in a capture
        self._used: list[Any] = []  # inputs of this layer's work: their memory may not be reused
        self._behind: list[tuple[torch.cuda.Event, list[Any]]] = []

    def run(self, work: Callable[..., None], *args: Tensor) -> None:
        """Do the work after what the main line has been given so far."""
        if self.stream is None:
            work(*args)
            return
        self._has_run = True
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            work(*args)
        self._used.append(args)

    def end_layer(self) -> None:
        """Let the main line wait for the work of the layer before the last."""
        if self.stream is not None:
            self._behind.append((self.stream.record_event(), self._used))
            self._used = []
            if len(self._behind) > 2:
                done, _ = self._behind.pop(0)
                torch.cuda.current_stream().wait_event(done)

    def join(self) -> None:
        """Let the main line wait for everything."""
        if self.stream is not None and self._has_run:
            torch.cuda.current_stream().wait_stream(self.stream)
            self._behind.clear()


def _add_h(joined_x: Tensor, dropped: Tensor, group: Group, layer: int, how: Pass) -> None:
    """Fill the last g columns of [x | h]: h = dropout(x) A^T, or 0 with the adapter off."""
    h = joined_x[:, group.width :]
    if not how.adapter:
        h.zero_()
    elif group.ranks:
        torch.mm(dropped, group.a[layer].T, out=h)


def _wide_b(group: Group) -> Tensor | None:
    """Make room for dy^T h of all layers, (L, O, g), whose blocks are the gradients of B."""
    if not group.ranks:
        return None
    layers, height = len(group.a), group.weight.shape[1]
    return torch.empty(layers, height, group.ranks, device=group.weight.device)


def _mm_float32(a: Tensor, b: Tensor, out: Tensor) -> None:
    """Multiply in the compute dtype and keep the float32 sums."""
    if a.is_cuda and a.dtype != torch.float32:
        torch.mm(a, b, out_dtype=torch.float32, out=out)
    else:
        torch.mm(a.float(), b.float(), out=out)
