"""The progress of a fit or a measurement, as Lightning calls for it."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from fitbot.dpo.callbacks import StepLog
from fitbot.pairs.datamodule import PAIRS_MEASURED_AT_ONCE, PreferenceDataModule, Split
from fitbot.report.progress import Progress


class Bar(ProgressBar):
    """Counts the steps of the whole run, with the latest figures, and pairs that are measured."""

    def __init__(self, step_log: StepLog):
        """Take the values from `step_log`, so that drawing never waits for the device."""
        super().__init__()
        self._step_log = step_log
        self._shown = True
        self._steps: Progress | None = None
        self._pairs: Progress | None = None  # of a measurement, which may be within a fit

    def disable(self) -> None:
        """Show nothing; Lightning calls it in all processes but the first."""
        self._shown = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        total = int(trainer.estimated_stepping_batches)
        self._steps = Progress("fit", total, done=trainer.global_step, shown=self._shown)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert self._steps is not None
        self._steps.update(1, figures_of(self._step_log.last))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: Any) -> None:
        self._close()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._measure(trainer, "val", trainer.num_val_batches)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._measure(trainer, "test", trainer.num_test_batches)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._measure(trainer, "test", trainer.num_predict_batches)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        assert self._pairs is not None
        self._pairs.update(PAIRS_MEASURED_AT_ONCE)

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self._pairs is not None
        self._pairs.close()

    on_test_end = on_predict_end = on_validation_end

    def _measure(self, trainer: Trainer, split: Split, batches: list[int | float]) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, PreferenceDataModule)
        total = min(int(batches[0]) * PAIRS_MEASURED_AT_ONCE, len(data.pairs[split]))
        self._pairs = Progress(f"{split} pairs", total, shown=self._shown)

    def _close(self) -> None:
        for progress in (self._steps, self._pairs):
            if progress is not None:
                progress.close()


def figures_of(last: dict[str, float]) -> str:
    """Write a log point's figures as they fit into a line.

    Args:
        last: Values by name; none before the first log point.
    """
    if not last:
        return ""
    loss, accuracy = last["train/loss"], last["train/rewards/accuracies"]
    margin, rate = last["train/rewards/margins"], last["train/pairs_per_second"]
    rounded = f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}"
    return f"loss {loss:.3f} acc {accuracy:.2f} margin {margin:.2f} {rounded} pairs/s"
