"""float16 with a loss scale: a gradient too large for it costs one step, which is counted."""

import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor

from fitbot.base_model.settings import LoraSettings
from fitbot.dpo import start_checks
from fitbot.dpo.callbacks import LossScale, StepLog
from fitbot.dpo.module import DPOModule
from fitbot.dpo.run import LastCheckpoint
from tests.conftest import DEVICES, adapter_of, make_data, make_module, make_trainer

pytestmark = [
    # dpo/run.py says of it why it does not concern a user.
    pytest.mark.filterwarnings("ignore:Detected call of .lr_scheduler.step"),
    # The logger of these tests is there for its values only.
    pytest.mark.filterwarnings("ignore:.*LitLogger"),
]


class Overflows(lightning.Callback):
    """Plants inf into the gradient of some steps, and keeps the weights after each step."""

    def __init__(self, *steps: int):
        self.steps, self.weights, self.losses = steps, list[dict[str, Tensor]](), list[float]()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        def plant(gradient: Tensor) -> Tensor:
            planted = gradient.clone()
            if trainer.global_step + 1 in self.steps:
                planted[7] = math.inf
            return planted

        pl_module.policy.adapter.register_hook(plant)
        self.weights.append(adapter_of(pl_module))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.weights.append(adapter_of(pl_module))
        sums = pl_module.train_means.total.cpu() + pl_module.train_means.sums.cpu()
        self.losses.append((sums[0] / sums[-1]).item())

    def moved(self) -> list[bool]:
        """Say of every step whether it has changed any weight."""
        pairs = zip(self.weights[1:], self.weights, strict=False)
        return [any(not torch.equal(a[n], b[n]) for n in a) for a, b in pairs]


def in_float16(folder: Path, device: str, *callbacks: Any, **settings: Any) -> lightning.Trainer:
    """Make a trainer of 16-mixed, with a scale at which nothing overflows by itself."""
    scaler = torch.amp.GradScaler(device, init_scale=1024)
    settings |= {"accelerator": "gpu", "devices": 1} if device == "cuda" else {}
    settings |= {"precision": None, "plugins": [MixedPrecision("16-mixed", device, scaler)]}
    return make_trainer(folder, callbacks=list(callbacks), **settings)


@pytest.fixture(autouse=True)
def on_a_cpu_the_scaler_alone_is_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU takes seconds for a step in float16, and Lightning would take bfloat16 for it."""
    if not torch.cuda.is_available():
        monkeypatch.setitem(start_checks.COMPUTE_DTYPES, "16-mixed", torch.float32)
        monkeypatch.setattr(MixedPrecision, "autocast_context_manager", lambda _: nullcontext())


class Sink(lightning.pytorch.loggers.CSVLogger):
    """Keeps what is logged at log points."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.rows: list[dict[str, float]] = []

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        self.rows += [metrics] if "train/loss" in metrics else []


@pytest.mark.parametrize("device", DEVICES)
def test_a_step_whose_gradient_overflows_is_skipped_and_counted_and_training_goes_on(
    base: str, pairs_file: str, tmp_path: Path, device: str, caplog: pytest.LogCaptureFixture
) -> None:
    overflows, scale, sink = Overflows(1, 3), LossScale(), Sink(tmp_path)
    trainer = in_float16(
        tmp_path,
        device,
        *(scale, StepLog(scale), overflows),
        logger=sink,
        log_every_n_steps=1,
        max_epochs=1,
    )
    caplog.set_level("INFO", logger="fitbot")
    assert trainer.precision == "16-mixed"

    module = make_module(base, tmp_path, lora=LoraSettings(r=4, alpha=8, dropout=0.0))
    steps = {"batch_size": 2, "accumulate_batches": 1, "val_path": None}
    trainer.fit(module, make_data(base, pairs_file, **steps))

    assert module.compute_dtype == (torch.float16 if device == "cuda" else torch.float32)
    assert overflows.moved() == [False, True, False, True, True]
    assert scale.skipped == 2
    assert [row["train/skipped_steps"] for row in sink.rows] == [1, 1, 2, 2, 2]
    said = "loss scale: 2 of 5 steps were skipped, because a gradient was too large for float16"
    assert caplog.messages.count(said) == 1
    assert overflows.losses[0] == pytest.approx(math.log(2), abs=0.02)
    assert overflows.losses[-1] < overflows.losses[0]


def test_without_a_loss_scale_nothing_is_counted_and_no_column_is_there(
    base: str, pairs_file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scale, sink = LossScale(), Sink(tmp_path)
    caplog.set_level("INFO", logger="fitbot")

    settings: dict[str, Any] = {"logger": sink, "log_every_n_steps": 1, "max_epochs": 1}
    trainer = make_trainer(tmp_path, callbacks=[scale, StepLog(scale)], **settings)
    trainer.fit(make_module(base, tmp_path), make_data(base, pairs_file))

    assert scale.skipped is None
    assert len(sink.rows) == 2
    assert not [row for row in sink.rows if "train/skipped_steps" in row]
    assert not [text for text in caplog.messages if "loss scale" in text]


def test_a_resumed_run_counts_on(base: str, pairs_file: str, tmp_path: Path) -> None:
    def run_until(step: int, *overflows: int) -> LossScale:
        scale, last = LossScale(), tmp_path / "last.ckpt"
        callbacks = [scale, Overflows(*overflows), LastCheckpoint(tmp_path, 1)]
        trainer = in_float16(tmp_path, "cpu", *callbacks, max_steps=step)
        data = make_data(base, pairs_file, batch_size=2, accumulate_batches=1, val_path=None)
        ckpt_path = last if last.exists() else None
        module = make_module(base, tmp_path, reference="online")
        trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
        return scale

    assert run_until(2, 1, 2).skipped == 2
    assert run_until(3, 3).skipped == 3


def test_gradients_that_are_never_finite_are_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scaler, scale = torch.amp.GradScaler("cpu", init_scale=1024), LossScale()
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW([weight])
    trainer: Any = SimpleNamespace(
        precision_plugin=SimpleNamespace(scaler=scaler), optimizers=[optimizer]
    )
    module: Any = None
    scale.on_train_start(trainer, module)
    for step in range(50):
        optimizer.zero_grad()
        scaler.scale(weight.sum() * (1.0 if step in (2, 25) else math.inf)).backward()
        scaler.step(optimizer)
        scaler.update()
        scale.on_train_batch_end(trainer, module)

    assert scale.skipped == 48
    (one, other) = [text for text in caplog.messages if "in a row" in text]  # 22 and 24 of them
    assert one.startswith("20 steps in a row were skipped, down to a loss scale of 0.000244141: ")


@pytest.mark.gpu
def test_the_compiled_engine_in_float16_learns_what_the_networks_own_modules_do(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    found = {}
    for engine in ("eager", "compiled"):
        scale, overflows = LossScale(), Overflows(4)
        module: DPOModule = make_module(
            base,
            tmp_path / engine,
            engine=engine,
            learning_rate=1e-3,
            lora=LoraSettings(r=4, alpha=8, dropout=0.0),
        )
        # Each size is launched in the first epoch, captured in the second, replayed in the third.
        in_float16(tmp_path, "cuda", scale, overflows, max_epochs=3).fit(
            module, make_data(base, pairs_file, batch_size=5, accumulate_batches=1)
        )
        assert module.policy is not None
        assert module.policy.engine_name == engine
        assert overflows.moved() == [True, True, True, False, True, True]
        assert scale.skipped == 1
        found[engine] = overflows.weights[-1], overflows.losses, module.grad_norm.item()

    (weights, losses, norm), (others, other_losses, other_norm) = found.values()
    assert losses == pytest.approx(other_losses, abs=0.01)
    assert losses[-1] < losses[0]
    assert norm == pytest.approx(other_norm, rel=0.05)
    one, other = (torch.cat([w.flatten() for w in all_.values()]) for all_ in (weights, others))
    assert (one - other).norm() < 0.05 * other.norm()
