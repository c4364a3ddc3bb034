"""Logits → one token for each request of a step, each by its own request's `Sampling`.

A draw is the inverse of the distribution function at a number between 0 and 1 that depends on the
request's seed and on how many tokens it has drawn, and on nothing else: the same request with the
same seed has the same answer, alone or among others. Nothing is sorted: a token that top_p or
min_p leaves out is drawn again, among those that are likelier (as in FlashInfer,
arXiv:2501.01005, section 3.4), which is the same distribution.

B requests, V vocabulary.
"""

from collections.abc import Sequence
from ctypes import c_int64
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fitbot.generation.messages import Sampling
from fitbot.generation.random_numbers import SEED_STEP, STEP, uniform


@dataclass
class Draw:
    """How one request's tokens are drawn, and which it has."""

    sampling: Sampling
    seed: int
    drawn: int = 0  # tokens so far
    seen: Tensor | None = None  # (V,) bool, tokens of prompt and answer; for a repetition penalty

    def see(self, prompt: Sequence[int], vocabulary: int, device: torch.device) -> None:
        """Remember a prompt's tokens, if there is a repetition penalty."""
        if self.sampling.repetition_penalty != 1:
            self.seen = torch.zeros(vocabulary, dtype=torch.bool)
            self.seen[list(prompt)] = True
            self.seen = self.seen.to(device)


class Drawn(NamedTuple):
    """One token; its own log-probability and those of the likeliest ones, if asked for."""

    token: int
    logprob: float | None
    top: list[tuple[int, float]]


class Pending:
    """Tokens that a GPU may still be drawing."""

    def __init__(self, tokens: Tensor, logits: Tensor, draws: Sequence[Draw]):
        """Take (B,) tokens, drawn from (B, V) logits before any penalty; does not wait.

        Brings the draws up to date: their counts, and the tokens that they have seen.
        """
        self.tokens = tokens  # (B,)
        self._ready: Any = None
        self._on_host = tokens.clone()  # the next step may write where they are
        if tokens.is_cuda:
            self._on_host = torch.empty(tokens.shape, dtype=tokens.dtype, pin_memory=True)
            self._on_host.copy_(tokens, non_blocking=True)
        self._logprobs: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        for row, draw in enumerate(draws):
            draw.drawn += 1
            if draw.seen is not None:
                draw.seen.index_fill_(0, tokens[row : row + 1], True)
            if draw.sampling.logprobs is not None:
                logps = logits[row].float().log_softmax(-1)
                top = logps.topk(draw.sampling.logprobs)
                self._logprobs[row] = logps.gather(0, tokens[row : row + 1]), *top
        if tokens.is_cuda:
            self._ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._ready.record()

    def drawn(self) -> list[Drawn]:
        """Wait for the tokens and return them."""
        if self._ready is not None:
            self._ready.synchronize()
        drawn = [Drawn(token, None, []) for token in self._on_host.tolist()]
        for row, (own, values, tokens) in self._logprobs.items():
            top = list(zip(tokens.tolist(), values.tolist(), strict=True))
            drawn[row] = Drawn(drawn[row].token, own.item(), top)
        return drawn


def draw(logits: Tensor, draws: Sequence[Draw]) -> Pending:
    """Draw a token from each row of (B, V) logits; does not wait for a GPU."""
    return Pending(choose(_penalise(logits, draws), draws), logits, draws)


def choose(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Return the token, (B,), that each draw takes from its row of (B, V) logits."""
    if logits.is_cuda:
        from fitbot.generation.decoders.choice_kernel import choose_rows

        numbers = torch.tensor([numbers_of(draw) for draw in draws], device=logits.device)
        states = torch.tensor([state_of(draw) for draw in draws], device=logits.device)
        found = torch.empty_like(states)
        choose_rows(logits, numbers, states, found)
        return found
    return torch.tensor([_choose(row, draw) for row, draw in zip(logits, draws, strict=True)])


def _choose(logits: Tensor, draw: Draw) -> int:
    """Draw from one row; `choice_kernel` does the same on a GPU."""
    wanted = draw.sampling
    if wanted.temperature == 0:
        return int(logits.argmax())
    weights = logits.float() - logits.max()
    weights.div_(wanted.temperature).exp_()
    if 0 < wanted.top_k < len(logits):
        least = weights.topk(wanted.top_k).values[-1]
        weights = F.threshold(weights, least.nextafter(-least).item(), 0.0)
    sums = weights.cumsum(0, dtype=torch.float64)
    whole = left = sums[-1].item()
    for attempt in count():
        goal = left * uniform(draw.seed, draw.drawn, attempt)
        token = int(torch.searchsorted(sums, goal, right=True))
        own = weights[token].item()
        weights = F.threshold(weights, own, 0.0)  # of those that are likelier
        left = weights.sum(dtype=torch.float64).item()
        if left < wanted.top_p * whole and own >= wanted.min_p:
            return token
        sums = weights.cumsum(0, dtype=torch.float64)
    raise AssertionError  # the likeliest token is never left out


def _penalise(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Apply the repetition penalty where there is one."""
    if all(draw.seen is None for draw in draws):
        return logits
    rows = []
    for row, draw in zip(logits, draws, strict=True):
        if draw.seen is not None:
            penalty = draw.sampling.repetition_penalty
            penalised = torch.where(row > 0, row / penalty, row * penalty)
            row = torch.where(draw.seen, penalised, row)
        rows.append(row)
    return torch.stack(rows)


def numbers_of(draw: Draw) -> list[float]:
    """List a draw's settings as `choice_kernel` takes them: temperature, top_p, top_k, min_p."""
    wanted = draw.sampling
    return [wanted.temperature, wanted.top_p, float(wanted.top_k), wanted.min_p]


def state_of(draw: Draw) -> int:
    """Return the state of splitmix64 that a draw begins with, as a signed 64-bit number."""
    return c_int64(draw.seed * SEED_STEP + (draw.drawn + 1) * STEP).value
