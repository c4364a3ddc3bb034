"""The tiled head against its textbook form."""

import pytest
import torch
import torch.nn.functional as F

from fitbot.policy import logps
from fitbot.policy.logps import Head, sum_by_owner, token_logps
from tests.conftest import DEVICES


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("tile_elements", [1, 3 * 50, 1 << 26], ids=["1 row", "3 rows", "1 tile"])
@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("bias", [False, True])
def test_token_logps_and_their_gradient_are_those_of_log_softmax(
    device: str, tile_elements: int, cap: float | None, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logps, "TILE_ELEMENTS", tile_elements)
    hidden = torch.randn(7, 16, device=device, requires_grad=True)
    weight, targets = torch.randn(50, 16, device=device), torch.randint(50, (7,), device=device)
    upstream = torch.randn(7, device=device)
    head = Head(weight, torch.randn(50, device=device) if bias else None, cap)
    logits = hidden @ weight.T if head.bias is None else F.linear(hidden, weight, head.bias)
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    expected = F.log_softmax(logits, -1).gather(-1, targets[:, None]).squeeze(-1)
    (expected_gradient,) = torch.autograd.grad(expected, hidden, upstream)

    actual = token_logps(hidden, head, targets)
    (gradient,) = torch.autograd.grad(actual, hidden, upstream)

    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-5, rtol=1e-5)


@pytest.mark.gpu
def test_bf16_hidden_states_are_scored_with_float32_logits() -> None:
    hidden = torch.randn(64, 256, device="cuda", dtype=torch.bfloat16)
    weight = torch.randn(5000, 256, device="cuda", dtype=torch.bfloat16)
    targets = torch.randint(5000, (64,), device="cuda")
    exact = (hidden.double() @ weight.double().T).log_softmax(-1)

    actual = token_logps(hidden, Head(weight), targets)

    error = (actual - exact.gather(-1, targets[:, None]).squeeze(-1)).abs().max()
    assert error < 1e-3  # logits rounded to bf16 would be off by 0.1 at their size of about 16


def test_sum_by_owner_adds_completions_and_drops_the_padding() -> None:
    scores = torch.tensor([1.0, 2.0, 4.0, 8.0, 100.0])
    owner = torch.tensor([0, 0, 1, 3, 4])  # chosen 0 twice, rejected 0, rejected 1, padding

    assert sum_by_owner(scores, owner, num_pairs=2).tolist() == [[3.0, 4.0], [0.0, 8.0]]


@pytest.mark.parametrize("tile_elements", [1, 3 * 50, 1 << 26], ids=["1 row", "3 rows", "1 tile"])
def test_divergence_is_its_definition_in_float64(
    tile_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logps, "TILE_ELEMENTS", tile_elements)
    torch.manual_seed(0)
    ours, theirs, weight = torch.randn(7, 16), torch.randn(7, 16), torch.randn(50, 16)
    p, q = ((states.double() @ weight.double().T).softmax(-1) for states in (ours, theirs))

    divergence, entropy = logps.divergence(ours, theirs, logps.Head(weight))

    torch.testing.assert_close(divergence.double(), (p * (p / q).log()).sum(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(entropy.double(), -(p * p.log()).sum(-1), atol=1e-5, rtol=0)
    assert logps.divergence(ours, ours, logps.Head(weight))[0].abs().max() == 0
