"""A few answers of the policy as it is; `generation.scheduler` is what answers fast."""

from collections.abc import Collection, Sequence
from itertools import takewhile

import torch

from fitbot.policy.policy import Policy


@torch.no_grad()
def answer_greedily(
    policy: Policy, prompt: Sequence[int], max_new_tokens: int, ends: Collection[int]
) -> list[int]:
    """Let a policy answer a prompt, without dropout, always by the likeliest token.

    Args:
        policy: The policy; of a sharded one all processes must answer together.
        prompt: Token ids.
        max_new_tokens: At most.
        ends: Tokens that end an answer; they are not returned.

    Returns:
        The answer's token ids.
    """
    passes = policy.eager
    new: list[int] = []
    ids, cache = torch.tensor([list(prompt)], device=policy.device), None
    with policy.without_dropout(), passes.autocast():
        while len(new) < max_new_tokens:
            out = passes.decoder(input_ids=ids, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            ids = passes.head(out.last_hidden_state[:, -1:]).argmax(-1)
            new.append(int(ids))
            # Of a sharded base all processes run as many passes, wherever an answer ends.
            if new[-1] in ends and not policy.is_sharded:
                break
    return list(takewhile(lambda token: token not in ends, new))
