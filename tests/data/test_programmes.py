"""Programmes and habits: every kind holds, adds up, and asks with the same words in other roles."""

import random
import re
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "data" / "build"))

import habits
import programmes
from mirrors import Draw, Mirror, NothingToDraw, Side

from fitbot.audit.text import sentences, words
from fitbot.evaluation.checks import passes
from fitbot.evaluation.figures import numbers

KINDS = {kind.__name__: kind for kind, _ in (*programmes.KINDS, *habits.KINDS)}
MANY = 12  # mirrors of a kind
SETS = re.compile(r"(\d+) x \d+")
SUM = re.compile(r"([\d(][\d.()]*(?: [-+x] [\d.()]+)+) = (\d[\d.]*)")
WEIGHT = re.compile(r"(\d[\d.]*) kg")


def drawn(name: str, facts: str = "train", forms: str = "train", count: int = MANY) -> list[Mirror]:
    """Draw mirrors of a kind that hold."""
    rng, mirrors = random.Random(f"{name} {facts} {forms}"), []
    for _ in range(300 * count):
        try:
            mirror = KINDS[name](Draw(rng, facts, forms))
        except NothingToDraw:
            continue
        if mirror.holds():
            mirrors.append(mirror)
        if len(mirrors) == count:
            break
    return mirrors


@pytest.fixture(scope="module")
def mirrors() -> dict[str, list[Mirror]]:
    return {name: drawn(name) for name in KINDS}


def sides(mirrors: dict[str, list[Mirror]], *names: str) -> Iterator[Side]:
    for name in names or KINDS:
        for mirror in mirrors[name]:
            yield from (mirror.one, mirror.other)


def test_every_kind_can_be_drawn_for_every_split(mirrors: dict[str, list[Mirror]]) -> None:
    assert len(KINDS) >= 20
    assert {name: len(found) for name, found in mirrors.items()} == dict.fromkeys(KINDS, MANY)
    for split in ("val", "test"):
        for facts, forms in ((split, "train"), ("train", split)):
            counts = {name: len(drawn(name, facts, forms, 1)) for name in KINDS}
            assert counts == dict.fromkeys(KINDS, 1)


def test_each_answer_is_right_for_its_own_question_only(mirrors: dict[str, list[Mirror]]) -> None:
    for found in mirrors.values():
        for mirror in found:
            one, other = mirror.one, mirror.other
            assert passes(one.answer, one.check)
            assert passes(other.answer, other.check)
            assert not passes(one.answer, other.check)
            assert not passes(other.answer, one.check)


def test_answers_have_30_to_120_words_and_repeat_no_sentence(
    mirrors: dict[str, list[Mirror]],
) -> None:
    for side in sides(mirrors):
        said = sentences(side.answer)
        assert 30 <= len(side.answer.split()) <= 120, side.answer
        assert len(set(said)) == len(said), side.answer
        assert not re.search(r"[{}]|[.!?] [a-z]|  ", side.question + side.answer), side


def test_most_answers_are_distinct(mirrors: dict[str, list[Mirror]]) -> None:
    answers = [side.answer for side in sides(mirrors)]

    assert len(set(answers)) >= 0.95 * len(answers)


def test_most_questions_of_a_mirror_use_the_same_words(mirrors: dict[str, list[Mirror]]) -> None:
    # So no pair of a question's and an answer's word can tell which answer is right.
    same = [
        sorted(words(mirror.one.question)) == sorted(words(mirror.other.question))
        or sorted(set(words(mirror.one.answer)) ^ set(words(mirror.other.answer))) == []
        for found in mirrors.values()
        for mirror in found
    ]

    assert sum(same) >= 0.75 * len(same)


def test_sets_add_up_to_the_total(mirrors: dict[str, list[Mirror]]) -> None:
    for side in sides(mirrors, "free_days", "days_a_week", "place_and_kit"):
        total = sum(int(sets) for sets in SETS.findall(side.answer))
        assert re.search(rf"\b{total}(?: weekly)? sets", side.answer), side.answer


def test_written_sums_are_right(mirrors: dict[str, list[Mirror]]) -> None:
    checked = 0
    for side in sides(mirrors):
        for text in (side.answer, *side.facts):
            for how, result in SUM.findall(text):
                assert eval(how.replace("x", "*")) == pytest.approx(float(result), abs=0.01), text
                checked += 1
    assert checked > 80


def test_plans_last_as_long_as_the_person_has(mirrors: dict[str, list[Mirror]]) -> None:
    for side in sides(mirrors, "minutes_there_are"):
        warm, rounds, exercises, unit, cool, total = numbers(side.facts[0])[:6]
        main = rounds * exercises * unit
        assert warm + main + cool == total
        assert {warm, main, cool, total} <= set(numbers(side.answer))
        assert total in numbers(side.question)


def test_bedtimes_are_counted_back_right(mirrors: dict[str, list[Mirror]]) -> None:
    for side in sides(mirrors, "bedtime"):
        alarm, hours, fall, bed = re.match(
            r"([\d:]+) less ([\d.]+) h and (\d+) min is ([\d:]+)", side.facts[0]
        ).groups()  # type: ignore[union-attr]
        due = datetime.strptime(alarm, "%H:%M") - timedelta(hours=float(hours), minutes=int(fall))
        assert (due.hour, due.minute) == tuple(int(part) for part in bed.split(":"))
        assert alarm in side.question
        assert bed in side.answer


def test_running_grows_by_a_tenth_at_most(mirrors: dict[str, list[Mirror]]) -> None:
    for side in sides(mirrors, "weekly_distance"):
        weeks = numbers(side.facts[0])[:4]
        assert all(1 < b / a <= 1.1 for a, b in zip(weeks, weeks[1:], strict=False))
        assert set(weeks) <= set(numbers(side.answer)) | {weeks[0]}
        assert weeks[0] in numbers(side.question)


def test_minutes_of_hard_work_count_twice(mirrors: dict[str, list[Mirror]]) -> None:
    for side in sides(mirrors, "minutes_so_far"):
        _, moderate, _, hard, left = numbers(side.facts[0])[:5]
        assert left == 150 - moderate - 2 * hard
        assert left in numbers(side.answer)
        assert {moderate, hard} <= set(numbers(side.question))


def test_weights_can_be_loaded(mirrors: dict[str, list[Mirror]]) -> None:
    for side in sides(mirrors, "next_load", "light_week", "ramp", "first_load"):
        for weight in (float(kilos) for kilos in WEIGHT.findall(" ".join(side.check["all"]))):
            assert weight % 2.5 == 0 or weight % 2 == 0, side.answer


def test_the_sore_joint_is_spared(mirrors: dict[str, list[Mirror]]) -> None:
    for side in sides(mirrors, "sore_spot"):
        assert side.check["none"]
        assert not set(side.check["none"]) & set(side.check["any"])
