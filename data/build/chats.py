"""Chats that are no preference pairs: what people say first, plain questions, plans; some of many turns.

fitbot-tiny learns from them (tiny.py). Of some facts a wrong answer stands beside the right one; all
other exchanges have one answer. The messages of
benchmarks/first_messages.json, which the model is asked afterwards, never occur among the questions.
"""

import json
import random
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import plain_facts
import small_plans
import small_talk
from mirrors import Draw, NothingToDraw, capital, require
from plain_facts import Exchange
from spelling import STYLES

Chat = tuple[Exchange, ...]

SOURCES = ((small_talk, 0.40), (plain_facts, 0.38), (small_plans, 0.22))  # with their shares
MANY_TURNS = 0.2  # share of the chats
TYPED = 0.3  # share of the questions in a messy style
CAPITAL = 0.4  # of the others that begin with a capital letter
LONGEST = 110  # words of an answer
FIRST_MESSAGES = Path(__file__).parents[2] / "benchmarks" / "first_messages.json"


def chats(rng: random.Random) -> Iterator[Chat]:
    """Draw chats without end."""
    draw = Draw(rng, "train", "train")
    while True:
        try:
            exchanges = _turns(draw) if rng.random() < MANY_TURNS else [_one(draw)]
            yield tuple((_typed(asked, rng), *said) for asked, *said in exchanges)
        except NothingToDraw:
            continue


def same_words(text: str) -> str:
    """Reduce a message to its words; one that has none, to its marks."""
    words = re.findall(r"\w+", text.lower().replace("'", "").replace("’", ""))
    return " ".join(words) or text.strip()


def is_sound(answer: str) -> bool:
    """Say whether an answer is whole: a full stop, no place left open, no control token, not too long."""
    return (
        (answer[:1].isupper() or answer[:1].isdigit())
        and answer[-1] in ".!?”"
        and not re.search(r"[{}\[\]|<>]|  | [.,;:]|,\.|\.\.|__", answer)
        and len(answer.split()) <= LONGEST
    )


@cache
def held_out() -> frozenset[str]:
    """Name the messages that the model is asked afterwards, reduced to their words."""
    return frozenset(map(same_words, json.loads(FIRST_MESSAGES.read_text(encoding="utf-8"))))


def _one(draw: Draw) -> Exchange:
    """Draw a question and its answer."""
    (source,) = draw.rng.choices([s for s, _ in SOURCES], [w for _, w in SOURCES])
    (kind,) = draw.rng.choices([k for k, _ in source.KINDS], [w for _, w in source.KINDS])
    asked, *said = kind(draw)
    assert all(map(is_sound, said)), f"{kind.__name__}: {said!r}"
    return asked, *said


def _turns(draw: Draw) -> list[Exchange]:
    """Draw a chat of several turns: perhaps a greeting, questions, perhaps thanks or a goodbye."""
    rng, turns = draw.rng, list[Exchange]()
    if rng.random() < 0.5:
        turns.append(rng.choice((small_talk.GREETING, small_talk.CAN, small_talk.HOW_ARE_YOU))(draw))  # fmt: skip
    turns += plain_facts.follow_up(draw) if rng.random() < 0.3 else (_one(draw) for _ in range(rng.choice((1, 1, 2))))  # fmt: skip
    if rng.random() < 0.5:
        turns.append(rng.choice((small_talk.THANKS, small_talk.THANKS, small_talk.BYE))(draw))
    require(len(turns) > 1)
    return turns


def _typed(asked: str, rng: random.Random) -> str:
    """Let a person type it; a message that is held out is not drawn."""
    asked = " ".join(asked.split()).replace(" ?", "?").replace(" ,", ",")
    if rng.random() < TYPED:
        for change in rng.choice(STYLES["train"]):
            asked = change(asked, rng)
    elif rng.random() < CAPITAL:
        asked = capital(asked)
        if rng.random() < 0.5:
            asked = re.sub(r"\bi\b", "I", asked)
    require(bool(asked.strip()) and same_words(asked) not in held_out())
    return asked
