"""Files of pairs and of questions."""

import json
from pathlib import Path
from typing import Any

import pytest

from fitbot.errors import DataError
from fitbot.evaluation.blind.questions import read_questions
from fitbot.pairs.formats import Message

TALK = [
    {"role": "user", "content": "Rice?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "And beans?"},
]


def records() -> list[dict[str, str]]:
    texts = [f"Is it too {what}?" for what in ("little", "much")]
    return [{"question": text, "chosen": "Yes.", "rejected": "No."} for text in texts]


def written(folder: Path, content: Any) -> str:
    path = folder / "questions.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def test_a_preference_file_gives_each_question_once(tmp_path: Path) -> None:
    found = read_questions(written(tmp_path, [*records(), *records()]))

    assert found == [(Message("user", f"Is it too {what}?"),) for what in ("little", "much")]


def test_fitbots_own_test_pairs_do_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert len(read_questions("data/fitness_test.json")) > 200


def test_records_with_a_prompt_alone_texts_and_conversations_do(tmp_path: Path) -> None:
    path = written(tmp_path, [{"question": "Rice?"}, "Beans?", {"messages": TALK}, TALK])

    found = read_questions(path)

    assert [question[-1].content for question in found] == ["Rice?", "Beans?", "And beans?"]
    assert [turn.role for turn in found[-1]] == ["user", "assistant", "user"]


def test_a_text_file_has_one_question_a_line(tmp_path: Path) -> None:
    path = tmp_path / "questions.txt"
    path.write_text("Rice?\n\n  Beans?\nRice?\n", encoding="utf-8")

    assert [question[0].content for question in read_questions(str(path))] == ["Rice?", "Beans?"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "no questions in it"),
        ([{"question": "Rice?"}, {"answer": "Yes."}], "record 1: no question under any of"),
        ([{"question": "Rice?", "chosen": "Yes."}], "record 0: 'rejected' is missing"),
        ([TALK[:2]], "record 0: .* must end in a turn of the user"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(content: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        read_questions(written(tmp_path, content))


def test_a_text_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_questions(str(tmp_path / "nowhere.txt"))
