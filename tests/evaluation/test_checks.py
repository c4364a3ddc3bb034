"""Checks judge an answer by its words, numbers and form."""

from typing import Any

import pytest

from fitbot.evaluation.checks import passes
from fitbot.evaluation.figures import numbers


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        ({"number": 31, "within": 0.1}, "About 30 g per 100 g.", "About 18 g per 100 g."),
        ({"number": 1240}, "It is 1,240 kcal.", "It is 1 or 240 kcal."),
        ({"any": ["tofu", "bean"]}, "Fried beans.", "Fried soybeans."),
        ({"all": ["chest"], "none": ["biceps"]}, "The chest.", "The chest and the biceps."),
        ({"none": ["egg"]}, "Eggplant and rice.", "Two eggs."),
        ({"asks": True}, "What do you weigh?", "Eat 100 g."),
        ({"asks": False}, "Eat 100 g.", "What do you weigh?"),
        ({"format": "one word"}, "Chest.", "The chest."),
        ({"format": "number"}, "3.6 g", "About 3.6 g"),
        ({"format": "names"}, "Squat, lunge, hop", "- Squat\n- Lunge\n- Hop"),
        ({"format": "list"}, "- Squat\n- Lunge", "Squat and lunge."),
        ({"format": "no list"}, "Do the squat and the lunge.", "- Squat\n- Lunge"),
        (
            {"format": "explained"},
            "The chest does most of the work here, so begin with two light sets.",
            "Chest.",
        ),
    ],
)
def test_a_check_tells_good_from_bad(check: dict[str, Any], good: str, bad: str) -> None:
    assert passes(good, check)
    assert not passes(bad, check)


def test_an_empty_answer_passes_nothing() -> None:
    assert not passes(" \n", {"none": ["meat"]})


def test_a_check_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KeyError):
        passes("Yes.", {"tone": "kind"})


def test_numbers_are_read_as_people_write_them() -> None:
    assert numbers("3 to 5 g, 1,240 kcal, 0.45 mg and 1.5.") == [3, 5, 1240, 0.45, 1.5]
