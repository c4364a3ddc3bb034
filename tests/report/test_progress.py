"""How far a loop is: by time, in a terminal of 80 columns, in a notebook, in a pipe."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from fitbot.report.progress import Progress
from tests.conftest import ROOT

FIGURES = "loss 0.693 acc 0.52 margin 12.34 1234 pairs/s"


class Clock:
    """Seconds that a test passes by itself."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("fitbot.report.progress.time", clock)
    return clock


def test_elsewhere_it_is_a_line_now_and_then_by_time(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fitbot")
    with Progress("fit", 1000, done=200) as progress:
        for _ in range(800):  # a unit a second
            clock.now += 1
            progress.update(1, "loss 0.5")

    assert caplog.messages[0] == "fit: 210 of 1,000, 13:10 left, loss 0.5"
    done = [int(line.split()[1].replace(",", "")) - 200 for line in caplog.messages]
    # Every 10 seconds at first, then every twentieth of the time so far: 36 at the end.
    assert done[:3] == [10, 20, 30]
    waits = [later - earlier for earlier, later in zip(done, done[1:], strict=False)]
    assert max(waits) <= 0.05 * 800 + 1
    assert len(done) < 50


def test_a_loop_that_is_over_in_a_moment_says_nothing(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fitbot")
    with Progress("fit", 3) as progress:
        progress.update(2)
        clock.now += 9
        progress.update(1)

    assert not caplog.messages


def test_no_more_is_counted_than_there_is(clock: Clock) -> None:
    progress = Progress("val pairs", 654)
    for _ in range(3):
        clock.now += 1
        progress.update(256)

    assert str(progress) == "val pairs: 654 of 654, in 00:03"


def test_other_processes_than_the_first_show_nothing(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fitbot")
    progress = Progress("fit", 9, shown=False)
    clock.now += 100
    progress.update()

    assert not caplog.messages


LOOP = f"""
import logging, time
from fitbot.report.progress import AboveTheBar, Progress
logging.getLogger("fitbot").addHandler(AboveTheBar())
logging.getLogger("fitbot").setLevel("INFO")
with Progress("fit", 35_000) as progress:
    for step in range(5):
        time.sleep(0.25)
        progress.update(7_000, {FIGURES!r})
        if step == 2:
            logging.getLogger("fitbot").info("a line of the log")
"""


def in_a_terminal(**variables: str) -> str:
    """Run the loop in a terminal of 80 columns; returns what it wrote."""
    pty = pytest.importorskip("pty")
    termios = pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    env = {name: value for name, value in os.environ.items() if name != "JPY_PARENT_PID"}
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env={**env, **variables},
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the terminal is closed
            break
        if not part:
            break
        written += part
    os.close(ours)
    assert process.wait() == 0, written
    return written.decode()


def test_in_a_terminal_all_figures_fit_into_80_columns() -> None:
    drawn = in_a_terminal().replace("\r\n", "\n").replace("\r", "\n").split("\n")

    empty, *bars = [line for line in drawn if line.startswith("fit ")]
    assert re.fullmatch(r"fit 0/35000 \| +\| \? left", empty)
    assert len(bars) > 2
    assert all(len(line) <= 80 for line in drawn)
    assert all(FIGURES in line and " left, " in line for line in bars), bars
    assert any("21000/35000 |" in line for line in bars)
    assert "a line of the log" in drawn  # alone in its line
    assert not drawn[-1].strip()  # and the bar is gone


def test_what_a_notebook_runs_as_a_command_writes_no_bar() -> None:
    assert in_a_terminal(JPY_PARENT_PID="1").split("\r\n") == ["a line of the log", ""]


CELL = """
import fitbot.report.progress as module
module._NOTEBOOK_SECONDS = 0.01
import time
with module.Progress("fit", 5) as progress:
    for _ in range(5):
        time.sleep(0.05)
        progress.update(1, "loss 0.5")
"""


def test_in_a_notebook_it_is_one_output_that_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])

    NotebookClient(notebook, timeout=60).execute()

    (output,) = notebook.cells[0].outputs
    assert output["output_type"] == "display_data"
    assert output["data"] == {"text/plain": "fit: 5 of 5, in 00:00, loss 0.5"}
