"""Runs that end before their end say so, with a status, and nobody waits for ever."""

import importlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fitbot.__main__ import main
from fitbot.cluster.shutdown import Interrupted, interruptible
from tests.conftest import ROOT

FIT = (sys.executable, "-m", "fitbot", "fit", "--config", "configs/quickstart.yaml")

# Its main thread is where no signal reaches it, as one that waits for a GPU.
WAITS = """
import ctypes, signal
from fitbot.cluster import shutdown
signal.signal(signal.SIGTERM, lambda *_: None)
shutdown._GRACE_SECONDS = shutdown._POLL_SECONDS = 0.2
{setting}
shutdown.PeerWatchdog.begin()
shutdown.PeerWatchdog.begin()
print("waits", flush=True)
libc, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(lock), libc.pthread_mutex_lock(lock)
"""


_started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """End what a failed test left running."""
    yield
    while _started:
        with _started.pop() as left:
            left.kill()


def start(*command: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [str(word) for word in command],
        env=os.environ | {"OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    _started.append(process)
    return process


def assert_lost(said: str) -> None:
    last = said.splitlines()[-1]  # where there is srun, Lightning says before that it is not used
    assert last.startswith("fitbot: process 0 on ")
    assert "waited in vain for another process" in last
    assert last.endswith("--ckpt_path last goes on from the latest checkpoint. (NCCL: GONE)")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_fit_that_is_told_to_end_ends_and_says_how_to_go_on(
    base: str, tmp_path: Path, processes: int
) -> None:
    settings = {
        "run.root": tmp_path,
        "run.save_every_n_steps": 1,
        "run.sample_every_n_steps": "null",
        "model.base_model": base,
        "model.load_in_4bit": "false",
        "data.val_path": "null",
        "trainer.max_epochs": 1000,
        "trainer.devices": processes,
        "trainer.enable_progress_bar": "false",
    }
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    fit = start(*FIT, *options)
    try:
        while not (tmp_path / "quickstart" / "last.ckpt").exists() and fit.poll() is None:
            time.sleep(0.1)
        fit.send_signal(signal.SIGTERM)
        _, said = fit.communicate(timeout=60)  # so nobody has its output open any more
    finally:
        fit.kill()

    assert fit.returncode == 128 + signal.SIGTERM, said
    last, run = said.splitlines()[-1], tmp_path / "quickstart"
    saved = rf"{run}/last.ckpt of step \d+ is saved"
    assert re.match(rf"told to end \(SIGTERM\) after step \d+: {saved}", last)
    assert last.endswith(f" --ckpt_path {run}/last.ckpt")
    assert said.count("told to end") == 1
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_fit_that_is_told_to_end_before_it_trains_leaves_nothing(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from fitbot.pairs.datamodule import PreferenceDataModule
PreferenceDataModule.check_files = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
from fitbot.__main__ import main
sys.exit(main())
"""
    fit = start(sys.executable, "-c", script, *FIT[3:], "--run.root", tmp_path / "runs")

    _, said = fit.communicate(timeout=60)

    assert fit.returncode == 128 + signal.SIGTERM, said
    assert "told to end (SIGTERM) before the first step was done: nothing was saved" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_fit_that_is_interrupted_says_what_is_saved_and_a_second_time_ends_at_once(
    base: str, tmp_path: Path, times: int
) -> None:
    hangs = """
import sys, time
from fitbot.dpo.run import LastCheckpoint
def hang(self, *_):
    (self.path.parent / "hangs").touch()
    time.sleep(60)
if sys.argv.pop(1) == "2":
    LastCheckpoint.on_exception = hang  # as a logger that cannot reach its server
from fitbot.__main__ import main
sys.exit(main())
"""
    settings = {
        "run.root": tmp_path,
        "run.save_every_n_steps": 1,
        "model.base_model": base,
        "model.load_in_4bit": "false",
        "data.val_path": "null",
        "trainer.max_epochs": 1000,
        "trainer.enable_progress_bar": "false",
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    fit = start(sys.executable, "-c", hangs, times, *FIT[3:], *options)
    run = tmp_path / "quickstart"
    for name in ("last.ckpt", "hangs")[:times]:
        while not (run / name).exists() and fit.poll() is None:
            time.sleep(0.1)
        fit.send_signal(signal.SIGINT)
    _, said = fit.communicate(timeout=50)

    assert fit.returncode == 128 + signal.SIGINT, said
    assert "Traceback" not in said
    assert not (run / "adapter").exists()
    if times == 1:
        last = said.splitlines()[-1]
        assert re.match(rf"interrupted after step \d+: {run}/last.ckpt of step \d+ is saved", last)
        assert last.endswith(
            f"fit --config configs/quickstart.yaml {' '.join(options)} --ckpt_path {run}/last.ckpt"
        )
        assert last in (run / "fit.log").read_text()


def test_an_interrupt_before_anything_is_loaded_ends_in_one_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib, "import_module", interrupt)

    assert main(["audit", "x.json"]) == 128 + signal.SIGINT

    assert capsys.readouterr().err == "fitbot: interrupted\n"


def test_ctrl_c_means_to_others_what_it_meant_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    ended: list[int] = []

    for number in (signal.SIGINT, signal.SIGTERM):
        with pytest.raises(Interrupted), interruptible(ended.append):
            signal.raise_signal(number)

    assert ended == [signal.SIGINT, signal.SIGTERM]
    assert signal.getsignal(signal.SIGINT) == before
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for a job in the background
    try:
        with interruptible(ended.append):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(ended) == 2


@pytest.mark.slow
def test_only_a_fit_is_said_to_go_on(base: str) -> None:
    script = """
import os, signal, sys
from fitbot.dpo.module import DPOModule
DPOModule.on_validation_epoch_start = lambda _: os.kill(os.getpid(), signal.SIGTERM)
from fitbot.__main__ import main
sys.exit(main())
"""
    options = ("--model.base_model", base, "--model.load_in_4bit", "false")
    validate = start(sys.executable, "-c", script, "validate", *FIT[4:], *options)

    _, said = validate.communicate(timeout=60)

    assert validate.returncode == 128 + signal.SIGTERM, said
    assert "told to end (SIGTERM)\n" in said


@pytest.mark.slow
def test_a_process_that_waits_for_a_lost_one_can_be_told_to_end() -> None:
    waiting = start(sys.executable, "-c", WAITS.format(setting=""))
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "waits\n"

    waiting.send_signal(signal.SIGTERM)

    assert waiting.wait(timeout=60) == 128 + signal.SIGTERM


@pytest.mark.slow
def test_what_nccl_knows_of_a_lost_process_is_said_and_ends_the_one_that_waits() -> None:
    waiting = start(
        sys.executable, "-c", WAITS.format(setting="shutdown.nccl_error = lambda: 'NCCL: GONE'")
    )

    _, said = waiting.communicate(timeout=60)

    assert waiting.returncode == 1
    assert_lost(said)


# As torch with NCCL, the interpreter has something to wait for at its end.
FINDS_OUT = """
import atexit, time, torch
from fitbot.commands import fit as command
from fitbot.__main__ import main
def fit(*_, **__):
    raise torch.distributed.DistBackendError("NCCL error in: a.cpp\\nLast error:\\nNCCL: GONE")
command.FitbotCLI = fit
atexit.register(time.sleep, 60)
main(["fit"])
"""


def test_a_process_that_finds_out_by_itself_ends_at_once() -> None:
    finds_out = start(sys.executable, "-c", FINDS_OUT)

    _, said = finds_out.communicate(timeout=50)

    assert finds_out.returncode == 1
    assert_lost(said)
