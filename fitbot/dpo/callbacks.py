"""What happens around the steps of a fit: metrics at log points, random state."""

import logging
import random
import time
from collections.abc import Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from fitbot.cluster.processes import gather, num_processes, rank
from fitbot.dpo.early_end import check_finite
from fitbot.dpo.resume import Resume

logger = logging.getLogger(__name__)

# Step of this process at which to say how long all take: the step since when that is measured, for
# the first are slower. What is over in a moment still captures CUDA graphs: then at the later one.
_ESTIMATES, _MOMENT_SECONDS = {10: 2, 100: 60}, 2.0
_TOO_MANY_SKIPPED = 20  # in a row; from the first scale on they are enough for any but inf and NaN


class LossScale(Callback):
    """Counts the steps that the loss scale of `16-mixed` skips; nothing in other precisions.

    The loss is multiplied by a scale, so that small gradients are numbers in float16. Where one is
    too large for that, the scaler leaves the weights as they are and halves the scale. The learning
    rate's schedule goes on.
    """

    def __init__(self) -> None:
        self.skipped: int | None = None  # so far; None without a scale
        self._stepped = False
        self._in_a_row = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the count, for a resumed run to go on with."""
        return {} if self.skipped is None else {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the count over."""
        self.skipped = state_dict.get("skipped")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Have the optimizer tell of every step that it makes."""
        self._scaler: torch.amp.GradScaler | None = getattr(
            trainer.precision_plugin, "scaler", None
        )
        if self._scaler is None:
            self.skipped = None
            return
        self.skipped = self.skipped or 0
        trainer.optimizers[0].register_step_post_hook(self._note_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count; skipping one step after the other is worth a warning, once."""
        if self.skipped is None:
            return
        self._in_a_row = 0 if self._stepped else self._in_a_row + 1
        self.skipped += not self._stepped
        self._stepped = False
        if self._in_a_row == _TOO_MANY_SKIPPED:
            assert self._scaler is not None
            logger.warning(
                "%d steps in a row were skipped, down to a loss scale of %g: gradients are not "
                "finite, and nothing is learned; use trainer.precision 32-true, or bf16-mixed "
                "where the GPU has it",
                _TOO_MANY_SKIPPED,
                self._scaler.get_scale(),
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how many there were."""
        if self.skipped is not None:
            logger.info(
                "loss scale: %d of %s steps were skipped, because a gradient was too large for "
                "float16",
                self.skipped,
                f"{trainer.global_step:,}",
            )

    def _note_step(self, *_: Any) -> None:
        self._stepped = True


class StepLog(Callback):
    """Logs exact means over all pairs since the last log point, and how fast it goes.

    Log points are the first step, every log_every_n_steps, and the last step; between them the host
    never waits for the device. All loggers get them, and trainer.callback_metrics, under train/.
    The module is a DPOModule, which brings this callback along where the trainer has none.
    The first log point with a figure that is infinite or NaN ends the fit by a NotFiniteError.
    """

    def __init__(self, loss_scale: LossScale | None = None) -> None:
        """Take the callback that counts skipped steps, if there is one; it must come before."""
        self.loss_scale = loss_scale or LossScale()
        self.last: dict[str, float] = {}  # the latest log point's values
        self.last_step = -1  # and its optimizer step
        self.bad_gradients = 0  # steps until then whose gradient was infinite or NaN
        self.peak_memory_gib: float | None = None  # of the GPU, after the fit
        self.first_step, self.started = 0, 0.0  # of this process: step, and time.perf_counter
        self._window_started = self._estimate_started = 0.0
        self._estimated = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.first_step = trainer.global_step
        self.started = self._window_started = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Log if this is a log point; once the first steps are done, say how long it will take."""
        step, total = trainer.global_step, int(trainer.estimated_stepping_batches)
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if step in (1, total) or step % every == 0:
            self._log(trainer, pl_module, step)
        if not self._estimated and step < total:
            self._estimate(step - self.first_step, total - step, pl_module.device)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the steps since the last log point, if the fit was ended between two; peak memory."""
        if self.last_step != trainer.global_step > self.first_step:
            self._log(trainer, pl_module, trainer.global_step)
        if pl_module.device.type == "cuda":
            self.peak_memory_gib = torch.cuda.max_memory_allocated(pl_module.device) / 2**30

    def _estimate(self, done: int, left: int, device: torch.device) -> None:
        if done not in (*_ESTIMATES, *_ESTIMATES.values()):
            return
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        taken = now - self._estimate_started
        if done in _ESTIMATES and (taken > _MOMENT_SECONDS or done == max(_ESTIMATES)):
            self._estimated = True
            a_step = taken / (done - _ESTIMATES[done])
            minutes, seconds = divmod(round(a_step * left), 60)
            hours = minutes // 60
            logger.info(
                "%.0f ms a step: about %s for the %s steps that are left",
                1000 * a_step,
                f"{hours} h {minutes % 60:02d} min" if hours else f"{minutes} min {seconds:02d} s",
                f"{left:,}",
            )
        self._estimate_started = now

    def _log(self, trainer: Trainer, module: Any, step: int) -> None:
        values, num_pairs = module.train_means.close_window()
        now = time.perf_counter()
        values |= module.objective.derived(values["rewards/chosen"])
        values |= {
            "grad_norm": module.grad_norm.item(),
            "learning_rate": module.step_rate,
            "pairs_per_second": num_pairs / (now - self._window_started),
            "epoch": step / trainer.num_training_batches,  # a batch is a step
        }
        before, self.bad_gradients = self.bad_gradients, int(module.bad_gradients)
        if self.loss_scale.skipped is None:
            values["bad_gradients"] = float(self.bad_gradients)
        else:
            values["skipped_steps"] = float(self.loss_scale.skipped)
        self.last = {f"train/{name}": value for name, value in values.items()}
        self.last_step = step
        if step == 1:
            module.first_loss = values["loss"]
        for sink in trainer.loggers:
            sink.log_metrics(self.last, step=step)
        trainer.callback_metrics.update(
            {name: torch.tensor(value) for name, value in self.last.items()}
        )
        self._window_started = now
        if self.bad_gradients and not before:
            logger.warning(
                "step %s: the gradient of %d steps was infinite or NaN; they are counted as "
                "train/bad_gradients, and if weights become so, the fit ends",
                f"{step:,}",
                self.bad_gradients,
            )
        # Of a gradient alone, weights need not have changed.
        check_finite(module, {x: y for x, y in self.last.items() if x != "train/grad_norm"})


def needed_callbacks(present: Sequence[Callback]) -> list[Callback]:
    """Return those callbacks that every fit of a DPOModule needs and its trainer lacks."""
    found: list[Callback] = []
    if not any(isinstance(callback, StepLog) for callback in present):
        scale = next((callback for callback in present if isinstance(callback, LossScale)), None)
        found = [StepLog(scale)] if scale else [scale := LossScale(), StepLog(scale)]
    if not any(isinstance(callback, Resume) for callback in present):
        found.append(Resume())
    return found


class RandomState(Callback):
    """Carries the random numbers' state in the checkpoint, so that dropout resumes exactly.

    Every process draws numbers of its own: by its rank, and after resuming from where it was.
    """

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all processes, as types that a weights_only load accepts."""
        own = {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
            "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
            "python": random.getstate(),
        }
        return {"processes": gather(own)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until training goes on; what comes before it draws numbers, too."""
        states = state_dict["processes"]
        if len(states) == num_processes():
            self._restored = states[rank()]
        else:
            logger.warning(
                "the checkpoint is of %d processes, this run has %d: the same pairs in the same "
                "order, but other dropout than an unbroken run's",
                len(states),
                num_processes(),
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let processes draw apart; they began with one seed, so that they begin with one model."""
        if rank() > 0:
            torch.manual_seed(torch.initial_seed() + rank())

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Put the states back before the first batch of a resumed run."""
        if self._restored is None:
            return
        torch.set_rng_state(self._restored["torch"].cpu())
        cuda: Tensor | None = self._restored["cuda"]
        if torch.cuda.is_available() and cuda is not None:
            torch.cuda.set_rng_state(cuda.cpu())
        mps: Tensor | None = self._restored.get("mps")  # fitbot 0.1.0 wrote none
        if torch.backends.mps.is_available() and mps is not None:
            torch.mps.set_rng_state(mps.cpu())
        version, internal, gauss = self._restored["python"]
        random.setstate((version, tuple(internal), gauss))
        self._restored = None
