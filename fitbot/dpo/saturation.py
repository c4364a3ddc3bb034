"""When the pairs have nothing left to teach: noticed, said once with what the rest costs."""

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

from lightning import Callback, LightningModule, Trainer

from fitbot.audit.shortcuts import length_rule
from fitbot.dpo.callbacks import StepLog
from fitbot.dpo.module import DPOModule
from fitbot.pairs.formats import PreferencePair

logger = logging.getLogger(__name__)

Curve = list[tuple[int, float]]  # of a metric: optimizer step, value

# Of the pairs since the log point before. A margin of 2.2 tells a pair apart at 9 : 1.
ACCURACY, MARGIN = 0.99, 2.2
SOUGHT = 0.9  # or this share of the margin at which the objective wants no more
GRADIENT = 0.1  # share of the largest norm so far


def saturated_at(
    curves: dict[str, Curve], *, sought: float = math.inf, imitates: bool = False
) -> int | None:
    """Find the first log point at which the pairs had nothing left to teach.

    That is where nearly all pairs since the log point before were told apart, by so much that what
    they pull with has all but vanished; validation, which is of the same kind, then tells nothing
    any more either.

    Args:
        curves: As `report.read_metrics` returns them.
        sought: The margin at which the objective wants no more.
        imitates: Chosen answers are also learned by heart (`Objective.imitates`), for which there
            is always a gradient; so it is not looked at.

    Returns:
        The optimizer step; None if there was no such point.
    """
    margins, accuracies, norms = (
        dict(curves.get(f"train/{name}", []))
        for name in ("rewards/margins", "rewards/accuracies", "grad_norm")
    )
    enough, largest = min(MARGIN, SOUGHT * sought), 0.0
    for step in sorted(margins.keys() & accuracies.keys() & norms.keys()):
        if not math.isfinite(norms[step]):
            continue  # a step that the loss scale has skipped
        largest = max(largest, norms[step])
        learned = accuracies[step] >= ACCURACY and margins[step] >= enough
        if learned and (imitates or norms[step] <= GRADIENT * largest):
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

    def state_dict(self) -> dict[str, Any]:
        """Carry in the checkpoint what was seen, so that a resumed run says nothing twice."""
        return {"at": self.at, "curves": {name: list(c) for name, c in self._curves.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.at, self._curves = state_dict["at"], state_dict["curves"]

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Look at each log point until it is found."""
        step = trainer.global_step
        if self.at is not None or self._step_log.last_step != step:
            return
        for name, value in self._step_log.last.items():
            self._curves.setdefault(name, []).append((step, value))
        assert isinstance(pl_module, DPOModule)
        sought, imitates = pl_module.objective.margin_sought, pl_module.objective.imitates
        if sought is None:  # margins show nothing
            return
        self.at = saturated_at(self._curves, sought=sought, imitates=imitates)
        if self.at is not None:
            self._say(trainer, step, imitates=imitates)
            # Lightning ends the fit after this step; the last checkpoint and export follow.
            trainer.should_stop = trainer.should_stop or self._stop

    def _say(self, trainer: Trainer, step: int, *, imitates: bool) -> None:
        total, log = int(trainer.estimated_stepping_batches), self._step_log
        last = log.last
        seconds = (time.perf_counter() - log.started) / (step - log.first_step)
        largest = max(x for _, x in self._curves["train/grad_norm"] if math.isfinite(x))
        logger.info(
            "saturated at step %s of %s: of the latest training pairs %.1f %% are told apart, "
            "their margin is %.2f, the gradient is at %.1f %% of its largest. %s",
            f"{step:,}",
            f"{total:,}",
            100 * last["train/rewards/accuracies"],
            last["train/rewards/margins"],
            100 * last["train/grad_norm"] / largest,
            why_saturated(trainer.datamodule.some_texts("train")),  # type: ignore[attr-defined]
        )
        left, rest = total - step, "run.stop_when_saturated leaves them out"
        if not left:
            return
        logger.info(
            "the other %s steps (about %.0f s, %.0f %% of the run) can only %s; %s",
            f"{left:,}",
            seconds * left,
            100 * left / total,
            "have answers learned by heart" if imitates else "enlarge margins",
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
    return (
        "Length does not give the pairs away: the model tells them apart by something else, or "
        "knows them by heart; validation pairs show which"
    )
