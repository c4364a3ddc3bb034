"""Conversations: only the order of what was said tells which answer is right."""

import re
from collections import Counter

import pytest

from fitbot.pairs.formats import parse_pair
from tests.data.drawing import draw

import turn_figures  # isort: skip  (drawing.py puts the build on the path)
from mirrors import Mirror  # isort: skip
import turn_follow_ups  # isort: skip
import turns  # isort: skip


@pytest.fixture(scope="module")
def drawn() -> list[Mirror]:
    return draw(turns.KINDS, 250)


def test_every_kind_draws_mirrors_that_hold_from_every_pool() -> None:
    pools = (
        ("train", "train"),
        ("val", "train"),
        ("test", "train"),
        ("train", "val"),
        ("train", "test"),
    )
    for kind, _ in turns.KINDS:
        for facts, forms in pools:
            if kind.__name__ == "gear" and facts != "train":
                continue  # too few exercises with soft gear to be sure of two
            for mirror in draw([(kind, 1)], 3, facts, forms):
                assert mirror.holds()
                assert mirror.category == "turns"
                assert mirror.keys


def test_conversations_have_two_to_four_turns(drawn: list[Mirror]) -> None:
    counts = Counter(len(side.history) + 1 for m in drawn for side in (m.one, m.other))

    assert set(counts) == {2, 3, 4}
    assert counts[2] > 200
    assert counts[3] > 20
    assert counts[4] > 20


def test_both_conversations_of_a_mirror_have_the_same_words() -> None:
    kinds = [kind for kind in turns.KINDS if kind[0].__name__ != "follow_up"]
    for mirror in draw(kinds, 150):
        one, other = (
            set(re.findall(r"[\w.]+\b", side.conversation.lower()))
            for side in (mirror.one, mirror.other)
        )
        assert one == other, mirror.one.conversation
        assert mirror.one.conversation != mirror.other.conversation


def test_all_placeholders_are_filled(drawn: list[Mirror]) -> None:
    for side in (side for mirror in drawn for side in (mirror.one, mirror.other)):
        assert not re.search(r"[{}]|  ", f"{side.conversation} {side.answer} {side.facts}")


def test_the_figures_are_those_of_the_conversation_and_the_sums_are_right() -> None:
    checked = 0
    for mirror in draw(turn_figures.KINDS, 150):
        for side in (mirror.one, mirror.other):
            how, result = side.facts[1].split(" = ")
            assert re.fullmatch(r"[\d .x/+-]+", how), how
            value = eval(how.replace("x", "*"))  # digits and signs alone, see above
            stated = float(result.split()[0].replace(",", ""))
            assert stated == pytest.approx(value, rel=0.03, abs=0.51 if value >= 10 else 0.06)
            assert result.split()[0] in side.answer
            if side.facts[0].startswith("the figure that counts: "):
                right, wrong = (
                    side.facts[0].removeprefix("the figure that counts: ").split(", not ")
                )
                assert right in side.conversation
                assert wrong in side.conversation
                assert right.split()[0].replace(",", "") in re.split(r"[ ()]", how)
            checked += 1
    assert checked == 300


def test_a_follow_up_asks_as_often_for_what_was_said_as_for_what_was_not() -> None:
    for mirror in draw(turn_follow_ups.KINDS, 60):
        ((_, said),) = mirror.one.history
        assert mirror.one.history == mirror.other.history
        numbers = [
            set(re.findall(r"[\d.,]*\d", text))
            for text in (said, mirror.one.answer, mirror.other.answer)
        ]
        assert numbers[0] == numbers[1] != numbers[2]
        for side in (mirror.one, mirror.other):
            how, result = side.facts[1].split(" = ")
            assert re.fullmatch(r"[\d .x/]+", how)
            value = eval(how.replace("x", "*"))  # digits and signs alone, see above
            assert float(result.split()[0].replace(",", "")) == pytest.approx(value, abs=0.51)
            assert re.split(" [x/] ", how)[0] in side.history[0][0].replace(",", "")


def test_fit_reads_a_conversation_with_its_earlier_turns(drawn: list[Mirror]) -> None:
    side = next(m.one for m in drawn if len(m.one.history) == 2)
    record = {"question": side.question, "history": [list(turn) for turn in side.history],
              "chosen": side.answer, "rejected": "No."}  # fmt: skip

    prompt = parse_pair(record, 0).prompt

    assert [m.role for m in prompt] == ["user", "assistant", "user", "assistant", "user"]
    assert "\n".join(m.content for m in prompt) == side.conversation
