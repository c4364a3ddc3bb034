"""What a family of networks is: the names of its parts, what its layers compute, how GGUF has it.

The training engine, the decoders and the exports read it from here. To add a family whose layers
compute the same under other names or without some part, add one entry to `FAMILIES`.
"""

from typing import Any, NamedTuple

from fitbot.errors import ConfigError


class LinearGroup(NamedTuple):
    """Linear layers that share an input, so that they can be one product."""

    block: str  # the part of a decoder layer that holds them
    names: tuple[str, ...]


LINEAR_GROUPS = (  # what attention reads, what it writes, the same of the MLP
    LinearGroup("self_attn", ("q_proj", "k_proj", "v_proj")),
    LinearGroup("self_attn", ("o_proj",)),
    LinearGroup("mlp", ("gate_proj", "up_proj")),
    LinearGroup("mlp", ("down_proj",)),
)
PROJECTIONS = tuple(name for group in LINEAR_GROUPS for name in group.names)


class LayerNorms(NamedTuple):
    """The norms of one decoder layer, as transformers' modules."""

    before_attention: Any
    before_mlp: Any
    queries: Any | None = None  # of every head
    keys: Any | None = None


class Family(NamedTuple):
    """Networks whose layers compute the same."""

    model_type: str  # transformers' name of the family
    gguf: str  # llama.cpp's name of it
    groups: tuple[LinearGroup, ...] = LINEAR_GROUPS
    layer_norms: tuple[str, str] = ("input_layernorm", "post_attention_layernorm")
    head_norms: tuple[str, ...] = ()  # in the attention: of queries, of keys
    activations: tuple[str, ...] = ("silu", "swish")  # one function by both of its names
    biased: tuple[str, ...] = ()  # projections that have biases; of the first group only
    bias_flags: tuple[str, ...] = ("attention_bias", "mlp_bias")  # settings that add others
    # Kinds of rotary positions whose angles do not depend on how long the text is.
    static_rope: tuple[str, ...] = ("default", "linear", "llama3", "yarn")
    interleaved: tuple[str, ...] = ()  # in GGUF: projections whose rotated rows lie side by side
    scales_rope: bool = False  # in GGUF: whether given factors divide the rotary frequencies

    @property
    def projections(self) -> tuple[str, ...]:
        """Names of all linear layers of a decoder layer."""
        return tuple(name for group in self.groups for name in group.names)

    def linears(self, layer: Any) -> dict[str, Any]:
        """Return a decoder layer's linear layers by name, in the order of the groups."""
        return {
            name: getattr(getattr(layer, group.block), name)
            for group in self.groups
            for name in group.names
        }

    def bias_of(self, layer: Any) -> Any | None:
        """Return the first group's biases one after the other, (O,); None where it has none."""
        import torch

        linears = self.linears(layer)
        biases = [linears[name].bias.data for name in self.biased]
        return torch.cat(biases) if biases else None

    def norms(self, layer: Any) -> LayerNorms:
        """Return a decoder layer's norms."""
        attention = getattr(layer, self.groups[0].block)
        around = (getattr(layer, name) for name in self.layer_norms)
        return LayerNorms(*around, *(getattr(attention, name) for name in self.head_norms))


FAMILIES = {
    family.model_type: family
    for family in (
        Family("qwen3", "qwen3", head_norms=("q_norm", "k_norm")),
        Family("llama", "llama", interleaved=("q_proj", "k_proj"), scales_rope=True),
        Family("qwen2", "qwen2", biased=("q_proj", "k_proj", "v_proj")),
        Family("mistral", "llama", interleaved=("q_proj", "k_proj"), scales_rope=True),
    )
}


class Parts(NamedTuple):
    """The parts of a causal language model, as transformers' modules."""

    embedding: Any
    layers: Any
    final_norm: Any
    rotary: Any  # positions → cosines and sines
    head: Any

    @property
    def head_is_tied(self) -> bool:
        """Whether the head's weights are the embedding's."""
        tied: bool = self.head.weight.data_ptr() == self.embedding.weight.data_ptr()
        return tied


def parts_of(causal_lm: Any) -> Parts:
    """Find the parts of one of transformers' causal language models."""
    decoder, head = causal_lm.get_decoder(), causal_lm.get_output_embeddings()
    return Parts(decoder.embed_tokens, decoder.layers, decoder.norm, decoder.rotary_emb, head)


def family_of(config: Any, cannot: str = "cannot be used here", instead: str = "") -> Family:
    """Find the family that a network is of.

    Args:
        config: transformers' config of the network.
        cannot: What an unknown family is refused for, for the message.
        instead: What else can be done, for the message.

    Raises:
        ConfigError: The family is not in `FAMILIES`.
    """
    if config.model_type not in FAMILIES:
        raise ConfigError(
            f"a base of kind {config.model_type!r} {cannot}, only {known_families()}{instead}"
        )
    return FAMILIES[config.model_type]


def known_families() -> str:
    """List the families for a message."""
    *others, last = FAMILIES
    return f"{', '.join(others)} and {last}" if others else last


def all_projections() -> dict[str, str]:
    """Collect the linear layers of all families: "self_attn.q_proj" → "q_proj"."""
    groups = (group for family in FAMILIES.values() for group in family.groups)
    return {f"{group.block}.{name}": name for group in groups for name in group.names}


def longest_of(config: Any, wanted: int, *, asked: bool = False) -> int:
    """Return how many tokens a text may have: what is wanted, as far as the network takes it.

    A window of attention that is shorter is the limit too, unless more was asked for: until then
    it changes nothing.
    """
    config = config.get_text_config()
    most = min(wanted, getattr(config, "max_position_embeddings", None) or wanted)
    return most if asked else min(most, window_of(config) or most)


def window_of(config: Any) -> int | None:
    """Return how many tokens back attention sees at most; None for all."""
    window: int | None = getattr(config, "sliding_window", None)
    return window if getattr(config, "use_sliding_window", True) else None


def head_size_of(config: Any) -> int:
    """Return D, the elements of an attention head."""
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(size)
