"""Runs a batch's forward passes; where memory runs out, in smaller ones, or keeping less."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from fitbot.base_model.settings import BaseSettings
from fitbot.cluster.processes import largest_over_processes, rank
from fitbot.dpo.memory import Memory, measure_memory
from fitbot.dpo.out_of_memory import no_memory, what_was_chosen
from fitbot.errors import NoMemoryError
from fitbot.pairs.batch import PairBatch
from fitbot.pairs.budget import MOST_TOKENS, free_bytes
from fitbot.pairs.chat import EncodedPair
from fitbot.pairs.datamodule import Lengths, PreferenceDataModule, Split
from fitbot.policy.policy import Policy, to_device

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass
class PassRunner:
    """Runs a batch's passes one after the other, and lowers the token budget where they fail."""

    policy: Policy  # computes
    data: PreferenceDataModule  # splits batches into passes
    base: BaseSettings  # how the policy's base is held

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
            NoMemoryError: Memory ran out, passes cannot be smaller, and no less can be kept.
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
            had_graphs = self.policy.release_memory()
            self._check_may_be_smaller()
            smaller = self._split("train", batch)
            if smaller is None and not had_graphs:
                self._recompute_or_end(batch)
            batch = smaller or batch

    def measure(
        self, split: Split, batch: list[PairBatch], of: Callable[[PairBatch], Result]
    ) -> list[Result]:
        """Run passes without backward; where memory runs out, without graphs, then smaller.

        Raises:
            NoMemoryError: Memory ran out, and the passes cannot be smaller.
        """
        while True:
            try:
                return [of(part) for part in self._joint_passes(split, batch)][: len(batch)]
            except torch.cuda.OutOfMemoryError:
                pass  # only after this is what the failed pass held free again
            # Passes that are not captured cannot use the memory that captured ones hold.
            if self.policy.release_memory():
                continue
            self._check_may_be_smaller()
            smaller = self._split(split, batch)
            if smaller is None:
                raise self._no_memory_in(batch)
            batch = smaller

    def fit_to_memory(self, *, bytes_a_moment: int) -> Memory:
        """Measure what a fit needs; choose passes that fit, and whether activations are kept.

        Activations are recomputed only where a pair, or what data.max_tokens_per_pass asks for,
        would not fit otherwise.

        Args:
            bytes_a_moment: Of each of AdamW's two moments, a weight.

        Raises:
            NoMemoryError: Memory does not suffice for the smallest pass.
        """
        policy, data = self.policy, self.data
        lengths, typical = data.lengths("train")

        def measured() -> Memory | None:
            return self._measured(lengths, typical, bytes_a_moment)

        memory = measured()
        if memory is None or self._asks_for_recomputing(memory):
            policy.recompute()
            memory = measured()
        assert memory is not None
        passes = self._passes_at_once
        data.choose_budget(lambda room: memory.tokens_that_fit(room, passes=passes))
        logger.info("%s", what_was_chosen(policy, data.token_budget))
        return memory

    def lower_budget(self, longest: int) -> int:
        """Free memory after it ran out, and return a lower token budget, for pairs up to `longest`.

        Raises:
            NoMemoryError: The passes cannot be smaller.
        """
        data, tokens = self.data, self.data.token_budget
        self.policy.release_memory()
        self._check_may_be_smaller()
        if not data.budget.lower(tokens, can_be_smaller=tokens > longest):
            raise self._no_memory(tokens, several=tokens > longest)
        return data.token_budget

    @property
    def _may_recompute(self) -> bool:
        """Whether it was left to memory, and is still to be had."""
        left_open = self.base.gradient_checkpointing is None
        return left_open and self.base.backend == "transformers" and not self.policy.recomputes

    @property
    def _passes_at_once(self) -> int:
        """Passes that hold memory at once: graphs keep theirs while a new size is launched."""
        compiled = self.policy.compiled
        return 2 if compiled is not None and compiled.capture else 1

    def _measured(
        self, lengths: Lengths, typical: EncodedPair, bytes_a_moment: int
    ) -> Memory | None:
        """Measure; None if memory ran out and activations may be recomputed instead."""
        try:
            return measure_memory(
                self.policy,
                lengths,
                typical,
                layout=self.data.layout,
                bytes_a_moment=bytes_a_moment,
                most=max(lengths.pair, self.data.budget.fixed or MOST_TOKENS),
            )
        except torch.cuda.OutOfMemoryError:
            pass  # only after this is what the failed pass held free again
        self.policy.release_memory()
        self._check_may_be_smaller()
        if not self._may_recompute:
            raise self._no_memory(typical.num_tokens, several=False)
        return None

    def _asks_for_recomputing(self, memory: Memory) -> bool:
        """Whether what must be in one pass does not fit with all activations kept."""
        if not self._may_recompute or self.policy.device.type != "cuda":
            return False
        lengths, asked = memory.lengths, self.data.budget.fixed or 0
        needed = max(lengths.pair, min(asked, lengths.step))
        room = free_bytes(self.policy.device)
        lacks = not memory.fits(needed, room, passes=self._passes_at_once)
        if self.policy.is_sharded:  # a pass is one of all processes
            return bool(largest_over_processes(int(lacks), self.policy.device))
        return lacks

    def _joint_passes(self, split: Split, batch: list[PairBatch]) -> list[PairBatch]:
        """Add passes that count for nothing until all processes run as many, if they must."""
        if not self.policy.is_sharded:
            return batch
        device = self.policy.device
        missing = largest_over_processes(len(batch), device) - len(batch)
        extra = self.data.collate(split, [0]) if missing else []
        return batch + missing * [to_device(part, device) for part in extra]

    def _split(self, split: Split, batch: list[PairBatch]) -> list[PairBatch] | None:
        """Lay a batch out in smaller passes; None if they cannot be smaller."""
        smaller = self.data.split_smaller(split, batch)
        return smaller and [to_device(part, self.policy.device) for part in smaller]

    def _recompute_or_end(self, batch: list[PairBatch]) -> None:
        """Keep less for backward from now on, where that was left to memory."""
        if not self._may_recompute:
            raise self._no_memory_in(batch)
        logger.warning("out of GPU memory: from now on activations are recomputed in backward")
        self.policy.recompute()

    def _no_memory_in(self, batch: list[PairBatch]) -> NoMemoryError:
        """Say it of a batch's passes."""
        several = any(part.num_pairs > 1 for part in batch)
        return self._no_memory(max(part.input_ids.numel() for part in batch), several=several)

    def _no_memory(self, num_tokens: int, *, several: bool) -> NoMemoryError:
        """Say it of a pass, in which there was one pair or several."""
        doing = f"in a forward pass of {num_tokens:,} tokens"
        smaller = num_tokens if several else None
        return no_memory(doing, self.base, self.data, self.policy, smaller_pass=smaller)

    def _check_may_be_smaller(self) -> None:
        """Refuse to try again where the other processes are in the middle of the same pass."""
        if self.policy.is_sharded:
            tokens = self.data.token_budget
            doing = (
                f"in process {rank()}, in a forward pass of at most {tokens:,} tokens, which with "
                "trainer.strategy sharded cannot be tried again in smaller ones"
            )
            raise no_memory(doing, self.base, self.data, self.policy, smaller_pass=tokens)
