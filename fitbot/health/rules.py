"""The rules of the health layer: signs as words near each other, in rules.json.

They find what somebody wrote down, and say why. They understand nothing.
"""

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

from fitbot.health.match import STOPS, Span, Vocabulary, covered, together, within

Kind = Literal["ok", "refer", "refuse", "support", "emergency"]
Found = Mapping[str, Sequence[Span]]  # where concepts stand in a text

_NEGATION_REACH = 9  # tokens after "no": no chest pain, dizziness or shortness of breath
_MENTION_REACH = 7  # tokens after "signs of"
_PAST_REACH = 10  # tokens before "two years ago"
_UNLESS_REACH = 9  # tokens around a finding in which an exception may stand
_OR = frozenset(("or", "nor", "no", "oder", "o", "ou", "ni"))  # no pain, dizziness or fainting


class Rule(NamedTuple):
    """Concepts that mean something when they stand near each other."""

    kind: Kind  # of a question's verdict
    sign: str
    all: Sequence[str]
    window: int = 8  # tokens that the concepts span at most
    unless: Sequence[str] = ()  # concepts near it that make it harmless,
    but: Sequence[str] = ()  # unless one of these is near as well
    always: bool = False  # of an answer: no classifier overrules it


class Rules(NamedTuple):
    """rules.json, ready for use."""

    vocabulary: Vocabulary
    questions: Sequence[Rule]
    answers: Sequence[Rule]


@cache
def load_rules() -> Rules:
    """Read rules.json; every later call returns the same object."""
    data = json.loads(files(__package__).joinpath("rules.json").read_text(encoding="utf-8"))
    return Rules(
        Vocabulary(data["concepts"], data["not_typing_errors"]),
        [Rule(**entry) for entry in data["questions"]],
        [Rule(**entry) for entry in data["answers"]],
    )


def findings(
    tokens: Sequence[str], found: Found, rules: Sequence[Rule], since: int = 0
) -> Iterator[tuple[Rule, bool]]:
    """Yield each rule that fires on a text's tokens, and does not end before token `since`.

    With it, whether the text only speaks about it: signs of a heart attack.
    """
    harmless = covered(found.get("harmless", ()))
    denied, spoken_of = _denied(tokens, found), _spoken_of(tokens, found)
    for rule in rules:
        if not all(concept in found for concept in rule.all):
            continue
        lists = [_meant(found[concept], tokens, harmless, denied) for concept in rule.all]
        spots = [
            spot
            for spot in together(lists, rule.window)
            if spot.end > since and _counts(spot, rule, found)
        ]
        if spots:
            yield rule, all(spot.end - 1 in spoken_of for spot in spots)


def _counts(spot: Span, rule: Rule, found: Found) -> bool:
    def near(concepts: Sequence[str]) -> bool:
        start, end = spot.start - _UNLESS_REACH, spot.end + _UNLESS_REACH
        return any(within(found.get(concept, ()), start, end) for concept in concepts)

    return not near(rule.unless) or near(rule.but)


def _meant(
    spans: Sequence[Span], tokens: Sequence[str], harmless: Set[int], denied: Set[int]
) -> list[Span]:
    """Leave out what is part of an idiom, or denied without a "not" of its own: can not breathe."""
    return [
        span
        for span in spans
        if harmless.isdisjoint(range(*span))
        and (span.start not in denied or "not" in tokens[span.start : span.end])
    ]


def _denied(tokens: Sequence[str], found: Found) -> set[int]:
    """Collect the tokens that a "no" or "without" before them denies."""
    denied: set[int] = set()
    turns = {span.start for span in found.get("new clause", ())}
    excused = covered(found.get("no denial", ()))
    for concept, reach in (("denies a list", _NEGATION_REACH), ("denies one", 2)):
        for span in found.get(concept, ()):
            # "No idea why" denies nothing, and neither does "no, my chest hurts".
            if span.start in excused or tokens[span.end : span.end + 1] == [","]:
                continue
            end = _clause_end(tokens, span.end, reach, turns)
            if not within(found.get("takes denial back", ()), span.end, end + 3):
                denied.update(range(span.end, end))
    return denied


def _spoken_of(tokens: Sequence[str], found: Found) -> set[int]:
    """Collect the tokens after "signs of" and before "two years ago"."""
    marked: set[int] = set()
    turns = {span.start for span in found.get("new clause", ())}
    for span in found.get("speaks of", ()):
        end = _clause_end(tokens, span.end, _MENTION_REACH, turns)
        if not within(found.get("happens now", ()), span.start - 3, end + _MENTION_REACH):
            marked.update(range(span.end, end))
    for span in found.get("past", ()):
        start = max(0, span.start - _PAST_REACH)
        if not within(found.get("present", ()), start, span.end + _PAST_REACH):
            marked.update(range(start, span.start))
    return marked


def _clause_end(tokens: Sequence[str], start: int, reach: int, turns: Set[int]) -> int:
    """Return where what a word governs ends: at a full stop, a "but", or a new subject."""
    for index in range(start, min(start + reach, len(tokens))):
        ends_list = tokens[index] == "," and _OR.isdisjoint(tokens[index : index + 6])
        if tokens[index] in STOPS or index in turns or ends_list:
            return index
    return min(start + reach, len(tokens))
