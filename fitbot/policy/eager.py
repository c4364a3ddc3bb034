"""Passes by the network's own modules and autograd: the definition of what `compiled` computes."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from fitbot.base_model.gpu import is_out_of_memory, what_failed
from fitbot.errors import ConfigError
from fitbot.pairs.batch import PairBatch, attention_mask
from fitbot.policy.adapter_vector import AdapterVector
from fitbot.policy.cpu_attention import BY_PAIR, attend_by_pair, segments_of
from fitbot.policy.logps import Head, sum_by_owner, token_logps

_SCALES = "logit_scale", "lm_head_multiplier"  # what configs call the factor of all logits


class EagerPasses:
    """Runs a PEFT model as it is: whichever adapter is active, with dropout if it is training."""

    def __init__(self, network: Any, weights: AdapterVector, *, compute_dtype: torch.dtype):
        """Take a PEFT model, its trained adapter, and what matrix products run in."""
        self.network, self.weights, self.compute_dtype = network, weights, compute_dtype
        causal_lm = network.get_base_model()
        self.decoder, self.head = causal_lm.get_decoder(), causal_lm.get_output_embeddings()
        config = self.decoder.config  # Granite divides its logits, Cohere multiplies them
        scale = next((own for name in _SCALES if (own := getattr(config, name, None))), 1.0)
        self.logit_scale = float(scale) / float(getattr(config, "logits_scaling", 1))
        # On a GPU one dense product costs less than launching many small ones.
        self.by_pair = self.device.type == "cpu" and config._attn_implementation == "sdpa"
        # Falcon and others have their own attention instead of one by its name.
        self.by_pair &= getattr(causal_lm, "_supports_attention_backend", False)
        if self.by_pair:
            ALL_ATTENTION_FUNCTIONS.register(BY_PAIR, attend_by_pair)
            config._attn_implementation = BY_PAIR

    @property
    def frozen_head(self) -> Head:
        """What makes logits of hidden states."""
        cap = getattr(self.decoder.config, "final_logit_softcapping", None)
        return Head(self.head.weight, getattr(self.head, "bias", None), cap)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        device: torch.device = self.head.weight.device
        return device

    def logps(self, batch: PairBatch) -> Tensor:
        """Sum the log-probs of every completion: (B, 2) nats.

        Where gradients are enabled, they flow into the adapter's vector.
        """
        if not torch.is_grad_enabled():
            return self.logps_by_modules(batch)
        logps: Tensor = _ByAutograd.apply(self.weights.vector, self, batch)  # type: ignore[no-untyped-call]
        return logps

    def logps_by_modules(self, batch: PairBatch) -> Tensor:
        """Sum the log-probs; gradients flow into the LoRA layers' own weights."""
        return sum_by_owner(self.token_logps(batch), batch.score_owner, batch.num_pairs)

    def token_logps(self, batch: PairBatch) -> Tensor:
        """Score every token: (S,) float32 nats."""
        return token_logps(self.scored_states(batch), self.frozen_head, batch.score_ids)

    def scored_states(self, batch: PairBatch) -> Tensor:
        """Run the decoder and keep the hidden states that predict a scored token: (S, H)."""
        inputs: dict[str, Any] = {"input_ids": batch.input_ids, "use_cache": False}
        if batch.pair_index is not None and batch.part is not None:
            inputs["position_ids"] = batch.position_ids
            if self.by_pair:
                inputs["segments"] = segments_of(batch.pair_index, batch.part)
                # A mask in four dimensions is taken as it is; this one is never looked at.
                inputs["attention_mask"] = torch.ones(1, 1, 1, 1, dtype=torch.bool)
            else:
                mask = attention_mask(batch.pair_index, batch.part)
                inputs["attention_mask"] = mask[None, None]
        # In rows the padding is on the right, where causal attention hides it: no mask, and the
        # ordinary positions, so that any backend's own kernels may run.
        with self.autocast():
            hidden: Tensor = self.decoder(**inputs)[0]  # (1, T, H) or (2B, L, H)
        scored = hidden.flatten(0, 1)[batch.score_from]
        return scored if self.logit_scale == 1 else scored * self.logit_scale

    def autocast(self) -> torch.autocast:
        """Compute in `compute_dtype` within this context."""
        return torch.autocast(
            self.device.type,
            dtype=self.compute_dtype if self.compute_dtype != torch.float32 else torch.bfloat16,
            enabled=self.compute_dtype != torch.float32,
            cache_enabled=False,  # a cast cached under no_grad would cut the gradient off
        )

    def check_network(self, as_reference: AbstractContextManager[None]) -> None:
        """Compare our head with the model's own logits, and see that no token sees a later one.

        Args:
            as_reference: Within it the network is the reference, without gradient.

        Raises:
            ConfigError: The network cannot be run, or sees what follows a token; or its head is
                trained, or is not as `Head` has it.
        """
        if any(parameter.requires_grad for parameter in self.head.parameters()):
            raise ConfigError("the output head must be frozen; remove it from lora.target_modules")
        ids = torch.arange(5, 13, device=self.device)[None]
        kind = self.network.get_base_model().config.model_type
        try:
            with as_reference, self.autocast():
                logits = self.network(input_ids=ids, use_cache=False).logits[0, :-1]
                hidden = self.decoder(input_ids=ids, use_cache=False)[0][0] * self.logit_scale
                begun = self.decoder(input_ids=ids[:, :4], use_cache=False)[0][0] * self.logit_scale
            expected = logits.float().log_softmax(-1).gather(-1, ids[0, 1:, None]).squeeze(-1)
            found = token_logps(hidden[:-1], self.frozen_head, ids[0, 1:])
            again = token_logps(begun, self.frozen_head, ids[0, 1:5])
        except Exception as error:  # a network's own modules may fail in any way
            if is_out_of_memory(error):
                raise
            raise ConfigError(
                f"a base of kind {kind!r} cannot be trained here: its own modules fail on eight "
                f"tokens, {what_failed(error)}; fitbot takes decoders that need nothing but tokens"
            ) from error
        tolerance = 1e-3 if self.compute_dtype == torch.float32 else 0.25
        if not (again - found[:4]).abs().max() < tolerance:
            raise ConfigError(
                f"a base of kind {kind!r} is no decoder as it is configured: its tokens see those "
                "that follow, so that their log-probs mean nothing; take a causal language model"
            )
        difference = (found - expected).abs().max().item()
        if not difference < tolerance:
            raise ConfigError(
                f"a base of kind {kind!r} computes its logits in a way of its own (log-probs "
                f"differ by {difference:.3g} nats); fitbot knows heads of one matrix, with a bias, "
                "a factor or a cap"
            )


class _ByAutograd(torch.autograd.Function):
    """Log-probs of the network as a function of the adapter's vector."""

    @staticmethod
    def forward(ctx: Any, adapter: Tensor, passes: EagerPasses, batch: PairBatch) -> Tensor:
        with torch.enable_grad():
            ctx.logps = passes.logps_by_modules(batch)
        ctx.weights = passes.weights
        return ctx.logps.detach()  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        return ctx.weights.gradient_of(ctx.logps, upstream[0]), None, None
