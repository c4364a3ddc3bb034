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
from dataclasses import dataclass, field
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
    counts: Tensor | None = None  # (V,) how often the answer has each token; for other penalties
    ends: Sequence[int] = ()  # tokens that are not drawn before `min_tokens`
    scores: "list[Scores]" = field(default_factory=list)  # of the prompt's tokens, from the second
    is_plain: bool = field(init=False)  # whether logits stay as they are, and nothing is scored

    def __post_init__(self) -> None:
        """See whether there is anything to look after from token to token."""
        wanted = self.sampling
        has_penalty = wanted.repetition_penalty != 1 or self.seen is not None
        counts = wanted.frequency_penalty or wanted.presence_penalty or wanted.min_tokens
        self.is_plain = not (has_penalty or counts) and wanted.logprobs is None

    @property
    def scores_prompt(self) -> bool:
        """Whether the prompt's tokens are to be scored; not anew when a request goes on."""
        wanted = self.sampling
        return wanted.echo and wanted.logprobs is not None and self.drawn == 0

    def see(self, ids: Sequence[int], vocabulary: int, device: torch.device) -> None:
        """Remember the tokens of a prompt, and of what it has been answered, for the penalties.

        Scores of the prompt's tokens are forgotten.
        """
        self.scores.clear()
        if self.sampling.repetition_penalty != 1:
            self.seen = torch.zeros(vocabulary, dtype=torch.bool)
            self.seen[list(ids)] = True
            self.seen = self.seen.to(device)
        if self.sampling.frequency_penalty or self.sampling.presence_penalty:
            answer = torch.tensor(ids[len(ids) - self.drawn :], dtype=torch.long)
            self.counts = torch.bincount(answer, minlength=vocabulary).float().to(device)

    @property
    def changes_logits(self) -> bool:
        """Whether the next token is not drawn from the logits as they are."""
        has_penalty = self.seen is not None or self.counts is not None
        return has_penalty or self.drawn < self.sampling.min_tokens


class Drawn(NamedTuple):
    """One token; its own log-probability and those of the likeliest ones, if asked for."""

    token: int
    logprob: float | None
    top: list[tuple[int, float]]


class _Plain(dict[int, Drawn]):
    """A token that was not scored; made once for each, as making one takes its time."""

    def __missing__(self, token: int) -> Drawn:
        self[token] = Drawn(token, None, [])
        return self[token]


_plain = _Plain()


class Scores(NamedTuple):
    """Log-probabilities, nats, of B tokens and of the k likeliest ones beside each."""

    own: Tensor  # (B,)
    top: Tensor  # (B, k), of the likeliest, the first ones first
    likeliest: Tensor  # (B, k), their ids

    def listed(self) -> list[tuple[float, list[tuple[int, float]]]]:
        """Wait for them and return them, token by token."""
        pairs = zip(self.likeliest.tolist(), self.top.tolist(), strict=True)
        tops = [list(zip(ids, values, strict=True)) for ids, values in pairs]
        return list(zip(self.own.tolist(), tops, strict=True))


def score(logits: Tensor, tokens: Tensor, number: int) -> Scores:
    """Score tokens, (B,), by the (B, V) logits before them, beside so many likeliest ones."""
    logps = logits.float().log_softmax(-1)
    own = logps.gather(1, tokens[:, None])[:, 0]
    return Scores(own, *logps.topk(number))


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
        self._scores: dict[int, Scores] = {}
        for draw in draws:
            draw.drawn += 1
        for row, draw in enumerate(draws):
            if draw.is_plain:
                continue
            if draw.seen is not None:
                draw.seen.index_fill_(0, tokens[row : row + 1], True)
            if draw.counts is not None:
                draw.counts.index_add_(0, tokens[row : row + 1], torch.ones_like(draw.counts[:1]))
            if draw.sampling.logprobs is not None:
                own, number = slice(row, row + 1), draw.sampling.logprobs
                self._scores[row] = score(logits[own], tokens[own], number)
        if tokens.is_cuda:
            self._ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._ready.record()

    def drawn(self) -> list[Drawn]:
        """Wait for the tokens and return them."""
        if self._ready is not None:
            self._ready.synchronize()
        drawn = [_plain[token] for token in self._on_host.tolist()]
        for row, scores in self._scores.items():
            drawn[row] = Drawn(drawn[row].token, *scores.listed()[0])
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
    """Apply penalties where there are any, and leave out end tokens where it is too early."""
    if not any(draw.changes_logits for draw in draws):
        return logits
    rows = []
    for row, draw in zip(logits.float(), draws, strict=True):  # bfloat16 would lose a small penalty
        wanted = draw.sampling
        if draw.seen is not None:
            penalty = wanted.repetition_penalty
            penalised = torch.where(row > 0, row / penalty, row * penalty)
            row = torch.where(draw.seen, penalised, row)
        if draw.counts is not None:
            row = row - wanted.frequency_penalty * draw.counts
            row = row - wanted.presence_penalty * (draw.counts > 0)
        if draw.drawn < wanted.min_tokens:
            ends = torch.tensor(draw.ends, dtype=torch.long, device=row.device)
            row = row.index_fill(0, ends, -torch.inf)
        rows.append(row)
    return torch.stack(rows)


def numbers_of(draw: Draw) -> list[float]:
    """List a draw's settings as `choice_kernel` takes them: temperature, top_p, top_k, min_p."""
    wanted = draw.sampling
    return [wanted.temperature, wanted.top_p, float(wanted.top_k), wanted.min_p]


def state_of(draw: Draw) -> int:
    """Return the state of splitmix64 that a draw begins with, as a signed 64-bit number."""
    return c_int64(draw.seed * SEED_STEP + (draw.drawn + 1) * STEP).value
