"""What a person sees at the terminal, and what the keys do; lines of a pipe are keys, too."""

import io
import os
import select
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from fitbot.evaluation.blind.session import ComparisonSession
from fitbot.evaluation.blind.terminal import compare_at_terminal
from fitbot.pairs.formats import Message
from fitbot.platforms import read_key
from tests.evaluation.blind.answerers import Answerer, session_of


def run(session: ComparisonSession, typed: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compare with piped lines; return what was shown."""
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setenv("COLUMNS", "80")
    compare_at_terminal(session)
    return shown.getvalue()


def test_lines_of_a_pipe_are_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of(tmp_path)

    shown = run(session, "1\n\nx\n=\nS\n2\nu\nq\n1\n", monkeypatch)

    assert [choice.choice for choice in session.choices][1:] == ["tie", "skip"]
    assert len(session.choices) == 3
    assert "'x' is no key here." in shown


def test_the_end_of_a_pipe_quits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of(tmp_path)

    run(session, "=\n=", monkeypatch)

    assert session.compared == 2


def test_a_question_and_both_answers_are_shown_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(tmp_path)
    item = session.current()
    assert item is not None

    shown = run(session, "", monkeypatch)

    assert shown.splitlines() == [
        "",
        "Comparison 1 of at most 20",
        "",
        "Question",
        f"  Is {item.question} too much?",
        "",
        "── 1 ".ljust(80, "─"),
        item.shown[0],
        "",
        "── 2 ".ljust(80, "─"),
        item.shown[1],
        "",
        "─" * 80,
        "1, 2: better   =: equal   s: skip   u: undo   q: quit > ",
    ]


def test_at_the_end_the_last_choice_can_be_taken_back_before_anything_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(tmp_path, most=2)

    shown = run(session, "=\n=\nu\ns\n=\n\n", monkeypatch)

    assert shown.count("The comparison is over.") == 2
    assert [choice.choice for choice in session.choices] == ["tie", "skip", "tie"]


def test_there_may_be_nothing_to_undo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "There is nothing to undo." in run(session_of(tmp_path), "u\nq\n", monkeypatch)


def test_conversations_lists_and_escapes_are_shown_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(tmp_path, count=1)
    turns = [("system", "Be short."), ("user", "Rice?"), ("assistant", "Yes."), ("user", "Why?")]
    session._questions = [tuple(Message(*turn) for turn in turns)]
    text = f"Because:\n\n  - {'long ' * 30}\n\x1b[31mred\x1b[2J\a\tend"
    monkeypatch.setattr(Answerer, "answers", lambda *_: {"a": text, "b": "No."})

    shown = run(session, "", monkeypatch)

    assert "\x1b" not in shown
    assert "\a" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "\n  - long" in shown
    assert "\n  long" in shown  # the rest of the item is indented as it is
    said = ["Instructions\n  Be short.", "Question\n  Rice?", "Answer\n  Yes.", "Question\n  Why?"]
    places = [shown.index(part) for part in said]
    assert places == sorted(places)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Our end of a terminal that stdin is."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield ours


@pytest.mark.parametrize(
    ("typed", "key"), [("1", "1"), ("=", "="), ("\x1b[A", ""), ("\x04", None), ("12", "1")]
)
def test_a_key_needs_no_enter(typed: str, key: str | None, terminal: int) -> None:
    threading.Timer(0.3, os.write, (terminal, typed.encode())).start()

    assert read_key() == key
    os.close(terminal)


def test_keys_that_were_typed_before_count_for_nothing(terminal: int) -> None:
    tty = pytest.importorskip("tty")
    tty.setcbreak(sys.stdin.fileno())  # or a key without Enter could not be waited for
    os.write(terminal, b"1")
    assert select.select([sys.stdin], [], [], 60)[0]  # a busy kernel takes its time to bring it
    threading.Timer(0.3, os.write, (terminal, b"2")).start()

    assert read_key() == "2"
    os.close(terminal)


def test_a_closed_terminal_quits(terminal: int) -> None:
    threading.Timer(0.3, os.close, (terminal,)).start()

    assert read_key() is None
