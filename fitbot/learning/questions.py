"""Chooses what to ask a person: two answers of which fitbot does not know which one is better."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

from fitbot.generation.messages import Record, Sampling
from fitbot.pairs.formats import Message
from fitbot.pairs.preferences import load_pairs

QUESTIONS = 4  # that are answered twice for one that is asked
EARLIER = 200  # questions that are remembered
_MOST_TOKENS = 512
_TEMPERATURE = 0.7  # at least, or both answers would be alike
_SHIPPED = "data/fitness_train.json"

Conversation = tuple[Message, ...]
Drawn = tuple[str, Record]


@cache
def shipped_questions() -> list[Conversation]:
    """Return the questions of the pairs to train on that come with fitbot."""
    return list(dict.fromkeys(pair.prompt for pair in load_pairs(_SHIPPED).pairs))


def some_questions(earlier: Sequence[Conversation], chance: random.Random) -> list[Conversation]:
    """Draw questions: shipped ones, and as many that were asked before."""
    asked = list(earlier)
    own = chance.sample(asked, min(len(asked), QUESTIONS // 2))
    rest = [one for one in shipped_questions() if one not in own]
    return own + chance.sample(rest, QUESTIONS - len(own))


def sampling_of(default: Sampling) -> Sampling:
    """Return how answers to choose between are drawn."""
    temperature = max(default.temperature, _TEMPERATURE)
    most = min(default.max_new_tokens, _MOST_TOKENS)
    return replace(default, temperature=temperature, max_new_tokens=most)


def least_certain(answers: Sequence[tuple[Drawn | None, Drawn | None]]) -> int | None:
    """Choose among questions with two answers each the one that the policy is least sure of.

    Its judgement is the difference of the two log-probabilities. Answers of which the health layer
    has touched one, or that say the same, are no choice.

    Returns:
        The question's index; None if there is none.
    """
    return min(_margins(answers), default=(0.0, None))[1]


def _margins(
    answers: Sequence[tuple[Drawn | None, Drawn | None]],
) -> Iterator[tuple[float, int]]:
    for index, (one, other) in enumerate(answers):
        words = [side[0].split() for side in (one, other) if side]
        if one and other and all(words) and words[0] != words[1]:
            yield abs(sum(one[1].logprobs) - sum(other[1].logprobs)), index
