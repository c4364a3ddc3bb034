"""Token ids → logits, one new token for many requests at once, for the families that are known.

Every request has a slot of the key-value cache for as long as it is answered. `prefill` reads a
prompt into a slot, `step` adds a token to any set of slots; `begin` and `advance` draw what follows
as well. Adapters lie beside the weights, see `decoders.linear`; the ranks of a request say which of
them it uses. The network's own modules compute the same and are what this is tested against.

B requests of a step, T tokens of a prompt, S slots, M positions of a slot, H hidden size, D head
size, V vocabulary, R ranks of all adapters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fitbot.base_model.adapter_files import AdapterWeights
from fitbot.base_model.architecture import Family, family_of, head_size_of, parts_of
from fitbot.errors import ConfigError
from fitbot.generation.decoders.decoder import Decoder, Drawing
from fitbot.generation.decoders.linear import DenseProduct, Int8Product, Product, threads
from fitbot.generation.sampling import Draw, draw

Precision = Literal["float32", "float16", "bfloat16", "int8"]


@dataclass
class Layer:
    """One decoder layer's weights."""

    before_attention: Tensor  # (H,)
    before_mlp: Tensor  # (H,)
    head_norms: list[Tensor]  # (D,) of queries, of keys; none where heads are not normalised
    products: list[Product]  # qkv, o, gate_up, down
    rows: dict[str, tuple[int, slice]]  # of a linear's output: its product, and which of its rows


@dataclass
class SlotState:
    """The request that a slot is taken by."""

    draw: Draw
    ranks: slice | None  # of the request's adapter; None for the base
    length: int  # tokens in the cache
    last: Tensor  # (1,) the newest token, which is not in the cache yet


class TorchDecoder(Decoder):
    """Weights and cache, computed with in plain PyTorch."""

    overlaps = False

    @torch.inference_mode()
    def __init__(
        self, model: Any, *, slots: int, context: int, precision: Precision, ranks: int = 0
    ):
        """Take over a network's weights.

        Args:
            model: transformers' causal LM without adapter, its weights not in 4 bits.
            slots: S.
            context: M.
            precision: Of the products; "int8" on a CPU only.
            ranks: R, the room for adapters.

        Raises:
            ConfigError: The network is of another shape.
        """
        self.family = _family_of(model.config)
        config, parts = model.config, parts_of(model)
        self.largest_group = max(len(group.names) for group in self.family.groups)
        self.device = model.device
        self.threads = torch.get_num_threads()
        self.eps = float(config.rms_norm_eps)
        self.heads, self.key_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_size = head_size_of(config)
        self.precision, self.ranks, self.context = precision, ranks, context
        self.layers = [self._read_layer(layer) for layer in parts.layers]
        dtype = torch.bfloat16 if precision == "int8" else getattr(torch, precision)
        self.slots, self.vocabulary = slots, parts.head.weight.shape[0]
        self.held: dict[int, SlotState] = {}
        self.embedding: Tensor = parts.embedding.weight.data.to(dtype)
        self.norm: Tensor = parts.final_norm.weight.float()
        self.head = self._product([parts.head], ranks=0)
        positions = torch.arange(context, device=self.device)[None]
        cos, sin = parts.rotary(self.embedding[:1, :1].float(), positions)
        half = self.head_size // 2
        self.cos = cos[0].float()  # (M, D)
        self.sin = torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1).float()
        shape = (len(self.layers), slots, self.key_heads, context, self.head_size)
        # Never read before it is written; on a CPU it takes memory only as far as it is used.
        self.keys, self.values = (torch.empty(shape, dtype=dtype, device=self.device) for _ in "kv")

    @torch.inference_mode()
    def begin(self, slot: int, ids: Sequence[int], ranks: slice | None, wanted: Draw) -> Drawing:
        """Read a prompt into a slot and draw the token that follows; see `prefill`."""
        logits = self.prefill(slot, ids, ranks)[None]
        wanted.see(ids, self.vocabulary, self.device)
        self.held[slot] = SlotState(wanted, ranks, len(ids), torch.empty(0))
        return self._draw(logits, [slot])

    @torch.inference_mode()
    def advance(self, slots: Sequence[int]) -> Drawing:
        """Draw one token more for each of B slots that a prompt was read into."""
        held = [self.held[slot] for slot in slots]
        lengths, tokens = [one.length for one in held], torch.cat([one.last for one in held])
        logits = self.step(tokens, slots, lengths, [one.ranks for one in held])
        for one in held:
            one.length += 1
        return self._draw(logits, slots)

    def _draw(self, logits: Tensor, slots: Sequence[int]) -> Drawing:
        pending = draw(logits, [self.held[slot].draw for slot in slots])
        for row, slot in enumerate(slots):
            self.held[slot].last = pending.tokens[row : row + 1]
        return pending.drawn

    @torch.inference_mode()
    def prefill(self, slot: int, ids: Sequence[int], ranks: slice | None) -> Tensor:
        """Read T tokens, at most M, into a slot; returns the logits after the last one, (V,)."""
        tokens = torch.tensor(ids, device=self.device)
        positions = torch.arange(len(ids), device=self.device)
        slots = torch.tensor([slot], device=self.device)
        rank_mask = self._rank_mask([ranks])
        rows = None if rank_mask is None else rank_mask.expand(len(ids), -1)
        return self._run(tokens, positions, slots, rows, None)[0]

    @torch.inference_mode()
    def step(
        self,
        tokens: Tensor,
        slots: Sequence[int],
        lengths: Sequence[int],
        ranks: Sequence[slice | None],
    ) -> Tensor:
        """Add one token to each of B slots; returns the logits after it, (B, V).

        Args:
            tokens: (B,) the new tokens.
            slots: B different ones.
            lengths: B, how many tokens each slot holds already.
            ranks: B, of each one's adapter; None for the base.
        """
        tokens = tokens.to(self.device)
        at, of = (torch.tensor(numbers, device=self.device) for numbers in (lengths, slots))
        places = list(zip(slots, lengths, strict=True))
        with threads(1):
            return self._run(tokens, at, of, self._rank_mask(ranks), places)

    def _attend(self, layer: int, q: Tensor, places: list[tuple[int, int]]) -> Tensor:
        """Let each row attend to its slot, up to its position: no padding, and no neighbours."""
        rows = [
            F.scaled_dot_product_attention(
                q[i, None, :, None],
                self.keys[layer, slot, None, :, : position + 1],
                self.values[layer, slot, None, :, : position + 1],
                enable_gqa=True,
            )
            for i, (slot, position) in enumerate(places)
        ]
        return torch.cat(rows)[:, :, 0]

    def _rank_mask(self, ranks: Sequence[slice | None]) -> Tensor | None:
        """Mark the ranks that each row uses with ones, (B, R); None where no row uses any."""
        if not any(ranks):
            return None
        mask = torch.zeros(len(ranks), self.ranks)
        for row, own in zip(mask, ranks, strict=True):
            if own is not None:
                row[own] = 1
        return mask.to(self.device)

    @torch.inference_mode()
    def adapt(self, ranks: slice, weights: AdapterWeights) -> None:
        """See `Decoder`; a group's layers, up to three, have r of the R ranks each."""
        left = dict(weights)
        for number, layer in enumerate(self.layers):
            for product in layer.products:
                product.a.view(-1, self.ranks, product.a.shape[1])[:, ranks] = 0
            for name, (which, rows) in layer.rows.items():
                if (found := left.pop(f"{number}.{name}", None)) is None:
                    continue
                part = self.family.groups[which].names.index(name) * self.ranks
                place = slice(part + ranks.start, part + ranks.stop)
                layer.products[which].adapt(place, found[0], rows, found[1])
        if left:
            raise ConfigError(f"adapter on {', '.join(sorted(left)[:3])}: no such layer here")

    def _run(
        self,
        tokens: Tensor,
        positions: Tensor,
        slots: Tensor,
        rank_mask: Tensor | None,
        places: list[tuple[int, int]] | None,
    ) -> Tensor:
        """Run all layers for N tokens: each at its place, a slot and a position there; or a prompt.

        Returns:
            Their logits, (N, V); of a prompt (`places` is None) those after its end, (1, V).
        """
        x = self.embedding[tokens].float()  # (N, H); what is added up stays in float32
        cos, sin = self.cos[positions, None], self.sin[positions, None]
        wide = None if rank_mask is None else torch.cat([rank_mask] * self.largest_group, -1)
        for number, layer in enumerate(self.layers):
            qkv, o, gate_up, down = layer.products
            heads = self._multiply(qkv, self._normal(x, layer.before_attention), wide)
            heads = heads.view(len(x), -1, self.head_size).float()
            q, k, v = torch.split(heads, [self.heads, self.key_heads, self.key_heads], 1)
            if layer.head_norms:
                q, k = map(self._normal, (q, k), layer.head_norms)
            dtype = self.keys.dtype
            q, k, v = _rotate(q, cos, sin).to(dtype), _rotate(k, cos, sin).to(dtype), v.to(dtype)
            self.keys[number, slots, :, positions] = k
            self.values[number, slots, :, positions] = v
            attended = (
                attend_causally(q, k, v) if places is None else self._attend(number, q, places)
            )
            x = x + self._multiply(o, attended.flatten(1), wide).float()
            both = self._multiply(gate_up, self._normal(x, layer.before_mlp), wide)
            gate, up = both.float().chunk(2, -1)
            x = x + self._multiply(down, F.silu(gate) * up, wide).float()
        if places is None:
            x = x[-1:]
        return self._multiply(self.head, self._normal(x, self.norm), None).float()

    def _multiply(self, product: Product, x: Tensor, wide: Tensor | None) -> Tensor:
        """Multiply by all threads; `wide` is the rank mask of each member of the largest group."""
        with threads(self.threads):
            return product(x, None if wide is None else wide[:, : len(product.a)])

    def _normal(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self.eps)

    def _read_layer(self, layer: Any) -> Layer:
        linears = self.family.linears(layer)
        products, rows = [], {}
        for which, group in enumerate(self.family.groups):
            members = [linears[name] for name in group.names]
            products.append(self._product(members, ranks=len(members) * self.ranks))
            start = 0
            for name, linear in zip(group.names, members, strict=True):
                rows[name] = which, slice(start, start + linear.weight.shape[0])
                start += linear.weight.shape[0]
        norms = self.family.norms(layer)
        return Layer(
            norms.before_attention.weight.float(),
            norms.before_mlp.weight.float(),
            [norm.weight.float() for norm in (norms.queries, norms.keys) if norm is not None],
            products,
            rows,
        )

    def _product(self, linears: list[Any], *, ranks: int) -> Product:
        weight = torch.cat([linear.weight.data for linear in linears])
        if self.precision == "int8":
            return Int8Product(weight, ranks)
        return DenseProduct(weight, ranks, getattr(torch, self.precision))


def _family_of(config: Any) -> Family:
    """Find a network's family, if this decoder computes what the network does.

    Raises:
        ConfigError: It does not.
    """
    cannot = "cannot be answered with here"
    family = family_of(config, cannot, "; serve the adapter with another engine")
    if any(getattr(config, flag, False) for flag in family.bias_flags):
        raise ConfigError(f"a base whose linear layers have biases {cannot}")
    if getattr(config, "use_sliding_window", False):
        raise ConfigError(f"a base with sliding-window attention {cannot}")
    if config.hidden_act not in family.activations:
        raise ConfigError(f"a base with the activation {config.hidden_act!r} {cannot}")
    return family


def attend_causally(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Let a prompt attend to itself: (T, heads, D) each → (T, heads, D)."""
    q, k, v = (part.transpose(0, 1)[None] for part in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return out[0].transpose(0, 1)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate by position: (N, heads, D), (N, 1, D); `sin` has its first half negated."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat([x[..., half:], x[..., :half]], -1) * sin
