"""What a resumed run makes of settings that are not its checkpoint's."""

import shutil
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

from fitbot.base_model.settings import LoraSettings
from fitbot.dpo.callbacks import RandomState
from fitbot.dpo.run import LastCheckpoint, best_checkpoint
from fitbot.errors import AdapterError, ConfigError
from tests.conftest import adapter_of, make_data, make_module, make_trainer

# What Lightning says of a folder with checkpoints; the command line hides it.
pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
LORA: dict[str, Any] = {"r": 4, "alpha": 8, "dropout": 0.1}


class Rates(lightning.Callback):
    """Keeps the learning rate that every step was made with; fails after so many steps."""

    def __init__(self, fails_after: int) -> None:
        self.rates: list[float] = []
        self._fails_after = fails_after

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.global_step == self._fails_after:
            raise ZeroDivisionError
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def fit(
    base: str,
    pairs_file: str,
    folder: Path,
    *,
    data: dict[str, Any] | None = None,
    fails_after: int = -1,
    **settings: Any,
) -> tuple[dict[str, torch.Tensor], list[float], lightning.Trainer]:
    """Fit, five steps an epoch, from last.ckpt if the folder has one."""
    trainer_settings = {
        name: settings.pop(name)
        for name in ("max_steps", "max_epochs", "limit_train_batches")
        if name in settings
    }
    torch.manual_seed(3)
    rates, last = Rates(fails_after), folder / "last.ckpt"
    callbacks = [rates, RandomState(), best_checkpoint(folder), LastCheckpoint(folder, 1)]
    trainer = make_trainer(folder, callbacks=callbacks, **trainer_settings)
    module = make_module(base, folder, **({"lr_schedule": "linear"} | settings))
    split = {"batch_size": 2, "accumulate_batches": 1} | (data or {})
    trainer.fit(
        module,
        make_data(base, pairs_file, **split),
        ckpt_path=last if last.exists() else None,
        weights_only=True,
    )
    return adapter_of(module), rates.rates, trainer


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was said of resuming."""
    return [message for message in caplog.messages if message.startswith("resuming: ")]


def test_a_changed_learning_rate_holds_from_the_next_step_on_and_is_said(
    base: str, pairs_file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", logger="fitbot")
    with pytest.raises(ZeroDivisionError):
        fit(base, pairs_file, tmp_path, max_epochs=2, fails_after=4)
    assert not said(caplog)

    settings: dict[str, Any] = {"learning_rate": 2e-2, "weight_decay": 0.5}
    _, rates, trainer = fit(base, pairs_file, tmp_path, max_epochs=2, **settings)

    # Step 5 of 10 has done four; linear to 0.
    assert rates == pytest.approx([2e-2 * (1 - done / 10) for done in range(4, 10)])
    assert trainer.optimizers[0].param_groups[0]["weight_decay"] == 0.5
    holds = "it holds from the next step on"
    assert said(caplog) == [
        f"resuming: model.learning_rate was 0.01 and is 0.02 now: {holds}",
        f"resuming: model.weight_decay was 0.01 and is 0.5 now: {holds}",
        "resuming: the learning rate of step 5 is 0.012, where the checkpoint's settings made it "
        "0.006",
    ]


def test_a_longer_run_follows_the_schedule_of_its_length_and_says_so(
    base: str, pairs_file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", logger="fitbot")
    fit(base, pairs_file, tmp_path, max_steps=5)

    _, rates, _ = fit(base, pairs_file, tmp_path, max_steps=10)

    assert rates == pytest.approx([1e-2 * (1 - done / 10) for done in range(5, 10)])
    assert said(caplog)[0].startswith("resuming: the run was to end at step 5 and ends at ")
    assert said(caplog)[1].startswith("resuming: the learning rate of step 6 is 0.005, where")


def test_equal_settings_are_resumed_bit_for_bit_without_a_word(
    base: str, pairs_file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", logger="fitbot")
    whole, rates, _ = fit(base, pairs_file, tmp_path / "a", max_epochs=2)

    with pytest.raises(ZeroDivisionError):
        fit(base, pairs_file, tmp_path / "b", max_epochs=2, fails_after=7)
    resumed, rest, _ = fit(base, pairs_file, tmp_path / "b", max_epochs=2)

    assert rest == rates[7:]
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())
    assert not said(caplog)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"optimizer": "adamw_8bit"}, AdapterError, "model.optimizer adamw, this run has adamw_8b"),
        ({"lora": LoraSettings(**LORA | {"alpha": 16})}, AdapterError, "model.lora.alpha 8, .* 16"),
        ({"lora": LoraSettings(**LORA | {"r": 2})}, AdapterError, "model.lora.r 4, this run has 2"),
        (
            {"lora": LoraSettings(**LORA, use_rslora=True)},
            AdapterError,
            "model.lora.use_rslora False, this run has True",
        ),
        (
            {"lora": LoraSettings(**LORA, target_modules=["q_proj"])},
            AdapterError,
            "the model.lora.target_modules it was trained with",
        ),
        ({"max_steps": 4}, ConfigError, "is of step 5, and trainer.max_epochs and .* at step 4"),
        ({"limit_train_batches": 3}, ConfigError, "an epoch had 5 steps and has 3 now"),
        ({"data": {"batch_size": 1}}, ConfigError, "pairs per step = 2, this run has 1"),
        ({"data": {"val_limit": 4}}, ConfigError, "by whose loss best.ckpt was chosen"),
    ],
)
def test_what_cannot_change_is_refused_by_name(
    base: str,
    pairs_file: str,
    tmp_path: Path,
    settings: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    fit(base, pairs_file, tmp_path, max_epochs=1)
    before = (tmp_path / "last.ckpt").read_bytes()

    with pytest.raises(error, match=message):
        fit(base, pairs_file, tmp_path, **({"max_epochs": 3} | settings))

    assert (tmp_path / "last.ckpt").read_bytes() == before


def best_score(folder: Path) -> float:
    last = torch.load(folder / "last.ckpt", weights_only=True)
    (state,) = (x for name, x in last["callbacks"].items() if name.startswith("ModelCheckpoint"))
    return float(state["best_model_score"])


def test_with_another_objective_best_is_chosen_anew_and_that_is_said(
    base: str, pairs_file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(base, pairs_file, tmp_path, max_epochs=1, beta=0.1)
    lowest = best_score(tmp_path)
    caplog.set_level("WARNING", logger="fitbot")

    _, _, trainer = fit(base, pairs_file, tmp_path, max_epochs=2, beta=0.001)

    assert trainer.callback_metrics["val/loss"] > lowest  # hardly any pull: close to ln 2
    assert best_score(tmp_path) > lowest
    assert "model.beta was 0.1 and is 0.001 now: losses and margins" in said(caplog)[0]
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert best["global_step"] == 10


@pytest.mark.parametrize("moves_best", [True, False])
def test_the_lowest_loss_counts_where_best_lies_now_and_nowhere_else(
    base: str, pairs_file: str, tmp_path: Path, moves_best: bool
) -> None:
    fit(base, pairs_file, tmp_path / "a", max_epochs=1)
    (tmp_path / "b").mkdir()
    for name in ("last.ckpt", *["best.ckpt"] * moves_best):
        shutil.copy(tmp_path / "a" / name, tmp_path / "b" / name)

    # So high a rate that validation can only become worse.
    fit(base, pairs_file, tmp_path / "b", max_epochs=2, learning_rate=50.0)

    best = torch.load(tmp_path / "b" / "best.ckpt", weights_only=True)
    assert best["global_step"] == (5 if moves_best else 10)
