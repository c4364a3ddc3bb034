"""DPOModule and PreferenceDataModule with a trainer that is the user's, not the command line's."""

import csv
import math
from pathlib import Path
from typing import Any

import lightning
import pytest
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import Logger

import fitbot
from fitbot.__main__ import main
from fitbot.dpo.callbacks import LossScale, StepLog, needed_callbacks
from fitbot.dpo.metrics import NAMES
from fitbot.dpo.module import DPOModule
from fitbot.dpo.resume import Resume
from fitbot.pairs.datamodule import PreferenceDataModule
from tests.conftest import make_data, make_module, make_trainer

# What Lightning says of a fit of two steps an epoch.
pytestmark = pytest.mark.filterwarnings("ignore:The number of training batches")


class Kept(Logger):
    """A logger of the user's own."""

    name, version = "kept", "0"

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass


def test_callback_metrics_and_every_logger_have_train_and_val(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    class Seen(lightning.Callback):
        losses: list[float] = []

        def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
            self.losses.append(trainer.callback_metrics["train/loss"].item())

    kept, seen = Kept(), Seen()
    loggers: list[Logger] = [CSVLogger(tmp_path, name="csv", version=0), kept]
    trainer = make_trainer(tmp_path, logger=loggers, callbacks=[seen], log_every_n_steps=2)

    trainer.fit(make_module(base, tmp_path), make_data(base, pairs_file))

    metrics = trainer.callback_metrics
    for stage in ("train", "val"):
        assert {f"{stage}/{name}" for name in NAMES} <= metrics.keys()
    assert {"train/grad_norm", "train/learning_rate", "train/epoch"} <= metrics.keys()
    with (tmp_path / "csv" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("train/loss", "val/loss"):
        of_csv = {int(row["step"]): float(row[name]) for row in rows if row[name]}
        of_own = {step: row[name] for step, row in kept.rows if name in row}
        assert list(of_csv) == list(of_own) == ([1, 2, 4] if name == "train/loss" else [2, 4])
        assert of_csv[4] == pytest.approx(of_own[4])
        assert metrics[name].item() == pytest.approx(of_csv[4])
        if name == "train/loss":
            assert of_own[1] == pytest.approx(math.log(2), abs=1e-5)
            assert seen.losses == pytest.approx([of_own[2], of_own[4]])


@pytest.mark.parametrize(("monitor", "after"), [("val/loss", 2), ("train/loss", 2)])
def test_early_stopping_stops_and_the_last_step_is_logged(
    base: str, pairs_file: str, tmp_path: Path, monitor: str, after: int
) -> None:
    stopping = EarlyStopping(monitor, patience=0, min_delta=9.0)  # no epoch is so much better
    kept = Kept()
    trainer = make_trainer(
        tmp_path, max_epochs=9, callbacks=[stopping], logger=kept, log_every_n_steps=3
    )

    trainer.fit(make_module(base, tmp_path), make_data(base, pairs_file))

    assert trainer.current_epoch == after
    assert stopping.stopped_epoch == after - 1
    steps = [step for step, row in kept.rows if "train/loss" in row]
    assert steps == [1, 3, 4]
    assert kept.rows[-1][1].get("train/epoch", after) == after


def test_checkpoints_may_be_kept_by_a_training_metric(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    best = ModelCheckpoint(tmp_path / "kept", "best", monitor="train/loss")
    trainer = make_trainer(
        tmp_path, callbacks=[best], enable_checkpointing=True, log_every_n_steps=1
    )

    trainer.fit(make_module(base, tmp_path), make_data(base, pairs_file))

    assert best.best_model_score is not None
    assert best.best_model_score == trainer.callback_metrics["train/loss"] < 0.69
    assert (tmp_path / "kept" / "best.ckpt").is_file()


def test_a_trainer_that_has_the_log_keeps_its_own() -> None:
    scale, resume = LossScale(), Resume()
    mine = StepLog(scale)

    assert needed_callbacks([scale, mine, resume]) == []
    (added,) = needed_callbacks([scale, resume])
    assert isinstance(added, StepLog)
    assert added.loss_scale is scale
    everything = needed_callbacks([])
    assert [type(one) for one in everything] == [LossScale, StepLog, Resume]


def test_as_the_docstring_says_from_pairs_to_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = PreferenceDataModule(
        "data/fitness_train.json", "data/fitness_val.json", train_limit=8, val_limit=4
    )
    module = DPOModule(learning_rate=2e-4, optimizer="adamw")
    # Lightning's own defaults: a trial of validation at first, checkpoints, a summary, a bar.
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[EarlyStopping("val/loss")],
        logger=CSVLogger("logs"),
    )

    trainer.fit(module, data)
    trainer.save_checkpoint("mine.ckpt")

    assert trainer.callback_metrics["val/rewards/accuracies"] >= 0
    assert main(["export", "mine.ckpt", "--out", "mine"]) == 0
    with fitbot.load("mine") as bot:
        assert bot.answer("Is rice ok?", max_new_tokens=8).strip()
