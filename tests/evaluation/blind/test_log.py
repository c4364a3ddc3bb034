"""The file of choices: nothing is lost, and nothing else is taken for it."""

import errno
import json
import os
from pathlib import Path

import pytest

from fitbot.errors import ConfigError
from fitbot.evaluation.blind.log import Choice, ChoiceLog
from tests.evaluation.blind.answerers import COMPARISON


def choice(question: int) -> Choice:
    prompt = [{"role": "user", "content": "Zählt das? ✓"}]
    return Choice(question, {"a": "Ja.", "b": "Nein.\nNie."}, "b", "a", prompt)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with two choices."""
    path = tmp_path / "new" / "choices.jsonl"
    log = ChoiceLog(path, COMPARISON)
    log.append(choice(4))
    log.append(choice(2))
    log.close()
    return path


def reopened(path: Path) -> list[Choice]:
    log = ChoiceLog(path, COMPARISON)
    log.close()
    return log.choices


def test_every_choice_is_a_line_that_is_read_again(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3
    assert reopened(path) == [choice(4), choice(2)]


def test_a_choice_that_was_undone_stays_in_the_file_and_does_not_hold(path: Path) -> None:
    log = ChoiceLog(path, COMPARISON)
    assert log.undo() == choice(2)
    log.append(choice(7))
    log.close()

    assert reopened(path) == [choice(4), choice(7)]
    assert len(path.read_text(encoding="utf-8").splitlines()) == 5


@pytest.mark.parametrize("lost", [1, 2, 30])
def test_a_torn_last_line_is_removed_and_the_rest_goes_on(
    lost: int, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(path.read_bytes()[:-lost])
    log = ChoiceLog(path, COMPARISON)
    assert log.choices == [choice(4)]
    log.append(choice(9))
    log.close()

    assert reopened(path) == [choice(4), choice(9)]
    for line in path.read_text(encoding="utf-8").splitlines():
        json.loads(line)


def test_a_file_whose_first_line_is_torn_begins_anew(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:7])

    assert reopened(path) == []
    assert json.loads(path.read_text(encoding="utf-8")) == {"comparison": COMPARISON}


def test_a_file_of_another_comparison_is_refused_and_says_what_differs(path: Path) -> None:
    before = path.read_bytes()

    with pytest.raises(ConfigError, match='of another comparison: b is "other" there, "base" here'):
        ChoiceLog(path, {"a": "one", "b": "base"})
    with pytest.raises(ConfigError, match="of another comparison: seed is null there, 3 here"):
        ChoiceLog(path, {**COMPARISON, "seed": 3})
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ['{"seed": 1}\n', "[]\n", "question,chosen\n"])
def test_what_is_no_file_of_choices_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(ConfigError, match="--out"):
        ChoiceLog(path, COMPARISON)
    assert path.read_text(encoding="utf-8") == content


@pytest.mark.parametrize(
    "line", ["{", '{"undone": 3}', '{"question": 1}', "[1]", '{"undone": 4}', "null"]
)
def test_a_damaged_line_within_is_refused_by_its_number(line: str, path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines, line, lines[-1], ""]), encoding="utf-8")

    with pytest.raises(ConfigError, match="line 4 is damaged"):
        ChoiceLog(path, COMPARISON)


def test_two_commands_do_not_write_one_file(path: Path) -> None:
    log = ChoiceLog(path, COMPARISON)

    with pytest.raises(ConfigError, match="another fitbot compare writes it"):
        ChoiceLog(path, COMPARISON)
    log.close()
    assert len(reopened(path)) == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(ConfigError, match="name another folder by --out"):
        ChoiceLog(tmp_path / "file" / "choices.jsonl", COMPARISON)


def test_a_full_disk_is_said_and_leaves_no_half_of_a_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    log = ChoiceLog(path, COMPARISON)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match="No space left"):
            log.append(choice(9))
    log.append(choice(5))
    log.close()

    assert reopened(path) == [choice(4), choice(2), choice(5)]
