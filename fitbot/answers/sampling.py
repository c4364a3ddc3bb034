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

_LIKELIEST = 256  # tokens that are nearly always enough for top_p
_ATTEMPTS = 16  # draws from a flat distribution before it is sorted


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
    punished = _punish(logits, wanted)
    if all(want.sampling.temperature == 0 for want in wanted):
        tokens = punished.argmax(-1).tolist()
    else:
        found, sure = choose(punished, _numbers(wanted, logits.device))
        tokens = settle(found, sure, punished, wanted)
    return [told(row, token, want) for row, token, want in zip(logits, tokens, wanted, strict=True)]


def numbers_of(wanted: Sequence[Draw]) -> list[list[float]]:
    """List what `choose` must know of each request: temperature, top_p, top_k, min_p, uniform."""
    return [
        [s.temperature, s.top_p, s.top_k, s.min_p, uniform(want.seed, want.drawn)]
        for want in wanted
        for s in [want.sampling]
    ]


def choose(logits: Tensor, numbers: Tensor, likeliest: int = _LIKELIEST) -> tuple[Tensor, Tensor]:
    """Draw from the likeliest tokens of each row; nothing here waits for a GPU.

    Args:
        logits: (B, V) float32.
        numbers: (B, 5) float64, see `numbers_of`.
        likeliest: Tokens that are looked at.

    Returns:
        (B,) tokens, and (B,) whether those likeliest were enough for what top_p wants.
    """
    likeliest = min(likeliest, logits.shape[1])
    temperature, top_p, top_k, min_p, uniforms = numbers.unsqueeze(-1).unbind(1)
    logits = logits / temperature.clamp(min=1e-3).float()
    values, tokens = logits.topk(likeliest)  # in falling order
    kept = (values - logits.logsumexp(-1, keepdim=True)).double().exp()
    limited = (top_k > 0) & (top_k <= likeliest)
    enough = (top_k == 0) & (kept.sum(-1, keepdim=True) > top_p)
    sure = limited | enough | (temperature == 0)
    rank = torch.arange(likeliest, device=logits.device)
    kept = torch.where((top_k == 0) | (rank < top_k), kept, 0.0)
    # top_p counts what top_k has left as the whole.
    whole = torch.where(limited, kept.sum(-1, keepdim=True), 1.0)
    before = kept.cumsum(-1) - kept
    wide = (before < top_p * whole) & (kept >= min_p * kept[:, :1]) & (kept > 0)
    kept = torch.where(wide, kept, 0.0)
    sums = kept.cumsum(-1)
    # The last of those that are kept, should rounding put the goal beyond it.
    place = torch.searchsorted(sums, sums[:, -1:] * uniforms, right=True)
    place = torch.where(temperature == 0, 0, place.minimum(wide.sum(-1, keepdim=True) - 1))
    return tokens.gather(-1, place)[:, 0], sure[:, 0] | (likeliest == logits.shape[1])


def settle(found: Tensor, sure: Tensor, logits: Tensor, wanted: Sequence[Draw]) -> list[int]:
    """Return the tokens that were found, those that are not sure drawn again from all there are."""
    tokens, known = torch.stack([found, sure.long()]).tolist()
    unsure = [row for row, is_known in enumerate(known) if not is_known]
    if unsure:
        again = _draw_from_all(logits[unsure], [wanted[row] for row in unsure])
        for row, token in zip(unsure, again, strict=True):
            tokens[row] = token
    return list(tokens)


def _draw_from_all(logits: Tensor, wanted: Sequence[Draw]) -> list[int]:
    """Draw from a distribution so flat that its likeliest tokens hold less than top_p.

    Tokens are drawn from all of it and drawn again while they are none of those that top_p and
    min_p leave: that is the same distribution, without sorting 150,000 tokens.
    """
    numbers = _numbers(wanted, logits.device)
    temperature, top_p, top_k, min_p, _ = numbers.unsqueeze(-1).unbind(1)
    probabilities = (logits / temperature.clamp(min=1e-3).float()).softmax(-1)
    sums, most = probabilities.cumsum(-1, dtype=torch.float64), probabilities.amax(-1, keepdim=True)
    tokens = [-1] * len(wanted)
    attempts = 0 if all(want.sampling.top_k for want in wanted) else _ATTEMPTS
    for attempt in range(1, attempts + 1):
        uniforms = [[uniform(want.seed, want.drawn, attempt)] for want in wanted]
        goals = sums[:, -1:] * torch.tensor(uniforms, dtype=torch.float64, device=logits.device)
        places = torch.searchsorted(sums, goals, right=True).clamp(max=logits.shape[1] - 1)
        own = probabilities.gather(-1, places)
        likelier = torch.where(probabilities > own, probabilities, 0.0).sum(-1, keepdim=True)
        fits = (likelier < top_p) & (own >= min_p * most) & (top_k == 0)
        for row, (place, fit) in enumerate(torch.cat([places, fits], -1).tolist()):
            if fit and tokens[row] < 0:
                tokens[row] = place
        if min(tokens) >= 0:
            return tokens
    # Little is left by the filters, or there is a large top_k.
    whole, _ = choose(logits, numbers, logits.shape[1])
    return [old if old >= 0 else new for old, new in zip(tokens, whole.tolist(), strict=True)]


def _numbers(wanted: Sequence[Draw], device: torch.device) -> Tensor:
    return torch.tensor(numbers_of(wanted), dtype=torch.float64, device=device)


def told(logits: Tensor, token: int, want: Draw) -> Drawn:
    """Add to a token what the request wants to know of it."""
    if want.sampling.logprobs is None:
        return Drawn(token, None, [])
    logps = logits.log_softmax(-1)
    values, tokens = logps.topk(want.sampling.logprobs)
    return Drawn(
        token, logps[token].item(), list(zip(tokens.tolist(), values.tolist(), strict=True))
    )


def _punish(logits: Tensor, wanted: Sequence[Draw]) -> Tensor:
    """Apply the repetition penalty where there is one."""
    if all(want.seen is None for want in wanted):
        return logits
    rows = []
    for row, want in zip(logits, wanted, strict=True):
        if want.seen is not None:
            penalty = want.sampling.repetition_penalty
            punished = torch.where(row > 0, row / penalty, row * penalty)
            row = torch.where(want.seen, punished, row)
        rows.append(row)
    return torch.stack(rows)


def uniform(seed: int, drawn: int, attempt: int = 0) -> float:
    """Mix numbers into one from 0, below 1: splitmix64 (doi 10.1145/2660193.2660195)."""
    mask = 2**64 - 1
    start = seed * 0xD1342543DE82EF95 + attempt * 0xDA942042E4DD58B5
    z = (start + (drawn + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return float((z ^ (z >> 31)) >> 11) / 2**53
