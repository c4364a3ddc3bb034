"""The prompt of `fitbot chat`: lines are edited, earlier ones come back, and it ends."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fitbot.commands import chat
from fitbot.commands.chat import Conversation
from fitbot.generation.messages import Sampling
from fitbot.health.layer import open_layer
from tests.conftest import ROOT
from tests.serving.toy_engine import ToyEngine

CODE = """
from fitbot.commands import chat
chat.edit_lines()
print([chat._read() for _ in range(3)])
"""


def test_arrow_keys_edit_a_line_and_bring_back_an_earlier_one() -> None:
    pty = pytest.importorskip("pty")
    pytest.importorskip("readline")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    keys = ["one two\r", "\x1b[A\x1b[D\x1b[DX\r", "\x04"]  # up, left, left; Ctrl-D
    written = b""
    while True:
        try:
            written += os.read(ours, 4096)
        except OSError:  # the terminal is closed
            break
        if keys and written.count(b"> ") == 4 - len(keys):
            os.write(ours, keys.pop(0).encode())
    os.close(ours)

    assert process.wait() == 0, written
    assert "['one two', 'one tXwo', '']" in written.decode()


@pytest.mark.parametrize("end", [EOFError, KeyboardInterrupt])
def test_the_end_of_the_input_and_ctrl_c_end_the_conversation(
    end: type[BaseException], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(prompt: str) -> str:
        raise end

    monkeypatch.setattr("builtins.input", stop)

    assert chat._read() == ""
    assert capsys.readouterr().out == "\n"


def test_a_demonstration_is_shown_no_more_than_it_follows_but_the_health_layer_all() -> None:
    engine, layer = ToyEngine(0.0), open_layer(None, "none")
    talk = Conversation(engine, Sampling(max_new_tokens=5), ["toy"], layer, is_shown_one=True)
    try:
        talk.ask("I'm 20 weeks pregnant.")
        talk.ask("How many sets of squats should I do?")
    finally:
        engine.close()

    assert [turn.role for turn in talk.turns] == ["user", "assistant"]
    assert talk.finding


def test_what_the_health_layer_found_outlives_the_turns_that_do_not_fit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine, layer = ToyEngine(0.0), open_layer(None, "none")
    talk = Conversation(engine, Sampling(max_new_tokens=5), ["toy"], layer)
    try:
        talk.ask("I'm 20 weeks pregnant.")
        talk.ask("w " * 4080)
        forgetting = capsys.readouterr()
        talk.ask("How many sets of squats should I do?")
        after = capsys.readouterr()
    finally:
        engine.close()

    assert "(the 1 oldest turns are forgotten: no room)" in forgetting.err
    assert len(talk.turns) == 2  # the long one is forgotten by now
    assert "midwife" in after.out


@pytest.fixture
def talk() -> Iterator[Conversation]:
    """A conversation with the toy, which offers two questions."""
    engine = ToyEngine(0.0)
    offered = ("say How many days?", "say Rest.")
    yield Conversation(engine, Sampling(max_new_tokens=20), ["toy"], None, offered)
    engine.close()


def test_a_number_asks_the_question_of_the_list_in_a_new_conversation(
    talk: Conversation, capsys: pytest.CaptureFixture[str]
) -> None:
    talk.run_command("/questions")
    talk.ask("say hello")

    talk.ask(talk.meant("2"))

    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == [" 1  say How many days?", " 2  say Rest."]
    assert [line.strip() for line in shown[2:]] == ["hello", "say Rest.", "Rest."]
    assert [turn.content for turn in talk.turns] == ["say Rest.", "Rest. "]
    assert talk.meant("3") == "3"  # there is no third one


def test_a_number_is_the_answer_where_the_model_has_asked(talk: Conversation) -> None:
    talk.ask(talk.meant("1"))

    assert talk.meant("2") == "2"
    assert len(talk.turns) == 2


def test_base_and_tuned_model_answer_side_by_side_in_80_columns(
    talk: Conversation, capsys: pytest.CaptureFixture[str]
) -> None:
    talk.show_both("hello")

    shown = capsys.readouterr().out.splitlines()
    title = next(line for line in shown if line.strip().startswith("before"))
    left, right = title.index("before"), title.index("after")
    answer = shown[shown.index(title) + 1]
    assert answer[left:].startswith("base0. base1.")
    assert answer[right:].startswith("toy0. toy1.")
    assert answer[left:right].endswith("  ")
    assert max(map(len, shown)) <= 80
    assert talk.turns == []
