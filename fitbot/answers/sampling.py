"""Logits → one token for each request of a step, each drawn as that request wants it.

A draw is the inverse of the distribution function at one number between 0 and 1, which depends on
the request's seed and on how many tokens it has drawn, and on nothing else: the same request with
the same seed has the same answer, alone or among others.

B requests, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fitbot.answers.engine import Sampling

_LIKELIEST = 256  # tokens that are nearly always enough for top_p; all of them are sorted otherwise


class Draw(NamedTuple):
    """What one request wants of a step."""

    sampling: Sampling
    seed: int
    drawn: int  # tokens so far
    seen: Tensor | None  # (V,) bool, tokens of prompt and answer; only with a repetition penalty


class Drawn(NamedTuple):
    """One token; what the model itself thought of it and of the likeliest ones, if asked for."""

    token: int
    logprob: float | None
    top: list[tuple[int, float]]


def draw(logits: Tensor, wanted: Sequence[Draw]) -> list[Drawn]:
    """Draw a token from each row of (B, V) float32 logits."""
    likeliest = logits.argmax(-1).tolist()
    drawn = []
    for row, token, want in zip(logits, likeliest, wanted, strict=True):
        if want.sampling.temperature > 0 or want.seen is not None:
            token = _draw_one(row, want)
        logprob, top = None, []
        if want.sampling.logprobs is not None:
            logps = row.log_softmax(-1)
            logprob = logps[token].item()
            values, tokens = logps.topk(want.sampling.logprobs)
            top = list(zip(tokens.tolist(), values.tolist(), strict=True))
        drawn.append(Drawn(token, logprob, top))
    return drawn


def _draw_one(logits: Tensor, want: Draw) -> int:
    sampling = want.sampling
    if want.seen is not None:
        penalty = sampling.repetition_penalty
        punished = torch.where(logits > 0, logits / penalty, logits * penalty)
        logits = torch.where(want.seen, punished, logits)
    if sampling.temperature == 0:
        return int(logits.argmax())
    logits = logits / sampling.temperature
    # Temperature 0.01 makes logits of thousands; the sums below are safe from that.
    total = logits.logsumexp(-1)
    number = min(_LIKELIEST, len(logits))
    while True:
        values, tokens = logits.topk(number)
        probabilities = (values - total).double().exp()
        # Is there more that top_p would take? Then all is needed.
        enough = sampling.top_k and sampling.top_k <= number
        if number == len(logits) or enough or probabilities.sum() > sampling.top_p:
            break
        number = len(logits)
    kept = _filtered(probabilities, sampling)
    sums = kept.cumsum(-1)
    goal = sums[-1] * uniform(want.seed, want.drawn)
    place = min(int(torch.searchsorted(sums, goal, right=True)), int(kept.count_nonzero()) - 1)
    return int(tokens[place])


def _filtered(probabilities: Tensor, sampling: Sampling) -> Tensor:
    """Set to 0 what top_k, top_p and min_p leave out; the likeliest always stays.

    Args:
        probabilities: In falling order; top_p counts what top_k has left as the whole.
        sampling: The filters.
    """
    kept = probabilities.clone()
    if sampling.top_k:
        kept[sampling.top_k :] = 0
        kept /= kept.sum()
    before = kept.cumsum(-1) - kept
    kept[before >= sampling.top_p] = 0
    kept[kept < sampling.min_p * kept[0]] = 0
    return kept


def uniform(seed: int, drawn: int) -> float:
    """Mix two numbers into one from 0, below 1: splitmix64 (doi 10.1145/2660193.2660195)."""
    mask = 2**64 - 1
    z = (seed * 0xD1342543DE82EF95 + (drawn + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return float((z ^ (z >> 31)) >> 11) / 2**53
