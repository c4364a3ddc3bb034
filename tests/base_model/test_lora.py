"""A LoRA layer in 16 bits: its gradient, and how much of a small update reaches its output."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from fitbot.base_model.lora import _BasePlusUpdate, _drop, round_once
from fitbot.pairs.batch import collate_pairs
from fitbot.pairs.chat import EncodedPair
from fitbot.policy.policy import to_device
from tests.conftest import DEVICES, make_policy


def lora_layer(device: str, *, scale_of_b: float) -> Any:
    """One bf16 linear layer of ordinary size with a float32 adapter, under PEFT."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 192, bias=False)).bfloat16()
    network = get_peft_model(model, LoraConfig(r=8, lora_alpha=32, target_modules=["0"]))
    layer: Any = network.base_model.model[0]
    nn.init.normal_(layer.lora_B["default"].weight, std=scale_of_b)
    return layer.to(device)


def share_that_shows(layer: Any, x: Tensor) -> float:
    """Regress the output's change on the change that exact arithmetic gives: 1 is all of it."""
    with torch.no_grad():
        layer.enable_adapters(False)
        without = layer(x)
        layer.enable_adapters(True)
        change = (layer(x).double() - without.double()).flatten()
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        exact = (4.0 * x.double() @ a.double().T @ b.double().T).flatten()
    share: float = (change @ exact / (exact @ exact)).item()
    return share


@pytest.mark.parametrize("device", DEVICES)
def test_a_small_update_shows_in_full_where_pefts_own_forward_loses_most_of_it(device: str) -> None:
    layer = lora_layer(device, scale_of_b=2e-5)
    x = torch.randn(4096, 256, device=device, dtype=torch.bfloat16)
    with torch.autocast(device, dtype=torch.bfloat16):
        usual = share_that_shows(layer, x)

    round_once(layer)

    assert usual < 0.5
    assert share_that_shows(layer, x) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("device", DEVICES)
def test_dropout_drops_its_share_at_random_and_keeps_the_mean(device: str) -> None:
    x = torch.rand(400, 501, device=device, requires_grad=True)
    dropout = nn.Dropout(0.05)
    torch.manual_seed(0)

    (one, scale), (other, _) = _drop(x, dropout), _drop(x, dropout)
    one = one * scale
    one.sum().backward()

    gone = one == 0
    assert gone.float().mean().item() == pytest.approx(0.05, abs=0.002)
    assert (gone & (other == 0)).float().mean().item() == pytest.approx(0.0025, abs=0.0005)
    assert gone.float().mean(0).std() < 0.02  # as even in every column as chance has it
    torch.testing.assert_close(one[~gone], x.detach()[~gone] / 0.95, atol=1e-4, rtol=1e-4)
    assert x.grad is not None
    assert torch.equal(x.grad == 0, gone)
    kept, scale = _drop(x, dropout.eval())
    assert kept is x
    assert scale == 1


def test_the_gradient_is_that_of_base_plus_update() -> None:
    base = nn.Linear(6, 5).double().requires_grad_(False)
    x, h, b = (torch.randn(n, dtype=torch.float64, requires_grad=True) for n in (18, 6, 10))

    def layer(x: Tensor, h: Tensor, b: Tensor) -> Tensor:
        result: Tensor = _BasePlusUpdate.apply(x.view(3, 6), h.view(3, 2), b.view(5, 2), base)
        return result

    expected = base(x.view(3, 6)) + h.view(3, 2) @ b.view(5, 2).T
    torch.testing.assert_close(layer(x, h, b), expected)
    assert torch.autograd.gradcheck(layer, (x, h, b))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("expand", [False, True], ids=["nf4", "expanded"])
def test_a_fresh_adapter_is_the_reference_to_the_last_bit_in_bf16(
    base: str, pairs: list[EncodedPair], device: str, expand: bool
) -> None:
    policy = make_policy(
        base,
        device=device,
        dtype=torch.bfloat16,
        moved=False,
        dropout=0.3,
        load_in_4bit=True,
        expand_4bit=expand,
    )
    batch = to_device(collate_pairs(pairs, layout="shared", pad_id=0), policy.device)

    actual, reference = policy.logps(batch).detach(), policy.reference_logps(batch)
    if device == "cpu":
        assert torch.equal(actual, reference)
    else:  # the head's kernel sums in another order when it has no gradient to give
        torch.testing.assert_close(actual, reference, rtol=2.5e-7, atol=0)
