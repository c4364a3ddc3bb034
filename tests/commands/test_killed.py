"""A run that is killed or interrupted, anywhere, again and again, ends as one that was not."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fitbot.dpo.report import read_metrics
from tests.commands.test_fit import quickstart
from tests.conftest import ROOT

KILLS, KILLED = 10, ("-9", "130", "143")  # how many; exit statuses
# Every attempt is a fork of one process that has imported everything. It gets a signal at the n-th
# call of a function, or when a clock is over. The last one is let live.
ATTEMPTS = """
import os, random, signal, sys, threading
import fitbot.commands.fit
from fitbot.__main__ import main
from fitbot.dpo.module import DPOModule
from fitbot.dpo.callbacks import StepLog
from lightning.pytorch.callbacks import ModelCheckpoint

PLACES = {
    "train": (DPOModule, "training_step"),
    "validation": (DPOModule, "validation_step"),
    "logging": (StepLog, "_log"),
    "best": (ModelCheckpoint, "_save_checkpoint"),
    "half a file": (os, "fsync"),
}

SIGNALS = [signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM]

def die_at(place, count, number):
    def die(*_):
        os.kill(os.getpid(), number)

    if place == "clock":
        seconds = count / 4
        DPOModule.on_train_start = lambda self: threading.Timer(seconds, die).start()
        return
    owner, name = PLACES[place]
    real, calls = getattr(owner, name), [0]
    def counted(*args, **named):
        calls[0] += 1
        if calls[0] == count:
            die()
        return real(*args, **named)
    setattr(owner, name, counted)

kills, args = int(sys.argv[1]), sys.argv[2:]
draw = random.Random(kills)
for attempt in range(kills + 1):
    place = [*PLACES, "clock"][attempt % 6]
    # Not before the first checkpoint, or the next attempt would be another run.
    count = draw.randint(*{"train": (3, 6), "half a file": (2, 6)}.get(place, (1, 2)))
    child = os.fork()
    if child == 0:
        if attempt < kills:
            die_at(place, count, SIGNALS[attempt % 4])
        os._exit(main(["fit", *args]))
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    print(place, count, ended, flush=True)
    if ended == 0:
        break
"""
SETTINGS = [
    *("--data.train_limit", "160", "--run.save_every_n_steps", "2", "--trainer.max_epochs", "2"),
    *("--trainer.val_check_interval", "5", "--trainer.log_every_n_steps", "3"),
    *("--trainer.precision", "32-true", "--ckpt_path", "last"),
]


def run(root: Path, kills: int) -> tuple[Path, list[str]]:
    """Fit with so many kills; returns the run's folder, and how every attempt ended."""
    (root / "tmp").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", ATTEMPTS, str(kills), *quickstart(root, *SETTINGS)],
        env={**os.environ, "TMPDIR": str(root / "tmp"), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ends = [line for line in done.stdout.splitlines() if line.split()[-1] in ("0", *KILLED)]
    assert ends[-1].endswith(" 0"), done.stderr[-3000:]
    return root / "quickstart", ends


def same(one: Any, other: Any) -> bool:
    """Compare what a checkpoint holds, tensors bit by bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.slow
def test_ten_kills_and_resumes_change_no_bit_of_a_run(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "a", 0)

    killed, ends = run(tmp_path / "b", KILLS)

    assert {line.split()[-1] for line in ends} == {"0", *KILLED}
    assert len(ends) == KILLS + 1, ends
    for name in ("last.ckpt", "best.ckpt"):
        one, other = (torch.load(x / name, weights_only=True) for x in (whole, killed))
        assert one["global_step"] == other["global_step"]
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "train_sums"):
            assert same(one[part], other[part]), (name, part)
        assert same(*(x["callbacks"]["RandomState"] for x in (one, other))), name
    curves = [read_metrics(folder) for folder in (whole, killed)]
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (whole, killed)]
    for found in (*curves, *summaries):
        for name in ("train/pairs_per_second", "pairs_per_second", "runtime_seconds"):
            found.pop(name, None)
    assert curves[0] == curves[1]
    assert summaries[0] == summaries[1]
    for name in ("a", "b"):
        assert not list((tmp_path / name).rglob("*.partial"))
        left = [path.name for path in (tmp_path / name / "tmp").iterdir()]
        assert not [name for name in left if "tmp" in name], left
        assert [path.name for path in (tmp_path / name).glob("quickstart*")] == ["quickstart"]
