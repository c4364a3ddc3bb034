"""Merges an adapter into a network's weights, if their precision can hold it.

Merged weights need no extra product for the adapter, but they are rounded after it was added: what
it adds to a weight may be less than the weight's precision. So the merged model is compared with
the unmerged one at every token of a few texts.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from fitbot.base_model.adapter_files import AdapterWeights, layer_key, rank_of
from fitbot.base_model.lora import frozen_weight
from fitbot.base_model.targets import linear_layers
from fitbot.errors import AdapterError, ConfigError
from fitbot.generation.decoders.torch_decoder import Precision, TorchDecoder, why_plain
from fitbot.pairs.chat import Chat
from fitbot.pairs.formats import Message

logger = logging.getLogger(__name__)

Text = tuple[list[int], list[int]]  # tokens of a prompt, and of its answer

WORTH_MERGING = 0.9  # share of the adapter's effect below which a merge loses too much

TEXTS = (
    (
        "How much protein is in 100 g of tofu?",
        "About 12 g, with all the amino acids that a muscle needs.",
    ),
    (
        "My knee hurts when I squat. What now?",
        "Stop for today, and see a doctor if it still hurts after a few days.",
    ),
    ("Name three exercises for the back.", "Rows, pull-ups and deadlifts."),
    (
        "Is it fine to train on an empty stomach?",
        "Yes, for an easy session; eat something small before a hard one.",
    ),
)


class Merge(NamedTuple):
    """How close a merged model is to the unmerged one."""

    tokens: int  # positions compared
    same_token: float  # share of them at which both have the same likeliest token
    divergence: float  # mean KL divergence of the merged from the unmerged model, nats
    effect: float  # mean KL divergence of the base from the unmerged model, nats

    @property
    def kept(self) -> float:
        """Share of the adapter's effect that the merged model shows; 1 is all of it.

        Noise from rounding lowers it, too; it would not lower a regression of the changes.
        """
        return 1 - self.divergence / max(self.effect, 1e-12)


def merge_checked(
    model: Any,
    weights: AdapterWeights,
    chat: Chat,
    precision: Precision,
    *,
    folder: Path | None = None,
) -> None:
    """Merge an adapter and compare with the unmerged model, in the precision that answers.

    Args:
        model: transformers' causal LM; its weights change, and become float32 where merged.
        weights: The adapter's.
        chat: Renders the texts that both are compared on.
        precision: The decoder's, to which merged weights will be rounded.
        folder: The adapter's, for messages.

    Raises:
        AdapterError: The adapter does not fit the model.
        ConfigError: Too much of what the adapter changes is lost.
    """
    texts, longest = encode_texts(chat)
    if reason := why_plain(model.config, longest):
        raise ConfigError(f"--merged needs fitbot's own decoder, but {reason}; leave it out")
    ranks = slice(0, rank_of(weights))
    decoder = TorchDecoder(model, slots=1, context=longest, precision=precision, ranks=ranks.stop)
    try:
        decoder.adapt(ranks, weights)
    except (ConfigError, RuntimeError) as error:
        raise AdapterError(f"{folder} does not fit: {error}") from error
    base, tuned = score(decoder, texts, None), score(decoder, texts, ranks)
    del decoder  # or both would be in memory
    merge(model, weights)
    decoder = TorchDecoder(model, slots=1, context=longest, precision=precision)
    found = compare(base, tuned, score(decoder, texts, None))
    logger.info(
        "merged in %s: at %d tokens the merged model is %.6f nats from the unmerged one, the base "
        "%.6f; %.1f %% of what the adapter changes is kept, %.1f %% of the likeliest tokens agree",
        *(precision, found.tokens, found.divergence, found.effect),
        *(100 * found.kept, 100 * found.same_token),
    )
    if not found.kept > WORTH_MERGING:
        raise ConfigError(
            f"--merged: weights in {precision} keep {max(0, found.kept):.0%} of what the adapter "
            f"changes, {WORTH_MERGING:.0%} is the least; leave --merged out, and the adapter is "
            "answered with unmerged"
        )


def check_sizes(model: Any, weights: AdapterWeights, folder: Path) -> None:
    """Demand that a network has the layers of an adapter, and in their sizes.

    Raises:
        AdapterError: It has not.
    """
    linears = _linears_of(model)
    for name, (a, b) in weights.items():
        linear = linears.get(name)
        if linear is None or frozen_weight(linear).shape != (b.shape[0], a.shape[1]):
            raise AdapterError(f"{folder} does not fit: its base has no {name} of this size")


@torch.no_grad()
def merge(model: Any, weights: AdapterWeights) -> None:
    """Add B A to each weight, in float32; it stays so, and its user rounds it only once."""
    for name, linear in _linears_of(model).items():
        if (found := weights.get(name)) is not None:
            a, b = (part.to(linear.weight.device).float() for part in found)
            merged = torch.addmm(frozen_weight(linear).float(), b, a)
            linear.weight.data = merged.T if isinstance(linear, Conv1D) else merged


def _linears_of(model: Any) -> dict[str, Any]:
    return {layer_key(name): linear for name, linear in linear_layers(model).items()}


def compare(base: Tensor, tuned: Tensor, merged: Tensor) -> Merge:
    """Compare three models by their log-probabilities at the same N tokens, (N, V) each."""

    def divergence(other: Tensor) -> float:
        return (tuned.exp() * (tuned - other)).sum(-1).mean().item()

    same = (merged.argmax(-1) == tuned.argmax(-1)).double().mean().item()
    return Merge(len(tuned), same, divergence(merged), divergence(base))


def score(decoder: TorchDecoder, texts: Sequence[Text], ranks: slice | None) -> Tensor:
    """Return the log-probabilities of what follows each prompt and each answer's token, (N, V)."""
    logits = []
    for prompt, answer in texts:
        logits.append(decoder.prefill(0, prompt, ranks))
        logits += [decoder.step(torch.tensor([token]), [0])[0] for token in answer[:-1]]
    # In double precision: these differences are small, and there are many of them.
    return torch.stack(logits).double().log_softmax(-1)


def encode_texts(chat: Chat) -> tuple[list[Text], int]:
    """Render `TEXTS`' questions and encode their answers; returns how long the longest is, too."""
    texts = [
        (chat.encode_prompt([Message("user", question)], sys.maxsize)[0], chat.encode_text(answer))
        for question, answer in TEXTS
    ]
    return texts, max(len(prompt) + len(answer) for prompt, answer in texts)
