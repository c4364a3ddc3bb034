"""A run's folder and loggers: nothing is overwritten, nothing blocks."""

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import model_checkpoint
from lightning.pytorch.loggers import WandbLogger

from fitbot.dpo.module import DPOModule
from fitbot.dpo.run import (
    LastCheckpoint,
    RunSettings,
    best_checkpoint,
    new_run_folder,
    remove_if_refused,
    resolve_checkpoint,
    run_loggers,
)
from fitbot.errors import AdapterError, ConfigError
from tests.conftest import make_data, make_module, make_trainer


def test_last_is_the_latest_run_of_exactly_that_name(tmp_path: Path) -> None:
    settings = RunSettings(name="run", root=str(tmp_path))
    for age, name in enumerate(("run", "run-2", "run-other", "runner")):
        (tmp_path / name).mkdir()
        of = "run" if name.startswith("run-2") else name
        (tmp_path / name / "config.yaml").write_text(f"run: {{name: {of}}}\n")
        torch.save({"hyper_parameters": {"base_model": ""}}, tmp_path / name / "last.ckpt")
        os.utime(tmp_path / name / "last.ckpt", (1000 + age, 1000 + age))

    assert resolve_checkpoint(settings, "last") == tmp_path / "run-2" / "last.ckpt"
    assert new_run_folder(settings).name == "run-3"


def test_a_process_that_dies_while_it_saves_leaves_the_last_checkpoint_whole(
    base: str, pairs_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "last.ckpt").write_text("whole")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    found: list[list[str]] = []

    def die(number: int) -> None:
        found.append(sorted(path.name for path in tmp_path.iterdir()))
        raise KeyboardInterrupt

    trainer = make_trainer(tmp_path, callbacks=[LastCheckpoint(tmp_path, 1)], max_steps=1)
    monkeypatch.setattr("os.fsync", die)
    with pytest.raises(SystemExit):  # what Lightning makes of it
        trainer.fit(make_module(base, tmp_path), make_data(base, pairs_file))

    assert {"last.ckpt", "last.ckpt.partial"} <= set(found[0])
    assert (tmp_path / "last.ckpt").read_text() == "whole"
    assert not list(tmp_path.glob("*.partial"))
    assert not list((tmp_path / "tmp").iterdir())


def test_a_run_resumed_after_a_validation_knows_the_best_loss_so_far(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    callbacks = [best_checkpoint(folder), LastCheckpoint(folder, 1)]

    trainer = make_trainer(tmp_path, callbacks=callbacks, max_epochs=1)
    trainer.fit(make_module(base, tmp_path), make_data(base, pairs_file))

    last = torch.load(folder / "last.ckpt", weights_only=True)
    (state,) = (x for name, x in last["callbacks"].items() if name.startswith("ModelCheckpoint"))
    assert state["best_model_score"] == trainer.callback_metrics["val/loss"]


def test_a_validation_that_was_cut_off_is_done_again(
    base: str, pairs_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    class Measured(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
            measured.append(trainer.global_step)

    def fit(**settings: Any) -> None:
        callbacks = [Measured(), LastCheckpoint(tmp_path, 1)]
        trainer = make_trainer(tmp_path, callbacks=callbacks, max_epochs=2)
        trainer.fit(make_module(base, tmp_path), make_data(base, pairs_file), **settings)

    monkeypatch.setattr(DPOModule, "validation_step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit()
    monkeypatch.undo()
    fit(ckpt_path=tmp_path / "last.ckpt", weights_only=True)

    assert measured == [2, 4]


def test_the_best_checkpoint_is_of_a_validation_and_an_epoch_cut_short_has_none(
    base: str, pairs_file: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    model_checkpoint.warning_cache.clear()
    best = best_checkpoint(tmp_path)
    data = make_data(base, pairs_file, batch_size=2, accumulate_batches=1)  # five steps an epoch

    for steps, saved in ((3, []), (7, [5])):
        settings = {"max_steps": steps, "callbacks": [best], "enable_checkpointing": True}
        make_trainer(tmp_path, **settings).fit(make_module(base, tmp_path), data)

        found = [torch.load(path, weights_only=True) for path in tmp_path.glob("*.ckpt")]
        assert [checkpoint["global_step"] for checkpoint in found] == saved
    assert not [said for said in recwarn if "monitored key" in str(said.message)]


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, {"hyper_parameters": {}}, [1]])
def test_a_checkpoint_of_somebody_else_is_an_error(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.ckpt")

    with pytest.raises(AdapterError, match=r"x\.ckpt is not a checkpoint of fitbot"):
        resolve_checkpoint(RunSettings(), str(tmp_path / "x.ckpt"))


def test_a_checkpoint_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"no such file; give a \.ckpt, last or best"):
        resolve_checkpoint(RunSettings(), str(tmp_path / "x.ckpt"))


@pytest.mark.parametrize("key", [None, "k" * 40])
def test_wandb_without_a_key_logs_offline_and_never_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)

    loggers = run_loggers(tmp_path, RunSettings(wandb_project="fitness-bot", name="a name"))

    assert isinstance(loggers[1], WandbLogger)
    assert os.environ.get("WANDB_MODE") == (None if key else "offline")
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.mark.parametrize(
    ("named", "entity", "project"),
    [("fitness", None, "fitness"), ("team/fitness", "team", "fitness")],
)
def test_wandb_gets_entity_and_project(
    tmp_path: Path, named: str, entity: str | None, project: str
) -> None:
    logger = run_loggers(tmp_path, RunSettings(wandb_project=named, name="a/b"))[1]

    assert isinstance(logger, WandbLogger)
    started = logger._wandb_init
    assert (started["entity"], started["project"], started["name"]) == (entity, project, "a/b")


@pytest.mark.parametrize("named", ["a/b/c", "a:b", "a?", "/b", "a/", "a" * 129])
def test_a_project_that_wandb_would_refuse_is_refused_before_anything_is_created(
    named: str,
) -> None:
    with pytest.raises(ConfigError, match=r"run\.wandb_project .*: must be project or entity/proj"):
        RunSettings(wandb_project=named)


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is not None, reason="TensorBoard is installed"
)
def test_a_missing_tensorboard_is_an_error_that_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pip install 'fitbot\[tensorboard\]'"):
        run_loggers(tmp_path, RunSettings(tensorboard=True))


@pytest.mark.parametrize("logs", [True, False])
def test_a_refused_run_ends_its_own_log_of_wandb_and_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: bool
) -> None:
    ended: list[int] = []
    monkeypatch.setattr("wandb.finish", lambda exit_code: ended.append(exit_code))
    folder = tmp_path / "runs" / "one"
    (folder / "wandb" if logs else folder).mkdir(parents=True)

    remove_if_refused(folder, tmp_path / "runs")

    assert ended == ([1] if logs else [])
    assert not list(tmp_path.iterdir())
