"""Token ids → logits, one new token for many requests at once: a Qwen3- or Llama-shaped decoder.

Every request has a slot of the key-value cache for as long as it is answered. `prefill` reads a
prompt into a slot, `step` adds a token to any set of slots; `begin` and `advance` draw what follows
as well. Adapters lie beside the weights, see `decoders.linear`; which of them a request uses is
told by its ranks. The network's own modules compute the same and are what this is tested against.

B requests of a step, T tokens of a prompt, S slots, M positions of a slot, H hidden size, D head
size, V vocabulary, R ranks of all adapters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fitbot.base_model.adapter_files import ADAPTED
from fitbot.errors import ConfigError
from fitbot.generation.decoders.linear import DenseProduct, Int8Product, Product, threads
from fitbot.generation.sampling import Draw, Pending, draw

Precision = Literal["float32", "float16", "bfloat16", "int8"]


_GROUPS = (ADAPTED[:3], ADAPTED[3:4], ADAPTED[4:6], ADAPTED[6:])  # that share an input


@dataclass
class Layer:
    """One decoder layer's weights."""

    before_attention: Tensor  # (H,)
    before_mlp: Tensor  # (H,)
    query_norm: Tensor | None  # (D,): Qwen3 normalises queries and keys, Llama does not
    key_norm: Tensor | None  # (D,)
    products: list[Product]  # qkv, o, gate_up, down
    rows: dict[str, tuple[int, slice]]  # of a layer's output: its product, and which of its rows


@dataclass
class Held:
    """What a slot holds."""

    draw: Draw
    ranks: slice | None  # of the request's adapter; None for the base
    length: int  # tokens in the cache
    last: Tensor  # (1,) the newest token, which is not in the cache yet


class Decoder:
    """Weights and cache."""

    overlaps = False  # whether what was begun goes on while the caller does something else

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
        config = model.config
        self.device = model.device
        self.threads = torch.get_num_threads()
        self.eps = float(getattr(config, "rms_norm_eps", 0.0))
        self.heads, self.key_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_size = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.precision, self.ranks, self.context = precision, ranks, context
        self.layers = [self._take(layer) for layer in _layers_of(model)]
        dtype = torch.bfloat16 if precision == "int8" else getattr(torch, precision)
        self.slots, self.vocabulary = slots, model.lm_head.weight.shape[0]
        self.held: dict[int, Held] = {}
        self.embedding: Tensor = model.model.embed_tokens.weight.data.to(dtype)
        self.norm: Tensor = model.model.norm.weight.float()
        self.head = self._product([model.lm_head], ranks=0)
        positions = torch.arange(context, device=self.device)[None]
        cos, sin = model.model.rotary_emb(self.embedding[:1, :1].float(), positions)
        half = self.head_size // 2
        self.cos = cos[0].float()  # (M, D)
        self.sin = torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1).float()
        shape = (len(self.layers), slots, self.key_heads, context, self.head_size)
        # Never read before it is written; on a CPU it takes memory only as far as it is used.
        self.keys, self.values = (torch.empty(shape, dtype=dtype, device=self.device) for _ in "kv")

    def warm_up(self) -> None:
        """Do now what the first requests would wait for."""

    @torch.inference_mode()
    def begin(self, slot: int, ids: Sequence[int], ranks: slice | None, wanted: Draw) -> Pending:
        """Read a prompt into a slot and draw the token that follows; see `prefill`."""
        logits = self.prefill(slot, ids, ranks)[None]
        wanted.see(ids, self.vocabulary, self.device)
        self.held[slot] = Held(wanted, ranks, len(ids), torch.empty(0))
        return self._draw(logits, [slot])

    @torch.inference_mode()
    def advance(self, slots: Sequence[int]) -> Pending:
        """Draw one token more for each of B slots that a prompt was read into."""
        held = [self.held[slot] for slot in slots]
        lengths, tokens = [one.length for one in held], torch.cat([one.last for one in held])
        logits = self.step(tokens, slots, lengths, [one.ranks for one in held])
        for one in held:
            one.length += 1
        return self._draw(logits, slots)

    def _draw(self, logits: Tensor, slots: Sequence[int]) -> Pending:
        drawn = draw(logits, [self.held[slot].draw for slot in slots])
        for row, slot in enumerate(slots):
            self.held[slot].last = drawn.tokens[row : row + 1]
        return drawn

    @torch.inference_mode()
    def prefill(self, slot: int, ids: Sequence[int], ranks: slice | None) -> Tensor:
        """Read a prompt into a slot; returns the logits after its last token, (V,).

        Args:
            slot: Its earlier contents are forgotten.
            ids: T tokens, at most M.
            ranks: Of the adapter; None for the base.
        """
        tokens = torch.tensor(ids, device=self.device)
        positions = torch.arange(len(ids), device=self.device)
        slots = torch.tensor([slot], device=self.device)
        who = self._who([ranks])
        rows = None if who is None else who.expand(len(ids), -1)

        last = torch.tensor([len(ids) - 1], device=self.device)
        return self._run(tokens, positions, slots, rows, attend_causally, last)[0]

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
        places = list(zip(slots, lengths, strict=True))

        def attend(layer: int, q: Tensor, *_: Tensor) -> Tensor:
            # Each row over its own keys: no padding to read, and no row depends on its neighbours.
            rows = [
                F.scaled_dot_product_attention(
                    q[i, None, :, None],
                    self.keys[layer, slot, None, :, : length + 1],
                    self.values[layer, slot, None, :, : length + 1],
                    enable_gqa=True,
                )
                for i, (slot, length) in enumerate(places)
            ]
            return torch.cat(rows)[:, :, 0]

        tokens = tokens.to(self.device)
        at, of = (torch.tensor(numbers, device=self.device) for numbers in (lengths, slots))
        with threads(1):
            return self._run(tokens, at, of, self._who(ranks), attend)

    def _who(self, ranks: Sequence[slice | None]) -> Tensor | None:
        """Tell with ones and zeros, (B, R), which ranks count; None for none of them."""
        if not any(ranks):
            return None
        who = torch.zeros(len(ranks), self.ranks)
        for row, own in zip(who, ranks, strict=True):
            if own is not None:
                row[own] = 1
        return who.to(self.device)

    @torch.inference_mode()
    def adapt(self, ranks: slice, weights: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Put an adapter where its ranks are, in place of what was there.

        Args:
            ranks: Its r of the R ranks; a group's layers, up to three, have r each.
            weights: A, (r, I), and scaled B, (O, r), by the layer's name: "3.q_proj".

        Raises:
            ConfigError: The adapter is on a layer that has none here, or of another size.
        """
        size = ranks.stop - ranks.start
        left = dict(weights)
        for number, layer in enumerate(self.layers):
            for product in layer.products:
                for start in range(0, len(product.a), self.ranks):
                    product.forget(slice(start + ranks.start, start + ranks.stop))
            for name in ADAPTED:
                if (found := left.pop(f"{number}.{name}", None)) is None:
                    continue
                which, rows = layer.rows[name]
                part = _GROUPS[which].index(name) * self.ranks
                place = slice(part + ranks.start, part + ranks.start + size)
                layer.products[which].adapt(place, found[0], rows, found[1])
        if left:
            raise ConfigError(f"adapter on {', '.join(sorted(left)[:3])}: no such layer here")

    def _run(
        self,
        tokens: Tensor,
        positions: Tensor,
        slots: Tensor,
        who: Tensor | None,
        attend: Any,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Run all layers for N tokens; logits of all, or of those at the wanted indices."""
        x = self.embedding[tokens].float()  # (N, H); what is added up stays in float32
        cos, sin = self.cos[positions, None], self.sin[positions, None]
        wide = None if who is None else torch.cat([who] * 3, -1)
        for number, layer in enumerate(self.layers):
            qkv, o, gate_up, down = layer.products
            heads = self._multiply(qkv, self._normal(x, layer.before_attention), wide)
            heads = heads.view(len(x), -1, self.head_size).float()
            q, k, v = torch.split(heads, [self.heads, self.key_heads, self.key_heads], 1)
            if layer.query_norm is not None and layer.key_norm is not None:
                q, k = self._normal(q, layer.query_norm), self._normal(k, layer.key_norm)
            dtype = self.keys.dtype
            q, k, v = _turn(q, cos, sin).to(dtype), _turn(k, cos, sin).to(dtype), v.to(dtype)
            self.keys[number, slots, :, positions] = k
            self.values[number, slots, :, positions] = v
            attended = attend(number, q, k, v)
            x = x + self._multiply(o, attended.flatten(1), wide).float()
            both = self._multiply(gate_up, self._normal(x, layer.before_mlp), wide)
            gate, up = both.float().chunk(2, -1)
            x = x + self._multiply(down, F.silu(gate) * up, wide).float()
        if wanted is not None:
            x = x[wanted]
        return self._multiply(self.head, self._normal(x, self.norm), None).float()

    def _multiply(self, product: Product, x: Tensor, wide: Tensor | None) -> Tensor:
        """Multiply by all threads; `wide` is `who` for each member of the largest group."""
        with threads(self.threads):
            return product(x, None if wide is None else wide[:, : len(product.a)])

    def _normal(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self.eps)

    def _take(self, layer: Any) -> Layer:
        attention, mlp = layer.self_attn, layer.mlp
        linears = {name: getattr(attention, name, None) or getattr(mlp, name) for name in ADAPTED}
        products, rows = [], {}
        for which, names in enumerate(_GROUPS):
            group = [linears[name] for name in names]
            products.append(self._product(group, ranks=len(names) * self.ranks))
            start = 0
            for name, linear in zip(names, group, strict=True):
                rows[name] = which, slice(start, start + linear.weight.shape[0])
                start += linear.weight.shape[0]
        norms = [getattr(attention, name, None) for name in ("q_norm", "k_norm")]
        query_norm, key_norm = (norm and norm.weight.float() for norm in norms)
        return Layer(
            layer.input_layernorm.weight.float(),
            layer.post_attention_layernorm.weight.float(),
            query_norm,
            key_norm,
            products,
            rows,
        )

    def _product(self, linears: list[Any], *, ranks: int) -> Product:
        weight = torch.cat([linear.weight.data for linear in linears])
        if self.precision == "int8":
            return Int8Product(weight, ranks)
        return DenseProduct(weight, ranks, getattr(torch, self.precision))


def _layers_of(model: Any) -> Any:
    """Return the layers of a network that this decoder can compute.

    Raises:
        ConfigError: It is of another kind.
    """
    config = model.config
    kind = config.model_type
    if kind not in ("qwen3", "llama"):
        raise ConfigError(
            f"a base of kind {kind!r} cannot be answered with here, only qwen3 and llama; "
            "serve the adapter with another engine"
        )
    if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        raise ConfigError("a base whose linear layers have biases cannot be answered with here")
    if getattr(config, "use_sliding_window", False):
        raise ConfigError("a base with sliding-window attention cannot be answered with here")
    return model.model.layers


def attend_causally(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Let a prompt attend to itself: (T, heads, D) each → (T, heads, D)."""
    q, k, v = (part.transpose(0, 1)[None] for part in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return out[0].transpose(0, 1)


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate by position: (N, heads, D), (N, 1, D); `sin` has its first half negated."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat([x[..., half:], x[..., :half]], -1) * sin
