"""Pairs and a tokenizer → lengths in tokens, what the limits cut, padding, and what a run costs."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fitbot.errors import DataError
from fitbot.pairs.batch import padded_size
from fitbot.pairs.chat import Chat, EncodedPair, LengthLimits, report_cuts
from fitbot.pairs.formats import PreferencePair

_BINS = 20
_SEED = 42  # of the order that batches are drawn in


@dataclass(frozen=True)
class Lengths:
    """How long texts are, in tokens, before anything is cut."""

    shortest: int
    median: int
    p95: int  # 95 of 100 are no longer
    longest: int
    edges: list[float]  # of the histogram, one more than counts
    counts: list[int]


@dataclass(frozen=True)
class TokenReport:
    """Tokens of one file, with the run's tokenizer and limits."""

    prompt: Lengths  # template and system prompt included
    chosen: Lengths  # end-of-turn token included
    rejected: Lengths
    pairs: int  # that fit
    refused: list[str]  # one message for each pair that cannot be encoded: a run stops there
    equal: int  # pairs whose answers are the same tokens within the limits: not trained on
    prompts_cut: int  # pairs whose prompt would lose its start
    chosen_cut: int  # pairs whose chosen completion would lose its end
    rejected_cut: int
    tokens_cut: int  # over prompts and completions
    tokens: int  # left within the limits, each prompt counted once
    shared: int  # tokens computed an epoch in the shared layout, padding included
    shared_padding: float  # share of them that is padding
    rows: int  # tokens computed an epoch with two padded rows a pair
    rows_padding: float  # share of them that is padding

    @property
    def lengths(self) -> dict[str, Lengths]:
        """Lengths of prompt, chosen and rejected, by name."""
        return {"prompt": self.prompt, "chosen": self.chosen, "rejected": self.rejected}

    @property
    def cut(self) -> dict[str, int]:
        """Pairs whose prompt, chosen and rejected are cut, by name."""
        counts = (self.prompts_cut, self.chosen_cut, self.rejected_cut)
        return dict(zip(("prompts", "chosen", "rejected"), counts, strict=True))


@dataclass(frozen=True)
class RunCost:
    """Tokens that a run computes, in the shared layout."""

    epochs: int
    trained: int  # forward and backward
    forward_only: int  # the reference's log-probs, once, and validation after each epoch
    trained_rows: int  # trained, if each pair took two padded rows


def audit_tokens(
    pairs: Sequence[PreferencePair], chat: Chat, limits: LengthLimits, *, pairs_per_step: int
) -> TokenReport:
    """Encode a file's pairs and measure them.

    Args:
        pairs: At least one.
        chat: With the run's tokenizer and system prompt.
        limits: The run's, in tokens.
        pairs_per_step: Pairs that are padded together.

    Raises:
        DataError: None of the pairs can be encoded.
    """
    refused: list[str] = []
    encoded = chat.encode_pairs(pairs, limits, refused=refused)
    if not encoded:
        raise DataError(refused[0])
    cuts = report_cuts(encoded)
    tokens = sum(pair.num_tokens for pair in encoded)
    in_rows = sum(pair.num_tokens + len(pair.prompt) for pair in encoded)
    shared, rows = _padded_tokens(encoded, pairs_per_step)
    return TokenReport(
        prompt=_lengths([len(pair.prompt) + pair.prompt_cut for pair in encoded]),
        chosen=_lengths([len(pair.chosen) + pair.chosen_cut for pair in encoded]),
        rejected=_lengths([len(pair.rejected) + pair.rejected_cut for pair in encoded]),
        pairs=len(encoded),
        refused=refused,
        equal=cuts.equal,
        prompts_cut=cuts.prompts_cut,
        chosen_cut=sum(pair.chosen_cut > 0 for pair in encoded),
        rejected_cut=sum(pair.rejected_cut > 0 for pair in encoded),
        tokens_cut=cuts.prompt_tokens_cut + cuts.completion_tokens_cut,
        tokens=tokens,
        shared=shared,
        shared_padding=1 - tokens / shared,
        rows=rows,
        rows_padding=1 - in_rows / rows,
    )


def run_cost(train: TokenReport, val: Sequence[TokenReport], *, epochs: int) -> RunCost:
    """Count the tokens of a run of so many epochs on TRAIN, validated on VAL after each."""
    measured = sum(report.shared for report in val)
    return RunCost(
        epochs=epochs,
        trained=epochs * train.shared,
        forward_only=train.shared + measured + epochs * measured,
        trained_rows=epochs * train.rows,
    )


def _padded_tokens(pairs: Sequence[EncodedPair], pairs_per_step: int) -> tuple[int, int]:
    """Tokens of an epoch in both layouts, drawn in a random order as a run does."""
    order = random.Random(_SEED).sample(list(pairs), len(pairs))
    shared = rows = 0
    for start in range(0, len(order), pairs_per_step):
        step = order[start : start + pairs_per_step]
        shared += padded_size(sum(pair.num_tokens for pair in step))
        # The usual trainer pads to the longest row of the batch, no further.
        rows += 2 * len(step) * max(pair.longest for pair in step)
    return shared, rows


def _lengths(values: Sequence[int]) -> Lengths:
    counts, edges = np.histogram(values, bins=_BINS)
    marks = np.percentile(values, [0, 50, 95, 100], method="inverted_cdf")
    low, median, p95, high = marks.astype(int).tolist()
    return Lengths(low, median, p95, high, edges.tolist(), counts.tolist())
