"""A fit on several devices that Python code asks for, also from a notebook's cell."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import fitbot
from fitbot.commands import apart
from fitbot.commands.apart import fit_from_python
from fitbot.errors import DataError, LostError
from tests.cluster.test_processes import options, summary
from tests.conftest import ROOT

QUICKSTART = ROOT / "configs" / "quickstart.yaml"


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would have been run; each leaves what `result` of the test's module says."""
    ran: list[list[str]] = []

    def run(command: list[str]) -> int:
        ran.append(command)
        return 1

    monkeypatch.setattr(apart, "_run", run)
    return ran


def overrides(base: str, folder: Path, **more: Any) -> dict[str, Any]:
    words = options(base, folder)[3:]
    names = [word.removeprefix("--") for word in words[::2]]
    return {**dict(zip(names, words[1::2], strict=True)), **more}


def test_several_devices_are_another_program_and_one_is_not(
    base: str, tmp_path: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = overrides(base, tmp_path)

    with pytest.raises(LostError, match="the first with status 1; their words above"):
        fitbot.fit(QUICKSTART, settings, devices=2)
    (command,) = commands
    assert command[:3] == [sys.executable, "-m", "fitbot.commands.apart"]
    assert command[4:7] == ["fit", "--config", str(QUICKSTART)]
    assert command[-1] == "--trainer.devices=2"
    assert not list(tmp_path.iterdir())  # nothing was begun here
    with pytest.raises(LostError):
        fitbot.fit(QUICKSTART, {**settings, "trainer.devices": "2"})
    with pytest.raises(DataError, match="nowhere"):
        fitbot.fit(QUICKSTART, {**settings, "data.train_path": "nowhere.json"}, devices=1)
    # torchrun has started this process as one of several already.
    for name in ("RANK", "GROUP_RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setattr("fitbot.commands.fit.FitbotCLI.instantiate_classes", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit_from_python(options(base, tmp_path, **{"trainer.devices": 2}))
    assert len(commands) == 2


def test_what_comes_of_it_is_told_by_a_file(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(told: dict[str, str]) -> None:
        def run(command: list[str]) -> int:
            Path(command[3]).write_text(json.dumps(told))
            return 0

        monkeypatch.setattr(apart, "_run", run)

    words = options(base, tmp_path, **{"trainer.devices": 2})

    leave({"folder": "runs/x"})
    assert fit_from_python(words) == Path("runs/x")
    leave({"error": "DataError", "message": "pairs.json: nothing there"})
    with pytest.raises(DataError, match=r"pairs\.json: nothing there"):
        fit_from_python(words)


def test_each_process_leaves_or_says_what_was_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tmp_path / "told"), "fit", "--model.beta", "much"]

    assert apart.main(words) == 1
    told = json.loads((tmp_path / "told").read_text())
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert apart.main([str(tmp_path / "other"), *words[1:]]) == 1

    assert told["error"] == "ConfigError"
    assert "model.beta" in told["message"]
    assert not (tmp_path / "other").exists()
    assert capsys.readouterr().err.count("fitbot: process 1: ") == 1


def test_words_are_passed_on_and_an_interrupt_ends_the_program(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys, time; print('one\\rtwo', file=sys.stderr); print(3); time.sleep({})"

    assert apart._run([sys.executable, "-c", code.format(0)]) == 0
    said = capsys.readouterr().err
    started: list[subprocess.Popen[bytes]] = []
    original = subprocess.Popen

    def start(*args: Any, **kwargs: Any) -> Any:
        started.append(original(*args, **kwargs))
        return started[0]

    def interrupt(text: str) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(sys.stderr, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        apart._run([sys.executable, "-c", code.format(100)])

    assert sorted(said.replace("\r", "\n").split()) == ["3", "one", "two"]
    assert started[0].poll() is not None


CELLS = {
    "call": """
import fitbot
run = fitbot.fit({config!r}, {overrides!r}, devices=2)
print(run.summary["steps"], run.folder)
""",
    "command": """
!{python} -m fitbot {words} --trainer.devices 2
""",
    "refused": """
import fitbot
try:
    fitbot.fit({config!r}, {{**{overrides!r}, "data.train_path": "nowhere.json"}}, devices=2)
except fitbot.errors.DataError as error:
    print("refused:", error)
""",
}


@pytest.mark.slow
def test_in_a_notebook_two_processes_fit(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    said = {}
    for name, cell in CELLS.items():
        settings = {n: str(v) for n, v in overrides(base, tmp_path / name).items()}
        words = " ".join(options(base, tmp_path / name))
        source = cell.format(
            config=str(QUICKSTART), overrides=settings, words=words, python=sys.executable
        )
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        where = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(notebook, timeout=300, resources=where).execute()
        said[name] = "".join(out.get("text", "") for out in notebook.cells[0].outputs)

    for name in ("call", "command"):
        run = tmp_path / name / "quickstart"
        assert summary(run)["steps"] == 10, said[name]
        assert "first loss 0.6931" in said[name]
        assert "processes: 2" not in said[name]
        (rows,) = run.glob("metrics/*/metrics.csv")
        assert rows.read_text()
    one, other = (summary(tmp_path / name / "quickstart") for name in ("call", "command"))
    assert one["train_loss"] == other["train_loss"]
    assert f"10 {tmp_path / 'call' / 'quickstart'}" in said["call"]
    assert "refused: nowhere.json" in said["refused"]
