"""What a fit needs is measured on one pair, and its passes are as large as memory allows."""

from types import SimpleNamespace

import pytest
import torch

from fitbot.dpo.memory import Memory, activation_bytes, measure_memory
from fitbot.pairs.budget import rounded_budget
from fitbot.pairs.chat import EncodedPair
from fitbot.pairs.datamodule import PreferenceDataModule
from tests.conftest import make_data, make_policy, store_of

MEMORY = Memory(
    weights=10**9, optimizer=10**8, a_token=2e6, mean_tokens=100, tile=10**7, vocabulary=10**5
)


def test_a_pass_is_as_large_as_memory_allows() -> None:
    assert MEMORY.tokens_that_fit(10**10) == int((9e9 - 1.1e9 - 1.2e8) / 3e6)
    assert MEMORY.tokens_that_fit(10**9) == 0
    assert MEMORY.head(10) == 3 * 4 * 10**6
    assert MEMORY.head(10**6) == 3 * 4 * 10**7
    assert [rounded_budget(n) for n in (0, 300, 5000, 10**9)] == [256, 256, 4864, 16384]


def test_the_gpus_memory_decides_unless_the_budget_was_set(
    base: str, pairs_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = SimpleNamespace(total_memory=10**10)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    free = make_data(base, pairs_file)
    free.choose_budget(MEMORY.tokens_that_fit)
    assert free.token_budget == 2048  # a CPU's

    monkeypatch.setattr(PreferenceDataModule, "_device", torch.device("cuda"))
    free.choose_budget(MEMORY.tokens_that_fit)
    by_hand = make_data(base, pairs_file, max_tokens_per_pass=77)
    by_hand.choose_budget(MEMORY.tokens_that_fit)

    assert free.token_budget == 2560
    assert by_hand.token_budget == 77


def test_a_pass_keeps_the_more_the_longer_its_pair(base: str, pairs: list[EncodedPair]) -> None:
    policy = make_policy(base)
    short = min(pairs, key=lambda pair: pair.num_tokens)
    long = short._replace(chosen=short.chosen * 40)

    few, many = activation_bytes(policy, short), activation_bytes(policy, long)

    assert many > 5 * few
    weights = sum(p.nbytes for p in policy.network.parameters())
    memory = measure_memory(policy, store_of([short] * 3), bytes_a_moment=4)
    assert memory.weights == weights
    assert memory.optimizer == 12 * policy.adapter.numel()
    assert memory.a_token == few / short.num_tokens
    assert "memory expected: " in memory.text(100)
