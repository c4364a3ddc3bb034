"""What a fit needs on its device, measured on one pair before the first step; passes that fit.

Where memory runs out, a batch is computed again in smaller forward passes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from fitbot.base_model.sharding import gathered_bytes, own_part
from fitbot.cluster.processes import largest_over_processes, rank
from fitbot.errors import ConfigError
from fitbot.pairs.batch import PairBatch, collate_pairs
from fitbot.pairs.chat import EncodedPair
from fitbot.pairs.datamodule import PreferenceDataModule, Split
from fitbot.pairs.store import PairStore, some_of
from fitbot.policy.policy import Policy, to_device

Result = TypeVar("Result")

_MIB = 2**20
_WEIGHED = 10_000  # pairs whose mean size is taken
# What a pass has in hand besides what it keeps, what the allocator cannot use, and other programs.
_SPARE = 1.5
_USABLE = 0.9


class Memory(NamedTuple):
    """Bytes on one device."""

    weights: int  # of base and adapter
    optimizer: int  # and gradients
    a_token: float  # that a forward pass keeps for backward
    mean_tokens: float  # of a pair
    tile: int  # elements of logits that the head holds at once, at most
    vocabulary: int

    def head(self, num_tokens: float) -> float:
        """Bytes of a few float32 tiles of logits, at most."""
        return 3 * 4 * min(self.tile, num_tokens * self.vocabulary)

    def tokens_that_fit(self, total: int) -> int:
        """Tokens of a forward pass for which a device of so many bytes has room; perhaps 0."""
        room = _USABLE * total - self.weights - self.optimizer - self.head(math.inf)
        return max(0, int(room / (_SPARE * self.a_token)))

    def text(self, num_tokens: int) -> str:
        """Say it, for passes of so many tokens."""
        activations, head = self.a_token * num_tokens, self.head(num_tokens)
        total = self.weights + self.optimizer + activations + head
        return (
            f"memory expected: {total / _MIB:,.0f} MiB (weights {self.weights / _MIB:,.0f}, "
            f"gradients and optimizer {self.optimizer / _MIB:,.0f}, activations "
            f"{activations / _MIB:,.0f} for {num_tokens:,} tokens, head {head / _MIB:,.0f} at most)"
        )


def measure_memory(policy: Policy, pairs: PairStore, *, bytes_a_moment: int) -> Memory:
    """Weigh what lies on the policy's device, and what one pair's pass adds; nothing is drawn.

    Of a sharded base all processes measure together.

    Args:
        policy: As it will be trained.
        pairs: That it will be trained on.
        bytes_a_moment: Of each of AdamW's two moments, a weight.
    """
    weights = sum(own_part(p).nbytes for p in policy.network.parameters())
    weights += gathered_bytes(policy.network.get_base_model().get_decoder()) + policy.buffer_bytes
    some = some_of(pairs, _WEIGHED)
    mean_tokens = sum(pair.num_tokens for pair in some) / len(some)
    typical = min(some, key=lambda pair: abs(pair.num_tokens - mean_tokens))
    return Memory(
        weights,
        policy.adapter.numel() * (4 + 2 * bytes_a_moment),
        activation_bytes(policy, typical) / typical.num_tokens,
        mean_tokens,
        policy.tile_elements,
        policy.network.config.vocab_size,
    )


def activation_bytes(policy: Policy, pair: EncodedPair) -> int:
    """Measure what one pair's forward pass keeps for backward, in bytes, weights not counted."""
    weights = {own_part(p).untyped_storage().data_ptr() for p in policy.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = to_device(collate_pairs([pair], layout="shared", pad_id=0), policy.device)
    devices = [policy.device] if policy.device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices),
        torch.autograd.graph.saved_tensors_hooks(note, lambda t: t),
    ):
        held = policy.kept_by_engine(batch) or [policy.logps(batch)]  # until they were counted
        for tensor in held:
            note(tensor)
    return sum(kept.values())


@dataclass
class PassRunner:
    """Runs a batch's passes one after the other, and lowers the token budget where they fail."""

    policy: Policy  # computes
    data: PreferenceDataModule  # splits batches into passes

    def train(
        self,
        batch: list[PairBatch],
        run: Callable[[PairBatch, bool], Result],
        *,
        restart: Callable[[], object],
    ) -> list[Result]:
        """Run all passes of a step forward and backward; return what `run` returned for them.

        Args:
            batch: This process's share of the step.
            run: Runs one pass; its second argument is whether the pass counts. One that does not is
                there because another process has more, and must add nothing to the gradient.
            restart: Called before the first pass, and again before each new attempt.

        Raises:
            ConfigError: Memory ran out, and the passes cannot be smaller.
        """
        while True:
            restart()
            results: list[Result] = []
            try:
                for number, part in enumerate(self._joint_passes("train", batch)):
                    results.append(run(part, number < len(batch)))
                return results[: len(batch)]
            except torch.cuda.OutOfMemoryError:
                results.clear()
            # Only here is what the failed pass held free again.
            self.policy.release_memory()
            batch = self._smaller("train", batch)

    def measure(
        self, split: Split, batch: list[PairBatch], of: Callable[[PairBatch], Result]
    ) -> list[Result]:
        """Run passes without backward; where memory runs out, without graphs, then smaller.

        Raises:
            ConfigError: Memory ran out, and the passes cannot be smaller.
        """
        while True:
            try:
                return [of(part) for part in self._joint_passes(split, batch)][: len(batch)]
            except torch.cuda.OutOfMemoryError:
                pass  # only after this is what the failed pass held free again
            # Passes that are not captured cannot use the memory that captured ones hold.
            if not self.policy.release_memory():
                batch = self._smaller(split, batch)

    def measure_memory(self, *, bytes_a_moment: int) -> Memory:
        """Measure what a fit needs, on one training pair; see `measure_memory`.

        Raises:
            ConfigError: Memory does not suffice for that pair.
        """
        try:
            pairs = self.data.pairs["train"]
            return measure_memory(self.policy, pairs, bytes_a_moment=bytes_a_moment)
        except torch.cuda.OutOfMemoryError:
            self._check_may_be_smaller()
            # It was a single pair.
            self.data.budget.lower(self.data.limits.max_length, can_be_smaller=False)
            raise

    def lower_budget(self, longest: int) -> int:
        """Free memory after it ran out, and return a lower token budget, for pairs up to `longest`.

        Raises:
            ConfigError: The passes cannot be smaller.
        """
        data = self.data
        self.policy.release_memory()
        self._check_may_be_smaller()
        data.budget.lower(data.token_budget, can_be_smaller=data.token_budget > longest)
        return data.token_budget

    def _joint_passes(self, split: Split, batch: list[PairBatch]) -> list[PairBatch]:
        """Add passes that count for nothing until all processes run as many, if they must."""
        if not self.policy.is_sharded:
            return batch
        device = self.policy.device
        missing = largest_over_processes(len(batch), device) - len(batch)
        extra = self.data.collate(split, [0]) if missing else []
        return batch + missing * [to_device(part, device) for part in extra]

    def _smaller(self, split: Split, batch: list[PairBatch]) -> list[PairBatch]:
        self._check_may_be_smaller()
        smaller = self.data.split_smaller(split, batch)
        return [to_device(part, self.policy.device) for part in smaller]

    def _check_may_be_smaller(self) -> None:
        """Refuse to try again where the other processes are in the middle of the same pass."""
        if self.policy.is_sharded:
            raise ConfigError(
                f"out of GPU memory in process {rank()}, in a forward pass of at most "
                f"{self.data.token_budget:,} tokens; with trainer.strategy sharded it "
                "cannot be tried again in smaller ones: set data.max_tokens_per_pass lower, or "
                "model.gradient_checkpointing: true, or take more GPUs"
            )
