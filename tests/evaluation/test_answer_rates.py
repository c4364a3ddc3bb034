"""Answers with known faults, judged."""

from typing import Any

import pytest

from fitbot.evaluation.answer_rates import ANSWER_ERRORS, AnswerReport, judge, rate_answers
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


MEASURES = ("passes", *ANSWER_ERRORS)


def judged() -> list[AnswerReport]:
    return [judge(*both) for both in zip(ANSWERS, CASES, strict=True)]


def test_an_answer_passes_by_its_check_whatever_its_faults_and_none_without_a_check() -> None:
    found = judged()
    assert [one.passes for one in found] == [True, False, True, None]
    assert [one.text for one in found] == [answer.text for answer in ANSWERS]

    assert {measure: [one.has(measure) for one in found] for measure in MEASURES} == {
        "passes": [True, False, True, False],
        "empty": [False, False, False, True],
        "thinking": [False, False, False, True],
        "looping": [False, False, True, False],
        "unfinished": [False, False, True, False],
    }


def test_rates_are_of_the_questions_that_they_are_about() -> None:
    found = rate_answers(judged(), ANSWERS, CASES, range(4))

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
    unchecked = case(0, None)

    found = rate_answers([judge(ANSWERS[0], unchecked)], ANSWERS[:1], [unchecked], [0])

    assert found.passes is None
    assert found.passes_by == {"category": {}}
