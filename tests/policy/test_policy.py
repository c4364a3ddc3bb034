"""What must always hold of log-probs: layouts, batches, storage of the base, the reference."""

import copy
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from fitbot.base_model.loading import add_adapter, load_base
from fitbot.base_model.nf4 import count_4bit, expand_4bit
from fitbot.base_model.settings import BaseSettings, LoraSettings
from fitbot.errors import AdapterError, ConfigError
from fitbot.pairs.batch import Layout, collate_pairs
from fitbot.pairs.chat import EncodedPair
from fitbot.policy.agreement import fitting_layout, why_not_shared
from fitbot.policy.policy import Policy, to_device
from tests.conftest import DEVICES, make_policy

WIDTHS = {"cpu": torch.float32, "cuda": torch.bfloat16}


def logps_and_gradient(
    policy: Policy, pairs: list[EncodedPair], layout: Layout, *, at_once: int = 99
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return (N, 2) log-probs and the adapter's gradient of sum(chosen - 2 · rejected)."""
    policy.zero_grad()
    logps = []
    for start in range(0, len(pairs), at_once):
        batch = collate_pairs(pairs[start : start + at_once], layout=layout, pad_id=0)
        logps.append(policy.logps(to_device(batch, policy.device)))
        (logps[-1] @ logps[-1].new_tensor([1.0, -2.0])).sum().backward()
    assert policy.adapter.grad is not None
    return torch.cat(logps).detach(), policy.weights.split(policy.adapter.grad)


def assert_same(
    one: tuple[Tensor, dict[str, Tensor]], other: tuple[Tensor, dict[str, Tensor]], tolerance: float
) -> None:
    torch.testing.assert_close(one[0], other[0], atol=tolerance, rtol=tolerance)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        difference = (gradient - other[1][name]).norm() / other[1][name].norm()
        assert difference < tolerance, name


@pytest.mark.parametrize("device", DEVICES)
def test_packed_is_rows_is_one_pair_at_a_time(
    base: str, pairs: list[EncodedPair], device: str
) -> None:
    policy = make_policy(base, device=device)

    packed = logps_and_gradient(policy, pairs, "shared")
    rows = logps_and_gradient(policy, pairs, "rows")
    single = logps_and_gradient(policy, pairs, "rows", at_once=1)

    assert packed[0].std() > 10  # there is something to compare
    assert_same(packed, rows, 2e-4)
    assert_same(rows, single, 2e-4)


@pytest.mark.gpu
def test_packed_is_rows_within_bf16_rounding_on_cuda(base: str, pairs: list[EncodedPair]) -> None:
    policy = make_policy(base, device="cuda", dtype=torch.bfloat16)

    packed = logps_and_gradient(policy, pairs, "shared")
    rows = logps_and_gradient(policy, pairs, "rows")

    tokens = torch.tensor([[len(p.chosen), len(p.rejected)] for p in pairs], device="cuda")
    assert ((packed[0] - rows[0]).abs() / tokens).max() < 0.02  # nats a token
    assert_same((packed[0][:0], packed[1]), (rows[0][:0], rows[1]), 0.1)


def test_log_probs_are_those_of_the_plain_model_on_one_sequence(
    base: str, pairs: list[EncodedPair]
) -> None:
    policy = make_policy(base, moved=False)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    expected = []
    for pair in pairs:
        for completion in (pair.chosen, pair.rejected):
            ids = torch.tensor([pair.prompt + completion])
            with torch.no_grad():
                scores = plain(ids).logits.log_softmax(-1)[0, len(pair.prompt) - 1 : -1]
            expected.append(scores.gather(-1, ids[0, len(pair.prompt) :, None]).sum())

    actual, _ = logps_and_gradient(policy, pairs, "shared")

    torch.testing.assert_close(actual, torch.stack(expected).view(-1, 2), atol=1e-3, rtol=1e-5)


def test_another_family_than_qwen_gives_the_same_in_both_layouts(
    tmp_path: Path, pairs: list[EncodedPair]
) -> None:
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.1,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    policy = make_policy(str(tmp_path))

    assert_same(
        logps_and_gradient(policy, pairs, "shared"), logps_and_gradient(policy, pairs, "rows"), 2e-4
    )


@pytest.mark.parametrize("device", DEVICES)
def test_nf4_expanded_once_is_nf4_dequantised_on_the_fly(
    base: str, pairs: list[EncodedPair], device: str
) -> None:
    kept = make_policy(base, device=device, load_in_4bit=True, expand_4bit=False)
    expanded = make_policy(base, device=device, load_in_4bit=True, expand_4bit=True)
    full = make_policy(base, device=device, load_in_4bit=False)

    results = [logps_and_gradient(p, pairs, "shared") for p in (kept, expanded, full)]

    assert [count_4bit(p) for p in (kept, expanded, full)] == [(14, 0), (0, 14), (0, 0)]
    assert_same(results[0], results[1], 2e-3 if device == "cuda" else 2e-4)
    assert (results[0][0] - results[2][0]).abs().max() > 0.5  # and quantising did change something


def test_a_prequantised_checkpoint_trains_in_the_runs_dtype(
    prequantised: str, pairs: list[EncodedPair]
) -> None:
    kept = make_policy(prequantised, load_in_4bit=True, expand_4bit=False)
    expanded = make_policy(prequantised, load_in_4bit=True, expand_4bit=True)

    assert count_4bit(kept) == (13, 0)
    assert {p.dtype for p in kept.parameters()} == {torch.uint8, torch.float32}
    assert_same(
        logps_and_gradient(kept, pairs, "shared"), logps_and_gradient(expanded, pairs, "rows"), 2e-4
    )


def test_nothing_stays_of_4_bit_weights_that_were_expanded(prequantised: str) -> None:
    settings = BaseSettings(base_model=prequantised, expand_4bit=False)
    base = load_base(settings, device=torch.device("cpu"), compute_dtype=torch.float32)
    packed = [weakref.ref(p) for p in base.parameters() if p.dtype == torch.uint8]

    gc.disable()  # or it may look for cycles in time, as it seldom does in a run
    try:
        expand_4bit(base, torch.float32)
        left = sum(weight() is not None for weight in packed)
    finally:
        gc.enable()

    assert len(packed) == 13
    assert left == 0


def test_a_prequantised_checkpoint_without_4bit_is_refused(prequantised: str) -> None:
    with pytest.raises(ConfigError, match="load_in_4bit is false, but the weights of .* 4 bits"):
        make_policy(prequantised, load_in_4bit=False)


@pytest.mark.parametrize("load_in_4bit", [False, True], ids=["full", "nf4"])
def test_evaluation_before_training_leaves_gradients_right(
    base: str, pairs: list[EncodedPair], load_in_4bit: bool
) -> None:
    # bitsandbytes repacks NF4 weights on AVX512-BF16 CPUs at the first eval forward; gradients
    # after it were 63 % off, with a mere warning.
    policy = make_policy(base, load_in_4bit=load_in_4bit, expand_4bit=False)
    before = logps_and_gradient(policy, pairs, "shared")
    policy.eval()
    with torch.no_grad():
        policy.logps(collate_pairs(pairs, layout="shared", pad_id=0))
    policy.train()

    after = logps_and_gradient(policy, pairs, "shared")

    assert_same(after, before, 1e-9)


def test_the_reference_is_the_base_whatever_the_adapter(
    base: str, pairs: list[EncodedPair]
) -> None:
    batch = collate_pairs(pairs, layout="shared", pad_id=0)
    moved, fresh = make_policy(base, dropout=0.5), make_policy(base, moved=False)

    reference = moved.reference_logps(batch)

    assert torch.equal(reference, fresh.logps(batch).detach())
    assert not reference.requires_grad
    assert moved.training  # and dropout is on again
    assert (moved.logps(batch) - reference).abs().max() > 0.5
    assert {n for n, p in moved.network.named_parameters() if p.requires_grad} == {
        n for n, _ in moved.network.named_parameters() if ".lora_" in n
    }


def test_dropout_is_on_in_training_and_off_in_evaluation(
    base: str, pairs: list[EncodedPair]
) -> None:
    policy = make_policy(base, dropout=0.5)
    batch = collate_pairs(pairs, layout="shared", pad_id=0)

    assert not torch.equal(policy.logps(batch), policy.logps(batch))
    policy.eval()
    assert torch.equal(policy.logps(batch), policy.logps(batch))


def test_a_given_adapter_is_trained_on_and_frozen_as_reference(
    base: str, pairs: list[EncodedPair], tmp_path: Path
) -> None:
    first = make_policy(base)
    first.network.save_pretrained(tmp_path / "adapter")
    batch = collate_pairs(pairs, layout="shared", pad_id=0)
    expected = first.logps(batch).detach()

    second = make_policy(base, moved=False, adapter=str(tmp_path / "adapter"))
    start, reference = second.logps(batch).detach(), second.reference_logps(batch)
    for name, parameter in second.named_parameters():
        if parameter.requires_grad and "lora_B" in name:
            parameter.data += 0.05

    torch.testing.assert_close(start, expected, atol=1e-4, rtol=1e-5)
    assert torch.equal(start, reference)
    assert torch.equal(second.reference_logps(batch), reference)
    assert (second.logps(batch) - reference).abs().max() > 0.5
    assert all(".default." in n for n, p in second.network.named_parameters() if p.requires_grad)


def test_adapter_weights_are_float32_whatever_the_compute_dtype(base: str) -> None:
    policy = make_policy(base, dtype=torch.bfloat16)

    dtypes = {".lora_" in name: p.dtype for name, p in policy.named_parameters()}

    assert dtypes == {True: torch.float32, False: torch.bfloat16}


def test_gradient_checkpointing_runs_and_changes_nothing(
    base: str, pairs: list[EncodedPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = logps_and_gradient(make_policy(base), pairs, "shared")
    policy = make_policy(base, gradient_checkpointing=True)
    calls = []
    original = torch.utils.checkpoint.checkpoint

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return original(*args, use_reentrant=False, **kwargs)

    for module in policy.modules():
        if hasattr(module, "_gradient_checkpointing_func"):
            module._gradient_checkpointing_func = counting  # type: ignore[assignment]

    checkpointed = logps_and_gradient(policy, pairs, "shared")

    assert len(calls) == 2  # one a layer
    assert_same(checkpointed, plain, 1e-6)


def test_recomputing_may_begin_at_any_time(base: str, pairs: list[EncodedPair]) -> None:
    policy = make_policy(base)
    plain = logps_and_gradient(policy, pairs, "shared")
    before = policy.recomputes

    policy.recompute()

    assert [before, policy.recomputes] == [False, True]
    assert_same(logps_and_gradient(policy, pairs, "shared"), plain, 1e-6)


def test_a_pass_that_is_tried_leaves_nothing_behind(base: str, pairs: list[EncodedPair]) -> None:
    policy, called = make_policy(base), list[bool]()
    batch = collate_pairs(pairs[:2], layout="shared", pad_id=0)
    before = policy.adapter.detach().clone()

    policy.try_pass(batch, lambda: called.append(True))

    assert called == [True]
    assert policy.adapter.grad is None
    assert all(weight.grad is None for weight in policy.network.parameters())
    assert torch.equal(policy.adapter, before)


def test_a_seed_means_the_same_adapter_whatever_device_is_the_default(base: str) -> None:
    lora = LoraSettings(r=4, alpha=8, dropout=0.0)
    settings = BaseSettings(base, load_in_4bit=False)
    plain, other = (
        load_base(settings, device=torch.device("cpu"), compute_dtype=torch.float32)
        for _ in range(2)
    )

    network = add_adapter(plain, lora, None)
    with torch.device("meta"):  # in place of the GPU that Lightning builds models on
        elsewhere = add_adapter(other, lora, None)

    names = [name for name, _ in network.named_parameters() if "lora_A" in name]
    assert names
    for name in names:
        assert torch.equal(network.get_parameter(name), elsewhere.get_parameter(name)), name


def test_building_an_adapter_leaves_the_runs_random_numbers_alone(base: str) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    one, two = make_policy(base, moved=False), make_policy(base, moved=False)

    assert torch.equal(torch.rand(1), expected)
    for (name, a), (_, b) in zip(one.named_parameters(), two.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_head_that_is_not_a_plain_product_is_refused(base: str) -> None:
    policy = make_policy(base)
    network = copy.deepcopy(policy.network)
    head = network.get_base_model().get_output_embeddings()
    head.register_forward_hook(lambda module, args, logits: 30 * torch.tanh(logits / 30) * 1.5)

    with pytest.raises(ConfigError, match=r"'qwen3' computes its logits in a way of its own"):
        Policy(network, compute_dtype=torch.float32)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda module, args, out: out + out.mean(1, keepdim=True), "is no decoder .* see those"),
        (lambda module, args, out: out[:, :, 1:], "its own modules fail on eight tokens, .*Error"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused(base: str, spoil: Any, message: str) -> None:
    network = copy.deepcopy(make_policy(base).network)
    network.get_base_model().get_decoder().layers[0].register_forward_hook(spoil)

    with pytest.raises(ConfigError, match=f"a base of kind 'qwen3' .*{message}"):
        Policy(network, compute_dtype=torch.float32)


def test_a_layout_that_changes_log_probs_is_not_taken(
    base: str, caplog: pytest.LogCaptureFixture
) -> None:
    policy = make_policy(base)
    assert fitting_layout(policy, "shared", 1024) == "shared"
    # A layer that mixes neighbours, as recurrent and convolutional ones do.
    layer = policy.network.get_base_model().get_decoder().layers[0]
    layer.register_forward_hook(lambda module, args, out: out + out.roll(1, dims=1))

    assert fitting_layout(policy, "shared", 1024) == "rows"
    assert "rows instead of shared, which changes this base's log-probs by" in caplog.text
    policy.network.config.use_sliding_window = True
    policy.network.config.sliding_window = 1000
    assert "sliding window of 1000" in (why_not_shared(policy, 1024) or "")
    policy.network.config.layer_types = ["conv", "full_attention"]
    assert (why_not_shared(policy, 10) or "").endswith("in this base's layers: conv")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_model": "./nowhere"}, "no config.json there"),
        ({"max_seq_length": 99999}, "exceeds .* 4096 positions"),
        ({"backend": "unsloth", "adapter": "x"}, "needs backend: transformers"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    base: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_policy(base, **settings)  # type: ignore[arg-type]


def test_a_folder_without_an_adapter_is_refused(base: str, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"no adapter_config\.json there"):
        make_policy(base, adapter=str(tmp_path))


def test_another_base_has_another_checksum_and_another_adapter_has_not(base: str) -> None:
    policy = make_policy(base)
    before = policy.base_checksum()
    policy.adapter.data += 1
    assert policy.base_checksum() == before

    norm = next(p for n, p in policy.network.named_parameters() if n.endswith("norm.weight"))
    norm.data[0] = torch.nextafter(norm.data[0], torch.tensor(2.0))  # by one bit

    assert policy.base_checksum() != before
