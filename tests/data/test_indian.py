"""Indian foods: figures of the table, sums computed again, dishes that fit the way to eat."""

import csv
import re
from pathlib import Path

import pytest

from fitbot.evaluation.checks import passes
from tests.data.drawing import draw

import indian  # isort: skip
import indian_meals  # isort: skip

TABLE = Path(indian.__file__).with_name("indian.csv")


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row["food"]: row for row in csv.DictReader(file)}


def test_every_row_names_its_source_and_its_figures_are_possible(
    rows: dict[str, dict[str, str]],
) -> None:
    assert len(rows) >= 45
    for row in rows.values():
        assert row["source"] in ("USDA FoodData Central", "Indian Food Composition Tables 2017")
        assert row["source_name"]
        assert 4 * float(row["protein"]) <= 1.05 * float(row["energy"])
        assert 0 <= float(row["fibre"] or 0) < 40


def test_figures_are_those_of_the_table(rows: dict[str, dict[str, str]]) -> None:
    checked = 0
    for mirror in draw(indian.KINDS, 120):
        for side in (mirror.one, mirror.other):
            for fact in side.facts:
                found = re.match(r"(.+): ([\d.,]+) (?:g|mg|kcal) of (\w+) per 100 g", fact)
                if found:
                    value = float(rows[found[1]][found[3]])
                    assert float(found[2].replace(",", "")) == pytest.approx(
                        value, rel=0.06, abs=0.01
                    )
                    checked += 1
    assert checked > 200


def test_comparisons_name_the_right_food(rows: dict[str, dict[str, str]]) -> None:
    for mirror in draw([(indian.more_or_less, 1)], 60):
        winner, loser = mirror.one.check["all"][0], mirror.one.check["none"][0]
        nutrient = re.findall(r" of (\w+)", mirror.one.answer)[-1]
        assert float(rows[winner][nutrient]) > float(rows[loser][nutrient])
        assert mirror.other.check["all"] == [loser]


def test_sums_are_right() -> None:
    for kind in (indian.enough, indian.exchange, indian.plate, indian.thali):
        for mirror in draw([(kind, 1)], 30):
            for side in (mirror.one, mirror.other):
                how, result = side.facts[-1].split(" = ")
                assert re.fullmatch(r"[\d .()x/+]+", how)
                value = eval(how.replace("x", "*"))  # digits and signs alone, see above
                stated = float(result.split()[0].replace(",", ""))
                assert stated == pytest.approx(value, rel=0.02, abs=0.51)
                assert side.check["number"] == pytest.approx(value, rel=0.02, abs=0.06)


def test_questions_hold_the_same_words() -> None:
    for mirror in draw(indian.KINDS, 150):
        one, other = (
            sorted(re.findall(r"\w+", s.question.lower())) for s in (mirror.one, mirror.other)
        )
        assert set(one) == set(other)


def test_every_way_to_eat_has_dishes_and_none_of_them_breaks_it() -> None:
    for way in indian_meals.WAYS:
        fits = [d for d in indian_meals.DISHES if passes(d, indian_meals.check_of(way))]
        assert len(fits) >= 6, way.words
    for mirror in draw(indian_meals.KINDS, 60):
        for side in (mirror.one, mirror.other):
            if "wanted: Jain food" in side.facts:
                assert not re.search(
                    "egg|onion|garlic|potato|aloo|carrot|radish|beet", side.answer, re.I
                )
            if "wanted: vegan food" in side.facts:
                assert not re.search(
                    "egg|paneer|curd|milk|lassi|raita|omelette|ghee|kheer", side.answer, re.I
                )
            if "wanted: food for a Navratri fast" in side.facts:
                assert not re.search(
                    "dal|rice|wheat|idli|dosa|besan|chana|rajma|onion|egg", side.answer, re.I
                )


def test_unseen_facts_and_forms_can_be_drawn() -> None:
    for facts, forms in (("val", "train"), ("test", "train"), ("train", "val"), ("train", "test")):
        assert len(draw(indian.KINDS, 15, facts, forms)) == 15
