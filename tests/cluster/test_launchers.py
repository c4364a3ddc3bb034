"""What torchrun, SLURM and Lightning itself tell a process: its number, and how many there are."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.accelerators import CUDAAccelerator

from fitbot.cluster.launchers import devices_of, launched_as, placement
from fitbot.cluster.shutdown import is_lost
from fitbot.errors import ConfigError
from tests.conftest import ROOT

UNSAID: dict[str, Any] = {"devices": "auto", "num_nodes": 1}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
SLURM = {
    "SLURM_JOB_NAME": "fitbot",
    "SLURM_JOB_ID": "4242",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "2",
    "SLURM_NODELIST": "host[7-8]",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}


@pytest.fixture(autouse=True)
def nothing_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*TORCHRUN, *SLURM, "LOCAL_RANK"]:
        monkeypatch.delenv(name, raising=False)


def say(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_without_a_launcher_the_config_decides() -> None:
    assert launched_as() == 0
    assert placement({"devices": 2, "num_nodes": 1}) == {}


def test_the_devices_of_a_host_are_those_that_settings_ask_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(accelerator: str, devices: Any) -> list[str]:
        return [str(d) for d in devices_of({"accelerator": accelerator, "devices": devices})]

    assert found("cpu", "auto") == ["cpu"]
    assert found("cpu", "2") == ["cpu", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(CUDAAccelerator, "auto_device_count", staticmethod(lambda: 2))
    monkeypatch.setattr(
        "lightning.fabric.utilities.device_parser._get_all_available_gpus", lambda **_: [0, 1]
    )
    for accelerator in ("auto", "gpu", "cuda"):
        assert found(accelerator, "auto") == ["cuda:0", "cuda:1"]
        assert found(accelerator, 1) == ["cuda:0"]
        assert found(accelerator, [1]) == ["cuda:1"]
    assert found("cpu", 1) == ["cpu"]
    with pytest.raises(ConfigError, match=r"cannot be used here: .*\[0, 1, 2\] But .*\[0, 1\]"):
        found("gpu", 3)


@pytest.mark.parametrize("variables", [TORCHRUN, SLURM])
def test_the_launcher_decides_how_many_processes_there_are(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    say(monkeypatch, **variables)

    assert launched_as() == 3
    for devices in ("auto", 1, 2):
        assert placement(UNSAID | {"devices": devices}) == {"devices": 2, "num_nodes": 2}


def test_lightning_agrees_about_slurms_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, **SLURM)
    environment = SLURMEnvironment()

    placed = placement(UNSAID)
    environment.validate_settings(placed["devices"], placed["num_nodes"])
    assert environment.global_rank() == launched_as()
    assert environment.world_size() == placed["devices"] * placed["num_nodes"]


def test_an_interactive_shells_variables_are_inherited_and_mean_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    say(monkeypatch, **SLURM | {"SLURM_JOB_NAME": "bash", "SLURM_PROCID": "0"}, LOCAL_RANK="1")

    assert launched_as() == 1
    assert placement(UNSAID) == {}


@pytest.mark.parametrize("wrong", [{"devices": 3}, {"num_nodes": 3}])
def test_other_numbers_than_the_launchers_are_refused(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, int]
) -> None:
    say(monkeypatch, **TORCHRUN)

    with pytest.raises(ConfigError, match="torchrun has started 2 processes on each of 2 hosts"):
        placement(UNSAID | wrong)


def test_hosts_on_which_nobody_starts_processes_are_refused() -> None:
    with pytest.raises(ConfigError, match="use torchrun, srun or fitbot ray"):
        placement(UNSAID | {"num_nodes": 2})


def test_an_error_of_this_process_is_not_a_lost_one() -> None:
    assert not is_lost(RuntimeError("Connection closed by peer"))  # it has no peers
    assert not is_lost(torch.distributed.DistNetworkError("code: -98, name: EADDRINUSE"))
    assert is_lost(torch.distributed.DistNetworkError("connection refused"))


@pytest.mark.slow
def test_two_tasks_of_slurm_are_one_fit(base: str, tmp_path: Path) -> None:
    """Under srun by hand: its variables are all that it gives a process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = SLURM | {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    settings = {
        "run.root": tmp_path,
        "model.base_model": base,
        "model.load_in_4bit": "false",
        "data.train_path": ROOT / "data" / "fitness_train.json",
        "data.val_path": "null",
        "data.train_limit": 6,
        "data.accumulate_batches": 1,
    }
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "fitbot", "fit", "--config", "configs/quickstart.yaml"]

    tasks = [
        subprocess.Popen(
            [*command, *options],
            env=os.environ
            | common
            | {"SLURM_PROCID": str(number), "SLURM_NODEID": str(number), "SLURM_LOCALID": "0"},
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    said = [task.communicate(timeout=150)[1] for task in tasks]

    assert [task.returncode for task in tasks] == [0, 0], said
    assert "MEMBER: 2/2" in said[1]
    assert [path.name for path in tmp_path.iterdir()] == ["quickstart"]
    # Without validation pairs there is one checkpoint; Lightning would add some of its own.
    assert [path.name for path in tmp_path.rglob("*.ckpt")] == ["last.ckpt"]
