"""The adapter as one vector: its weights are views of it, wherever they are moved."""

import torch

from fitbot.pairs.batch import collate_pairs
from fitbot.pairs.chat import EncodedPair
from tests.conftest import make_policy


def test_a_step_on_the_vector_moves_every_weight(base: str) -> None:
    policy = make_policy(base)
    before = [(layer.a.clone(), layer.b.clone()) for layer in policy.weights.layers]

    with torch.no_grad():
        policy.adapter += 1

    for (a, b), layer in zip(before, policy.weights.layers, strict=True):
        assert torch.equal(layer.a, a + 1)
        assert torch.equal(layer.b, b + 1)


def test_offsets_say_where_the_weights_lie(base: str) -> None:
    policy = make_policy(base)

    for layer in policy.weights.layers:
        for weight, offset in ((layer.a, layer.a_offset), (layer.b, layer.b_offset)):
            part = policy.adapter[offset : offset + weight.numel()]
            assert torch.equal(part, weight.flatten())
    assert policy.weights.a_size == policy.weights.layers[0].b_offset


def test_weights_are_tied_again_after_they_were_moved_one_by_one(base: str) -> None:
    policy = make_policy(base)
    values = policy.adapter.clone()

    policy.double().float()  # a new tensor for every parameter, as on the way to a GPU
    with torch.no_grad():
        policy.adapter *= 2

    a = policy.weights.layers[0].a
    assert torch.equal(policy.adapter, 2 * values)
    assert torch.equal(a.flatten(), policy.adapter[: a.numel()])


def test_the_vectors_gradient_is_the_weights_gradients(base: str, pairs: list[EncodedPair]) -> None:
    policy = make_policy(base)
    batch = collate_pairs(pairs, layout="shared", pad_id=0)
    weights = [weight for layer in policy.weights.layers for weight in (layer.a, layer.b)]

    policy.logps(batch).sum().backward()

    expected = torch.autograd.grad(policy.eager.logps_by_modules(batch).sum(), weights)
    assert policy.adapter.grad is not None
    names = policy.weights.split(policy.adapter.grad)
    for layer, (a, b) in zip(
        policy.weights.layers, zip(expected[::2], expected[1::2], strict=True), strict=True
    ):
        torch.testing.assert_close(names[f"{layer.name}.A"], a)
        torch.testing.assert_close(names[f"{layer.name}.B"], b)
