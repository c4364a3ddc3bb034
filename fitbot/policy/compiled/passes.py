"""Policy passes as few large operations: `PairBatch` → log-probs, and back to the adapter's vector.

The same log-probs and gradients as the network's own modules give (tests hold them together), by
way of `Decoder` and `score_tokens`. Forward and backward are plain functions without autograd; one
autograd node stands for both. S scored tokens, H hidden size, B pairs, T tokens.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from fitbot.base_model.nf4 import count_4bit
from fitbot.base_model.sharding import is_sharded, whole_of
from fitbot.pairs.batch import PairBatch
from fitbot.policy.adapter_vector import AdapterVector
from fitbot.policy.compiled import pointwise as fused
from fitbot.policy.compiled.joined_weights import GROUPS, JoinedWeights
from fitbot.policy.compiled.layers import Decoder, LayerNorms, Pass, Row, Saved, Shape
from fitbot.policy.compiled.operands import Dropout, JoinedGradient
from fitbot.policy.compiled.packed_attention import visibility
from fitbot.policy.logps import LARGE_TILE_ELEMENTS, score_tokens, sum_by_owner

FAMILIES = ("qwen3", "llama")  # transformers' model_type of decoders that `Decoder` computes
STATIC_ROPE = ("default", "linear", "llama3", "yarn")
HEAD_SIZES = (16, 32, 64, 128)  # powers of two, as many as a block of the attention kernels holds


class Kept(NamedTuple):
    """What a forward pass leaves for its backward pass."""

    adapter: Tensor | None  # (N,): the vector that it was computed with
    row: Row
    how: Pass
    layers: list[Saved | Tensor]  # of each layer, or its input
    last: Tensor  # (S, H) hidden states that are scored, before the final norm
    gradient: Tensor  # (S, H) float32: of a token's log-prob with respect to its normed state
    score_from: Tensor
    score_owner: Tensor


class Engine:
    """Runs a causal language model with a LoRA adapter, batch by batch."""

    def __init__(self, causal_lm: Any, weights: AdapterVector, *, dtype: torch.dtype):
        """Take over the network's weights.

        Args:
            causal_lm: A transformers model of one of `FAMILIES`, with PEFT's layers in it.
            weights: Its adapter's vector.
            dtype: What matrix products run in.

        Raises:
            ValueError: With the reason why this network must run by its own modules.
        """
        reason = unsupported(causal_lm)
        if reason:
            raise ValueError(reason)
        config, model = causal_lm.config, causal_lm.get_decoder()
        self.dtype = dtype
        self.vector = weights.vector
        self.embedding, self.head = model.embed_tokens, causal_lm.get_output_embeddings()
        self.rotary, self.final_norm = model.rotary_emb, model.norm
        attention = model.layers[0].self_attn
        self.shape = Shape(
            config.num_attention_heads,
            config.num_key_value_heads,
            attention.head_dim,
            config.rms_norm_eps,
            attention.scaling,
        )
        norms = [_norms_of(layer, self.shape) for layer in model.layers]
        joined = JoinedWeights(
            model.layers, weights, dtype, one_at_a_time=not _holds_weights(causal_lm)
        )
        self.decoder = Decoder(
            self.shape, norms, joined, recompute=causal_lm.is_gradient_checkpointing
        )
        self.gradient = torch.zeros_like(self.vector.data)  # of the last backward pass
        self._gradients = joined.gradients(self.gradient)
        covered = sum(part.numel() for group in self._gradients for part in (group.a, *group.b))
        if covered != self.gradient.numel():
            raise ValueError("it adapts the seven projections, this adapter has others as well")
        self.probability = _dropout_of(causal_lm)
        sites = len(norms) * len(GROUPS)
        self.seeds = torch.zeros(sites, dtype=torch.int32, device=self.vector.device)
        self._dropouts = self._dropouts_of(self.probability)
        self._no_dropouts = self._dropouts_of(0.0)

    def compile_kernels(self, batch: PairBatch) -> None:
        """Compile the kernels of all passes at once and try them, given any batch on a GPU.

        Raises:
            ValueError: The GPU is too small for one of them.
        """
        from triton.runtime.errors import OutOfResources

        from fitbot.policy.compiled.launch import compiled_together

        try:
            with compiled_together():
                self._all_passes(batch)
            self._all_passes(batch)
        except OutOfResources as error:
            raise ValueError(f"its kernels do not fit this GPU ({error})") from error

    def _all_passes(self, batch: PairBatch) -> None:
        logps, kept = self.forward(batch, self.vector.data, training=True, backward=True)
        assert kept is not None
        self.backward(kept, torch.zeros_like(logps))
        self.forward(batch, self.vector.data, training=False, backward=False)

    def draw_dropout(self) -> None:
        """Draw the seeds of the next pass's dropout masks."""
        if self.probability:
            self.seeds.random_()

    def forward(
        self, batch: PairBatch, adapter: Tensor | None, *, training: bool, backward: bool
    ) -> tuple[Tensor, Kept | None]:
        """Compute (B, 2) log-probs, and what backward needs.

        Args:
            batch: In the shared layout, on the engine's device.
            adapter: The vector to compute with; None for the bare base.
            training: With dropout.
            backward: Whether a backward pass will follow.
        """
        assert batch.pair_index is not None
        assert batch.part is not None
        if adapter is not None:
            self.decoder.joined.refresh(adapter)
        x = self.embedding.weight[batch.input_ids[0]]
        cos, sin = self.rotary(x.float()[None], batch.position_ids)
        sin[..., : sin.shape[-1] // 2].neg_()
        row = Row(visibility(batch.pair_index, batch.part), cos[0], sin[0])
        how = Pass(adapter is not None, self._dropouts if training else self._no_dropouts)
        saved: list[Saved | Tensor] | None = [] if backward else None
        hidden = self.decoder.forward(x, row, how, saved)
        last = hidden[batch.score_from]  # (S, H)
        normal = torch.empty_like(last)
        fused.norm(last, self.final_norm.weight, self.shape.eps, None, normal)
        scores, gradient = score_tokens(
            normal,
            self.head.weight,
            batch.score_ids,
            with_gradient=backward,
            tile_elements=LARGE_TILE_ELEMENTS,
        )
        logps = sum_by_owner(scores, batch.score_owner, batch.num_pairs)
        if saved is None or gradient is None:
            return logps, None
        scored = (batch.score_from, batch.score_owner)
        return logps, Kept(adapter, row, how, saved, last, gradient, *scored)

    def backward(self, kept: Kept, upstream: Tensor) -> None:
        """Fill `gradient`, (N,), given the gradient with respect to the log-probs, (B, 2)."""
        self.restore(kept.adapter)
        # The slot of the padding's scores gets no gradient.
        by_owner = torch.cat([upstream.flatten(), upstream.new_zeros(1)])
        dnormal = by_owner[kept.score_owner, None] * kept.gradient
        no_adapter = kept.gradient[:, :0], kept.gradient[:0]
        dlast = fused.norm_backward(
            torch.zeros_like(dnormal),
            JoinedGradient(dnormal, *no_adapter),
            kept.last,
            self.final_norm.weight,
            self.shape.eps,
            None,
        )
        tokens = kept.row.cos.shape[0]
        dx = torch.zeros(tokens, dlast.shape[1], device=dlast.device)
        dx.index_add_(0, kept.score_from, dlast)
        self.decoder.backward(dx.to(self.dtype), kept.row, kept.how, kept.layers, self._gradients)

    def tensors_for_backward(self, kept: Kept) -> list[Tensor]:
        """List what backward begins with: what layers saved, or their inputs and one run again."""
        tensors = [kept.last, kept.gradient]
        for saved in kept.layers:
            tensors += [saved] if isinstance(saved, Tensor) else saved
        if self.decoder.recompute:
            weights = self.decoder.joined.of_layer(0, then=-1)
            tensors += self.decoder.saved_by(0, weights, kept.layers[0], kept.row, kept.how)
        return tensors

    def restore(self, adapter: Tensor | None) -> None:
        """Have a forward pass's adapter, (N,), in the joined weights for its backward pass.

        A reference that has an adapter of its own may have been asked in between.
        """
        joined = self.decoder.joined
        if adapter is not None and (
            joined.adapter is None or joined.adapter.data_ptr() != adapter.data_ptr()
        ):
            joined.refresh(adapter)

    def _dropouts_of(self, probability: float) -> list[list[Dropout]] | None:
        """By layer and group; an adapter with dropout runs the same kernels when it is off."""
        if not self.probability:
            return None
        threshold, scale = round(probability * 2**31), 1 / (1 - probability)
        rows = torch.arange(len(self.seeds)).view(-1, len(GROUPS)).tolist()
        return [[Dropout(self.seeds, site, threshold, scale) for site in row] for row in rows]


def unsupported(causal_lm: Any) -> str | None:
    """Say why a network must run by its own modules; None if the engine can run it."""
    config = causal_lm.config
    if config.model_type not in FAMILIES:
        return f"it knows the families {', '.join(FAMILIES)}, this is {config.model_type}"
    if config.hidden_act != "silu":
        return f"it knows the activation silu, this is {config.hidden_act}"
    if getattr(config, "sliding_window", None) is not None:
        return "it has no sliding window"
    if config.attention_dropout:
        return "it does not drop attention weights, this base model does"
    if config.rope_parameters["rope_type"] not in STATIC_ROPE:
        return "its positions do not depend on the length of the row, this base model's do"
    head_size = causal_lm.get_decoder().layers[0].self_attn.head_dim
    if head_size not in HEAD_SIZES:
        return f"it knows heads of {HEAD_SIZES} elements, these have {head_size}"
    return None


def _holds_weights(causal_lm: Any) -> bool:
    """Say whether a network's weights are there whole, and in the dtype that they compute in."""
    return not is_sharded(causal_lm.get_decoder()) and not count_4bit(causal_lm)[0]


def _norms_of(layer: Any, shape: Shape) -> LayerNorms:
    attention, heads = layer.self_attn, None
    if hasattr(attention, "q_norm"):
        per_head = [whole_of(attention.q_norm.weight)] * shape.heads
        per_head += [whole_of(attention.k_norm.weight)] * shape.key_heads
        heads = torch.stack(per_head).detach()
    return LayerNorms(
        whole_of(layer.input_layernorm.weight).detach(),
        whole_of(layer.post_attention_layernorm.weight).detach(),
        heads,
    )


def _dropout_of(causal_lm: Any) -> float:
    from peft.tuners.lora import LoraLayer

    found = {
        getattr(dropout, "p", 0.0)
        for module in causal_lm.modules()
        if isinstance(module, LoraLayer)
        for dropout in module.lora_dropout.values()
    }
    if len(found) > 1:
        raise ValueError(f"its adapter has several dropout probabilities: {sorted(found)}")
    probability: float = found.pop()
    return probability
