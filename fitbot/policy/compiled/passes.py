"""Policy passes as few large operations: `PairBatch` → log-probs, and back to the adapter's vector.

The same log-probs and gradients as the network's own modules give (tests hold them together), by
way of `CompiledLayers` and `score_tokens`. Forward and backward are plain functions without
autograd; one autograd node stands for both. S scored tokens, H hidden size, B pairs, T tokens.
"""

import time
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fitbot.base_model.architecture import FAMILIES, Family, family_of, head_size_of, parts_of
from fitbot.base_model.gpu import what_failed
from fitbot.base_model.nf4 import count_4bit
from fitbot.base_model.sharding import is_sharded, whole_of
from fitbot.pairs.batch import PairBatch
from fitbot.policy.adapter_vector import AdapterVector
from fitbot.policy.compiled import pointwise
from fitbot.policy.compiled.joined_weights import JoinedWeights
from fitbot.policy.compiled.layers import CompiledLayers, LayerNorms, Pass, Row, Saved, Shape
from fitbot.policy.compiled.operands import Dropout, JoinedGradient
from fitbot.policy.compiled.packed_attention import visibility
from fitbot.policy.logps import LARGE_TILE_ELEMENTS, Head, score_tokens, sum_by_owner

HEAD_SIZES = (16, 32, 64, 128)  # powers of two, as many as a block of the attention kernels holds


class Kept(NamedTuple):
    """What a forward pass leaves for its backward pass."""

    adapter: Tensor | None  # (N,): the vector that it was computed with
    row: Row
    how: Pass
    layers: list[Saved | Tensor]  # of each layer, or its input
    last: Tensor  # (S, H) hidden states that are scored, before the final norm
    gradient: Tensor  # (S, H) float32: of a token's log-prob with respect to its normed state
    batch: PairBatch


class CompiledEngine:
    """Runs a causal language model with a LoRA adapter, batch by batch."""

    def __init__(self, causal_lm: Any, weights: AdapterVector, *, dtype: torch.dtype):
        """Take over the network's weights.

        Args:
            causal_lm: A transformers model of a known family, with PEFT's layers in it.
            weights: Its adapter's vector.
            dtype: What matrix products run in.

        Raises:
            ValueError: With the reason why this network must run by its own modules.
        """
        reason = unsupported(causal_lm)
        if reason:
            raise ValueError(reason)
        config, family = causal_lm.config, family_of(causal_lm.config)
        self.dtype = dtype
        self.vector = weights.vector
        self.parts = parts_of(causal_lm)
        self.shape = Shape(
            config.num_attention_heads,
            config.num_key_value_heads,
            head_size_of(config),
            config.rms_norm_eps,
        )
        norms = [_norms_of(family, layer, self.shape) for layer in self.parts.layers]
        # Where the network does not hold whole weights in the dtype that they compute in.
        one_at_a_time = is_sharded(causal_lm.get_decoder()) or count_4bit(causal_lm)[0] > 0
        joined = JoinedWeights(
            family, self.parts.layers, weights, dtype, one_at_a_time=one_at_a_time
        )
        self.layers = CompiledLayers(
            self.shape, norms, joined, recompute=causal_lm.is_gradient_checkpointing
        )
        self.gradient = torch.zeros_like(self.vector.data)  # of the last backward pass
        self._gradients = joined.gradients(self.gradient)
        covered = sum(part.numel() for group in self._gradients for part in (group.a, *group.b))
        if covered != self.gradient.numel():
            known = ", ".join(family.projections)
            raise ValueError(f"it adapts {known}, this adapter has others as well")
        self.probability = _dropout_of(causal_lm)
        sites = len(norms) * len(family.groups)  # places where an input is dropped
        self.seeds = torch.zeros(sites, dtype=torch.int32, device=self.vector.device)
        self._dropouts = self._dropouts_of(self.probability)
        self._no_dropouts = self._dropouts_of(0.0)
        self.compile_seconds = 0.0  # that `compile_kernels` took

    def compile_kernels(self, batch: PairBatch) -> None:
        """Compile the kernels of all passes at once and try them, given any batch on a GPU.

        Raises:
            ValueError: They do not compile here, or the GPU is too small for one of them.
        """
        from fitbot.policy.compiled.launch import compiled_together

        started = time.perf_counter()
        try:
            with compiled_together():
                self._all_passes(batch)
            self._all_passes(batch)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # Triton's, ptxas's, or of a C compiler that is missing
            raise ValueError(f"its kernels do not run here: {what_failed(error)}") from error
        self.compile_seconds = time.perf_counter() - started

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
            self.layers.joined.refresh(adapter)
        x = self.parts.embedding.weight[batch.input_ids[0]]
        cos, sin = self.parts.rotary(x.float()[None], batch.position_ids)
        sin[..., : sin.shape[-1] // 2].neg_()
        row = Row(visibility(batch.pair_index, batch.part), cos[0], sin[0])
        how = Pass(adapter is not None, self._dropouts if training else self._no_dropouts)
        saved: list[Saved | Tensor] | None = [] if backward else None
        hidden = self.layers.forward(x, row, how, saved)
        last = hidden[batch.score_from]  # (S, H)
        normal = torch.empty_like(last)
        pointwise.norm(last, self.parts.final_norm.weight, self.shape.eps, None, normal)
        scores, gradient = score_tokens(
            normal,
            Head(self.parts.head.weight),
            batch.score_ids,
            with_gradient=backward,
            tile_elements=LARGE_TILE_ELEMENTS,
        )
        logps = sum_by_owner(scores, batch.score_owner, batch.num_pairs)
        if saved is None or gradient is None:
            return logps, None
        return logps, Kept(adapter, row, how, saved, last, gradient, batch)

    def backward(self, kept: Kept, upstream: Tensor) -> None:
        """Fill `gradient`, (N,), given the gradient with respect to the log-probs, (B, 2)."""
        self.restore(kept.adapter)
        # The slot of the padding's scores gets no gradient.
        by_owner = torch.cat([upstream.flatten(), upstream.new_zeros(1)])
        dnormal = by_owner[kept.batch.score_owner, None] * kept.gradient
        no_adapter = kept.gradient[:, :0], kept.gradient[:0]
        dlast = pointwise.norm_backward(
            torch.zeros_like(dnormal),
            JoinedGradient(dnormal, *no_adapter),
            kept.last,
            self.parts.final_norm.weight,
            self.shape.eps,
            None,
        )
        tokens = kept.row.cos.shape[0]
        dx = torch.zeros(tokens, dlast.shape[1], device=dlast.device)
        dx.index_add_(0, kept.batch.score_from, dlast)
        self.layers.backward(dx.to(self.dtype), kept.row, kept.how, kept.layers, self._gradients)

    def tensors_for_backward(self, kept: Kept) -> list[Tensor]:
        """List what backward begins with: what layers saved, or their inputs and one run again."""
        tensors = [kept.last, kept.gradient]
        for saved in kept.layers:
            tensors += [saved] if isinstance(saved, Tensor) else saved
        if self.layers.recompute:
            weights = self.layers.joined.of_layer(0, then=-1)
            tensors += self.layers.saved_by(0, weights, kept.layers[0], kept.row, kept.how)
        return tensors

    def restore(self, adapter: Tensor | None) -> None:
        """Have a forward pass's adapter, (N,), in the joined weights for its backward pass.

        A reference that has an adapter of its own may have been asked in between.
        """
        joined = self.layers.joined
        if adapter is not None and (
            joined.adapter is None or joined.adapter.data_ptr() != adapter.data_ptr()
        ):
            joined.refresh(adapter)

    def _dropouts_of(self, probability: float) -> list[list[Dropout | None]]:
        """By layer and group; an adapter with dropout runs the same kernels when it is off."""
        threshold, scale = round(probability * 2**31), 1 / (1 - probability)
        rows = torch.arange(len(self.seeds)).view(len(self.parts.layers), -1).tolist()
        if not self.probability:
            return [[None] * len(row) for row in rows]
        return [[Dropout(self.seeds, site, threshold, scale) for site in row] for row in rows]


def unsupported(causal_lm: Any) -> str | None:
    """Say why a network must run by its own modules; None if the engine can run it."""
    config = causal_lm.config
    family = FAMILIES.get(config.model_type)
    if family is None:
        return f"it knows the families {', '.join(FAMILIES)}, this is {config.model_type}"
    if config.hidden_act not in family.activations:
        return f"it knows the activation {family.activations[0]}, this is {config.hidden_act}"
    if config.attention_dropout:
        return "it does not drop attention weights, this base model does"
    if config.rope_parameters["rope_type"] not in family.static_rope:
        return "its positions do not depend on the length of the row, this base model's do"
    head_size = head_size_of(config)
    if head_size not in HEAD_SIZES:
        return f"it knows heads of {HEAD_SIZES} elements, these have {head_size}"
    return None


def _norms_of(family: Family, layer: Any, shape: Shape) -> LayerNorms:
    norms, heads = family.norms(layer), None
    if norms.queries is not None and norms.keys is not None:
        per_head = [whole_of(norms.queries.weight)] * shape.heads
        per_head += [whole_of(norms.keys.weight)] * shape.key_heads
        heads = torch.stack(per_head).detach()
    return LayerNorms(
        whole_of(norms.before_attention.weight).detach(),
        whole_of(norms.before_mlp.weight).detach(),
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
