"""How much a step has to compute and hold: arithmetic by the shapes of base and pairs alone.

T tokens of a step, S of them scored; counted is what the objective needs, not what padding adds.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

RANK = 16  # of the adapter, as in configs/dpo.yaml


class Shape(NamedTuple):
    """A decoder's sizes, as a hub folder's config.json has them."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    tied: bool  # embedding and head are one matrix

    @property
    def width(self) -> int:
        """Of all heads' queries."""
        return self.heads * self.head_size

    @property
    def projections(self) -> list[tuple[int, int]]:
        """Inputs and outputs of a layer's seven matrices."""
        keys, hidden, inner = self.kv_heads * self.head_size, self.hidden, self.intermediate
        attention = [(hidden, self.width), (hidden, keys), (hidden, keys), (self.width, hidden)]
        return [*attention, (hidden, inner), (hidden, inner), (inner, hidden)]

    @property
    def layer_weights(self) -> int:
        """Weights of all layers' projections: what NF4 holds in 4 bits."""
        return self.layers * sum(i * o for i, o in self.projections)

    @property
    def weights(self) -> int:
        """Weights of the whole base, norms left out."""
        return self.layer_weights + (1 if self.tied else 2) * self.hidden * self.vocabulary

    def adapter_weights(self, rank: int = RANK) -> int:
        """Weights of a LoRA adapter on all seven projections."""
        return self.layers * sum(rank * (i + o) for i, o in self.projections)


def shape_of(config: Any) -> Shape:
    """Read a transformers config."""
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Shape(
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.num_key_value_heads,
        size,
        config.vocab_size,
        config.tie_word_embeddings,
    )


class Lengths(NamedTuple):
    """What counts of some pairs: sums, or means of one pair."""

    tokens: float  # prompt once, and both completions
    scored: float  # of both completions
    seen: float  # keys that queries see, all tokens together

    def times(self, factor: float) -> "Lengths":
        """Scale: from a mean pair to a step."""
        return Lengths(*(factor * value for value in self))


def lengths_of(pairs: Iterable[Any]) -> Lengths:
    """Add up `EncodedPair`s."""
    total = [0.0, 0.0, 0.0]
    for pair in pairs:
        p, c, r = (len(ids) for ids in (pair.prompt, pair.chosen, pair.rejected))
        seen = p * (p + 1) / 2 + sum(n * p + n * (n + 1) / 2 for n in (c, r))
        total = [a + b for a, b in zip(total, (p + c + r, c + r, seen), strict=True)]
    return Lengths(*total)


class Work(NamedTuple):
    """Arithmetic of forward and backward, FLOP.

    The frozen weights take no gradient, so they count twice, attention and LoRA three times.
    """

    products: float  # of the layers' frozen weights
    head: float
    attention: float
    adapter: float


def work_of(shape: Shape, lengths: Lengths, rank: int = RANK) -> Work:
    """Count a step's arithmetic."""
    return Work(
        products=4 * lengths.tokens * shape.layer_weights,
        head=4 * lengths.scored * shape.hidden * shape.vocabulary,
        attention=12 * lengths.seen * shape.width * shape.layers,
        adapter=6 * lengths.tokens * shape.adapter_weights(rank),
    )
