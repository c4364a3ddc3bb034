"""A few plain texts that have nothing to do with fitness, to measure what a model forgets.

They were written for this project, so no model has seen them in training.
"""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path


@cache
def passages() -> tuple[str, ...]:
    """Return the texts; in neutral.txt they are separated by blank lines."""
    text = (Path(__file__).parent / "neutral.txt").read_text(encoding="utf-8")
    return tuple(" ".join(part.split()) for part in text.strip().split("\n\n"))


def perplexity(logps: Sequence[float], tokens: int) -> float:
    """Return the perplexity a token of texts.

    Args:
        logps: Log-prob of each text, nats.
        tokens: Of all texts together, as far as they were scored.
    """
    return math.exp(-sum(logps) / tokens)
