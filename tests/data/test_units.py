"""Other units: every conversion computed a second time, from the words of the question."""

import re

import pytest

from tests.data.drawing import draw

import units  # isort: skip

# How much of the second unit one of the first is, from the definitions.
FACTORS = {
    ("lb", "kg"): 1 / 2.2046226,
    ("pounds", "kg"): 1 / 2.2046226,
    ("kg", "lb"): 2.2046226,
    ("miles", "km"): 1.609344,
    ("km", "miles"): 0.6213712,
    ("oz", "g"): 28.349523,
    ("g", "oz"): 0.03527396,
    ("cups", "ml"): 236.588,
    ("oz", "ml"): 29.5735,
    ("kJ", "kcal"): 0.2390057,
    ("kcal", "kJ"): 4.184,
    ("inches", "cm"): 2.54,
}


def test_every_figure_is_converted_rightly() -> None:
    seen = set()
    for mirror in draw([(units.converted, 1)], 200):
        for side in (mirror.one, mirror.other):
            told, answer = side.facts[0].split(" (")[0].split(" = ")
            assert told in side.question
            assert answer in side.answer
            value, short = float(answer.split()[0].replace(",", "")), answer.split(" ", 1)[1]
            n = [float(x.replace(",", "")) for x in re.findall(r"[\d.,]*\d", told)]
            if " st " in told:
                expected = (n[0] * 14 + n[1]) / 2.2046226
            elif " ft " in told:
                expected = (n[0] * 12 + n[1]) * 2.54
            elif " min " in told:
                expected = (n[0] * 60 + n[1]) / 1.609344
            else:
                expected = n[0] * FACTORS[told.split()[-1], short]
            assert value == pytest.approx(expected, abs=0.51 if value >= 10 else 0.06)
            seen.add((told.split()[-1], short))
    assert len(seen) >= 14


def test_the_two_questions_hold_the_same_words() -> None:
    for mirror in draw(units.KINDS, 200):
        one, other = (
            sorted(re.findall(r"\w+", s.question.lower())) for s in (mirror.one, mirror.other)
        )
        assert one == other


def test_protein_by_pounds_and_by_rupees_is_right() -> None:
    for mirror in draw([(units.protein_from_pounds, 1)], 40):
        for side in (mirror.one, mirror.other):
            pounds, _, k, grams = (float(x) for x in re.findall(r"[\d.]*\d", side.facts[0]))
            assert grams == pytest.approx(pounds / 2.2046226 * k, abs=0.51)
            assert f"{grams:g} g" in side.answer
    for mirror in draw([(units.price, 1)], 40):
        for side in (mirror.one, mirror.other):
            protein = float(re.findall(r"have ([\d.]*\d)", side.facts[0])[0])
            target = float(re.findall(r"(\d+) g of protein", side.question)[0])
            rupees = float(re.findall(r"x (\d+) rupees", side.facts[1])[0])
            paid = float(re.findall(r"[\d.]*\d", side.answer)[0])
            assert paid == pytest.approx(target / protein / 10 * rupees, rel=0.06, abs=0.6)


def test_unseen_facts_and_forms_can_be_drawn() -> None:
    for facts, forms in (("val", "train"), ("test", "train"), ("train", "val"), ("train", "test")):
        assert len(draw(units.KINDS, 15, facts, forms)) == 15
