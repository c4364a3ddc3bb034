"""Messy spelling: numbers and negations stay; every split has patterns of its own."""

import random
import re
from collections import Counter
from dataclasses import replace

import pytest

from tests.data.drawing import draw

import arithmetic  # isort: skip
import constraints  # isort: skip
import diet  # isort: skip
import facts  # isort: skip
import indian  # isort: skip
import spelling  # isort: skip
import turns  # isort: skip
import units  # isort: skip
from mirrors import Draw, Mirror, NothingToDraw  # isort: skip

POOLS = ("train", "val", "test")


@pytest.fixture(scope="module")
def typed() -> dict[str, list[tuple[Mirror, Mirror]]]:
    kinds = [
        kind
        for module in (facts, diet, arithmetic, constraints, turns, indian, units)
        for kind in module.KINDS
    ]
    clean = draw(kinds, 150)
    found: dict[str, list[tuple[Mirror, Mirror]]] = {pool: [] for pool in POOLS}
    for pool in POOLS:
        rng = random.Random(pool)
        for mirror in clean:
            try:
                found[pool].append((mirror, spelling.misspelt(Draw(rng, "train", pool), mirror)))
            except NothingToDraw:
                continue
        assert len(found[pool]) > 120
    return found


def sides(mirrors: tuple[Mirror, Mirror]) -> list[tuple[str, str]]:
    clean, messy = mirrors
    return [
        (clean.one.conversation, messy.one.conversation),
        (clean.other.conversation, messy.other.conversation),
    ]


def test_numbers_stay(typed: dict[str, list[tuple[Mirror, Mirror]]]) -> None:
    number = re.compile(r"\d+(?:[.,]\d+)*")
    for pool in POOLS:
        for clean, messy in (side for pair in typed[pool] for side in sides(pair)):
            assert number.findall(clean) == number.findall(messy), messy


def test_negations_and_words_that_turn_a_question_round_stay(
    typed: dict[str, list[tuple[Mirror, Mirror]]],
) -> None:
    kept = {word.replace("'", "") for word in spelling.KEPT}
    checked: Counter[str] = Counter()
    for pool in POOLS:
        for clean, messy in (side for pair in typed[pool] for side in sides(pair)):
            one, other = (
                Counter(
                    w for w in re.findall(r"[a-z]+", text.lower().replace("'", "")) if w in kept
                )
                for text in (clean, messy)
            )
            assert one == other, messy
            checked += one
    assert checked["not"] > 10
    assert checked["more"] > 4
    assert checked["no"] > 2


def test_mirrors_still_hold_and_their_two_sides_still_differ(
    typed: dict[str, list[tuple[Mirror, Mirror]]],
) -> None:
    for pool in POOLS:
        for clean, messy in typed[pool]:
            assert messy.holds()
            assert messy.one.conversation.lower() != messy.other.conversation.lower()
            assert messy.one.answer == clean.one.answer
            replies = [reply for _, reply in messy.one.history]
            assert replies == [reply for _, reply in clean.one.history]


def test_two_questions_of_the_same_words_keep_that() -> None:
    rng = random.Random(3)
    for mirror in draw(units.KINDS, 40):
        try:
            messy = spelling.misspelt(Draw(rng, "train", "train"), mirror)
        except NothingToDraw:
            continue
        one, other = (
            sorted(re.findall(r"\w+", s.question.lower())) for s in (messy.one, messy.other)
        )
        assert one == other


def test_most_questions_can_still_be_read(typed: dict[str, list[tuple[Mirror, Mirror]]]) -> None:
    # At least half of the words of a question stand there as they were.
    for pool in POOLS:
        for clean, messy in (side for pair in typed[pool] for side in sides(pair)):
            one, other = (Counter(re.findall(r"[a-z]+", text.lower())) for text in (clean, messy))
            assert (one & other).total() >= 0.45 * one.total(), messy


def test_validation_and_test_have_styles_and_abbreviations_of_their_own() -> None:
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not set(spelling.STYLES[one]) & set(spelling.STYLES[other])
        shared = spelling.SHORT[one].items() & spelling.SHORT[other].items()
        assert not shared
        assert not set(spelling.UNITS[one]) & set(spelling.UNITS[other])


def test_the_same_draw_types_the_same() -> None:
    mirror = draw(turns.KINDS, 1)[0]
    typed = [spelling.misspelt(Draw(random.Random(5), "train", "test"), mirror) for _ in range(2)]

    assert typed[0] == typed[1]
    assert typed[0] != replace(mirror)
