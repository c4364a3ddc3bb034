"""When the pairs have nothing left to teach: noticed, said once with what the rest costs."""

import logging
import time
from collections.abc import Sequence
from typing import Any

from lightning import Callback, LightningModule, Trainer

from fitbot.audit.quick import length_rule
from fitbot.dpo.callbacks import StepLog
from fitbot.dpo.curves import Curve
from fitbot.pairs.preferences import PreferencePair

logger = logging.getLogger(__name__)

# Of the pairs since the log point before. A pair whose loss is 0.1 nats is told apart at 10 : 1.
ACCURACY, LOSS = 0.99, 0.1
GRADIENT = 0.1  # share of the largest norm so far


def saturated_at(curves: dict[str, Curve]) -> int | None:
    """Find the first log point at which training had nothing left to learn.

    That is where nearly all pairs since the log point before were told apart, by so much that their
    loss and its gradient have all but vanished; validation, which is of the same kind, then tells
    nothing any more either.

    Args:
        curves: As `curves.read_metrics` returns them.

    Returns:
        The optimizer step; None if there was no such point.
    """
    losses, accuracies, norms = (
        dict(curves.get(f"train/{name}", []))
        for name in ("loss", "rewards/accuracies", "grad_norm")
    )
    largest = 0.0
    for step in sorted(losses.keys() & accuracies.keys() & norms.keys()):
        largest = max(largest, norms[step])
        learned = accuracies[step] >= ACCURACY and losses[step] <= LOSS
        if learned and norms[step] <= GRADIENT * largest:
            return step
    return None


class Saturation(Callback):
    """Says when a fit is saturated and what its remaining steps will cost; may end it there."""

    def __init__(self, step_log: StepLog, *, stop: bool):
        """Watch what is logged.

        Args:
            step_log: The callback that logs; it must stand before this one.
            stop: End the fit there.
        """
        self.at: int | None = None  # optimizer step
        self._step_log, self._stop = step_log, stop
        self._curves: dict[str, Curve] = {}
        self._started, self._first_step = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """Carry in the checkpoint what was seen, so that a resumed run says nothing twice."""
        return {"at": self.at, "curves": {name: list(c) for name, c in self._curves.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self.at, self._curves = state_dict["at"], state_dict["curves"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started, self._first_step = time.perf_counter(), trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at each log point until it is found."""
        step = trainer.global_step
        if self.at is not None or self._step_log.last_step != step:
            return
        for name, value in self._step_log.last.items():
            self._curves.setdefault(name, []).append((step, value))
        self.at = saturated_at(self._curves)
        if self.at is not None:
            self._say(trainer, step)
            # Lightning ends the fit after this step; the last checkpoint and export follow.
            trainer.should_stop = trainer.should_stop or self._stop

    def _say(self, trainer: Trainer, step: int) -> None:
        total, last = int(trainer.estimated_stepping_batches), self._step_log.last
        seconds = (time.perf_counter() - self._started) / (step - self._first_step)
        largest = max(norm for _, norm in self._curves["train/grad_norm"])
        logger.info(
            "saturated at step %s of %s: of the latest pairs %.1f %% are told apart, their loss is "
            "%.4f, the gradient is at %.1f %% of its largest. %s",
            f"{step:,}",
            f"{total:,}",
            100 * last["train/rewards/accuracies"],
            last["train/loss"],
            100 * last["train/grad_norm"] / largest,
            why_saturated(trainer.datamodule.texts["train"]),  # type: ignore[attr-defined]
        )
        left, rest = total - step, "run.stop_when_saturated leaves them out"
        logger.info(
            "the other %s steps (about %.0f s, %.0f %% of the run) can only enlarge margins; %s",
            f"{left:,}",
            seconds * left,
            100 * left / total,
            "they are left out" if self._stop else rest,
        )


def why_saturated(pairs: Sequence[PreferencePair]) -> str:
    """Say whether the training pairs are the reason, in a sentence."""
    best = length_rule(pairs)
    if best.is_shortcut:
        return (
            f"The data is the reason: {best.rule} alone is right in {best.accuracy:.1%} of the "
            "training pairs, and that is learned at once"
        )
    return "Length does not give the pairs away; the model knows all that they can teach it"
