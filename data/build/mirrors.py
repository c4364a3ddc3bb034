"""What every category is made of: mirrors, wordings, and the pools that keep the splits apart.

A mirror is two questions and two answers; each answer is right for one question and wrong for the
other. It becomes two pairs, in the same split. So every answer is chosen once and rejected once, and
no rule that looks at answers alone can be right more often than wrong.
"""

import csv
import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from fitbot.evaluation.checks import passes

HERE = Path(__file__).parent
T = TypeVar("T")


@dataclass(frozen=True)
class Side:
    """One question, the answer that is right for it, and how to tell."""

    question: str
    answer: str
    check: dict[str, Any]
    flaw: str  # what is wrong with the other side's answer to this question
    facts: tuple[str, ...]  # what the right answer rests on, in words
    history: tuple[tuple[str, str], ...] = ()  # earlier turns: what the person said, the reply

    @property
    def conversation(self) -> str:
        """All turns of the conversation, one a line; the question comes last."""
        earlier = (turn for exchange in self.history for turn in exchange)
        return "\n".join((*earlier, self.question))


@dataclass(frozen=True)
class Mirror:
    """Two sides of which each has the other's wrong answer."""

    category: str
    keys: frozenset[str]  # the facts it rests on, by name; they decide the split
    one: Side
    other: Side

    def holds(self) -> bool:
        """Say whether both right answers pass and both wrong ones fail their question's check."""
        return (
            passes(self.one.answer, self.one.check)
            and passes(self.other.answer, self.other.check)
            and not passes(self.other.answer, self.one.check)
            and not passes(self.one.answer, self.other.check)
        )


class Draw:
    """Random choices for one kind of pair: which facts and which wordings it may use.

    Facts: of ten, eight are for training, one is validation's own and one test's own. Wordings of
    questions likewise, by their place in the list. Wordings of answers are everybody's, so that no
    answer gives its split away.
    """

    def __init__(self, rng: random.Random, facts: str, forms: str):
        """Take a source of randomness and the pools: train, val or test each."""
        self.rng, self.facts, self.forms = rng, facts, forms
        self.keys: set[str] = set()

    def fact(self, kind: str, choices: Sequence[T], name: Callable[[T], str] = str) -> T:
        """Choose a fact of this draw's pool and remember it."""
        own = [c for c in choices if pool_of(f"{kind}:{name(c)}") == self.facts]
        if not own:
            raise NothingToDraw
        chosen = self.rng.choice(own)
        self.keys.add(f"{kind}:{name(chosen)}")
        return chosen

    def ask(self, forms: Sequence[T]) -> T:
        """Choose the wording of a question."""
        held_out = max(1, len(forms) // 10)
        pools = {
            "train": forms[: -2 * held_out],
            "val": forms[-2 * held_out : -held_out],
            "test": forms[-held_out:],
        }
        return self.rng.choice(pools[self.forms])

    def pick(self, choices: Sequence[T]) -> T:
        """Choose anything that belongs to no split."""
        require(len(choices) > 0)
        return self.rng.choice(choices)

    def two(self, choices: Sequence[T]) -> tuple[T, T]:
        """Choose two different things."""
        first, second = self.rng.sample(list(choices), 2)
        return first, second

    def mirror(self, category: str, one: Side, other: Side) -> Mirror:
        """Put two sides together."""
        return Mirror(category, frozenset(self.keys), one, other)


class NothingToDraw(Exception):
    """This draw came to nothing; another one may."""


_DECLARED: dict[str, str] = {}  # fact → pool


def declare(kind: str, names: Iterable[object]) -> None:
    """Share out a small table's facts, so that validation and test get a tenth each, at least one."""
    keys = sorted((f"{kind}:{name}" for name in names), key=_digest)
    tenth = max(1, round(len(keys) / 10))
    pool_of.cache_clear()
    for i, key in enumerate(keys):
        _DECLARED[key] = "val" if i < tenth else "test" if i < 2 * tenth else "train"


@cache
def pool_of(key: str) -> str:
    """Say which pool a fact belongs to, the same in every run."""
    return _DECLARED.get(key) or {8: "val", 9: "test"}.get(_digest(key) % 10, "train")


def _digest(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big")


def table(name: str) -> list[dict[str, str]]:
    """Read a table that lies beside this file."""
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def require(condition: bool) -> None:
    """Give up this draw unless the condition holds."""
    if not condition:
        raise NothingToDraw


def capital(text: str) -> str:
    """Begin with a capital letter."""
    return text[:1].upper() + text[1:]


def join(words: Sequence[str], last: str = "and") -> str:
    """Join as in "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def figure(value: float) -> str:
    """Write a number as people say it: 0.45, 3.6, 18, 1,240."""
    if value < 1:
        return f"{value:.2f}".rstrip("0")
    if value < 10:
        return f"{value:.1f}".removesuffix(".0")
    return f"{round(value):,}"
