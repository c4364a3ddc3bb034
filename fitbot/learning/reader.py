"""Many prompts at once, each read once: answers to them are scored, checked, and generated.

All of it goes on from the prompts' keys and values. A version is measured by more tokens of prompts
than of answers, so this is what keeps measuring cheap.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from itertools import accumulate, chain
from os.path import commonprefix
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from fitbot.policy.logps import TILE_ELEMENTS, token_logps
from fitbot.policy.policy import Policy

_TOKENS_AT_ONCE = 8192  # of a pass, padding included


class Question(NamedTuple):
    """What is asked of one prompt; all of it token ids."""

    prompt: list[int]
    scored: tuple[list[int], ...] = ()  # answers whose log-probs are wanted
    draft: list[int] | None = None  # an earlier version's greedy answer, kept where it still is one


class Reply(NamedTuple):
    """What became of a question."""

    logps: list[float]  # of the scored answers; nats
    answer: list[int]  # with the token that ends it, if it has one


class _Rows(NamedTuple):
    """R rows that have been read so far; their tokens may have gaps."""

    cache: DynamicCache
    seen: Tensor  # (R, T) bool: what later tokens may look at
    lengths: Tensor  # (R,) tokens without the gaps
    last: Tensor  # (R, H) hidden state that predicts the next token

    def take(self, rows: Tensor) -> "_Rows":
        """Return some rows, in the order given; they are copied."""
        cache = DynamicCache([(key[rows], value[rows]) for key, value, *_ in self.cache])
        return _Rows(cache, self.seen[rows], self.lengths[rows], self.last[rows])


class Reader:
    """Reads by the network's own modules, on any device."""

    def __init__(self, policy: Policy, ends: Set[int], before_pass: Callable[[], None]):
        """Take a policy.

        Args:
            policy: Whose weights answer; as they are at each call.
            ends: The tokens that end an answer.
            before_pass: Called before each pass over many tokens.
        """
        self.policy, self.ends, self.before_pass = policy, ends, before_pass
        self.pad = min(ends)  # in gaps, which nobody looks at
        self.passes = policy.eager
        self.at_once = _TOKENS_AT_ONCE

    @torch.no_grad()
    def read(
        self, questions: Sequence[Question], most: int, temperature: float = 0.0
    ) -> list[Reply]:
        """Score and answer.

        Args:
            questions: In any order.
            most: Tokens of an answer.
            temperature: Of drawing; 0: greedily, the only way in which drafts are of use.
        """
        replies: dict[int, Reply] = {}
        order = sorted(range(len(questions)), key=lambda index: len(questions[index].prompt))
        with self.policy.without_dropout(), self.passes.autocast(), self._masked():
            for group in self._groups(order, [len(one.prompt) for one in questions]):
                own = [questions[index] for index in group]
                rows = self._read_prompts([one.prompt for one in own])
                logps = self._score(rows, [one.scored for one in own])
                drafts = [[] if temperature else one.draft or [] for one in own]
                answers = self._answer(rows, drafts, most, temperature)
                replies |= dict(zip(group, map(Reply, logps, answers), strict=True))
        return [replies[index] for index in range(len(questions))]

    def _groups(self, order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
        """Split an order by rising length, so that no group has more tokens than a pass should."""
        group: list[int] = []
        for index in order:
            if group and (len(group) + 1) * lengths[index] > self.at_once:
                yield group
                group = []
            group.append(index)
        if group:
            yield group

    def _read_prompts(self, prompts: Sequence[list[int]]) -> _Rows:
        """Read the prompts; what all of them begin with, such as a system prompt, only once."""
        shared = commonprefix(prompts)[: min(map(len, prompts)) - 1]
        count, kept = len(prompts), len(shared)
        rows = _Rows(
            DynamicCache(),
            self._tensor([[]]).bool(),
            self._tensor([0]),
            torch.empty(1, 0, device=self.policy.device),
        )
        if shared:
            rows, _ = self._go_on(rows, [shared])
        rows, _ = self._go_on(rows.take(self._tensor([0] * count)), [ids[kept:] for ids in prompts])
        return rows

    def _go_on(self, rows: _Rows, tokens: Sequence[Sequence[int]]) -> tuple[_Rows, Tensor]:
        """Read a row of tokens behind each row; also return all hidden states, (R, N, H)."""
        self.before_pass()
        lengths = self._tensor([len(row) for row in tokens])
        width = max(map(len, tokens))
        ids = self._tensor([[*row, *[self.pad] * (width - len(row))] for row in tokens])
        place = torch.arange(width, device=ids.device)
        # Behind a row's end is what nobody looks at: it comes later than all that counts.
        seen = torch.cat([rows.seen, place < lengths[:, None]], 1)
        states = self.passes.decoder(
            input_ids=ids,
            attention_mask=seen.long(),
            position_ids=rows.lengths[:, None] + place,
            past_key_values=rows.cache,
            use_cache=True,
        ).last_hidden_state
        last = states[torch.arange(len(ids), device=ids.device), lengths - 1]
        return _Rows(rows.cache, seen, rows.lengths + lengths, last), states

    def _score(self, rows: _Rows, scored: Sequence[Sequence[list[int]]]) -> list[list[float]]:
        """Return the log-probs of the answers given to each prompt."""
        answers = [ids for own in scored for ids in own]
        owners = [row for row, own in enumerate(scored) for _ in own]
        found = [0.0] * len(answers)
        order = sorted(range(len(answers)), key=lambda index: len(answers[index]))
        behind = rows.seen.shape[1]
        for group in self._groups(order, [behind + len(ids) for ids in answers]):
            some = rows.take(self._tensor([owners[index] for index in group]))
            ids = [answers[index] for index in group]
            _, states = self._go_on(some, ids)
            states = self._predicting(some, states, ids)
            targets = self._tensor([*chain(*ids)])
            logps = token_logps(states * self.passes.logit_scale, self.passes.frozen_head, targets)
            for index, own in zip(group, torch.split(logps, list(map(len, ids))), strict=True):
                found[index] = float(own.sum())
        each = iter(found)
        return [[next(each) for _ in own] for own in scored]

    def _answer(
        self, rows: _Rows, drafts: Sequence[list[int]], most: int, temperature: float
    ) -> list[list[int]]:
        """Answer each prompt; what a draft has right is not generated again."""
        found: list[list[int]] = [[] for _ in drafts]
        going = list(range(len(drafts)))
        if any(drafts):
            drafts = [draft or [self.pad] for draft in drafts]
            rows, kept = self._check(rows, drafts)
            found = [draft[:count] for draft, count in zip(drafts, kept, strict=True)]
            going = [i for i in going if kept[i] < len(drafts[i])]
            rows = rows.take(self._tensor(going))
        while going:
            tokens = self._draw(rows.last, temperature).tolist()
            for row, token in zip(going, tokens, strict=True):
                found[row].append(token)
            more = [
                place
                for place, row in enumerate(going)
                if tokens[place] not in self.ends and len(found[row]) < most
            ]
            if len(more) < len(going):
                rows, going = rows.take(self._tensor(more)), [going[place] for place in more]
            if going:
                rows, _ = self._go_on(rows, [[tokens[place]] for place in more])
        return found

    def _check(self, rows: _Rows, drafts: Sequence[list[int]]) -> tuple[_Rows, list[int]]:
        """Return the rows with as much of each draft as is greedy, and how many tokens that are."""
        after, states = self._go_on(rows.take(self._tensor([*range(len(drafts))])), drafts)
        states = self._predicting(rows, states, drafts)
        tiles = torch.split(states, max(1, TILE_ELEMENTS // len(self.passes.frozen_head.weight)))
        likeliest = iter(torch.cat([self._logits(part).argmax(-1) for part in tiles]).tolist())
        agrees = [[token == next(likeliest) for token in draft] for draft in drafts]
        kept = [[*own, False].index(False) for own in agrees]
        starts = accumulate(map(len, drafts[:-1]), initial=0)
        ends = [min(count, len(draft) - 1) for count, draft in zip(kept, drafts, strict=True)]
        last = states[self._tensor([a + b for a, b in zip(starts, ends, strict=True)])]
        counts = self._tensor(kept)
        width = after.seen.shape[1] - rows.seen.shape[1]
        seen = torch.arange(width, device=counts.device) < counts[:, None]
        seen = torch.cat([rows.seen, seen], 1)
        return _Rows(after.cache, seen, rows.lengths + counts, last), kept

    def _predicting(self, rows: _Rows, states: Tensor, tokens: Sequence[list[int]]) -> Tensor:
        """Return the states that predict the tokens read behind rows, one row after the other."""
        states = torch.cat([rows.last[:, None], states[:, :-1]], 1)
        return torch.cat([own[: len(ids)] for own, ids in zip(states, tokens, strict=True)])

    def _draw(self, states: Tensor, temperature: float) -> Tensor:
        logits = self._logits(states)
        if not temperature:
            return logits.argmax(-1)
        return torch.multinomial((logits / temperature).softmax(-1), 1)[:, 0]

    def _logits(self, states: Tensor) -> Tensor:
        return self.passes.frozen_head.logits(states * self.passes.logit_scale)

    def _tensor(self, values: Sequence[object]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.policy.device)

    @contextmanager
    def _masked(self) -> Iterator[None]:
        """Attend by masks: where attention goes pair by pair, transformers makes none."""
        config = self.policy.network.get_base_model().config
        before = config._attn_implementation
        config._attn_implementation = "sdpa"
        try:
            yield
        finally:
            config._attn_implementation = before
