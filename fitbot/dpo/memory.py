"""What a fit needs on its device: measured on a few passes before the first step, and foretold.

On a GPU the allocator counts what made-up passes of three sizes take, in the very way that the run
will compute; between and beyond them a parabola says it. On a CPU only what is kept for backward is
counted.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fitbot.base_model.sharding import gathered_bytes, own_part
from fitbot.pairs.batch import Layout, PairBatch, collate_pairs, padded_size, tokens_in_pass
from fitbot.pairs.budget import MOST_TOKENS, TOKENS_APART
from fitbot.pairs.chat import EncodedPair
from fitbot.pairs.datamodule import Lengths
from fitbot.policy.logps import score_tokens
from fitbot.policy.policy import Policy, to_device

_MIB = 2**20
_MEASURED_TOKENS = 8192  # of the largest measured pass; beyond it a parabola must do
_SCORED = 8  # tokens that a measured pass scores: what the head takes is measured by itself
# Of the free memory; the rest is for what the allocator cannot use and for kernels' own code.
_USABLE = 0.9

Parabola = tuple[float, ...]  # coefficients, the constant first


class Memory(NamedTuple):
    """Bytes on one device: what lies there, and what forward passes of T tokens take besides.

    A training pass takes most when all that backward needs is kept: then the head has its logits
    besides, or the backward pass of a layer what it works with.
    """

    weights: int  # of base and adapter, and all else that is there before the first step
    optimizer: int  # and gradients
    kept: Parabola  # of T: for backward
    backward: Parabola  # of T: what the backward pass of a layer works with
    measuring: Parabola  # of T: a pass without backward, but for the head
    tile: float  # scored tokens whose logits the head holds at once, at most
    logits: tuple[float, float]  # a scored token: in training, and without backward
    lengths: Lengths  # of the training pairs

    def pass_bytes(self, num_tokens: float) -> float:
        """Return what a training pass of so many tokens takes at its highest."""
        tokens = padded_size(math.ceil(num_tokens))
        return _at(self.kept, tokens) + max(self.head(tokens), _at(self.backward, tokens))

    def measuring_bytes(self, num_tokens: float) -> float:
        """Return what a pass without backward takes at its highest."""
        tokens = padded_size(math.ceil(num_tokens))
        scored = min(self.tile, self.lengths.scored * tokens)
        return max(self.logits[1] * scored, _at(self.measuring, tokens))

    def head(self, num_tokens: float) -> float:
        """Return what the head takes of a training pass, as far as it holds logits at once."""
        return self.logits[0] * min(self.tile, self.lengths.scored * num_tokens)

    def fits(self, num_tokens: int, room: int, *, passes: int = 1) -> bool:
        """Say whether so many free bytes suffice for training passes of so many tokens.

        Args:
            num_tokens: Of a pass.
            room: Bytes.
            passes: That hold memory at once.
        """
        return passes * self.pass_bytes(num_tokens) <= _USABLE * room - self.optimizer

    def tokens_that_fit(self, room: int, *, passes: int = 1) -> int:
        """Return the tokens of a training pass for which so many free bytes suffice; perhaps 0."""
        sizes = range(MOST_TOKENS, 0, -TOKENS_APART)
        return next((size for size in sizes if self.fits(size, room, passes=passes)), 0)

    def expected(self, num_tokens: int, measured_tokens: int = 0, so_far: int = 0) -> float:
        """Return what all tensors of a run take at their highest; on a GPU PyTorch counts the same.

        Args:
            num_tokens: Of its largest training pass.
            measured_tokens: Of its largest pass without backward; 0 if there is none.
            so_far: Bytes that it has taken already, at their highest.
        """
        largest = self.pass_bytes(num_tokens)
        if measured_tokens:
            largest = max(largest, self.measuring_bytes(measured_tokens))
        return max(so_far, self.weights + self.optimizer + largest)

    def text(self, num_tokens: int, measured_tokens: int = 0, so_far: int = 0) -> str:
        """Say it; see `expected`."""
        total = self.expected(num_tokens, measured_tokens, so_far)
        kept = _at(self.kept, padded_size(num_tokens))
        besides = total - self.weights - self.optimizer - kept
        return (
            f"memory expected: {total / _MIB:,.0f} MiB (weights {self.weights / _MIB:,.0f}, "
            f"gradients and optimizer {self.optimizer / _MIB:,.0f}, activations "
            f"{kept / _MIB:,.0f} for {num_tokens:,} tokens, at work {besides / _MIB:,.0f})"
        )


def measure_memory(
    policy: Policy,
    lengths: Lengths,
    typical: EncodedPair,
    *,
    layout: Layout,
    bytes_a_moment: int,
    most: int = MOST_TOKENS,
) -> Memory:
    """Weigh what lies on the policy's device, and what passes add; no random number is drawn.

    Of a sharded base all processes measure together, and one pass only: it cannot be tried again.

    Args:
        policy: As it will be trained.
        lengths: Of the pairs that it will be trained on.
        typical: One of them of the usual length.
        layout: Of the batches.
        bytes_a_moment: Of each of AdamW's two moments, a weight.
        most: Tokens of a pass, if all fit.

    Raises:
        torch.OutOfMemoryError: Memory does not even suffice for the smallest pass.
    """
    optimizer = policy.adapter.numel() * (4 + 2 * bytes_a_moment)
    tile = policy.tile_elements / policy.eager.decoder.config.vocab_size
    if policy.device.type != "cuda":
        a_token = activation_bytes(policy, typical, layout) / tokens_in_pass(typical, layout)
        logits = 3 * 4 * float(policy.eager.decoder.config.vocab_size)
        found = ((0.0, a_token), (0.0,), (0.0,))
        return Memory(_weight_bytes(policy), optimizer, *found, tile, (logits, logits), lengths)
    if policy.is_sharded:
        sizes = [padded_size(typical.num_tokens)]
    else:
        largest = min(_MEASURED_TOKENS, padded_size(min(most, lengths.step)))
        sizes = [largest // 16, largest // 4, largest]  # the least one fits nearly everywhere
    with torch.random.fork_rng([policy.device]):
        batches = [_made_up(policy, size, lengths.pair, layout) for size in sizes]
        passes = _measured_passes(policy, batches)
        kept, backward, measuring = (
            _parabola([one.tokens for one in passes], [one[column] for one in passes])
            for column in (1, 2, 3)
        )
        # As many as a pass scores at once: of a small vocabulary a whole tile would take far more.
        scored = max(1, int(min(tile, lengths.scored * passes[-1].tokens)))
        training, without = (_head_bytes(policy, scored, training=way) for way in (True, False))
    weights = torch.cuda.memory_allocated(policy.device)
    logits_of_both = training, without
    return Memory(weights, optimizer, kept, backward, measuring, tile, logits_of_both, lengths)


def activation_bytes(policy: Policy, pair: EncodedPair, layout: Layout = "shared") -> int:
    """Count what one pair's forward pass keeps for backward, in bytes, weights left out."""
    weights = {own_part(p).untyped_storage().data_ptr() for p in policy.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = to_device(collate_pairs([pair], layout=layout, pad_id=0), policy.device)
    devices = [policy.device] if policy.device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices),
        torch.autograd.graph.saved_tensors_hooks(note, lambda t: t),
    ):
        held = policy.kept_by_engine(batch) or [policy.logps(batch)]  # until they were counted
        for tensor in held:
            note(tensor)
    return sum(kept.values())


class _Measured(NamedTuple):
    """Bytes of one pass."""

    tokens: int
    kept: int  # after the forward pass, for backward
    backward: int  # besides, while backward runs, at most
    measuring: int  # of the same pass without backward, at most


def _weight_bytes(policy: Policy) -> int:
    weights = sum(own_part(p).nbytes for p in policy.network.parameters())
    return (
        weights
        + gathered_bytes(policy.network.get_base_model().get_decoder())
        + policy.buffer_bytes
    )


def _made_up(policy: Policy, tokens: int, longest: int, layout: Layout) -> PairBatch:
    """Make a batch of about so many tokens, in pairs of at most `longest`, few of them scored."""
    rows = 1 if layout == "shared" else 2  # that a pair takes
    count = math.ceil(tokens / longest)
    length = max(4, tokens // (rows * count))
    ids = [i % policy.eager.decoder.config.vocab_size for i in range(5, 5 + length)]
    one = EncodedPair(ids[:-2] if layout == "shared" else ids[:-1], ids[:1], ids[:1], 0, 0, 0, 0)
    batch = collate_pairs(count * [one], layout=layout, pad_id=0)
    few = {name: getattr(batch, name)[:_SCORED] for name in ("score_from", "score_ids")}
    owner = batch.score_owner[:_SCORED]
    return to_device(batch._replace(**few, score_owner=owner), policy.device)


def _measured_passes(policy: Policy, batches: Sequence[PairBatch]) -> list[_Measured]:
    """Run passes, the smallest first, as far as memory goes; at least one."""
    found: dict[int, _Measured] = {}
    policy.try_pass(batches[0], lambda: None)  # libraries take their own memory at first use
    for batch in batches:
        try:
            one = _measured_pass(policy, batch)
        except torch.OutOfMemoryError:
            if not found or policy.is_sharded:
                raise
            break
        found[one.tokens] = one
    return list(found.values())


def _measured_pass(policy: Policy, batch: PairBatch) -> _Measured:
    device, held = policy.device, 0

    def between() -> None:
        nonlocal held
        held = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)

    before = torch.cuda.memory_allocated(device)
    measuring = _peak(device, lambda: policy.reference_logps(batch))
    highest = before + _peak(device, lambda: policy.try_pass(batch, between))
    return _Measured(batch.input_ids.numel(), held - before, highest - held, measuring)


def _head_bytes(policy: Policy, scored: int, *, training: bool) -> float:
    """Measure what the head takes for one scored token, where it holds so many at once."""
    weight = policy.eager.frozen_head.weight
    hidden = torch.zeros(scored, weight.shape[1], dtype=weight.dtype, device=weight.device)
    targets = torch.zeros(scored, dtype=torch.int64, device=weight.device)
    with torch.no_grad():
        peak = _peak(
            policy.device,
            lambda: score_tokens(
                hidden,
                policy.eager.frozen_head,
                targets,
                with_gradient=training,
                tile_elements=policy.tile_elements,
            ),
        )
    return peak / scored


def _peak(device: torch.device, run: Callable[[], object]) -> int:
    """Return how many bytes more than before a call had at its highest."""
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    highest = torch.cuda.max_memory_allocated(device) - before
    torch.cuda.reset_peak_memory_stats(device)
    return highest


def _parabola(sizes: Sequence[int], found: Sequence[int]) -> Parabola:
    """Lay a parabola through what was found; a line, where the parabola would fall again."""
    for degree in range(len(sizes) - 1, 0, -1):
        fitted = np.polynomial.Polynomial.fit(sizes, found, degree).convert().coef
        if len(fitted) == degree + 1 and fitted[-1] >= 0:
            return tuple(float(x) for x in fitted)
    return 0.0, found[-1] / sizes[-1]


def _at(parabola: Parabola, x: float) -> float:
    return float(np.polynomial.Polynomial(parabola)(x))
