"""What a fit needs on its device, measured on one pair before the first step."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from fitbot.base_model.sharding import gathered_bytes, own_part
from fitbot.pairs.batch import collate_pairs
from fitbot.pairs.chat import EncodedPair
from fitbot.pairs.store import PairStore, some_of
from fitbot.policy.policy import Policy, to_device

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
