"""A line-up and pairs → what takes the models to compute: answers, log-probs, drift.

First all models answer, by one engine; then each is loaded by itself and scored.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fitbot.evaluation.answering import GREEDY, PLAIN, SAMPLED, LineupEngine, ModelAnswer
from fitbot.evaluation.intervals import Estimate, estimate_mean
from fitbot.evaluation.models import Lineup, Model
from fitbot.evaluation.scoring import Positions, Scorer, scoring_device
from fitbot.generation.messages import Sampling
from fitbot.pairs.chat import Chat, EncodedPair
from fitbot.platforms import is_apple

logger = logging.getLogger(__name__)

KINDS = (GREEDY, SAMPLED, PLAIN)
# Plain texts that have nothing to do with fitness, to measure what a model forgets. They were
# written for this project, so no model has seen them in training.
_NEUTRAL = Path(__file__).with_name("neutral.txt")


@dataclass(frozen=True)
class QuestionSettings:
    """Which questions are asked, and how."""

    path: str  # of the file whose prompts are asked
    where: list[int]  # indices of its pairs; may be empty
    sampling: Sampling  # of sampled answers
    seed: int
    max_new_tokens: int


@dataclass(frozen=True)
class ComputeInfo:
    """What computed it."""

    device: str
    scored_in: str  # dtype of the products that gave log-probs
    layout: str  # of the pairs in a pass
    answered_in: str | None  # precision of the engine; None if nothing was asked


@dataclass
class Measurements:
    """What was measured of one model."""

    model: Model
    logps: Tensor  # (N, 2) float64 nats: chosen, rejected
    reference_logps: Tensor  # (N, 2) the same under its reference
    text_logps: list[float]  # of each neutral text, nats
    text_tokens: int  # of all of them, as far as they are scored
    answers: dict[str, list[ModelAnswer]]  # by kind, one a question asked
    positions: list[Positions]  # of each plain answer


def measure(
    lineup: Lineup,
    chat: Chat,
    pairs: Sequence[EncodedPair],
    prompts: Sequence[list[int]],
    asked: QuestionSettings,
) -> tuple[list[Measurements], ComputeInfo]:
    """Measure all models.

    Args:
        lineup: Which.
        chat: Of the line-up's base.
        pairs: N, encoded by it.
        prompts: Of the questions that are asked, token ids.
        asked: How.

    Returns:
        What was found, one a model, and what computed it.
    """
    device = scoring_device()
    answers, precision = _ask_all(lineup, chat, prompts, asked, answering_device(device))
    texts = [chat.encode_text(text) for text in neutral_texts()]
    found = []
    for model, own in zip(lineup.models, answers, strict=True):
        logger.info("%s: log-probs of %d pairs", model.name, len(pairs))
        scorer = Scorer(lineup, model, device=device)
        plain = [encode_answer(answer, chat) for answer in own.get(PLAIN, [])]
        found.append(
            Measurements(
                model,
                *scorer.logps(pairs),
                text_logps=scorer.text_logps(texts).tolist(),
                text_tokens=sum(len(ids) - 1 for ids in texts),
                answers=own,
                positions=scorer.positions(prompts[: len(plain)], plain),
            )
        )
    scored_in = str(scorer.policy.compute_dtype).removeprefix("torch.")
    return found, ComputeInfo(device.type, scored_in, scorer.layout, precision)


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


def encode_answer(answer: ModelAnswer, chat: Chat) -> list[int]:
    """Encode an answer's text, as at least one token.

    The ids can differ from those that were sampled, where a model spelt a word in an unusual way.
    A thought that the user is not shown is left out.
    """
    ids = chat.encode_text(answer.text)
    return [*ids, chat.end_of_turn_id] if answer.finished or not ids else ids


def neutral_texts() -> list[str]:
    """Return the neutral texts; in their file they are separated by blank lines."""
    text = _NEUTRAL.read_text(encoding="utf-8")
    return [" ".join(part.split()) for part in text.strip().split("\n\n")]


def lengths_of(pairs: Sequence[EncodedPair]) -> NDArray[np.int64]:
    """Count the scored tokens of both answers: (N, 2)."""
    return np.array([(len(pair.chosen), len(pair.rejected)) for pair in pairs])


def answering_device(device: torch.device) -> torch.device:
    """Return where models answer that are scored on a device: no decoder is for Apple's GPU."""
    return torch.device("cpu") if is_apple(device) else device


def _ask_all(
    lineup: Lineup,
    chat: Chat,
    prompts: Sequence[list[int]],
    asked: QuestionSettings,
    device: torch.device,
) -> tuple[list[dict[str, list[ModelAnswer]]], str | None]:
    """Ask all models; apart from `measure`, so that the engine's memory is free afterwards."""
    if not prompts:
        return [{} for _ in lineup.models], None
    logger.info("loading base %s and its adapters (%d)", lineup.base_model, len(lineup.adapters))
    with LineupEngine(lineup, chat, device=device, max_new_tokens=asked.max_new_tokens) as engine:
        answers = []
        for model in lineup.models:
            logger.info("%s answers %d questions, in %d ways", model.name, len(prompts), len(KINDS))
            answers.append(
                {
                    kind: engine.ask(model.name, kind, prompts, asked.sampling, seed=asked.seed)
                    for kind in KINDS
                }
            )
        return answers, engine.precision
