"""What a fit needs is measured before the first step; passes are as large as memory allows."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fitbot.base_model.settings import BaseSettings
from fitbot.dpo import memory as memory_module
from fitbot.dpo.memory import Memory, activation_bytes, measure_memory
from fitbot.dpo.pass_runner import PassRunner
from fitbot.pairs import budget
from fitbot.pairs.budget import PassBudget, rounded_budget
from fitbot.pairs.chat import EncodedPair
from fitbot.pairs.datamodule import Lengths, PreferenceDataModule
from fitbot.policy.policy import Policy
from tests.conftest import make_data, make_policy, store_of

MEMORY = Memory(
    weights=10**9,
    optimizer=10**8,
    kept=(0, 2e6),
    backward=(0, 1e4),
    measuring=(0, 1e5),
    tile=100,
    logits=(1e6, 5e5),
    lengths=Lengths(pair=300, step=2000, scored=0.5),
)
KEPT, RECOMPUTED = MEMORY.kept, (0, 2e5)


def test_a_pass_is_as_large_as_memory_allows() -> None:
    assert MEMORY.pass_bytes(1024) == 2e6 * 1024 + 1e8  # the head's tile is more than backward
    assert MEMORY.pass_bytes(16384) == 2e6 * 16384 + 1e4 * 16384  # here it is less
    assert MEMORY.pass_bytes(65) == 2e6 * 72 + 1e6 * 36  # padded, and not a whole tile
    assert MEMORY.tokens_that_fit(10**10) == 4096  # 4352 are padded to 4608
    assert MEMORY.tokens_that_fit(10**10, passes=2) == 2048
    assert MEMORY.tokens_that_fit(10**8) == 0
    assert [rounded_budget(n) for n in (0, 300, 5000, 10**9)] == [256, 256, 4864, 16384]


def test_what_is_expected_is_the_highest_of_all_that_a_run_does() -> None:
    training = 1.1e9 + 2e6 * 1024 + 1e8

    assert MEMORY.expected(1000) == training
    assert MEMORY.expected(1000, 2000) == training
    assert MEMORY.expected(1000, 100_000) == 1.1e9 + 1e5 * 106_496
    assert MEMORY.expected(1000, so_far=10**11) == 10**11
    assert MEMORY.text(1000).startswith("memory expected: 3,098 MiB (weights 954, ")


def test_free_memory_decides_unless_the_budget_was_set(
    base: str, pairs_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "free_bytes", lambda device: 10**10)
    free = make_data(base, pairs_file)
    free.choose_budget(MEMORY.tokens_that_fit)
    assert free.token_budget == 2048  # a CPU's

    monkeypatch.setattr(PreferenceDataModule, "_device", torch.device("cuda"))
    free.choose_budget(MEMORY.tokens_that_fit)
    by_hand = make_data(base, pairs_file, max_tokens_per_pass=77)
    by_hand.choose_budget(MEMORY.tokens_that_fit)

    assert free.token_budget == 4096
    assert by_hand.token_budget == 77


def test_a_pass_keeps_the_more_the_longer_its_pair(base: str, pairs: list[EncodedPair]) -> None:
    policy = make_policy(base)
    short = min(pairs, key=lambda pair: pair.num_tokens)
    long = short._replace(chosen=short.chosen * 40)

    few, many = activation_bytes(policy, short), activation_bytes(policy, long)

    assert many > 5 * few
    weights = sum(p.nbytes for p in policy.network.parameters())
    memory = measure_memory(policy, MEMORY.lengths, short, layout="shared", bytes_a_moment=4)
    assert memory.weights == weights
    assert memory.optimizer == 12 * policy.adapter.numel()
    assert memory.kept == (0, few / short.num_tokens)


def test_the_longest_pair_and_the_largest_step_are_those_of_the_run(
    base: str, pairs_file: str
) -> None:
    data = make_data(base, pairs_file, batch_size=3, accumulate_batches=1)
    data.setup("fit")
    sizes = data.pairs["train"].sizes()

    lengths, typical = data.lengths("train")

    orders = [data._order(epoch).tolist() for epoch in range(5)]
    steps = [order[start : start + 3] for order in orders for start in range(0, 10, 3)]
    assert lengths.pair == sizes.max()
    assert lengths.step == max(sizes[step].sum() for step in steps)
    assert 0 < lengths.scored < 1
    assert abs(typical.num_tokens - sizes.mean()) == abs(sizes - sizes.mean()).min()
    assert data.lengths("val")[0].step == sizes.sum()
    assert data.largest_pass("train") == lengths.step  # a CPU's budget holds it
    data.pairs["train"] = store_of([typical._replace(chosen=typical.chosen * 400)])
    longest = data.lengths("train")[0]
    assert data.largest_pass("train") == longest.pair > data.token_budget
    data.pairs["train"] = store_of(9 * [typical])
    data.budget = PassBudget(int(2.5 * typical.num_tokens))
    assert data.largest_pass("train") == 2 * typical.num_tokens  # of three in a step


# -- a GPU's allocator, imitated -------------------------------------------------------------------


class Allocator:
    """Counts as a GPU's would what passes of a made-up network take."""

    held, peak = 1000, 1000

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, room: int = 10**12):
        self.room, self.sizes, self.recomputes = room, list[int](), False
        for name, instead in {
            "memory_allocated": lambda device: self.held,
            "max_memory_allocated": lambda device: self.peak,
            "reset_peak_memory_stats": lambda device: setattr(self, "peak", self.held),
        }.items():
            monkeypatch.setattr(torch.cuda, name, instead)
        monkeypatch.setattr(Policy, "device", torch.device("cuda"))
        monkeypatch.setattr(memory_module, "to_device", lambda batch, device: batch)
        monkeypatch.setattr(torch.random, "fork_rng", lambda devices: torch.no_grad())
        monkeypatch.setattr(Policy, "try_pass", lambda *args: self.try_pass(*args))
        monkeypatch.setattr(Policy, "reference_logps", lambda policy, batch: self.take(batch, 3))
        monkeypatch.setattr(memory_module, "_head_bytes", lambda policy, scored, training: 1.0)

    def take(self, batch: Any, a_token: int) -> int:
        tokens: int = batch.input_ids.numel()
        if self.held + a_token * tokens > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        self.peak = max(self.peak, self.held + a_token * tokens)
        return a_token * tokens

    def try_pass(self, policy: Policy, batch: Any, between: Callable[[], object]) -> None:
        tokens = batch.input_ids.numel()
        assert len(batch.score_ids) == len(batch.score_from) == len(batch.score_owner) == 8
        self.take(batch, 60)
        self.sizes.append(tokens)
        self.held += (50 if not policy.recomputes else 5) * tokens + tokens**2 // 4
        between()
        try:
            self.take(batch, 2)
        finally:
            self.held = 1000


@pytest.mark.parametrize("layout", ["shared", "rows"])
def test_what_passes_take_is_measured_by_the_allocator_and_extrapolated(
    base: str, pairs: list[EncodedPair], monkeypatch: pytest.MonkeyPatch, layout: Any
) -> None:
    policy, allocator = make_policy(base), Allocator(monkeypatch)
    lengths = Lengths(pair=700, step=30_000, scored=0.5)

    memory = measure_memory(policy, lengths, pairs[0], layout=layout, bytes_a_moment=1)

    sizes = sorted(set(allocator.sizes))
    assert sizes == pytest.approx([512, 2048, 8192], rel=0.1)  # pairs of 700 tokens and fewer
    assert memory.weights == 1000
    much = 16_384
    assert memory.pass_bytes(much) == pytest.approx(50 * much + much**2 / 4 + 2 * much, rel=1e-3)
    assert memory.measuring_bytes(much) == pytest.approx(3 * much, rel=1e-3)
    assert memory.logits == (1.0, 1.0)
    allocator.sizes.clear()
    measure_memory(policy, lengths, pairs[0], layout=layout, bytes_a_moment=1, most=1000)
    assert max(allocator.sizes) <= 1100


def test_sizes_for_which_there_is_no_memory_are_not_measured(
    base: str, pairs: list[EncodedPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, allocator = make_policy(base), Allocator(monkeypatch, room=400_000)
    lengths = Lengths(pair=700, step=3000, scored=0.5)

    memory = measure_memory(policy, lengths, pairs[0], layout="shared", bytes_a_moment=1)

    assert set(allocator.sizes) == {192, 768, 3072}  # of the last, backward failed
    assert memory.pass_bytes(768) == pytest.approx(50 * 768 + 768**2 // 4 + 2 * 768)
    assert len(memory.kept) == 2
    Allocator(monkeypatch, room=1000)
    with pytest.raises(torch.OutOfMemoryError):
        measure_memory(policy, lengths, pairs[0], layout="shared", bytes_a_moment=1)


@pytest.mark.parametrize(
    ("setting", "room", "recomputes"),
    [(None, 10**9, False), (None, 8_000, True), (False, 8_000, False), (True, 10**9, True)],
)
def test_activations_are_recomputed_only_where_memory_asks_for_it(
    base: str,
    pairs_file: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    setting: bool | None,
    room: int,
    recomputes: bool,
) -> None:
    policy = make_policy(base, gradient_checkpointing=setting)
    data = make_data(base, pairs_file)
    data.setup("fit")
    Allocator(monkeypatch)
    monkeypatch.setattr("fitbot.dpo.pass_runner.free_bytes", lambda device: room)
    monkeypatch.setattr(budget, "free_bytes", lambda device: room)
    monkeypatch.setattr(PreferenceDataModule, "_device", torch.device("cuda"))
    monkeypatch.setattr("fitbot.dpo.out_of_memory._name", lambda device: "NVIDIA T4 (14.6 GiB)")
    held = BaseSettings(base, load_in_4bit=False, gradient_checkpointing=setting)
    policy.adapter.data = policy.adapter.data[:1]  # next to no optimizer
    assert data.lengths("train")[0].pair == 112

    with caplog.at_level(logging.INFO, "fitbot"):
        PassRunner(policy, data, held).fit_to_memory(bytes_a_moment=1)

    assert policy.recomputes is recomputes
    said = "recomputed" if recomputes else "kept"
    assert [text for text in caplog.messages if text.startswith("device")] == [
        f"device: NVIDIA T4 (14.6 GiB): float32, base not quantised, activations {said}, passes of "
        f"at most {data.token_budget:,} tokens"
    ]
