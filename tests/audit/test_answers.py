"""Faults of single answers: cut off, repeated, with a contact, in another language; or none."""

import json

import pytest

from fitbot.audit.answers import find_contact, repeats_itself
from fitbot.audit.endings import cut_off
from fitbot.audit.languages import in_another_language
from tests.audit.planted import realistic_records
from tests.conftest import ROOT

CLEAN = [r[side] for part in realistic_records() for r in part for side in ("chosen", "rejected")]


@pytest.mark.parametrize(
    "answer",
    [
        "Eat more beans. They fill you and have plenty of prot",
        "Three things matter here: sleep, food,",
        "Warm up first (five minutes on the bike or a brisk",
        "Here is what I would do:",
        "1. Squat\n2. Bench press\n3.",
        "- **Squat**\n- **Row**\n- **",
        "Run this:\n```python\nprint(1)",
        "Rest two days between the heavy sessions and the",
    ],
)
def test_an_answer_that_stops_in_the_middle_is_cut_off(answer: str) -> None:
    assert cut_off([*CLEAN, answer], [*CLEAN, answer]) == {len(CLEAN)}


@pytest.mark.parametrize(
    "answer",
    [
        *("120 g", "Yes", "Quadriceps", "Squat, lunge, row", "No pain, no gain :(", "8-12", "A+"),
        "- 40 g oats\n- 250 g skyr",
        "1. Squat\n2. Bench press\n3. Row",
        "- eggs,\n- milk,\n- flour,",
        "Run this:\n```python\nprint(1)\n```",
        "Good luck with it!\n\nBest regards,\nAnna",
        "How to Train for a Marathon Without Losing Strength",
        "Day 1: three easy sets of squats and rows\nDay 2: a long and quiet walk",
        "Rice | 360 kcal | 7 g of protein",
        "Take about 1.6 g per kg, up to 120 g",
    ],
)
def test_a_figure_a_name_or_a_list_item_is_not_cut_off(answer: str) -> None:
    assert cut_off([*CLEAN, answer], [*CLEAN, answer]) == set()


def test_full_stops_that_a_file_does_not_use_are_not_missed() -> None:
    answers = [f"I would eat {i} bananas a day and then go for a run" for i in range(40)]

    assert cut_off(answers, answers) == set()


@pytest.mark.parametrize(
    ("answer", "repeats"),
    [
        ("Eat rice and beans. Eat rice and beans.", True),
        ("Eat beans, rice and tofu eat beans, rice and tofu", True),
        ("It is wise to eat more beans. Rice is fine. It is wise to eat more beans.", False),
        (
            "It is a good idea to eat more beans. Rice too. It is a good idea to eat more beans.",
            True,
        ),
        ("Walk, and then you rest and then you rest and then you rest", True),
        ("No. No. Never.", False),
        ("Left, right, left, right, left, right, left, right.", False),
        ("Squat 3x8.\nRest for 60 seconds.\nRow 3x8.\nRest for 60 seconds.", False),
        ("```\nx = f(a, b, c)\nx = f(a, b, c)\n```", False),
        ("10 10 10 10 10 10 10 10", False),
    ],
)
def test_sentences_and_blocks_are_repeated_and_schemes_are_not(answer: str, repeats: bool) -> None:
    assert repeats_itself(answer) is repeats


@pytest.mark.parametrize(
    "text",
    [
        *("Write to ann.b+c@gym-club.co.uk today.", "+49 170 1234567", "+44 (0)20 7946 0958"),
        *("Ring +91 98765 43210.", "1-800-273-8255", "(212) 555-0199", "212.555.0199"),
        *("020 7946 0958", "0170/1234567", "06 12 34 56 78", "WhatsApp 9876543210"),
        "My phone number is 98765 43210",
    ],
)
def test_an_address_or_a_phone_number_is_a_contact(text: str) -> None:
    assert find_contact(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        *("3x10-12", "12/10/8/6", "150-200-2500", "4-4-8-4", "tempo 3010", "3 x 8-10 @ 70-80%"),
        *("1,600 to 2,000 kcal", "1600-2000 kcal", "1 600 - 2 000 kcal", "+10 200 300 400 kcal"),
        *("2024-11-12", "01-02-2024", "Call on 12/11/2024 at 10", "phone 2024-11-12 12:30"),
        *("version 3.11.5.2", "10.0.0.1", "192.168.100.1000", "ISBN 978-3-16-148410-0"),
        *("call 112", "Dial 911 now", "call 10-12 15-20 25-30 35", "My phone says 10,000 steps"),
        *("a@example.com", "x@y", "@coach", "git@github.com:user/repo", "5+12345678"),
        *("472547338 +960397912423686", "0.125 0.250 0.375", "8 10 12 15 20 25 30 35"),
    ],
)
def test_schemes_dates_ranges_and_versions_are_no_contact(text: str) -> None:
    assert find_contact(text) is None


ENGLISH = "Eat more beans and rice, and rest when you are tired of it."


@pytest.mark.parametrize(
    ("prompt", "answer", "language"),
    [
        ("Rest?", "Descansa cuando estés cansado, y come más arroz con los frijoles.", "Spanish"),
        ("Rest?", "Ruh dich aus, wenn du müde bist, und iss mehr Reis mit Bohnen.", "German"),
        ("Rest?", "Repose toi quand tu es fatigué, et mange plus de riz avec des pois.", "French"),
        ("Translate it to German.", "Ruh dich aus, wenn du müde bist, und iss mehr Reis.", None),
        ("Wann soll ich ruhen und wie?", "Ruh dich aus, wenn du müde bist, und iss mehr.", None),
        ("Dinner?", "Dal makhani, pollo al pastor, pad thai, boeuf bourguignon, risotto", None),
        ("Which vitamins?", "A, D, E, K and the B group; C is in peppers", None),
        ("Rest?", "Descansa más", None),
    ],
)
def test_an_answer_in_another_language_is_found_unless_it_was_asked_for(
    prompt: str, answer: str, language: str | None
) -> None:
    found = in_another_language(["Rest?"] * 20 + [prompt], [ENGLISH] * 20 + [answer])

    assert found == ({} if language is None else {20: language})


def test_a_file_of_two_languages_has_no_other_language() -> None:
    german = ["Ruh dich aus, wenn du müde bist, und iss mehr Reis mit den Bohnen."] * 10

    assert in_another_language(["?"] * 30, [ENGLISH] * 20 + german) == {}


def test_our_own_answers_have_none_of_these_faults() -> None:
    records = json.loads((ROOT / "data" / "fitness_val.json").read_text(encoding="utf-8"))
    turns = [record.get("prompt") or [{"content": record["question"]}] for record in records]
    prompts = [turn[-1]["content"] for turn in turns for _ in range(2)]
    answers = [record[side] for record in records for side in ("chosen", "rejected")]

    assert cut_off(answers, [*prompts, *answers]) == set()
    assert in_another_language(prompts, answers) == {}
    assert not any(map(repeats_itself, answers))
    assert not any(map(find_contact, [*prompts, *answers]))
