"""Greedy answers are those of transformers' own generate."""

import pytest
import torch

from fitbot.pairs.chat import EncodedPair
from fitbot.policy.greedy import answer_greedily
from tests.conftest import make_policy


@pytest.mark.parametrize("length", [1, 12])
def test_greedy_answers_are_those_of_generate_and_leave_dropout_on(
    base: str, pairs: list[EncodedPair], length: int
) -> None:
    policy = make_policy(base, dropout=0.5)
    prompt = pairs[0].prompt

    answer = answer_greedily(policy, prompt, length, ends=())

    assert policy.training
    policy.eval()
    expected = policy.network.generate(
        torch.tensor([prompt]), max_new_tokens=length, do_sample=False, eos_token_id=None
    )
    assert answer == expected[0, len(prompt) :].tolist()


def test_an_answer_ends_before_its_end_token(base: str, pairs: list[EncodedPair]) -> None:
    policy = make_policy(base)
    whole = answer_greedily(policy, pairs[0].prompt, 12, ends=())

    answer = answer_greedily(policy, pairs[0].prompt, 12, ends={whole[5]})

    assert answer == whole[: whole.index(whole[5])]
