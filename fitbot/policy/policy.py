"""The policy: `PairBatch` → log-probs of every completion, with the adapter on or as the reference.

How they are computed is the business of `eager` and `compiled`; which of the two, `engine_choice`
says.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fitbot.base_model.loading import recompute_activations
from fitbot.base_model.lora import POLICY_ADAPTER, REFERENCE_ADAPTER
from fitbot.base_model.sharding import is_sharded, own_part
from fitbot.pairs.batch import PairBatch
from fitbot.policy.adapter_vector import AdapterVector
from fitbot.policy.compiled.graphs import Passes
from fitbot.policy.eager import EagerPasses
from fitbot.policy.logps import LARGE_TILE_ELEMENTS, TILE_ELEMENTS, divergence


class Policy(nn.Module):
    """A base model with a LoRA adapter, asked for log-probs; the adapter off is the reference."""

    def __init__(self, network: Any, *, compute_dtype: torch.dtype):
        """Wrap a PEFT model from `load_policy_network`.

        Args:
            network: The PEFT model, adapter "default" active, perhaps a frozen adapter "reference".
            compute_dtype: What matrix products run in; not float32 means autocast.

        Raises:
            ConfigError: The model computes its logits in a way that `token_logps` does not know.
        """
        super().__init__()
        self.network: Any = network
        self.compute_dtype = compute_dtype
        self.weights = AdapterVector(network, POLICY_ADAPTER)
        self.adapter = self.weights.vector  # (N,) float32: everything that is trained
        self._reference = (
            AdapterVector(network, REFERENCE_ADAPTER)
            if REFERENCE_ADAPTER in network.peft_config
            else None
        )
        self.eager = EagerPasses(network, self.weights, compute_dtype=compute_dtype)
        self.compiled: Passes | None = None  # in use once `engine_choice.accelerate` has set it
        # Then every pass is one of all processes: all run as many (base_model/sharding.py).
        self.is_sharded = is_sharded(self.eager.decoder)
        self.eager.check_network(self.as_reference())

    @property
    def device(self) -> torch.device:
        """Where the policy computes."""
        return self.eager.device

    @property
    def engine_name(self) -> str:
        """What computes the log-probs: eager or compiled."""
        return "eager" if self.compiled is None else "compiled"

    @property
    def tile_elements(self) -> int:
        """Logits that the head holds at once, at most."""
        return TILE_ELEMENTS if self.compiled is None else LARGE_TILE_ELEMENTS

    @property
    def buffer_bytes(self) -> int:
        """Bytes in which the engine joins one layer at a time; 0 where it need not."""
        return 0 if self.compiled is None else self.compiled.engine.layers.joined.buffer_bytes

    def release_memory(self) -> bool:
        """Give back what captured passes hold, and say whether there were any.

        They are captured anew when they come again.
        """
        had_graphs = self.compiled is not None and self.compiled.forget()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return had_graphs

    @torch.no_grad()
    def base_checksum(self) -> int:
        """Add up the bits of the frozen weights, as far as this process holds them whole.

        Bases of another seed, revision or training have another sum; it takes one reading of them.
        """
        total = 0
        for weight in self.network.parameters():
            if not weight.requires_grad and own_part(weight) is weight:
                bits = weight.detach().contiguous().view(-1).view(torch.uint8)
                whole = bits.numel() // 8 * 8
                total += int(bits[:whole].view(torch.int64).sum()) + int(bits[whole:].sum())
        return total % 2**64

    def logps(self, batch: PairBatch) -> Tensor:
        """Sum the log-probs of every completion under the policy.

        Args:
            batch: B pairs in either layout, on the policy's device.

        Returns:
            (B, 2) float32 nats: chosen, rejected; with gradient with respect to `adapter`.
        """
        if self.compiled is None or batch.pair_index is None:
            return self.eager.logps(batch)
        if torch.is_grad_enabled():
            return self.compiled.logps(self.adapter, batch, training=self.training)
        return _by_engine(self.compiled, batch, self.adapter.data)

    def reference_logps(self, batch: PairBatch) -> Tensor:
        """Sum the log-probs under the reference: (B, 2) float32 nats, without gradient."""
        if self.compiled is not None and batch.pair_index is not None:
            vector = None if self._reference is None else self._reference.vector.data
            return _by_engine(self.compiled, batch, vector)
        with self.as_reference():
            return self.logps(batch)

    def both_logps(self, batch: PairBatch, *, with_reference: bool) -> tuple[Tensor, Tensor | None]:
        """Return the log-probs under the policy, and the reference's: cached ones, if there are."""
        logps, found = self.logps(batch), batch.reference_logps
        return logps, self.reference_logps(batch) if found is None and with_reference else found

    @torch.no_grad()
    def logps_without_gradient(self, batch: PairBatch) -> Tensor:
        """Sum the log-probs under the policy: (B, 2) float32 nats, without dropout."""
        with self.without_dropout():
            return self.logps(batch)

    @torch.no_grad()
    def token_logps(self, batch: PairBatch) -> Tensor:
        """Score every token by itself, without dropout, by the network's own modules.

        What `logps` sums; the reference's inside `as_reference`.

        Args:
            batch: S scored tokens in either layout, on the policy's device.

        Returns:
            (S,) float32 nats, in the order of `batch.score_ids`.
        """
        with self.without_dropout():
            return self.eager.token_logps(batch)

    @torch.no_grad()
    def divergence(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Compare the policy with its reference wherever a token is scored, without dropout.

        Args:
            batch: S scored tokens in either layout, on the policy's device.

        Returns:
            (S,) nats each: KL(policy || reference) over the vocabulary, and the policy's entropy.
        """
        with self.without_dropout():
            ours = self.eager.scored_states(batch)
        with self.as_reference():
            theirs = self.eager.scored_states(batch)
        return divergence(ours, theirs, self.eager.frozen_head)

    @torch.no_grad()
    def kept_by_engine(self, batch: PairBatch) -> list[Tensor]:
        """Run a training pass forward and return what the engine keeps; nothing without engine."""
        if self.compiled is None:
            return []
        engine = self.compiled.engine
        _, kept = engine.forward(batch, self.adapter.data, training=True, backward=True)
        assert kept is not None
        return engine.tensors_for_backward(kept)

    def try_pass(self, batch: PairBatch, between: Callable[[], object]) -> None:
        """Run a training pass forward and backward, to no effect; nothing is captured.

        Args:
            batch: On the policy's device.
            between: Called after the forward pass, while all that it keeps is held.
        """
        if self.compiled is None:
            by_modules = self.logps(batch)
            between()
            torch.autograd.grad(by_modules.sum(), self.adapter)
            return
        with torch.no_grad():
            engine = self.compiled.engine
            logps, kept = engine.forward(batch, self.adapter.data, training=True, backward=True)
            assert kept is not None
            between()
            engine.backward(kept, torch.zeros_like(logps))

    @property
    def recomputes(self) -> bool:
        """Whether backward computes activations again instead of having them kept."""
        found: bool = self.network.get_base_model().is_gradient_checkpointing
        return found

    def recompute(self) -> None:
        """Compute activations again in backward from now on; the results stay the same."""
        recompute_activations(self.network.get_base_model())
        if self.compiled is not None:
            self.compiled.forget()
            self.compiled.engine.layers.recompute = True

    @contextmanager
    def without_dropout(self) -> Iterator[None]:
        """Be in eval mode, and then again in the mode of before."""
        was_training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(was_training)

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """Be the reference: no gradient, no dropout, the adapter off or the frozen one on."""
        with self.without_dropout(), torch.no_grad():
            if self._reference is None:
                with self.network.disable_adapter():
                    yield
                return
            self.network.set_adapter(REFERENCE_ADAPTER, inference_mode=True)
            try:
                yield
            finally:
                self.network.set_adapter(POLICY_ADAPTER)

    def _apply(self, fn: Any, recurse: bool = True) -> "Policy":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if not self.weights.is_tied:  # a move to another device takes every parameter by itself
            self.weights.tie()
            self.compiled = None
        return self


def to_device(batch: PairBatch, device: torch.device) -> PairBatch:
    """Move every tensor of a batch; to a GPU all integers in one copy, without waiting for it."""
    fields: dict[str, Any] = batch._asdict()
    moved: dict[str, Any]
    if device.type != "cuda" or batch.input_ids.is_cuda:
        moved = {n: v if v is None else v.to(device) for n, v in fields.items()}
        return PairBatch(**moved)
    whole = {n: v for n, v in fields.items() if v is not None and v.dtype == torch.int64}
    packed = torch.cat([value.flatten() for value in whole.values()]).pin_memory()
    parts = torch.split(packed.to(device, non_blocking=True), [v.numel() for v in whole.values()])
    moved = {n: part.view(v.shape) for part, (n, v) in zip(parts, whole.items(), strict=True)}
    for name, value in (("reference_logps", batch.reference_logps), ("weights", batch.weights)):
        if value is not None:
            moved[name] = value.pin_memory().to(device, non_blocking=True)
    return PairBatch(**(fields | moved))


@torch.no_grad()
def _by_engine(passes: Passes, batch: PairBatch, adapter: Tensor | None) -> Tensor:
    return passes.engine.forward(batch, adapter, training=False, backward=False)[0]
