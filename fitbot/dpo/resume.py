"""What a resumed run may change of its checkpoint's settings, and what follows from it."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim.lr_scheduler import LambdaLR

from fitbot.errors import AdapterError, ConfigError

logger = logging.getLogger(__name__)

_OBJECTIVE = (
    *("model.beta", "model.label_smoothing", "model.loss", "model.nll_weight"),
    *("model.length_normalised", "model.gamma", "data.weight_column"),
)
_ROUNDING = "numbers are rounded in another way than an unbroken run's"
_FOLLOWS = {
    **dict.fromkeys(
        _OBJECTIVE,
        "losses and margins from here on do not compare with those before, and best.ckpt is chosen "
        "anew",
    ),
    **dict.fromkeys(
        ("model.engine", "model.backend", "model.reference", "data.layout"),
        _ROUNDING,
    ),
    "data.max_tokens_per_pass": _ROUNDING,
}
# The weights themselves are compared; they are no longer drawn, and a fit reads no test pairs.
_NO_MATTER = {
    *("model.lora", "model.lora.target_modules", "model.lora.random_state"),
    *("data.test_path", "data.test_limit"),
}
_OTHERWISE = "it holds from the next step on"


class Resume(Callback):
    """Compares the settings of a fit with those of the checkpoint that it goes on from.

    What cannot change is refused. What can change holds from the next step on, the learning rate
    and its schedule included, and is said.
    """

    def __init__(self) -> None:
        self._length: dict[str, int] | None = None  # this run's steps: in all, and of an epoch
        self._before: Mapping[str, Any] | None = None  # the checkpoint

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note how long the run is, which no setting of the module says."""
        checkpoint["run_length"] = self._length

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Compare the settings.

        Raises:
            AdapterError: The optimizer's state is of another kind of optimizer.
        """
        if trainer.state.fn != "fit":
            return
        self._before = checkpoint
        data = trainer.datamodule  # type: ignore[attr-defined]
        ours = _flat(pl_module.hparams, data.hparams)
        theirs = _flat(
            checkpoint["hyper_parameters"], checkpoint.get("datamodule_hyper_parameters", {})
        )
        changed = {name for name in theirs.keys() & ours.keys() if theirs[name] != ours[name]}
        if (name := "model.optimizer") in changed:
            raise AdapterError(
                f"cannot resume: the checkpoint has the state of {name} {theirs[name]}, this run "
                f"has {ours[name]}; use the checkpoint's, or start a new run"
            )
        if trainer.is_global_zero:
            for name in sorted(changed):
                follows = _FOLLOWS.get(name, _OTHERWISE)
                was, now = theirs[name], ours[name]
                logger.warning("resuming: %s was %s and is %s now: %s", name, was, now, follows)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.filename == "best":
                state = checkpoint["callbacks"].get(callback.state_key)
                comparable = not changed.intersection(_OBJECTIVE)
                checkpoint["callbacks"][callback.state_key] = comparable and _moved(state, callback)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare how long the run is.

        Raises:
            ConfigError: The run ends before the checkpoint's step, or its epochs are longer or
                shorter.
        """
        trainer.fit_loop.setup_data()  # or an epoch's steps are unknown where max_steps is set
        total, epoch = int(trainer.estimated_stepping_batches), int(trainer.num_training_batches)
        self._length = {"total": total, "epoch": epoch}
        if self._before is None:
            return
        if (step := self._before["global_step"]) > total:
            raise ConfigError(
                f"cannot resume: the checkpoint is of step {step:,}, and trainer.max_epochs and "
                f"trainer.max_steps end this run at step {total:,}; raise them"
            )
        before = self._before.get("run_length") or self._length  # fitbot 0.1.0 wrote none
        if before["epoch"] != epoch:
            raise ConfigError(
                f"cannot resume: an epoch had {before['epoch']:,} steps and has {epoch:,} now, so "
                "other pairs would come next; use the checkpoint's trainer.limit_train_batches"
            )
        if before["total"] != total and trainer.is_global_zero:
            logger.warning(
                "resuming: the run was to end at step %s and ends at step %s now: the learning "
                "rate follows the schedule of that length from the next step on",
                f"{before['total']:,}",
                f"{total:,}",
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the settings win over what optimizer and schedule have brought along."""
        if self._before is None:
            return
        scheduler = trainer.lr_scheduler_configs[0].scheduler
        assert isinstance(scheduler, LambdaLR)
        rate = pl_module.hparams["learning_rate"]
        now = rate * scheduler.lr_lambdas[0](scheduler.last_epoch)
        group = trainer.optimizers[0].param_groups[0]
        if group["lr"] != now and trainer.is_global_zero:
            logger.warning(
                "resuming: the learning rate of step %s is %g, where the checkpoint's settings "
                "made it %g",
                f"{trainer.global_step + 1:,}",
                now,
                group["lr"],
            )
        group.update(lr=now, initial_lr=rate, weight_decay=pl_module.hparams["weight_decay"])
        scheduler.base_lrs, scheduler._last_lr = [rate], [now]
        self._before = None


def _flat(model: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Name settings as the command line does, those that matter to a resumed run."""
    lora = {f"lora.{name}": value for name, value in model["lora"].items()}
    flat = {f"model.{name}": value for name, value in {**model, **lora}.items()}
    flat |= {f"data.{name}": value for name, value in data.items()}
    return {name: value for name, value in flat.items() if name not in _NO_MATTER}


def _moved(state: dict[str, Any] | None, best: ModelCheckpoint) -> dict[str, Any]:
    """Let the lowest loss count for best.ckpt where it lies now; not at all where there is none."""
    if state and state["dirpath"] == best.dirpath:
        return state
    path = Path(str(best.dirpath)) / "best.ckpt"
    if not state or not state["best_model_path"] or not path.is_file():
        return {}
    place = {"best_model_path": str(path), "kth_best_model_path": str(path)}
    losses = {str(path): state["best_model_score"]}
    return {**state, **place, "dirpath": best.dirpath, "best_k_models": losses}
