"""Plain answers and neutral text → how far a model has drifted from its reference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fitbot.evaluation.answering import PLAIN
from fitbot.evaluation.intervals import Estimate, estimate_mean
from fitbot.evaluation.measure import Measurements


@dataclass(frozen=True)
class DriftReport:
    """How far one model has drifted from its reference.

    The divergence is exact at every position, over the whole vocabulary; its mean over answers that
    the model draws is an estimate of KL(policy || reference).
    """

    perplexity: float  # a token of neutral text
    divergence: Estimate | None  # nats a token; None for the base, or if nothing was asked
    answer_divergence: Estimate | None  # nats an answer; likewise
    entropy: Estimate | None  # nats a token; None if nothing was asked
    tokens: Estimate | None  # of a plain answer


def drift_of(found: Measurements, group_ids: Sequence[int]) -> DriftReport:
    """Summarise one model's drift.

    Args:
        found: What was measured of it.
        group_ids: The group that each question asked belongs to.
    """
    perplexity = math.exp(-sum(found.text_logps) / found.text_tokens)
    positions = found.positions
    if not positions:
        return DriftReport(perplexity, None, None, None, None)
    places = [group for group, one in zip(group_ids, positions, strict=True) for _ in one.entropy]
    divergence, by_answer = None, None
    if found.model.adapter is not None:
        divergence = estimate_mean([x for one in positions for x in one.divergence], places)
        by_answer = estimate_mean([sum(one.divergence) for one in positions], group_ids)
    entropy = estimate_mean([x for one in positions for x in one.entropy], places)
    tokens = estimate_mean([answer.tokens for answer in found.answers[PLAIN]], group_ids)
    return DriftReport(perplexity, divergence, by_answer, entropy, tokens)
