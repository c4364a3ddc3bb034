"""Wordings by a small grammar: "[hi|hello][| there], what [do|can] you know" has eight of them."""

import random
from functools import cache

Part = str | tuple[tuple["Part", ...], ...]  # text, or alternatives of parts


def expand(text: str, rng: random.Random) -> str:
    """Choose one alternative of every bracket; brackets may stand in brackets. {places} stay."""
    return _choose(_parsed(text), rng)


def one_of(forms: tuple[str, ...], rng: random.Random, **places: object) -> str:
    """Choose a form, expand it, and fill its places in."""
    return expand(rng.choice(forms), rng).format(**places)


def count(text: str) -> int:
    """Count the ways to choose in a form's brackets."""
    return _count(_parsed(text))


def _choose(parts: tuple[Part, ...], rng: random.Random) -> str:
    return "".join(p if isinstance(p, str) else _choose(rng.choice(p), rng) for p in parts)


def _count(parts: tuple[Part, ...]) -> int:
    ways = 1
    for part in parts:
        ways *= 1 if isinstance(part, str) else sum(_count(choice) for choice in part)
    return ways


@cache
def _parsed(text: str) -> tuple[Part, ...]:
    parts, end = _sequence(text, 0, "")
    assert end == len(text), f"a bracket is not closed or not opened: {text}"
    return parts


def _sequence(text: str, start: int, stops: str) -> tuple[tuple[Part, ...], int]:
    """Read up to one of the stops; returns the parts, and where it stopped."""
    parts: list[Part] = []
    literal, i = start, start
    while i < len(text) and text[i] not in stops:
        assert text[i] != "]", f"a bracket is closed that was not opened: {text}"
        if text[i] == "[":
            parts.append(text[literal:i])
            choices = []
            while text[i] != "]":
                choice, i = _sequence(text, i + 1, "|]")
                assert i < len(text), f"a bracket is not closed: {text}"
                choices.append(choice)
            parts.append(tuple(choices))
            literal = i + 1
        i += 1
    parts.append(text[literal:i])
    return tuple(part for part in parts if part != ""), i
