"""Encoded pairs → one `PairBatch` of tensors, in either of two layouts.

B pairs, T tokens in a packed row, S scored tokens. Both layouts describe the same computation:

* `shared`: every pair is one sequence [prompt | chosen | rejected], all pairs lie one after another
  in a single row. The rejected completion's positions restart after the prompt and it does not see
  the chosen one, so the prompt is computed once and the log-probs are those of separate sequences.
* `rows`: 2B right-padded rows, chosen ones first, plain causal attention. Twice the prompt, but it
  runs on any backend; it is the definition that `shared` is tested against.

Nothing here knows about models or devices.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fitbot.pairs.chat import EncodedPair

Layout = Literal["shared", "rows"]
LAYOUTS: tuple[Layout, ...] = ("shared", "rows")

PROMPT, CHOSEN, REJECTED = range(3)  # the parts of a pair, in this order


class Extent(NamedTuple):
    """How much there is of a pair or of several, without padding."""

    tokens: int  # the prompt once
    scored: int


class PairBatch(NamedTuple):
    """B pairs ready for the model; what is scored is an index list, never a mask of values."""

    input_ids: Tensor  # (1, T) shared, (2B, L) rows
    position_ids: Tensor  # as input_ids; restarts where the rejected completion does
    pair_index: Tensor | None  # (T,) which pair a token belongs to, B for padding; None in rows
    part: Tensor | None  # (T,) 0 prompt, 1 chosen, 2 rejected; None in rows
    score_from: Tensor  # (S,) index into the flat input_ids whose hidden state predicts a token
    score_ids: Tensor  # (S,) the token predicted
    score_owner: Tensor  # (S,) 2 * pair + (0 chosen, 1 rejected); 2B is padding, to be thrown away
    reference_logps: Tensor | None  # (B, 2) nats, float32: chosen, rejected; None when not cached
    records: Tensor  # (B,) index of each pair in its list
    weights: Tensor | None = None  # (B,) float32, of each pair in the loss; None for 1 each

    @property
    def num_pairs(self) -> int:
        """B."""
        return self.records.shape[0]


def tokens_in_pass(pair: EncodedPair, layout: Layout) -> int:
    """Count the tokens that a pair adds to a forward pass, before padding."""
    if layout == "shared":
        return pair.num_tokens
    return 2 * (len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)))


def padded_size(count: int) -> int:
    """Round up to one of eight sizes an octave, so that few shapes occur and at most 1/8 is waste.

    >>> [padded_size(n) for n in (1, 64, 65, 1000, 1100)]
    [64, 64, 72, 1024, 1152]
    """
    count = max(64, count)
    step = max(8, 1 << (count - 1).bit_length() - 4)
    return -(-count // step) * step


def padded_scored(count: int, num_tokens: int) -> int:
    """Round scored tokens up to whole eighths of a row of so many: few sizes are what decides.

    >>> [padded_scored(n, num_tokens=1152) for n in (1, 144, 145)]
    [144, 144, 288]
    """
    step = max(8, num_tokens // 8)
    return -(-count // step) * step


def collate_pairs(
    pairs: Sequence[EncodedPair],
    *,
    layout: Layout,
    pad_id: int,
    records: Sequence[int] | None = None,
    reference_logps: Tensor | None = None,
    weights: Tensor | None = None,
    room: Extent | None = None,
) -> PairBatch:
    """Lay B pairs out for one forward pass.

    Args:
        pairs: The pairs, at least one.
        layout: `shared` or `rows`, see the module's docstring.
        pad_id: Token that fills the row; its value never reaches a scored token.
        records: Each pair's index in the list it was drawn from; 0 to B - 1 by default.
        reference_logps: (B, 2) cached log-probs of the reference, nats.
        weights: (B,) of the pairs in the loss.
        room: Pad as for so much, if that is more; `shared` only.
    """
    index = torch.tensor(range(len(pairs)) if records is None else records)
    if layout == "rows":
        batch = _collate_rows(pairs, pad_id, index, reference_logps)
    else:
        batch = _collate_shared(pairs, pad_id, index, reference_logps, room or Extent(0, 0))
    return batch if weights is None else batch._replace(weights=weights)


def attention_mask(pair_index: Tensor, part: Tensor) -> Tensor:
    """Say which token sees which in a packed row: (T,), (T,) → (T, T) bool, True where i sees j.

    Token i sees j if j is not later, belongs to the same pair, and is prompt or of i's own part.
    """
    i = torch.arange(pair_index.shape[0], device=pair_index.device)
    earlier = i[:, None] >= i[None, :]
    same_pair = pair_index[:, None] == pair_index[None, :]
    visible_part = (part[None, :] == PROMPT) | (part[:, None] == part[None, :])
    return earlier & same_pair & visible_part


def pack_by_tokens(sizes: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Split a list into consecutive groups of at most `max_tokens` tokens; → lists of indices.

    An item larger than the budget is a group of its own: the budget is there for speed and memory,
    and nothing is ever dropped for it.

    >>> pack_by_tokens([5, 4, 3, 20, 1], max_tokens=10)
    [[0, 1], [2], [3], [4]]
    """
    groups: list[list[int]] = []
    used = 0
    for i, size in enumerate(sizes):
        if not groups or used + size > max_tokens:
            groups.append([])
            used = 0
        groups[-1].append(i)
        used += size
    return groups


def _collate_shared(
    pairs: Sequence[EncodedPair],
    pad_id: int,
    records: Tensor,
    reference_logps: Tensor | None,
    room: Extent,
) -> PairBatch:
    columns: list[list[int]] = [[] for _ in range(7)]
    ids, positions, pair_index, part, score_from, score_ids, owner = columns
    for b, pair in enumerate(pairs):
        prompt_end = len(ids) + len(pair.prompt)  # where the chosen completion begins
        for kind, tokens in enumerate((pair.prompt, pair.chosen, pair.rejected)):
            start = len(ids)
            first_position = 0 if kind == PROMPT else len(pair.prompt)
            ids += tokens
            positions += range(first_position, first_position + len(tokens))
            pair_index += [b] * len(tokens)
            part += [kind] * len(tokens)
            if kind != PROMPT:
                # The first token of both completions is predicted by the last prompt position.
                score_from += [prompt_end - 1, *range(start, start + len(tokens) - 1)]
                score_ids += tokens
                owner += [2 * b + kind - CHOSEN] * len(tokens)
    # Padding is a segment of its own, so that every query sees at least itself.
    size, num_pairs = padded_size(max(len(ids), room.tokens)), len(pairs)
    fill = size - len(ids)
    return PairBatch(
        input_ids=_tensor(ids + [pad_id] * fill)[None],
        position_ids=_tensor(positions + list(range(fill)))[None],
        pair_index=_tensor(pair_index + [num_pairs] * fill),
        part=_tensor(part + [PROMPT] * fill),
        **_padded_scores(score_from, score_ids, owner, num_pairs, size, room.scored),
        reference_logps=reference_logps,
        records=records,
    )


def _collate_rows(
    pairs: Sequence[EncodedPair], pad_id: int, records: Tensor, reference_logps: Tensor | None
) -> PairBatch:
    num_pairs = len(pairs)
    rows = [(pair.prompt, pair.chosen) for pair in pairs]
    rows += [(pair.prompt, pair.rejected) for pair in pairs]
    length = padded_size(max(len(prompt) + len(completion) for prompt, completion in rows))
    input_ids = torch.full((2 * num_pairs, length), pad_id)
    columns: list[list[int]] = [[], [], []]
    score_from, score_ids, owner = columns
    for row, (prompt, completion) in enumerate(rows):
        input_ids[row, : len(prompt) + len(completion)] = torch.tensor(prompt + completion)
        first = row * length + len(prompt) - 1
        score_from += range(first, first + len(completion))
        score_ids += completion
        owner += [2 * (row % num_pairs) + row // num_pairs] * len(completion)
    return PairBatch(
        input_ids=input_ids,
        position_ids=torch.arange(length).expand(2 * num_pairs, length).contiguous(),
        pair_index=None,
        part=None,
        **_padded_scores(score_from, score_ids, owner, num_pairs, input_ids.numel()),
        reference_logps=reference_logps,
        records=records,
    )


def _padded_scores(
    score_from: list[int],
    score_ids: list[int],
    owner: list[int],
    num_pairs: int,
    num_tokens: int,
    room: int = 0,
) -> dict[str, Tensor]:
    fill = padded_scored(max(len(score_ids), room), num_tokens) - len(score_ids)
    return {
        "score_from": _tensor(score_from + [0] * fill),
        "score_ids": _tensor(score_ids + [0] * fill),
        "score_owner": _tensor(owner + [2 * num_pairs] * fill),
    }


def _tensor(values: list[int]) -> Tensor:
    # Three times as fast as torch.tensor, and a batch is collated while the GPU waits for it.
    return torch.from_numpy(np.array(values, dtype=np.int64))
