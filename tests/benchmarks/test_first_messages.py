"""The first messages: what is found wrong with an answer by its form."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from first_messages import MESSAGES, faults, main, table

CONTROLS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>"]


@pytest.mark.parametrize(
    ("answer", "ended", "found"),
    [
        ("Above all the quadriceps, with help from the glutes.", True, []),
        ("7 mg", True, []),
        ("- Squats\n- Rows\n- Dips", True, []),
        ("1. Squats\n2. Rows", True, []),
        ("Try: “What do squats train?”", True, []),
        ("", True, ["empty", "fragment"]),
        ("Do squats", True, ["fragment"]),
        ("a 10 g of protein from 100 g of mozzarella.", True, ["fragment"]),
        ("Do squats.", False, ["unfinished"]),
        ("Do squats. </think>", True, ["stray token", "fragment"]),
        ("Do a deadliftsystem\nYou are a helpful AI assistant.", True, ["stray token"]),
        ("Rest for two minutes. Rest for two minutes.", True, ["repeats"]),
    ],
)
def test_what_is_wrong_with_an_answer_is_named(answer: str, ended: bool, found: list[str]) -> None:
    assert faults(answer, ended=ended, controls=CONTROLS) == found


def test_the_table_names_what_is_wrong_and_counts_it() -> None:
    answers = [
        {"message": "a | b", "answer": "One.\nTwo.", "faults": []},
        {"message": "c", "answer": "", "faults": ["empty", "fragment"]},
    ]
    assert table(answers).split("\n")[2:] == [
        r"| a \| b | One. ⏎ Two. |  |",
        "| c |  | empty, fragment |",
        "",
        "1 of 2 whole. 1 empty, 1 fragment",
    ]


def test_the_embedded_model_is_asked_and_its_answers_are_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few, out = tmp_path / "few.json", tmp_path / "answers.json"
    few.write_text(json.dumps(json.loads(MESSAGES.read_text(encoding="utf-8"))[:2]), "utf-8")
    monkeypatch.setattr(sys, "argv", ["x", "--messages", str(few), "--out", str(out)])
    main()
    printed = capsys.readouterr().out
    main()
    assert capsys.readouterr().out == printed  # the seed is fixed
    answers = json.loads(out.read_text(encoding="utf-8"))
    assert [one["message"] for one in answers] == json.loads(few.read_text(encoding="utf-8"))
    assert all(one["answer"] for one in answers)
    assert printed == f"{table(answers)}\n"
