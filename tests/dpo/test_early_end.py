"""A fit whose numbers are not finite ends, keeps what was good, and says what to change."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor

from fitbot.__main__ import main
from fitbot.dpo.callbacks import StepLog
from fitbot.dpo.early_end import interrupted, kept_before, not_finite
from fitbot.dpo.losses import DPOTerms
from fitbot.dpo.metrics import NAMES, PairMeans
from fitbot.dpo.run import LastCheckpoint, best_checkpoint
from fitbot.dpo.start_checks import check_first_loss
from fitbot.errors import AdapterError, NotFiniteError
from fitbot.export.adapter import all_or_nothing, export_adapter
from tests.conftest import ROOT, adapter_of, make_data, make_module, make_trainer

FIVE_STEPS: dict[str, Any] = {"batch_size": 2, "accumulate_batches": 1}  # an epoch of ten pairs


class Plant(lightning.Callback):
    """Puts NaN into the gradient of one step; the weights survive where `skipped`."""

    def __init__(self, step: int, *, skipped: bool = False):
        self.step, self.skipped = step, skipped

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        adapter = pl_module.policy.adapter

        def plant(gradient: Tensor) -> Tensor:
            planted = gradient.clone()
            planted[7] = math.nan if trainer.global_step + 1 == self.step else planted[7]
            return planted

        adapter.register_hook(plant)
        if self.skipped:  # as bitsandbytes' optimizer leaves them out on a GPU
            before = pl_module.on_before_optimizer_step

            def leave_out(optimizer: Any) -> None:
                before(optimizer)
                adapter.grad.nan_to_num_(0.0)

            pl_module.on_before_optimizer_step = leave_out


def quickstart(root: Path, base: str, data: str, *options: str) -> list[str]:
    return [
        *("fit", "--config", str(ROOT / "configs" / "quickstart.yaml"), "--run.root", str(root)),
        *("--model.base_model", base, "--model.load_in_4bit", "false"),
        *("--data.train_path", data, "--data.val_path", data, "--data.batch_size", "2"),
        *("--data.accumulate_batches", "1", "--model.reference_cache", str(root / "reference")),
        *("--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false", *options),
    ]


@pytest.mark.parametrize(
    ("engine", "device"),
    [
        ("eager", "cpu"),
        pytest.param("eager", "cuda", marks=pytest.mark.gpu),
        pytest.param("compiled", "cuda", marks=pytest.mark.gpu),
    ],
)
def test_the_first_log_point_that_is_not_finite_ends_the_fit(
    engine: str, device: str, base: str, pairs_file: str, tmp_path: Path
) -> None:
    settings = {"accelerator": "gpu", "devices": 1} if device == "cuda" else {}
    trainer = make_trainer(tmp_path, callbacks=[Plant(2)], log_every_n_steps=3, **settings)

    with pytest.raises(NotFiniteError, match=r"after step 3 train/loss is nan.* in 2 steps\. Try"):
        trainer.fit(
            make_module(base, tmp_path, engine=engine), make_data(base, pairs_file, **FIVE_STEPS)
        )

    assert trainer.global_step == 3


@pytest.mark.parametrize(("every", "found_at"), [(1, 4), (3, 6)])
def test_a_checkpoint_of_weights_that_are_not_finite_is_never_written(
    every: int, found_at: int, base: str, pairs_file: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    kept = [LastCheckpoint(run, every), best_checkpoint(run)]
    trainer = make_trainer(
        tmp_path,
        callbacks=[Plant(4), *kept],
        log_every_n_steps=100,
        val_check_interval=3,
        enable_checkpointing=True,
    )

    with pytest.raises(NotFiniteError, match=f"after step {found_at} weights of the adapter"):
        trainer.fit(make_module(base, tmp_path), make_data(base, pairs_file, **FIVE_STEPS))

    assert {path.name for path in run.iterdir()} == {"last.ckpt", "best.ckpt"}
    for path in run.iterdir():
        content = torch.load(path, weights_only=True)
        assert content["global_step"] == 3
        assert all(weight.isfinite().all() for weight in content["state_dict"].values())


def test_a_validation_that_is_not_finite_ends_the_fit_before_best_is_replaced(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    class Spoil(lightning.Callback):
        def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
            pl_module.policy.adapter.data[0] = math.nan

    trainer = make_trainer(
        tmp_path,
        callbacks=[Spoil(), LastCheckpoint(tmp_path, 100), best_checkpoint(tmp_path / "run")],
        enable_checkpointing=True,
    )

    with pytest.raises(NotFiniteError, match="after step 2 val/loss is nan"):
        trainer.fit(make_module(base, tmp_path), make_data(base, pairs_file))

    assert not list(tmp_path.rglob("*.ckpt"))


def test_means_that_are_not_finite_are_not_saved_to_be_resumed(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    class Spoil(lightning.Callback):
        def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
            pl_module.train_means.sums[0] += math.nan

    callbacks = [Spoil(), LastCheckpoint(tmp_path, 1)]
    trainer = make_trainer(tmp_path, callbacks=callbacks, log_every_n_steps=100)

    with pytest.raises(NotFiniteError, match="after step 1 train/loss is nan"):
        trainer.fit(make_module(base, tmp_path), make_data(base, pairs_file))

    assert not list(tmp_path.glob("*.ckpt"))


def test_a_gradient_that_is_not_finite_is_counted_said_and_carried_by_the_checkpoint(
    base: str, pairs_file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, log = make_data(base, pairs_file, **FIVE_STEPS), StepLog()
    caplog.set_level("INFO", logger="fitbot")
    callbacks = [Plant(2, skipped=True), log, LastCheckpoint(tmp_path, 1)]
    trainer = make_trainer(tmp_path, callbacks=callbacks, log_every_n_steps=1, max_epochs=1)

    trainer.fit(make_module(base, tmp_path), data)

    assert log.bad_gradients == trainer.callback_metrics["train/bad_gradients"] == 1
    said = [text for text in caplog.messages if "the gradient of 1 steps was infinite" in text]
    assert len(said) == 1
    assert said[0].startswith("step 2: ")
    resumed = make_module(base, tmp_path)
    make_trainer(tmp_path, max_epochs=1).fit(
        resumed, data, ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    assert resumed.bad_gradients == 1


def test_a_fit_that_diverges_ends_with_status_1_and_exports_nothing(
    base: str, pairs_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    too_high = ("--model.learning_rate", "1e30", "--run.save_every_n_steps", "1")
    often = ("--trainer.val_check_interval", "0.25")

    assert main(quickstart(tmp_path, base, pairs_file, *too_high, *often)) == 1

    said = capsys.readouterr().err
    run = tmp_path / "quickstart"
    for words in (
        *("a lower model.learning_rate than 1e+30", "a lower model.max_grad_norm than"),
        *("another model.beta than", "trainer.precision", "Nothing was exported"),
        f"--ckpt_path {run / 'best.ckpt'} the fit goes on there",
    ):
        assert words in said
    assert "Traceback" not in said
    assert "fitbot chat" not in said
    assert not {path.name for path in run.iterdir()} & {"adapter", "summary.json", "curves.png"}
    last = torch.load(run / "last.ckpt", weights_only=True)
    assert f"last.ckpt of step {last['global_step']} and " in said
    assert all(weight.isfinite().all() for weight in last["state_dict"].values())


def test_weights_that_are_not_finite_at_the_end_are_not_exported(
    base: str,
    pairs_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def spoil(self: StepLog, trainer: Any, pl_module: Any) -> None:
        pl_module.policy.adapter.data[0] = math.inf

    monkeypatch.setattr(StepLog, "on_train_end", spoil)

    assert main(quickstart(tmp_path, base, pairs_file)) == 1

    assert "weights of the adapter are infinite or NaN" in capsys.readouterr().err
    assert not {"adapter", "summary.json"} & {x.name for x in (tmp_path / "quickstart").iterdir()}


def test_an_adapter_that_is_not_finite_cannot_be_exported(base: str, tmp_path: Path) -> None:
    module = make_module(base, tmp_path)
    module.configure_model()
    weights = adapter_of(module)
    next(iter(weights.values()))[0, 0] = math.nan

    with pytest.raises(AdapterError, match="nothing is exported, for weights"):
        export_adapter(tmp_path / "adapter", weights, dict(module.hparams), training={})

    assert not (tmp_path / "adapter").exists()


def test_a_base_that_is_not_finite_is_refused_before_the_first_step() -> None:
    logps = torch.tensor([[-1.0, math.nan]])
    policy = SimpleNamespace(
        logps_without_gradient=lambda _: logps,
        reference_logps=lambda _: logps,
        device=torch.device("cpu"),
        compute_dtype=torch.float16,
    )
    data = SimpleNamespace(pairs_per_step=1, pairs={"train": [0]}, collate=lambda *_: [])
    batch = SimpleNamespace(reference_logps=None)
    runner: Any = SimpleNamespace(
        policy=policy,
        data=data,
        base=SimpleNamespace(base_model="some/base"),
        measure=lambda split, _, of: [of(batch)],
    )

    with pytest.raises(NotFiniteError, match=r"is nan, before any step .* some/base, .* float16"):
        check_first_loss(runner, beta=0.1, resumed=False, reference_cache=Path())


def test_of_a_pair_that_is_not_finite_accuracy_is_no_guess() -> None:
    nothing = torch.zeros(1)
    means = PairMeans()

    means.update(DPOTerms(nothing, nothing * math.nan, nothing), torch.zeros(1, 2))

    assert means.compute()["rewards/accuracies"].isnan()
    assert len(NAMES) == 7


@pytest.mark.parametrize(
    ("changed", "precision", "said"),
    [
        ({}, "32-true", "or another model.beta than 0.1; trainer.precision is 32-true already"),
        ({}, "16-mixed", "or trainer.precision 32-true instead of 16-mixed"),
        ({"max_grad_norm": 0.0}, "32-true", ", model.max_grad_norm 1 or another"),
        ({"loss": "mine.hinge"}, "bf16-mixed", "or another model.loss than mine.hinge"),
    ],
)
def test_the_settings_that_bear_on_it_are_named_with_what_they_are(
    changed: dict[str, Any], precision: str, said: str
) -> None:
    settings = {"learning_rate": 0.01, "max_grad_norm": 1.0, "beta": 0.1, "loss": "sigmoid"}

    trainer = SimpleNamespace(global_step=7, precision=precision)
    module = SimpleNamespace(hparams=settings | changed, trainer=trainer, bad_gradients=0)

    text = str(not_finite("train/loss is nan", module))

    assert text.startswith("after step 7 train/loss is nan, so the fit ends here. Try a lower mod")
    assert said in text


# -- Ctrl-C ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("resumes", [[], ["--ckpt_path", "last"], ["--ckpt_path=best"]])
def test_an_interrupted_fit_says_what_is_saved_and_the_command_that_goes_on(
    resumes: list[str], tmp_path: Path
) -> None:
    args = ["fit", "--config", "my config.yaml", *resumes, "--run.name", "x"]

    before = interrupted(args, tmp_path, 0)
    torch.save({"global_step": 30}, tmp_path / "last.ckpt")
    text = interrupted(args, tmp_path, 1037)

    again = " ".join(["", *resumes, ""])
    assert before == (
        " before the first step was done: nothing was saved or exported. "
        f"To start anew: fitbot fit --config 'my config.yaml'{again}--run.name x"
    )
    assert text == (
        f" after step 1,037: {tmp_path / 'last.ckpt'} of step 30 is saved, nothing was "
        "exported. To go on: fitbot fit --config 'my config.yaml' --run.name x "
        f"--ckpt_path {tmp_path / 'last.ckpt'}"
    )


def test_a_checkpoint_with_objects_of_the_users_is_named_without_its_step(tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    torch.save({"global_step": 30, "callbacks": {"Mine": SimpleNamespace(seen=1)}}, last)

    assert f"after step 31: {last} is saved, nothing was" in interrupted(["fit"], tmp_path, 31)
    assert f"Nothing was exported. {last} from before that is kept" in kept_before(tmp_path)


def test_an_interrupt_while_it_trains_or_exports_leaves_no_half_of_an_adapter(
    base: str,
    pairs_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    args = quickstart(tmp_path, base, pairs_file, "--run.save_every_n_steps", "1")
    with monkeypatch.context() as patch:
        patch.setattr("fitbot.export.adapter.copy_mode", interrupt)
        assert main(args) == 130
    said = capsys.readouterr().err
    run = tmp_path / "quickstart"
    assert f"interrupted after step 5: {run / 'last.ckpt'} of step 5 is saved, nothing" in said
    assert said.count("interrupted") == 1
    assert not {"adapter", "adapter.partial"} & {path.name for path in run.iterdir()}
    again = said.split("To go on: fitbot ")[1].split()
    assert main(again) == 0
    assert (run / "adapter" / "fitbot.json").is_file()
    monkeypatch.setattr(LastCheckpoint, "on_train_batch_end", interrupt)
    capsys.readouterr()

    assert main(args) == 130

    said = capsys.readouterr().err
    assert "interrupted after step 1: nothing was saved or exported. To start anew: " in said
    assert "Traceback" not in said


def test_files_come_to_a_folder_all_or_none(tmp_path: Path) -> None:
    def write(text: str, *, breaks: bool) -> None:
        with all_or_nothing(tmp_path / "adapter") as folder:
            folder.mkdir()
            (folder / "one").write_text(text)
            if breaks:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write("half", breaks=True)
    assert not list(tmp_path.iterdir())

    write("old", breaks=False)
    with pytest.raises(KeyboardInterrupt):
        write("half", breaks=True)
    assert (tmp_path / "adapter" / "one").read_text() == "old"

    (tmp_path / "adapter" / "mine").write_text("stays")
    write("new", breaks=False)

    found = {path.name: path.read_text() for path in (tmp_path / "adapter").iterdir()}
    assert found == {"one": "new", "mine": "stays"}
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_the_summary_counts_parts_of_an_epoch_and_has_the_last_steps_own_learning_rate(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    options = ("--trainer.max_epochs", "2", "--trainer.max_steps", "7", "--model.lr_schedule")
    flat = ("linear", "--model.warmup_ratio", "0", "--model.learning_rate", "7e-5")

    assert main(quickstart(tmp_path, base, pairs_file, *options, *flat)) == 0

    summary = json.loads((tmp_path / "quickstart" / "summary.json").read_text())
    assert summary["epochs"] == pytest.approx(1.4)
    assert summary["learning_rate"] == pytest.approx(1e-5)
    assert summary["bad_gradients"] == 0
