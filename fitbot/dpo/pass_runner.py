"""A batch in forward passes that fit into memory: where it runs out, again in smaller ones."""

from collections.abc import Callable
from typing import TypeVar

import torch

from fitbot.cluster.processes import largest_over_processes, rank
from fitbot.dpo.memory import Memory, measure_memory
from fitbot.errors import ConfigError
from fitbot.pairs.batch import PairBatch
from fitbot.pairs.datamodule import PreferenceDataModule, Split
from fitbot.policy.policy import Policy, to_device

Result = TypeVar("Result")


class PassRunner:
    """Runs a batch's passes one after the other, and lowers the token budget where they fail."""

    def __init__(self, policy: Policy, data: PreferenceDataModule):
        """Take what computes, and what splits batches into passes."""
        self.policy, self.data = policy, data

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
        """Measure what a fit needs, on one training pair; see `memory.measure_memory`.

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
