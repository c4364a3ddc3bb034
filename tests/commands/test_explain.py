"""What ends a command: one sentence, the traceback where it was asked for, "a bug" for the rest."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from fitbot.__main__ import main
from fitbot.commands import audit
from fitbot.commands.explain import explain
from fitbot.errors import DataError


def ending_with(error: BaseException) -> Any:
    """Make a command's `main` that does nothing but raise."""

    def raise_it(args: list[str]) -> int:
        raise error

    return raise_it


def test_what_nobody_foresaw_is_called_a_bug_and_no_bare_stack(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "_parser", None)  # fitbot's own code then raises

    assert main(["audit", "x.json"]) == 1

    assert capsys.readouterr().err == (
        "fitbot: unexpected TypeError: 'NoneType' object is not callable (a bug: please report it "
        "with --traceback's output)\n"
    )


def test_code_of_the_users_own_is_named_with_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "main", ending_with(KeyError("layers")))

    assert main(["audit", "x.json"]) == 1

    said = capsys.readouterr().err
    assert said.startswith(f"fitbot: {Path(__file__)}, line ")
    assert said.endswith(": KeyError: 'layers'; that code is none of fitbot's\n")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_command_shows_where_an_error_was_raised_if_it_is_asked_to(
    place: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "main", ending_with(DataError("x.json: record 3 is empty")))
    words = ["audit", "x.json"]
    words.insert(place, "--traceback")

    assert main(words) == 1

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert any("in raise_it" in line for line in lines)
    assert lines[-1] == "fitbot: x.json: record 3 is empty"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(2)])
def test_who_interrupts_and_a_parser_that_exits_are_left_alone(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "main", ending_with(error))

    if isinstance(error, KeyboardInterrupt):
        assert main(["audit", "x.json"]) == 130
        return
    with pytest.raises(type(error)):
        main(["audit", "x.json"])


def from_cause(cause: Exception) -> Exception:
    error = RuntimeError("Error while writing")
    error.__cause__ = cause
    return error


class MisconfigurationException(Exception):
    """As Lightning's."""


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/last.ckpt"),
            "runs/last.ckpt: No space left on device; free some space there, or name a folder on "
            "another disk",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "[Errno 28] No space left on device; free some space there, or name a folder on "
            "another disk",
        ),
        (  # safetensors and tokenizers write in Rust
            Exception("I/O error: No space left on device (os error 28)"),
            "I/O error: No space left on device (os error 28); free some space there, or name a "
            "folder on another disk",
        ),
        (
            from_cause(PermissionError(errno.EACCES, "Permission denied", b"runs/a")),
            "runs/a: Permission denied; change its permissions, or name another place",
        ),
        (
            NotADirectoryError(errno.ENOTDIR, "Not a directory", Path("file/runs")),
            "file/runs: Not a directory; give a place that is there and can be used",
        ),
        (  # torch's store for the processes of a fit
            RuntimeError("port: 29500, name: EADDRINUSE, message: address already in use"),
            "port: 29500, name: EADDRINUSE, message: address already in use; take "
            "another port: --port of a server, $MASTER_PORT of a fit",
        ),
        (
            MemoryError(),
            "out of memory: end other programs, or take a smaller base or fewer pairs",
        ),
        (
            RuntimeError("Found no NVIDIA driver on your system."),
            "the GPU cannot be used: Found no NVIDIA driver on your system; `fitbot doctor` says "
            "what works here",
        ),
        (
            MisconfigurationException("no\n supported gpu"),
            "the trainer's settings cannot be used here: no supported gpu",
        ),
        (
            RuntimeError("Early stopping conditioned on metric `x` which is not available."),
            "the trainer's settings cannot be used here: Early stopping conditioned on metric `x` "
            "which is not available",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_a_user_can_mend_is_one_sentence(error: Exception, sentence: str) -> None:
    assert os.strerror(errno.ENOSPC) == "No space left on device"

    assert explain(error) == sentence


@pytest.mark.parametrize(
    "error", [KeyError("x"), RuntimeError("mat1 and mat2 shapes"), ValueError(), AssertionError()]
)
def test_what_may_be_a_bug_has_no_such_sentence(error: Exception) -> None:
    assert explain(error) is None


def test_what_was_raised_while_another_error_was_handled_is_not_explained_by_it() -> None:
    error = KeyError("x")
    error.__context__ = PermissionError(errno.EACCES, "Permission denied", "runs")

    assert explain(error) is None
