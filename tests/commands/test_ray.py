"""`fitbot ray` on a Ray of this machine: two workers are two processes of torchrun, bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

pytest.importorskip("ray", reason="needs pip install 'fitbot[ray]'")

from fitbot.commands import ray
from fitbot.errors import ConfigError

PYTHON = (sys.executable, "-m")
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "fitbot")


def options(base: str, folder: Path) -> list[str]:
    data = str(ROOT / "data" / "fitness_train.json")
    settings = {
        "run.root": folder,
        "run.sample_every_n_steps": "null",
        "model.base_model": base,
        "model.load_in_4bit": "false",
        "model.learning_rate": 1e-3,
        "data.train_path": data,
        "data.val_path": data,
        "data.train_limit": 17,
        "data.val_limit": 13,
        "data.accumulate_batches": 1,
        "trainer.log_every_n_steps": 2,
    }
    config = ["--config", str(ROOT / "configs" / "quickstart.yaml")]
    return config + [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        env=os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=400,  # Ray takes up to a minute to start where other tests run
    )


def summary(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    timed = ("pairs_per_second", "runtime_seconds")
    return {name: value for name, value in found.items() if name not in timed}


@pytest.mark.alone
def test_two_workers_learn_bit_for_bit_what_two_processes_of_torchrun_do(
    base: str, tmp_path: Path
) -> None:
    by_torchrun, by_ray = tmp_path / "torchrun", tmp_path / "ray"

    done = run(*PYTHON, *TORCHRUN, "fit", *options(base, by_torchrun))
    assert done.returncode == 0, done.stderr[-3000:]
    storage = ("--storage", tmp_path / "storage")
    done = run(*PYTHON, *("fitbot", "ray", "fit", "--workers", 2), *storage, *options(base, by_ray))
    assert done.returncode == 0, done.stderr[-3000:]

    one, other = by_torchrun / "quickstart", by_ray / "quickstart"
    assert summary(other) == summary(one)
    weights = "adapter/adapter_model.safetensors"
    assert (other / weights).read_bytes() == (one / weights).read_bytes()
    assert [path.name for path in by_ray.iterdir()] == ["quickstart"]  # one process writes


@pytest.mark.alone
def test_a_sweep_fits_every_draw_and_names_the_best(base: str, tmp_path: Path) -> None:
    search = ("--search", "model.learning_rate=grid:1e-3,1e-6", "model.beta=choice:0.3")

    done = run(
        *(*PYTHON, "fitbot", "ray", "tune", "--samples", 1, "--storage", tmp_path, *search),
        *options(base, tmp_path),
    )

    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = tmp_path.glob("tune-*/trials.json")
    best, other = json.loads(file.read_text())
    assert best["settings"]["model.learning_rate"] == "1e-3"
    assert best["value"] == summary(Path(best["run"]))["val_loss"] < other["value"]


@pytest.mark.parametrize("word", ["model.beta", "model.beta=gauss:0:1", "model.beta=uniform:1"])
def test_a_range_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="write KEY=loguniform:LOW:HIGH"):
        ray.search_space([word])
