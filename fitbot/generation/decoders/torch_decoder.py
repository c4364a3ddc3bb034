"""Token ids → logits: parts of prompts and single tokens of many requests in one pass.

A request has pages of the key-value cache for as long as it is answered, see `generation.pages`.
`run` reads parts of prompts, adds a token to any set of requests, and draws what follows. Adapters
lie beside the weights, see `decoders.linear`; the ranks of a request say which of them it uses. The
network's own modules compute the same and are what this is tested against.

N tokens of a pass, B of them scored, H hidden size, D head size, V vocabulary, R ranks of all
adapters, M positions of the cache.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fitbot.base_model.adapter_files import AdapterWeights
from fitbot.base_model.architecture import (
    FAMILIES,
    head_size_of,
    known_families,
    parts_of,
    window_of,
)
from fitbot.base_model.lora import frozen_weight
from fitbot.errors import ConfigError, EngineError
from fitbot.generation.decoders.decoder import Decoder, Drawing, Part
from fitbot.generation.decoders.linear import DenseProduct, threads
from fitbot.generation.decoders.paged_cache import PagedCache
from fitbot.generation.messages import Sampling
from fitbot.generation.pages import PAGE, pages_for
from fitbot.generation.sampling import Draw, draw, score

Precision = Literal["float32", "float16", "bfloat16"]
TYPICAL_TOKENS = 2048  # of a request: more are not kept free for each slot
_SCORED_AT_ONCE = 32  # tokens of a prompt; their logits take memory that nobody has set aside
SPARE_BYTES = 256 * 2**20  # of a GPU, for what is not counted: kernels, graphs, fragments


@dataclass
class Layer:
    """One decoder layer's weights."""

    before_attention: Tensor  # (H,)
    before_mlp: Tensor  # (H,)
    head_norms: list[Tensor]  # (D,) of queries, of keys; none where heads are not normalised
    bias: Tensor | None  # of q, k and v
    products: list[DenseProduct]  # qkv, o, gate_up, down
    rows: dict[str, tuple[int, slice]]  # of a linear's output: its product, and which of its rows


class Rows(NamedTuple):
    """Tokens of one request in a pass, which follow each other."""

    slot: int
    start: int  # position of the first one
    stop: int


class TorchDecoder(Decoder):
    """Weights and cache, computed with in plain PyTorch."""

    overlaps, scores_prompts = False, True
    pass_tokens, pass_block, pass_prompts = 128, 1, 8

    @torch.inference_mode()
    def __init__(
        self,
        model: Any,
        *,
        slots: int,
        context: int,
        precision: Precision,
        ranks: int = 0,
        tokens: int | None = None,
        takes: bool = False,
    ):
        """Take over a network's weights.

        Args:
            model: transformers' causal LM without adapter; what it holds in 4 bits is expanded.
            slots: Requests that are answered at once.
            context: Tokens that a request may have.
            precision: Of the products.
            ranks: R, the room for adapters.
            tokens: M; by default `context` for each slot, at most 2,048, as far as memory holds it.
            takes: Free the network's weights on the way; it cannot be used any more.

        Raises:
            ConfigError: The network is of another shape.
        """
        if reason := why_plain(model.config, context):
            raise ConfigError(f"this base cannot be answered with by fitbot's decoder: {reason}")
        self.family = FAMILIES[model.config.model_type]
        config, parts = model.config, parts_of(model)
        self.largest_group = max(len(group.names) for group in self.family.groups)
        self.device = model.device
        self.threads = torch.get_num_threads()
        self.eps = float(config.rms_norm_eps)
        self.heads, self.key_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_size = head_size_of(config)
        self.precision, self.ranks, self.context = precision, ranks, context
        self.dtype = getattr(torch, precision)
        self.layers = []
        for layer in parts.layers:
            self.layers.append(self._read_layer(layer))
            if takes:
                for linear in self.family.linears(layer).values():
                    linear.weight = None
        self.slots, self.vocabulary = slots, parts.head.weight.shape[0]
        self.embedding: Tensor = parts.embedding.weight.data.to(self.dtype)
        self.norm: Tensor = parts.final_norm.weight.float()
        self.head = self._product([parts.head], ranks=0)
        self.cos, self.sin = self._rotary(parts.rotary)
        most = max(context, slots * pages_for(min(context, TYPICAL_TOKENS)) * PAGE)
        self.cache = PagedCache(
            (len(self.layers), self.key_heads, self.head_size),
            self.dtype,
            self.device,
            slots=slots,
            most=most if tokens is None else tokens,
        )
        self.held, self.tokens = self.cache.held, self.cache.tokens
        if tokens is not None or self.device.type != "cuda":
            self._allocate()

    def _rotary(self, rotary: Any) -> tuple[Tensor, Tensor]:
        """Compute cosine and sine of each position, (context, D); the sine's first half negated."""
        positions = torch.arange(self.context, device=self.device)[None]
        cos, sin = rotary(self.embedding[:1, :1].float(), positions)
        half = self.head_size // 2
        return cos[0].float(), torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1).float()

    def warm_up(self) -> None:
        """Make the cache, if that was left open."""
        if not self.cache.is_allocated:
            self._fit()

    def _fit(self) -> None:
        """Make the cache as large as the memory that the largest pass leaves."""
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(self.device)
        self.cache.fit(free - self._pass_bytes() - SPARE_BYTES, self.context)
        self._allocate()

    def _allocate(self) -> None:
        self.cache.allocate()
        self.tokens = self.cache.tokens
        self.context = min(self.context, self.cache.tokens)

    def _pass_bytes(self) -> int:
        """Estimate what a pass takes: its widest product, and the logits, a few times over."""
        widest = max(rows.stop for _, rows in self.layers[0].rows.values())
        tokens, scored = self.slots + self.pass_tokens, self.slots + self.pass_prompts
        return int(4 * (8 * tokens * widest + 4 * scored * self.vocabulary))

    @torch.inference_mode()
    def admit(self, slot: int, ids: Sequence[int], ranks: slice | None, wanted: Draw) -> int | None:
        """See `Decoder`."""
        if not self.cache.is_allocated:
            self._fit()
        known = self.cache.admit(slot, ids, ranks, wanted)
        if known is not None:
            wanted.see(ids, self.vocabulary, self.device)
        return known

    def grow(self, slot: int) -> int:
        """See `Decoder`."""
        return self.cache.grow(slot)

    def release(self, slot: int) -> None:
        """See `Decoder`."""
        self.cache.release(slot)

    @torch.inference_mode()
    def run(self, parts: Sequence[Part], slots: Sequence[int]) -> Drawing:
        """See `Decoder`."""
        drawing = [*(part.slot for part in parts if part.ends), *slots]
        logits = self._logits(parts, slots)
        self._advance(parts, slots)
        pending = draw(logits, [self.held[slot].draw for slot in drawing])
        for row, slot in enumerate(drawing):
            self.held[slot].last = pending.tokens[row : row + 1]
        return pending.drawn

    def _advance(self, parts: Sequence[Part], slots: Sequence[int]) -> None:
        """Note what a pass has put into the cache."""
        for slot in slots:
            self.held[slot].length += 1
        for part in parts:
            if part.ends:
                self.cache.remember(part.slot)

    @torch.inference_mode()
    def prefill(self, slot: int, ids: Sequence[int], ranks: slice | None) -> Tensor:
        """Read a whole prompt into a slot; returns the logits after its last token, (V,).

        Args:
            slot: Its earlier contents are forgotten.
            ids: At most `context` tokens.
            ranks: Of the adapter; None for the base.
        """
        if slot in self.held:
            self.release(slot)
        if self.admit(slot, ids, ranks, Draw(Sampling(temperature=0.0), 0)) is None:
            raise EngineError(f"a prompt of {len(ids)} tokens does not fit the cache")
        logits = torch.empty(0)
        for start in range(0, len(ids), self.pass_tokens):
            part = ids[start : start + self.pass_tokens]
            logits = self._logits([Part(slot, part, start, start + len(part) == len(ids))], [])
        return logits[0]

    @torch.inference_mode()
    def step(self, tokens: Tensor, slots: Sequence[int]) -> Tensor:
        """Add one token, (B,), to each of B slots; returns the logits after it, (B, V)."""
        for row, slot in enumerate(slots):
            self.held[slot].last = tokens[row : row + 1].to(self.device)
            if not self.grow(slot):
                raise EngineError("the cache is full")
        logits = self._logits([], slots)
        self._advance([], slots)
        return logits

    def _logits(self, parts: Sequence[Part], slots: Sequence[int]) -> Tensor:
        """Run one pass; returns the logits after each prompt that ends and each slot's token."""
        rows = [Rows(part.slot, part.start, part.start + len(part.ids)) for part in parts]
        rows += [Rows(slot, self.held[slot].length, self.held[slot].length + 1) for slot in slots]
        read = torch.tensor([token for part in parts for token in part.ids], dtype=torch.long)
        tokens = torch.cat([read.to(self.device), *(self.held[slot].last for slot in slots)])
        ends = list(accumulate(row.stop - row.start for row in rows))
        wanted = [part.ends for part in parts] + [True] * len(slots)
        scored = [end - 1 for end, is_wanted in zip(ends, wanted, strict=True) if is_wanted]
        with nullcontext() if parts else threads(1):
            x = self._run(tokens, rows)
            self._score_prompts(parts, x)
            return self._next_logits(x[scored])

    def _score_prompts(self, parts: Sequence[Part], x: Tensor) -> None:
        """Score the tokens after those of some prompts, whose rows of x, (N, H), come first.

        Each prompt's rows begin a block of `pass_block`.
        """
        first = 0
        for part in parts:
            held, stop = self.held[part.slot], part.start + len(part.ids)
            if held.draw.scores_prompt:
                following = held.ids[part.start + 1 : stop + 1]  # nothing follows the last one yet
                for start in range(0, len(following), _SCORED_AT_ONCE):
                    some = following[start : start + _SCORED_AT_ONCE]
                    logits = self._next_logits(x[first + start : first + start + len(some)])
                    tokens = torch.tensor(some, device=self.device)
                    number = held.draw.sampling.logprobs or 0
                    held.draw.scores.append(score(logits, tokens, number))
            first += -(-len(part.ids) // self.pass_block) * self.pass_block

    def _attend(
        self,
        q: Tensor,
        keys: Tensor,
        values: Tensor,
        rows: list[tuple[Rows, slice | Tensor, Tensor | None]],
    ) -> Tensor:
        """Let each request's tokens attend to its own, up to their positions: no neighbours.

        Args:
            q: (N, heads, D).
            keys: (M, key heads, D), with the pass's own tokens.
            values: As `keys`.
            rows: The tokens, which of the cache's pages their request has, and what they see.

        Returns:
            (N, heads, D).
        """
        # Heads that share a key head are rows of one query: its keys and values are read once.
        shared, out, first = self.heads // self.key_heads, [], 0
        for row, pages, mask in rows:
            count = row.stop - row.start
            k, v = (self.cache.read(part, pages, row.stop) for part in (keys, values))
            own = q[first : first + count].transpose(0, 1).reshape(self.key_heads, -1, k.shape[-1])
            seen = None if mask is None else mask.repeat(shared, 1)
            attended = F.scaled_dot_product_attention(own[None], k[None], v[None], attn_mask=seen)
            out.append(attended.view(self.heads, count, -1).transpose(0, 1))
            first += count
        return torch.cat(out)

    def _mask_of(self, row: Rows) -> Tensor | None:
        """Say what each of a prompt's tokens sees, (tokens, positions); a single one sees all."""
        count = row.stop - row.start
        if count == 1:
            return None
        return torch.ones(count, row.stop, dtype=torch.bool, device=self.device).tril(row.start)

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
        self.cache.renew(ranks)
        left = dict(weights)
        for number, layer in enumerate(self.layers):
            for product in layer.products:
                product.a.view(-1, self.ranks, product.a.shape[1])[:, ranks] = 0
            for name, (which, rows) in layer.rows.items():
                if (found := left.pop(f"{number}.{name}", None)) is None:
                    continue
                sizes = (found[0].shape[1], found[1].shape[0])
                if sizes != (layer.products[which].a.shape[1], rows.stop - rows.start):
                    raise ConfigError(f"adapter on {number}.{name}: not of this layer's size")
                part = self.family.groups[which].names.index(name) * self.ranks
                place = slice(part + ranks.start, part + ranks.stop)
                layer.products[which].adapt(place, found[0], rows, found[1])
        if left:
            raise ConfigError(f"adapter on {', '.join(sorted(left)[:3])}: no such layer here")

    def _run(self, tokens: Tensor, rows: list[Rows]) -> Tensor:
        """Run all layers for N tokens; returns what comes out of the last one, (N, H)."""
        held = [self.held[row.slot] for row in rows]
        spans = [range(row.start, row.stop) for row in rows]
        of_rows = [
            (row, self.cache.pages_of(row.slot, row.stop), self._mask_of(row)) for row in rows
        ]
        positions = torch.tensor([p for span in spans for p in span], device=self.device)
        places = torch.tensor(
            [one.place(p) for one, span in zip(held, spans, strict=True) for p in span],
            device=self.device,
        )
        rank_mask = self._rank_mask(
            [one.ranks for one, span in zip(held, spans, strict=True) for _ in span]
        )
        x = self.embedding[tokens].float()  # (N, H); what is added up stays in float32
        cos, sin = self.cos[positions, None], self.sin[positions, None]
        wide = None if rank_mask is None else torch.cat([rank_mask] * self.largest_group, -1)
        for number, layer in enumerate(self.layers):
            qkv, o, gate_up, down = layer.products
            heads = self._multiply(qkv, self._normal(x, layer.before_attention), wide).float()
            heads = heads if layer.bias is None else heads + layer.bias
            heads = heads.view(len(x), -1, self.head_size)
            q, k, v = torch.split(heads, [self.heads, self.key_heads, self.key_heads], 1)
            if layer.head_norms:
                q, k = map(self._normal, (q, k), layer.head_norms)
            keys, values = self.cache.keys[number], self.cache.values[number]
            keys[places] = _rotate(k, cos, sin).to(self.dtype)
            values[places] = v.to(self.dtype)
            q = _rotate(q, cos, sin).to(self.dtype)
            attended = self._attend(q, keys, values, of_rows)
            x = x + self._multiply(o, attended.flatten(1), wide).float()
            both = self._multiply(gate_up, self._normal(x, layer.before_mlp), wide)
            gate, up = both.float().chunk(2, -1)
            x = x + self._multiply(down, F.silu(gate) * up, wide).float()
        return x

    def _next_logits(self, x: Tensor) -> Tensor:
        """Compute the logits after some tokens, (B, V), from the last layer's output, (B, H)."""
        if not len(x):
            return x.new_empty(0, self.vocabulary)
        return self._multiply(self.head, self._normal(x, self.norm), None).float()

    def _multiply(self, product: DenseProduct, x: Tensor, wide: Tensor | None) -> Tensor:
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
                rows[name] = which, slice(start, start + linear.out_features)
                start += linear.out_features
        norms, bias = self.family.norms(layer), self.family.bias_of(layer)
        return Layer(
            norms.before_attention.weight.float(),
            norms.before_mlp.weight.float(),
            [norm.weight.float() for norm in (norms.queries, norms.keys) if norm is not None],
            None if bias is None else bias.float(),
            products,
            rows,
        )

    def _product(self, linears: list[Any], *, ranks: int) -> DenseProduct:
        return DenseProduct(joined(linears), ranks, self.dtype)


def joined(linears: list[Any]) -> Tensor:
    """Put the weights of linear layers below each other, what is held in 4 bits expanded."""
    weights = [frozen_weight(linear).data for linear in linears]
    return weights[0] if len(weights) == 1 else torch.cat(weights)


def why_plain(config: Any, context: int) -> str | None:
    """Say why this decoder cannot answer with a network; None if it computes what that does."""
    family = FAMILIES.get(config.model_type)
    if family is None:
        return f"it knows the families {known_families()}, this is {config.model_type!r}"
    if any(getattr(config, flag, False) for flag in family.bias_flags):
        return "its linear layers have no biases, this base's have"
    if (window_of(config) or context) < context:
        return f"it has no sliding window, this base's sees less than {context} tokens"
    if config.hidden_act not in family.activations:
        return f"it knows the activation {family.activations[0]}, this is {config.hidden_act!r}"
    return None


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate by position: (N, heads, D), (N, 1, D); `sin` has its first half negated."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat([x[..., half:], x[..., :half]], -1) * sin
