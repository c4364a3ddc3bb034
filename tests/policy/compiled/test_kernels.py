"""Triton's kernels compute what the plain functions define; without a GPU in its interpreter."""

import math
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from fitbot.pairs.batch import attention_mask
from fitbot.policy.compiled import packed_attention, pointwise
from fitbot.policy.compiled.operands import Dropout, Heads, JoinedGradient
from fitbot.policy.logps import score_tile

pytest.importorskip("triton")

GPU = pytest.param("cuda", marks=pytest.mark.gpu)
CPU = pytest.param(
    "cpu",
    marks=pytest.mark.skipif(
        torch.cuda.is_available(), reason="the kernels are compiled here; see -m gpu"
    ),
)

# Prompt, chosen, rejected: shorter and longer than a block of 64, and a pair with the rest.
SEGMENTS = [(5, 3, 9), (70, 40, 33), (20, 90, 10), (1, 2, 1), (150, 70, 130), (13, 0, 0)]
T, H, F, D, HEADS = 13, 48, 72, 16, 6


@pytest.fixture(params=[CPU, GPU])
def device(request: Any) -> torch.device:
    torch.manual_seed(0)
    return torch.device(request.param)


def randn(*shape: int, device: torch.device) -> Tensor:
    return torch.randn(shape, device=device)


def by_kernel(function: Any, *args: Any, kernel: bool = True) -> Any:
    """Call a function as if its tensors were on a GPU, where it launches its kernel; or not."""
    with mock.patch.object(Tensor, "is_cuda", property(lambda _: kernel)):
        return function(*args)


def plain(function: Any, *args: Any) -> Any:
    """Call a function of `pointwise` on the CPU, where it is plain PyTorch."""
    return function(*map(to_cpu, args))


def to_cpu(arg: Any) -> Any:
    if isinstance(arg, tuple):
        return type(arg)(*map(to_cpu, arg))
    return arg.cpu() if isinstance(arg, Tensor) else arg


def packed(device: torch.device) -> tuple[Tensor, Tensor]:
    pair_index, part = [], []
    for pair, lengths in enumerate(SEGMENTS):
        pair_index += [pair] * sum(lengths)
        part += [kind for kind, length in enumerate(lengths) for _ in range(length)]
    return torch.tensor(pair_index, device=device), torch.tensor(part, device=device)


def test_the_bounds_of_a_view_are_the_dense_mask(device: torch.device) -> None:
    pair_index, part = packed(device)

    visible = packed_attention.visibility(pair_index, part)

    assert torch.equal(packed_attention.visible_mask(visible), attention_mask(pair_index, part))


@pytest.mark.slow
@pytest.mark.parametrize("head_size", [16, 128])
def test_attention_and_its_gradients_are_those_of_the_dense_mask(
    device: torch.device, head_size: int
) -> None:
    pair_index, part = packed(device)
    visible = packed_attention.visibility(pair_index, part)
    query, dout = (randn(len(part), 4, head_size, device=device) for _ in range(2))
    key, value = (randn(len(part), 2, head_size, device=device) for _ in range(2))
    for tensor in (query, key, value):
        tensor.requires_grad_()
    q, k, v = (t.transpose(0, 1)[None] for t in (query, key, value))
    expected = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=attention_mask(pair_index, part), enable_gqa=True
    )[0].transpose(0, 1)
    expected.backward(dout)

    for kernel in (True, False):
        # Parts of wider matrices, poisoned, so that wrong strides and unwritten rows show.
        wide = torch.full((len(part), 4 * head_size + 16), math.nan, device=device)
        out = wide[:, : 4 * head_size].view(len(part), 4, head_size)
        gradients = [torch.full_like(t, math.nan) for t in (query, key, value)]
        with torch.no_grad():
            heads = Heads(query, key, value)
            lse = by_kernel(packed_attention.attend, heads, visible, out, kernel=kernel)
            back = (dout, heads, out, lse, visible, Heads(*gradients))
            by_kernel(packed_attention.attend_backward, *back, kernel=kernel)

        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-4)
        for actual, leaf in zip(gradients, (query, key, value), strict=True):
            assert leaf.grad is not None
            torch.testing.assert_close(actual, leaf.grad, atol=1e-4, rtol=1e-3)


@pytest.fixture(params=[None, 0.3, 0.0], ids=["no dropout", "dropout", "dropout off"])
def dropout(request: Any, device: torch.device) -> Dropout | None:
    if request.param is None:
        return None
    seeds = torch.tensor([7, -3, 12345, -(2**31)], dtype=torch.int32, device=device)
    return Dropout(seeds, 2, round(request.param * 2**31), 1 / (1 - request.param))


def test_norm(device: torch.device, dropout: Dropout | None) -> None:
    x, weight = randn(T, H, device=device), randn(H, device=device)
    outs = [torch.full((T, H + 5), math.nan, device=d)[:, :H] for d in (device, "cpu")]

    copy = torch.full_like(x, math.nan)
    actual = by_kernel(pointwise.norm, x, weight, 1e-6, dropout, outs[0], copy)
    expected = plain(pointwise.norm, x, weight, 1e-6, dropout, outs[1])

    torch.testing.assert_close(actual.cpu(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(outs[0].cpu(), outs[1], atol=1e-5, rtol=1e-5)
    assert torch.equal(copy, x)


@pytest.fixture(params=[0, 5, 48])
def ranks(request: Any) -> int:
    return int(request.param)


def joined(width: int, ranks: int, device: torch.device) -> JoinedGradient:
    """Make up the gradient of a group's input, a part of a wider matrix as in the decoder."""
    wide = randn(T, width + ranks, device=device)
    return JoinedGradient(wide[:, :width], wide[:, width:], randn(ranks, width, device=device))


def test_norm_backward(device: torch.device, dropout: Dropout | None, ranks: int) -> None:
    dx, x = (randn(T, H, device=device) for _ in range(2))
    args = (dx, joined(H, ranks, device), x, randn(H, device=device), 1e-6, dropout)

    actual = by_kernel(pointwise.norm_backward, *args)

    torch.testing.assert_close(
        actual.cpu(), plain(pointwise.norm_backward, *args), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("norms", [True, False])
def test_rotate_and_back(device: torch.device, norms: bool) -> None:
    weight = randn(HEADS, D, device=device) if norms else None
    heads = randn(T, HEADS + 2, D, device=device)[:, :HEADS]
    cos, sin, dout = (
        randn(T, D, device=device),
        randn(T, D, device=device),
        randn(T, HEADS, D, device=device),
    )
    outs = [torch.full((T, HEADS, D), math.nan, device=d) for d in (device, "cpu")]
    backs = [torch.full((T, HEADS + 2, D), 7.0, device=d) for d in (device, "cpu")]

    by_kernel(pointwise.rotate, heads, weight, 1e-6, cos, sin, outs[0])
    plain(pointwise.rotate, heads, weight, 1e-6, cos, sin, outs[1])
    by_kernel(pointwise.rotate_backward, dout, heads, weight, 1e-6, cos, sin, backs[0][:, :HEADS])
    plain(pointwise.rotate_backward, dout, heads, weight, 1e-6, cos, sin, backs[1][:, :HEADS])

    torch.testing.assert_close(outs[0].cpu(), outs[1], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(backs[0].cpu(), backs[1], atol=2e-5, rtol=1e-5)


def test_swiglu_and_back(device: torch.device, dropout: Dropout | None, ranks: int) -> None:
    gate_up = randn(T, 2 * F, device=device)
    outs = [torch.full((T, F + 3), math.nan, device=d)[:, :F] for d in (device, "cpu")]
    back = (joined(F, ranks, device), gate_up, dropout)

    actual = by_kernel(pointwise.swiglu, gate_up, dropout, outs[0])
    expected = plain(pointwise.swiglu, gate_up, dropout, outs[1])

    torch.testing.assert_close(actual.cpu(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(outs[0].cpu(), outs[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        by_kernel(pointwise.swiglu_backward, *back).cpu(),
        plain(pointwise.swiglu_backward, *back),
        atol=1e-4,
        rtol=1e-4,
    )


def test_drop_and_back(device: torch.device, dropout: Dropout | None, ranks: int) -> None:
    x, dout = randn(T, F + 3, device=device)[:, :F], joined(F, ranks, device)

    back = by_kernel(pointwise.drop_backward, dout, dropout)

    torch.testing.assert_close(
        back.cpu(), plain(pointwise.drop_backward, dout, dropout), atol=1e-4, rtol=1e-4
    )
    if dropout is not None:
        dropped = by_kernel(pointwise.drop, x, dropout)
        assert torch.equal(dropped.cpu(), plain(pointwise.drop, x, dropout))


def test_score_tile(device: torch.device) -> None:
    logits = 5 * randn(9, 10_000, device=device)
    targets = torch.arange(9, device=device) * 1111

    logps, probs = by_kernel(score_tile, logits, targets, torch.float32)
    only, nothing = by_kernel(score_tile, logits, targets, None)

    expected = score_tile(logits.cpu(), targets.cpu(), torch.float32)
    torch.testing.assert_close(logps.cpu(), expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(probs.cpu(), expected[1], atol=1e-6, rtol=1e-4)
    assert torch.equal(only, logps)
    assert nothing is None


def test_dropout_keeps_its_share_and_every_seed_another_one() -> None:
    ones = torch.ones(500, 1000)
    seeds = torch.tensor([11, 12], dtype=torch.int32)

    one, other = (
        pointwise.drop(ones, Dropout(seeds, i, round(0.3 * 2**31), 1 / 0.7)) for i in (0, 1)
    )

    # 500,000 draws: a standard deviation of the share is 0.0006.
    for dropped in (one, other):
        assert (dropped > 0).float().mean() == pytest.approx(0.7, abs=0.004)
    assert ((one > 0) & (other > 0)).float().mean() == pytest.approx(0.49, abs=0.004)
    assert one.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
