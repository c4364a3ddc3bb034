"""What goes wrong in a fit, from Lightning's settings to a full disk: a sentence, and a log."""

import errno
import os
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from lightning import Callback

from fitbot.__main__ import main
from fitbot.base_model.checkpoint_file import save_with_checksum
from tests.conftest import ROOT


class Touchy(Callback):
    """A callback whose constructor raises, or which does so after a step."""

    def __init__(self, now: bool = True):
        if now:
            raise OSError("no such camera")

    def on_train_batch_end(self, *_: Any) -> None:
        raise KeyError("camera")


def words(base: str, pairs_file: str, root: Path, *more: str) -> list[str]:
    """Arguments of a fit: two steps of a pair, saved after each."""
    return [
        *("fit", "--config", str(ROOT / "configs" / "quickstart.yaml")),
        *("--run.root", str(root), "--run.save_every_n_steps", "1"),
        *("--run.sample_every_n_steps", "null", "--model.base_model", base),
        *("--model.reference", "online", "--model.reference_cache", str(root / "reference")),
        *("--data.train_path", pairs_file, "--data.val_path", "null"),
        *("--data.train_limit", "2", "--data.batch_size", "1", "--data.accumulate_batches", "1"),
        *("--trainer.val_check_interval", "1.0", "--trainer.enable_progress_bar", "false"),
        *more,
    ]


CALLBACK = '[{"class_path": "%s", "init_args": %s}]'
TOUCHY = f"{__name__}.Touchy"
STOPPING = "lightning.pytorch.callbacks.EarlyStopping"
BEST = "lightning.pytorch.callbacks.ModelCheckpoint"


@pytest.mark.filterwarnings("ignore:You passed `Trainer.accelerator='cpu'")
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--data.val_path", "{pairs}", "--trainer.val_check_interval", "3"],
            "trainer.val_check_interval is 3, but an epoch of these pairs, data.batch_size and "
            "data.accumulate_batches has 2 steps; set it to at most that",
        ),
        (["--trainer.limit_train_batches", "0"], "the fit would have no step: raise "),
        (["--trainer.limit_train_batches", "0.1"], "limit_train_batches is 0.1, less than one ste"),
        (["--trainer.max_steps", "0"], "fitbot: "),
        (["--trainer.max_epochs", "0"], "fitbot: "),
        (["--trainer.max_time", "00:00:00:00"], "no step was made, so nothing was learned"),
        (["--trainer.callbacks", CALLBACK % (TOUCHY, "{}")], f"{TOUCHY}, which the settings name"),
        (["--trainer.callbacks", CALLBACK % (STOPPING, '{"monitor": "x"}')], "metric `x`"),
        (["--trainer.callbacks", CALLBACK % (STOPPING, '{"monitor": "x", "mode": "y"}')], "`mode`"),
        (["--trainer.callbacks", CALLBACK % (BEST, '{"save_top_k": -5}')], "save_top_k=-5"),
        (["--trainer.precision", "16-mixed"], "trainer.precision 16-mixed is not for this device"),
        (["--trainer.accelerator", "tpu"], "trainer's settings cannot be used here: "),
        (["--trainer.accelerator", "abacus"], "trainer's settings cannot be used here: "),
        (["--trainer.devices", "0"], "trainer's settings cannot be used here: "),
        (["--trainer.devices", "x"], "trainer's settings cannot be used here: "),
        (["--trainer.profiler", "x"], "trainer's settings cannot be used here: "),
        (["--trainer.limit_val_batches", "-1"], "trainer's settings cannot be used here: "),
        (["--trainer.val_check_interval", "1.5"], "trainer's settings cannot be used here: "),
        (["--trainer.barebones", "true"], "trainer's settings cannot be used here: "),
        (["--run.wandb_project", "a/b/c"], "run.wandb_project 'a/b/c': must be project or entity/"),
        (["--run.wandb_project", "a:b"], "run.wandb_project 'a:b': must be project or entity/"),
        (["--run.wandb_project", 129 * "a"], "at most 128 characters"),
        (["--model.lora.target_modules", "[q_proj, qq]"], "no linear layer is called 'qq'"),
        (["--model.reference", "cached", "--model.reference_cache", "{file}"], "fitbot: {file}"),
    ],
)
def test_a_fit_that_cannot_be_is_refused_in_a_sentence(
    more: list[str],
    message: str,
    base: str,
    pairs_file: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    places = {"{pairs}": pairs_file, "{file}": str(tmp_path / "file")}
    more = [places.get(word, word) for word in more]

    assert main(words(base, pairs_file, tmp_path / "runs", *more)) == 1

    said = capsys.readouterr().err
    assert message.replace("{file}", places["{file}"]) in said.rstrip().splitlines()[-1]
    assert "(a bug" not in said
    assert "Traceback" not in said


def test_a_full_disk_leaves_the_last_checkpoint_whole_and_says_how_to_go_on(
    base: str,
    pairs_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    saved: list[dict[str, Any]] = []

    def until_it_is_full(checkpoint: dict[str, Any], file: IO[bytes]) -> None:
        saved.append(checkpoint)
        if len(saved) > 1:
            file.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save_with_checksum(checkpoint, file)

    monkeypatch.setattr("fitbot.dpo.run.save_with_checksum", until_it_is_full)

    assert main(words(base, pairs_file, tmp_path / "runs")) == 1

    last = tmp_path / "runs" / "quickstart" / "last.ckpt"
    said = capsys.readouterr().err.rstrip().splitlines()[-1]
    assert "No space left on device; free some space there" in said
    assert said.endswith(f"the same command with --ckpt_path last goes on from {last}")
    assert torch.load(last, weights_only=True)["global_step"] == 1
    assert not list(last.parent.glob("*.partial"))


def test_the_runs_log_has_the_traceback_that_the_terminal_is_spared(
    base: str, pairs_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    callback = CALLBACK % (TOUCHY, '{"now": false}')

    assert main(words(base, pairs_file, tmp_path, "--trainer.callbacks", callback)) == 1

    said = capsys.readouterr().err
    line = said.rstrip().splitlines()[-1]
    log = (tmp_path / "quickstart" / "fit.log").read_text()
    assert "Traceback" not in said
    assert line.startswith(f"fitbot: {Path(__file__)}, line ")
    assert line.endswith(": KeyError: 'camera'; that code is none of fitbot's")
    assert "Traceback (most recent call last):" in log
    assert "in on_train_batch_end" in log
    assert log.rstrip().endswith("KeyError: 'camera'")


def test_a_log_that_cannot_be_written_any_more_is_no_traceback_on_the_terminal(
    base: str,
    pairs_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no full device")
    monkeypatch.setattr("fitbot.dpo.run._LogFile._open", lambda self: full.open("w"))

    assert main(words(base, pairs_file, tmp_path, "--trainer.max_steps", "1")) == 0

    assert "Logging error" not in capsys.readouterr().err
