"""The command as a person types it: two real adapters, keys from a pipe, files that go on."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fitbot.__main__ import main
from tests.evaluation.exported import records, write_adapter

FEW = ("--max", "4", "--max_new_tokens", "6")


@pytest.fixture(scope="module", autouse=True)
def on_a_cpu() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.cuda.is_available", lambda: False)
        yield


@pytest.fixture(scope="module")
def runs(base: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two adapters."""
    root = tmp_path_factory.mktemp("runs")
    return [str(write_adapter(root / name, base, seed=i)) for i, name in enumerate(("one", "two"))]


class Person:
    """Types keys, a line each, into the command that runs in a folder."""

    def __init__(self, out: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        self.out, self._patch, self._capsys = out, patch, capsys
        self.questions = out.parent / "pairs.json"
        self.questions.write_text(json.dumps(records()), encoding="utf-8")

    def compare(self, runs: list[str], keys: str, *more: str, status: int = 0) -> str:
        """Run the command; return what it wrote."""
        self._patch.setattr(sys, "stdin", io.StringIO("".join(f"{key}\n" for key in keys)))
        files = ["--questions", str(self.questions), "--out", str(self.out)]
        assert main(["compare", *runs, *files, *FEW, *more]) == status
        said = self._capsys.readouterr()
        return said.out if status == 0 else said.err

    def result(self) -> Any:
        """Return comparison.json."""
        return json.loads((self.out / "comparison.json").read_text(encoding="utf-8"))

    def choices(self) -> list[Any]:
        """Return the lines of choices.jsonl after the first."""
        lines = (self.out / "choices.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines[1:]]


@pytest.fixture
def person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Person:
    return Person(tmp_path / "out", monkeypatch, capsys)


def test_a_comparison_is_left_gone_on_with_and_ends(runs: list[str], person: Person) -> None:
    first = person.compare(runs, "12q")

    assert "Comparison 3 of at most 4" in first
    before, after = first.split("Not decided")
    assert "one" not in before.split()  # no name before the end
    assert after.startswith(" between one and two")
    assert person.result()["compared"] == 2
    kept = person.choices()

    second = person.compare(runs, "==")
    assert "Comparison 3 of at most 4" in second
    assert "Comparison 1 " not in second
    assert person.choices()[:2] == kept
    found = person.result()
    assert (found["compared"], found["ties"], found["winner"]) == (4, 2, None)
    assert found["comparison"]["a"]["answers"]["max_new_tokens"] == 6

    third = person.compare(runs, "1")  # it is over; nothing is asked
    assert "Comparison" not in third
    assert person.result() == found

    refused = person.compare(runs, "1", "--seed", "3", status=1)
    assert "of another comparison: seed is 42 there, 3 here" in refused


def test_the_base_can_be_compared_with_an_adapter(runs: list[str], person: Person) -> None:
    person.compare(["base", runs[1]], "1111")

    found = person.result()
    assert found["names"] == {"a": "base", "b": "two"}
    assert found["comparison"]["a"]["sha256"] is None
    assert len(person.choices()) == 4
    for choice in person.choices():
        answers = choice["answers"]
        assert answers["a"] == answers["a"].strip()
        assert choice["choice"] == choice["first"]
        assert choice["prompt"][-1]["role"] == "user"


def test_ctrl_c_loses_no_choice(
    runs: list[str], person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def line_or_ctrl_c() -> str | None:
        if line := sys.stdin.readline():
            return line
        raise KeyboardInterrupt

    monkeypatch.setattr("fitbot.evaluation.blind.terminal._read_line", line_or_ctrl_c)

    said = person.compare(runs, "=", status=130)

    assert "fitbot: interrupted; every choice is kept, and the same command goes on" in said
    assert [choice["choice"] for choice in person.choices()] == ["tie"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["base", "base"], "base is named twice"),
        (["nowhere", "base"], "nowhere: no such folder"),
        (["base", "nowhere"], "nowhere: no such folder"),
        (["a", "b", "--max", "0"], "--max must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_compared_is_said(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *words]) == 1
    assert f"fitbot: {said}" in capsys.readouterr().err


def test_the_same_weights_under_two_names_are_refused(
    runs: list[str], base: str, tmp_path: Path, person: Person
) -> None:
    twin = write_adapter(tmp_path / "twin", base, seed=0)

    said = person.compare([runs[0], str(twin)], "", status=1)

    assert "hold the same weights; name two adapters that differ" in said
    assert not person.out.exists()


def test_questions_that_are_none_or_do_not_fit_are_said(runs: list[str], person: Person) -> None:
    person.questions.write_text(json.dumps([{"question": "Rice? " * 100}]), encoding="utf-8")
    assert "exceed 300 tokens; set --max_prompt_length" in person.compare(runs, "", status=1)
    person.questions.write_text("[]", encoding="utf-8")
    assert "there are no" in person.compare(runs, "", status=1)
    assert not person.out.exists()
