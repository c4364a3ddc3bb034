"""What a person is asked: questions old and new, and answers that fitbot cannot tell apart."""

import random

from fitbot.generation.messages import Record, Sampling
from fitbot.learning.questions import (
    QUESTIONS,
    least_certain,
    sampling_of,
    shipped_questions,
    some_questions,
)
from fitbot.pairs.formats import Message


def drawn(text: str, *logprobs: float) -> tuple[str, Record]:
    return text, Record(tuple(range(len(logprobs))), logprobs)


def test_the_pair_is_asked_about_whose_log_probabilities_are_nearest() -> None:
    pairs = [
        (drawn("Yes.", -0.1, -0.2), drawn("No.", -2.0)),
        (drawn("Rest.", -1.0, -1.0), drawn("Run.", -1.9)),
        (drawn("Same.", -1.0), drawn(" Same. ", -1.0)),  # no choice
        (drawn("Yes.", -1.0), None),  # the health layer had a say
        (drawn("Yes.", -1.0), drawn(" ", -1.0)),
    ]

    assert least_certain(pairs) == 1
    assert least_certain(pairs[2:]) is None


def test_questions_are_shipped_ones_and_some_that_were_asked_before() -> None:
    earlier = [(Message("user", f"Mine {number}?"),) for number in range(9)]
    shipped = set(shipped_questions())

    found = some_questions(earlier, random.Random(1))

    assert len(set(found)) == QUESTIONS
    assert sum(one in earlier for one in found) == QUESTIONS // 2
    assert sum(one in shipped for one in found) == QUESTIONS // 2
    assert set(some_questions([], random.Random(1))) <= shipped


def test_answers_to_choose_between_are_drawn_not_the_likeliest() -> None:
    assert sampling_of(Sampling(temperature=0.0)).temperature > 0
    assert sampling_of(Sampling(temperature=1.5, max_new_tokens=20)) == Sampling(
        temperature=1.5, max_new_tokens=20
    )
