"""Answers with known faults, judged."""

from typing import Any

import pytest

from fitbot.evaluation.answer_rates import mark_answers, passes_check, rate_answers
from fitbot.evaluation.answering import ModelAnswer
from fitbot.evaluation.cases import Case
from fitbot.pairs.formats import Message, PreferencePair


def case(number: int, check: dict[str, Any] | None, category: str = "diet") -> Case:
    pair = PreferencePair((Message("user", f"{number}?"),), "Tofu.", "Beef.", number)
    return Case(pair, {"category": category}, check)


VEGAN = {"any": ["tofu", "beans"], "none": ["beef", "egg"]}
CASES = [case(0, VEGAN), case(1, VEGAN), case(2, {"number": 30}, "facts"), case(3, None, "facts")]
ANSWERS = [
    ModelAnswer("Tofu with rice.", "", 5, finished=True),
    ModelAnswer("Tofu, and two eggs.", "", 7, finished=True),
    ModelAnswer("About 31 g. " * 4, "", 64, finished=False),
    ModelAnswer("", "Hm.", 4, finished=True),
]


def test_an_answer_passes_by_its_check_whatever_its_faults_and_none_without_a_check() -> None:
    marks = [passes_check(*both) for both in zip(ANSWERS, CASES, strict=True)]
    assert marks == [True, False, True, None]

    assert mark_answers(ANSWERS, CASES) == {
        "passes": [True, False, True, False],
        "empty": [False, False, False, True],
        "thinking": [False, False, False, True],
        "looping": [False, False, True, False],
        "unfinished": [False, False, True, False],
    }


def test_rates_are_of_the_questions_that_they_are_about() -> None:
    found = rate_answers(ANSWERS, CASES, range(4))

    assert found.passes is not None
    assert found.passes.value == pytest.approx(2 / 3)  # of those with a check
    assert found.passes.low is not None
    assert found.passes.low < 2 / 3
    rates = {value: rate.value for value, rate in found.passes_by["category"].items()}
    assert rates == {"diet": 0.5, "facts": 1.0}
    assert {fault: rate.value for fault, rate in found.faults.items()} == {
        "empty": 0.25,
        "thinking": 0.25,
        "looping": 0.25,
        "unfinished": 0.25,
    }
    assert found.tokens.value == 20


def test_questions_without_any_check_have_no_pass_rate() -> None:
    found = rate_answers(ANSWERS[:1], [case(0, None)], [0])

    assert found.passes is None
    assert found.passes_by == {"category": {}}
