"""What a person is shown, and what becomes of the keys."""

from pathlib import Path

import pytest

from fitbot.evaluation.blind.session import ComparisonSession, Key
from tests.evaluation.blind.answerers import Answerer, session_of


def choose(session: ComparisonSession, word: str) -> None:
    """Choose the answer that begins with a word."""
    item = session.current()
    assert item is not None
    key: Key = "1" if item.shown[0].startswith(word) else "2"
    assert session.choose(item.number, key)


def test_the_better_answer_wins_wherever_it_is_shown(tmp_path: Path) -> None:
    session = session_of(tmp_path, most=5)

    for _ in range(5):
        choose(session, "good")

    assert [choice.choice for choice in session.choices] == ["a"] * 5
    assert {choice.first for choice in session.choices} == {"a", "b"}


def test_the_order_is_drawn_anew_for_every_question_and_is_fair(tmp_path: Path) -> None:
    session = session_of(tmp_path, count=80, most=80)

    for _ in range(80):
        item = session.current()
        assert item is not None
        session.choose(item.number, "=")

    firsts = [choice.first for choice in session.choices]
    assert 25 < firsts.count("a") < 55
    assert 25 < sum(one != other for one, other in zip(firsts, firsts[1:], strict=False)) < 55


def test_it_ends_once_it_is_decided(tmp_path: Path) -> None:
    session = session_of(tmp_path)

    while session.current():
        choose(session, "good")

    assert session.compared == 7  # see the capital of seven wins: 1.75^7 / 2 > 20


def test_who_always_takes_the_first_answer_decides_nothing(tmp_path: Path) -> None:
    session = session_of(tmp_path, count=50, most=50)

    while item := session.current():
        session.choose(item.number, "1")

    assert session.compared == 50


@pytest.mark.parametrize(("count", "most", "compared"), [(30, 4, 4), (3, 20, 3)])
def test_it_ends_at_the_most_or_with_the_last_question(
    count: int, most: int, compared: int, tmp_path: Path
) -> None:
    session = session_of(tmp_path, count=count, most=most)

    while item := session.current():
        session.choose(item.number, "=")

    assert session.compared == compared
    assert len({choice.question for choice in session.choices}) == compared


def test_identical_answers_are_ties_that_nobody_is_shown(tmp_path: Path) -> None:
    session = session_of(tmp_path, count=6, identical=[0, 2, 4])
    shown = []

    while item := session.current():
        shown.append(item.question)
        session.choose(item.number, "=")

    assert sorted(shown) == [1, 3, 5]
    assert sorted(choice.choice for choice in session.choices) == ["identical"] * 3 + ["tie"] * 3
    assert session.compared == 6


def test_skipped_questions_do_not_count_and_do_not_come_back(tmp_path: Path) -> None:
    session = session_of(tmp_path, count=3)

    while item := session.current():
        session.choose(item.number, "s")

    assert session.compared == 0
    assert len(session.choices) == 3


def test_undo_shows_the_same_again_and_passes_over_identical_answers(tmp_path: Path) -> None:
    session = session_of(tmp_path, count=6, identical=[0, 1, 2, 3])
    first = session.current()
    assert first is not None
    session.choose(first.number, "1")
    second = session.current()

    assert session.undo()
    again = session.current()
    assert again == first
    session.choose(first.number, "2")

    assert session.current() == second
    assert [c.choice for c in session.choices if c.question == first.question] == [
        "b" if first.first == "a" else "a"
    ]


def test_there_is_nothing_to_undo_before_the_first_choice(tmp_path: Path) -> None:
    session = session_of(tmp_path, count=3, identical=[0, 1, 2])

    assert not session.undo()
    assert session.current() is None
    assert not session.undo()
    assert session.compared == 3


def test_a_key_that_is_pressed_twice_is_no_choice_for_the_next_item(tmp_path: Path) -> None:
    session = session_of(tmp_path)
    item = session.current()
    assert item is not None

    assert session.choose(item.number, "1")
    assert not session.choose(item.number, "1")
    assert session.compared == 1


def test_the_same_command_goes_on_with_the_questions_that_are_left(tmp_path: Path) -> None:
    whole = session_of(tmp_path / "whole", count=6)
    while item := whole.current():
        whole.choose(item.number, "=")
    parts = tmp_path / "parts"
    for _ in range(6):
        session = session_of(parts, count=6)
        item = session.current()
        assert item is not None
        session.choose(item.number, "=")
        session._log.close()

    ended = session_of(parts, count=6)
    assert ended.current() is None
    assert [c.question for c in ended.choices] == [c.question for c in whole.choices]


def test_an_earlier_runs_choice_can_be_undone(tmp_path: Path) -> None:
    session = session_of(tmp_path)
    choose(session, "good")
    session._log.close()

    later = session_of(tmp_path)
    assert later.undo()
    choose(later, "bad")

    assert [choice.choice for choice in later.choices] == ["b"]


def test_the_next_answers_are_made_while_a_person_reads(tmp_path: Path) -> None:
    session = session_of(tmp_path)

    item = session.current()

    assert item is not None
    source = session._source
    assert isinstance(source, Answerer)
    assert source.prepared[0][0] == item.question
    assert len(source.prepared[0]) > 3


def test_another_seed_asks_in_another_order(tmp_path: Path) -> None:
    one, other = (session_of(tmp_path / str(seed), seed=seed) for seed in (1, 2))

    assert one._order != other._order
    assert sorted(one._order) == sorted(other._order) == list(range(30))
