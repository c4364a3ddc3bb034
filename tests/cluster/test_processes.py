"""A fit by two processes is the fit by one: pairs, gradients, figures, files, resuming."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from fitbot.__main__ import main
from fitbot.cluster import processes
from fitbot.errors import ConfigError
from fitbot.pairs import datamodule
from fitbot.pairs.batch import PairBatch
from fitbot.pairs.datamodule import PreferenceDataModule
from tests.conftest import ROOT, make_data

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python")
PYTHON = (sys.executable, "-m", "fitbot")

# Ends a process after step 3, which is saved, as a lost machine would.
DIES = """
import os, sys
from fitbot.dpo.run import LastCheckpoint
save = LastCheckpoint.on_train_batch_end
def save_and_die(self, trainer, *args):
    save(self, trainer, *args)
    trainer.strategy.barrier()
    if trainer.global_step == 3 and trainer.global_rank == 1: os._exit(9)
LastCheckpoint.on_train_batch_end = save_and_die
from fitbot.__main__ import main
sys.exit(main())
"""

# Writes which collectives each of its steps has called, up to the next one's start.
COUNTS = """
import json, os, sys
import torch
from fitbot.dpo.module import DPOModule
calls, steps = [], []
for name in ("all_reduce", "broadcast", "all_gather", "barrier", "reduce"):
    def called(*args, name=name, real=getattr(torch.distributed, name), **kwargs):
        calls.append(name)
        return real(*args, **kwargs)
    setattr(torch.distributed, name, called)
step = DPOModule.training_step
def counted(self, *args):
    steps.append(list(calls))
    calls.clear()
    return step(self, *args)
DPOModule.training_step = counted
from fitbot.__main__ import main
status = main(sys.argv[2:])
if os.environ["RANK"] == "0":
    json.dump(steps, open(sys.argv[1], "w"))
sys.exit(status)
"""


def options(base: str, folder: Path, **settings: Any) -> list[str]:
    """Seventeen pairs, four a step: the last step of an epoch has one, for two processes."""
    data = str(ROOT / "data" / "fitness_train.json")
    everything = {
        "run.root": folder,
        "run.save_every_n_steps": 1,
        "run.sample_every_n_steps": "null",
        "model.base_model": base,
        "model.load_in_4bit": "false",
        "model.learning_rate": 1e-3,
        "model.reference": "cached",
        "model.reference_cache": folder / "reference",
        "data.train_path": data,
        "data.val_path": data,
        "data.train_limit": 17,
        "data.val_limit": 13,
        "data.batch_size": 4,
        "data.accumulate_batches": 1,
        "trainer.max_epochs": 2,
        "trainer.log_every_n_steps": 2,
        "trainer.enable_progress_bar": "false",
        **settings,
    }
    config = ["fit", "--config", str(ROOT / "configs" / "quickstart.yaml")]
    return config + [
        word for name, value in everything.items() for word in (f"--{name}", str(value))
    ]


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        env=os.environ | {"OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
        timeout=150,
        cwd=ROOT,
    )


def fit(base: str, folder: Path, processes: int = 1, **settings: Any) -> Path:
    args = options(base, folder, **{"trainer.devices": processes, **settings})
    if processes == 1:
        assert main(args) == 0
    else:
        done = run(*PYTHON, *args)
        assert done.returncode == 0, done.stderr[-3000:]
    return folder / "quickstart"


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def last(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "last.ckpt", weights_only=True)
    return found


@pytest.fixture(scope="module")
def two(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes, dropout on."""
    return fit(base, tmp_path_factory.mktemp("two"), processes=2)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(base: str, tmp_path: Path) -> None:
    still = {"model.lora.dropout": 0}

    alone = fit(base, tmp_path / "alone", **still)
    both = fit(base, tmp_path / "both", processes=2, **still)

    one, other = summary(alone), summary(both)
    assert other["steps"] == one["steps"] == 10
    assert one["train_loss"] < 0.69  # it did learn
    for name in ("train_loss", "mean_train_loss", "grad_norm", "val_loss", "val_margin"):
        assert other[name] == pytest.approx(one[name], rel=5e-5), name  # sums in another order
    assert other["val_accuracy"] == one["val_accuracy"]
    weights, others = (
        torch.cat([weight.flatten() for weight in last(run)["state_dict"].values()])
        for run in (alone, both)
    )
    # AdamW divides a gradient by its own size. Where that is no more than rounding, by which the
    # sum over processes differs, so is the step: of such few weights a tenth of it may differ.
    assert weights.isclose(others, atol=1e-6, rtol=1e-4).float().mean() > 0.999
    torch.testing.assert_close(others, weights, atol=1e-4, rtol=0)
    # One process writes, and it writes once.
    assert sorted(path.name for path in both.parent.iterdir()) == ["quickstart", "reference"]
    assert len(list((both.parent / "reference").iterdir())) == 1
    log = (both / "fit.log").read_text()
    assert len(re.findall("0 of 17 pairs", log)) == 1
    rows = [path.read_text() for path in both.glob("metrics/*/metrics.csv")]
    assert len(rows) == 1


@pytest.mark.slow
def test_a_step_is_one_sum_over_processes(base: str, tmp_path: Path) -> None:
    script, counts = tmp_path / "counts.py", tmp_path / "counts.json"
    script.write_text(COUNTS)
    rarely = {"run.save_every_n_steps": 100, "trainer.log_every_n_steps": 100}
    data = {"data.val_path": "null", "data.train_limit": 29, "trainer.max_epochs": 1}
    args = options(base, tmp_path, **rarely, **data, **{"trainer.devices": 2})

    done = run(sys.executable, *TORCHRUN, sys.executable, script, counts, *args)

    assert done.returncode == 0, done.stderr[-3000:]
    steps = json.loads(counts.read_text())
    assert len(steps) == 8
    # What comes before the first step is not its own; after it the first loss is logged.
    assert steps[2:] == 6 * [["all_reduce"]]


@pytest.mark.slow
def test_processes_draw_numbers_of_their_own(two: Path) -> None:
    first, second = last(two)["callbacks"]["RandomState"]["processes"]

    assert not torch.equal(first["torch"], second["torch"])


@pytest.mark.slow
def test_a_run_that_lost_a_process_goes_on_as_if_it_had_not(
    base: str, two: Path, tmp_path: Path
) -> None:
    script = tmp_path / "dies.py"
    script.write_text(DIES)
    args = [*options(base, tmp_path, **{"trainer.devices": 2}), "--ckpt_path", "last"]

    died = run(sys.executable, *TORCHRUN, sys.executable, script, *args)
    assert died.returncode != 0
    assert "exitcode  : 9" in died.stderr
    resumed = run(sys.executable, *TORCHRUN, *PYTHON, *args)

    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert "from checkpoint" in resumed.stderr
    broken, whole = last(tmp_path / "quickstart"), last(two)
    for name, weight in whole["state_dict"].items():
        assert torch.equal(broken["state_dict"][name], weight), name
    for name in ("train_loss", "mean_train_loss", "val_loss", "grad_norm"):
        assert summary(tmp_path / "quickstart")[name] == summary(two)[name], name


@pytest.mark.slow
def test_one_process_may_go_on_where_two_were_and_says_what_differs(
    base: str, two: Path, tmp_path: Path
) -> None:
    longer = {"trainer.max_epochs": 3}

    done = run(*PYTHON, *options(base, tmp_path, **longer), "--ckpt_path", two / "last.ckpt")

    assert done.returncode == 0, done.stderr[-3000:]
    assert "the checkpoint is of 2 processes, this run has 1" in done.stderr
    assert summary(two)["steps"] == 15


@pytest.mark.slow
def test_predictions_of_two_processes_are_those_of_one(base: str, tmp_path: Path) -> None:
    data = {"data.test_path": ROOT / "data" / "fitness_val.json", "data.test_limit": 5}
    lines = {}
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        args = options(base, tmp_path, **data, **{"trainer.devices": number})
        done = subprocess.run(
            [*PYTHON, "predict", *args[1:]],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=150,
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        text = (folder / "predictions.jsonl").read_text()
        lines[number] = [json.loads(line) for line in text.splitlines()]

    assert [row["pair"] for row in lines[2]] == list(range(5))
    for one, other in zip(lines[1], lines[2], strict=True):
        assert other == pytest.approx(one, rel=1e-5, abs=1e-6)


@pytest.mark.slow
def test_a_strategy_that_reduces_gradients_itself_is_refused(base: str, tmp_path: Path) -> None:
    # In a process of its own: it forms a group before it is refused.
    lightnings = {"trainer.strategy": "ddp_find_unused_parameters_true"}

    done = run(*PYTHON, *options(base, tmp_path, **lightnings, **{"trainer.devices": 1}))

    assert done.returncode == 1
    assert "trainer.strategy DDPStrategy is not supported" in done.stderr


def test_processes_that_start_from_other_states_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = {"adapter": torch.ones(2), "step": 3}
    processes.check_agreement(**state)

    monkeypatch.setattr(processes, "gather", lambda ours: [ours, ours | {"step": "7"}])
    with pytest.raises(ConfigError, match="process 1 of 1 has another step than process 0"):
        processes.check_agreement(**state)


def test_leaving_closes_the_group_and_is_harmless_without_one() -> None:
    processes.leave()
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        assert processes.num_processes() == 1
        processes.leave()
        assert not torch.distributed.is_initialized()
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def on_gpus(
    base: str, folder: Path, program: Sequence[str] = PYTHON, **settings: Any
) -> list[tuple[int, str]]:
    """Fit by two processes, as two hosts with a GPU each; they share it where there is but one.

    Args:
        base: Folder of the base.
        folder: Of the run.
        program: That takes fitbot's options.
        settings: As for `options`.

    Returns:
        Exit status, and what was said, by rank.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchruns = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    torchruns |= {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "gpus"}
    tasks = [
        subprocess.Popen(
            [*program, *options(base, folder, **settings)],
            env=os.environ
            | torchruns
            | {"RANK": str(rank), "GROUP_RANK": str(rank), "OMP_NUM_THREADS": "1"}
            # As on two machines NCCL talks by sockets; on one it refuses a GPU that is shared.
            | {"NCCL_HOSTID": f"host{rank}", "NCCL_SOCKET_IFNAME": "lo"}
            | ({"CUDA_VISIBLE_DEVICES": str(rank)} if torch.cuda.device_count() > 1 else {}),
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [task.communicate(timeout=200)[1] for task in tasks]
    return [(task.returncode, text) for task, text in zip(tasks, said, strict=True)]


def assert_well(ends: list[tuple[int, str]]) -> None:
    assert [status for status, _ in ends] == [0, 0], "\n".join(text[-2000:] for _, text in ends)


needs_two_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("hosts", "strategy", "engine", "precision", "tolerance"),
    [
        (2, "ddp", "compiled", "bf16-mixed", 0.02),
        (2, "sharded", "eager", "32-true", 1e-3),
        (2, "sharded", "compiled", "32-true", 1e-3),
        (2, "sharded", "compiled", "bf16-mixed", 0.02),
        pytest.param(1, "ddp", "compiled", "bf16-mixed", 0.02, marks=needs_two_gpus),
        # Sums in another order are rounded otherwise, in float32 by less.
        pytest.param(1, "sharded", "eager", "32-true", 1e-3, marks=needs_two_gpus),
        pytest.param(1, "sharded", "compiled", "32-true", 1e-3, marks=needs_two_gpus),
        pytest.param(1, "sharded", "compiled", "bf16-mixed", 0.02, marks=needs_two_gpus),
    ],
)
def test_two_gpus_learn_what_one_does(
    base: str,
    tmp_path: Path,
    hosts: int,
    strategy: str,
    engine: str,
    precision: str,
    tolerance: float,
) -> None:
    # In the third epoch sizes of the first come again, and are captured.
    settings: dict[str, Any] = {
        "trainer.accelerator": "gpu",
        "trainer.precision": precision,
        "trainer.max_epochs": 6,
        "model.engine": engine,
        "model.lora.dropout": 0,
    }
    alone = fit(base, tmp_path / "alone", **settings)

    both = tmp_path / "both" / "quickstart"
    settings["trainer.strategy"] = strategy
    if hosts == 2:
        assert_well(on_gpus(base, both.parent, **settings))
    else:
        fit(base, both.parent, processes=2, **settings)

    assert f"engine: {engine}" in (both / "fit.log").read_text()
    one, other = summary(alone), summary(both)
    assert other["steps"] == one["steps"] == 30
    assert one["train_loss"] < 0.6  # it did learn
    for name in ("train_loss", "mean_train_loss", "val_loss", "val_margin"):
        assert other[name] == pytest.approx(one[name], rel=tolerance, abs=1e-3), name
    adapters = [
        torch.cat([weight.flatten().cpu() for weight in last(run)["state_dict"].values()])
        for run in (alone, both)
    ]
    # Adam gives a gradient of nothing but rounding as large a step as any other.
    assert (adapters[1] - adapters[0]).norm() < 0.05 * adapters[0].norm()


@pytest.mark.gpu
def test_a_lost_gpu_is_told_of_and_the_run_goes_on(base: str, tmp_path: Path) -> None:
    script = tmp_path / "dies.py"
    script.write_text(DIES)
    settings: dict[str, Any] = {
        "trainer.accelerator": "gpu",
        "trainer.precision": "bf16-mixed",
        "model.engine": "compiled",
        "ckpt_path": "last",
    }
    assert_well(on_gpus(base, tmp_path / "whole", **settings))
    started = time.perf_counter()

    dies = [sys.executable, str(script)]
    (status, said), (died, _) = on_gpus(base, tmp_path / "broken", dies, **settings)

    assert died == 9
    assert status == 1, said[-3000:]
    assert "waited in vain for another process of this run" in said
    assert time.perf_counter() - started < 60  # torch alone would take a minute after the loss

    assert_well(on_gpus(base, tmp_path / "broken", **settings))

    whole, broken = (summary(tmp_path / name / "quickstart") for name in ("whole", "broken"))
    for name in ("steps", "train_loss", "mean_train_loss", "val_loss"):
        assert broken[name] == pytest.approx(whole[name], rel=0.02, abs=1e-3), name


def test_what_processes_do_in_one_step_has_one_size(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sizes(batch: list[PairBatch]) -> list[tuple[int, int]]:
        return [(part.input_ids.numel(), part.score_ids.numel()) for part in batch]

    data = make_data(base, str(ROOT / "data" / "fitness_train.json"), train_limit=80)
    data.setup("fit")
    alone, together, seen = [], [], []
    monkeypatch.setattr(processes, "num_processes", lambda: 4)
    monkeypatch.setattr(data.budget, "_found", 2048)
    on_cpu = [sizes(batch) for batch in data.train_dataloader()]
    monkeypatch.setattr(PreferenceDataModule, "_device", torch.device("cuda"))
    for rank in range(4):
        monkeypatch.setattr(datamodule, "rank", lambda rank=rank: rank)
        batches = list(data.train_dataloader())
        records = [[i for part in batch for i in part.records.tolist()] for batch in batches]
        seen += [i for step in records for i in step]
        together.append([sizes(batch) for batch in batches])
        alone.append([sizes(data.collate("train", step)) for step in records])

    assert sorted(seen) == list(range(80))
    assert together[0] == together[1] == together[2] == together[3]
    # Nobody has more to do than the one that has most.
    for step in range(10):
        of_each = [alone[rank][step][0] for rank in range(4)]
        tokens, scored = together[0][step][0]
        assert tokens == max(one[0] for one in of_each)
        assert abs(scored - max(one[1] for one in of_each)) < tokens // 8  # whole eighths
    assert alone[0] != alone[1]
    assert on_cpu == alone[0]  # there nothing is captured

    # Of passes that differ in number nobody's are larger for others'.
    monkeypatch.setattr(data.budget, "_found", 256)
    batch = next(iter(data.train_dataloader()))
    assert sizes(batch) == sizes(
        data.collate("train", [i for part in batch for i in part.records.tolist()])
    )
    assert len(batch) > 1


def test_every_item_is_somebodys_and_all_have_as_much_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = list("abcdefgh")
    sizes = dict(zip(items, [900, 100, 120, 800, 130, 110, 700, 90], strict=True))
    assert processes.balanced_shares(items, sizes.__getitem__) == [items]

    monkeypatch.setattr(processes, "num_processes", lambda: 3)
    shares = processes.balanced_shares(items, sizes.__getitem__)

    assert processes.balanced_shares([], len) == [[], [], []]
    assert sorted(item for share in shares for item in share) == items
    assert all(share == sorted(share) for share in shares)  # in the list's order
    assert sorted(len(share) for share in shares) == [2, 3, 3]
    loads = [sum(sizes[item] for item in share) for share in shares]
    assert max(loads) - min(loads) < 150  # every third one: 2,400, 320 and 230
    assert processes.balanced_shares(["only"], len) == [["only"], [], []]
