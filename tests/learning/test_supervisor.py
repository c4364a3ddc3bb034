"""The learner's process is started, started again within limits, and ended where it is stuck."""

import os
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from fitbot.learning import supervisor
from fitbot.learning.state import learner_state
from fitbot.learning.status import BEAT, say, status
from fitbot.learning.supervisor import Supervisor
from tests.server_process import until


def work(folder: Path, *, dies: bool) -> None:
    """Do what a learner does."""
    with (folder / "started").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if dies:
        say(folder, "failed", reason="The base is broken.")
        raise SystemExit(1)
    say(folder, "waiting")
    time.sleep(600)


def started(folder: Path) -> list[int]:
    file = folder / "started"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(supervisor, "_PAUSE", 0.01)
    return tmp_path


@pytest.mark.slow
def test_a_learner_that_always_dies_is_given_up_and_says_why(folder: Path) -> None:
    one = Supervisor(folder, partial(work, folder, dies=True))

    def gave_up() -> bool:
        one.tick()
        return "restart the server" in status(folder).get("message", "")

    until(gave_up, 60)
    one.tick()

    assert len(started(folder)) == supervisor._DEATHS
    state = learner_state(folder)
    assert state.state == "failed"
    assert state.message == (
        "The learner died: The base is broken.; restart the server to try again."
    )
    one.close()


@pytest.mark.slow
def test_a_learner_that_does_not_move_is_ended_and_started_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_STOPPED_TICKS", 30)
    one = Supervisor(folder, partial(work, folder, dies=False))
    until(lambda: one.tick() or len(started(folder)) == 1, 30)  # type: ignore[func-returns-value]
    (first,) = started(folder)
    until(lambda: one.tick() or (folder / BEAT).exists(), 10)  # type: ignore[func-returns-value]
    psutil.Process(first).suspend()

    def moves_again() -> bool:
        one.tick()
        time.sleep(0.05)
        return len(started(folder)) == 2

    until(moves_again, 60)
    one.close()

    assert not any(psutil.pid_exists(pid) for pid in started(folder))


def test_a_full_disk_is_no_reason_for_a_server_to_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(supervisor, "say", full)

    Supervisor(folder, partial(work, folder, dies=False)).tick()

    assert "No space left on device" in caplog.text


def test_the_state_of_a_stopped_learner_says_so(folder: Path) -> None:
    say(folder, "checking", number=7, items=64, most=320, begun=time.time() - 3)
    (folder / BEAT).touch()
    moving = learner_state(folder)
    os.utime(folder / BEAT, (0, 0))
    stopped = learner_state(folder)

    assert (moving.state, moving.number, moving.checked, moving.items) == ("checking", 7, 64, 320)
    assert moving.seconds == pytest.approx(3, abs=1)
    assert (stopped.state, stopped.number) == ("stopped", 7)
    assert "does not move" in str(stopped.message)
