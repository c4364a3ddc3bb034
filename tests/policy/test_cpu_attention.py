"""Attending pair by pair against the dense mask, and where the pairs of a row lie."""

from typing import Any

import torch

from fitbot.pairs.batch import collate_pairs
from fitbot.pairs.chat import EncodedPair
from fitbot.policy.cpu_attention import attend_by_pair, segments_of
from tests.conftest import make_policy


def test_segments_are_where_the_pairs_lie_and_the_padding_is_one() -> None:
    pairs = [
        EncodedPair([11, 12, 13], [21, 22], [31, 32, 33], 0, 0, 0, 0),
        EncodedPair([14], [24, 25], [34], 0, 0, 0, 1),
    ]
    batch = collate_pairs(pairs, layout="shared", pad_id=9)
    assert batch.pair_index is not None
    assert batch.part is not None

    assert segments_of(batch.pair_index, batch.part) == [(3, 2, 3), (1, 2, 1), (52, 0, 0)]


def test_by_pair_is_the_dense_mask_log_probs_and_gradients(
    base: str, pairs: list[EncodedPair]
) -> None:
    policy = make_policy(base)
    batch = collate_pairs(pairs, layout="shared", pad_id=0)
    results = {}
    for by_pair in (True, False):
        policy.zero_grad()
        policy.eager.by_pair = by_pair
        logps = policy.logps(batch)
        logps.sum().backward()
        assert policy.adapter.grad is not None
        results[by_pair] = (logps.detach(), policy.weights.split(policy.adapter.grad).values())

    torch.testing.assert_close(results[True][0], results[False][0], atol=1e-3, rtol=1e-5)
    for one, other in zip(results[True][1], results[False][1], strict=True):
        assert (one - other).norm() < 1e-4 * other.norm()


def test_by_pair_is_what_a_cpu_gets(base: str) -> None:
    assert make_policy(base).eager.by_pair


def test_in_bfloat16_the_attention_itself_is_computed_in_float32() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 12, 8).bfloat16() for heads in (4, 2, 2))
    options: dict[str, Any] = {"scaling": 0.3, "segments": [(3, 2, 2), (2, 2, 1)]}

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = attend_by_pair(None, query, key, value, None, **options)
    inputs = (query.float(), key.float(), value.float())
    expected, _ = attend_by_pair(None, *inputs, None, **options)

    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())
