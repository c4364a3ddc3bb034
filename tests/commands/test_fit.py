"""The commands as a person types them: refusals in a few lines, a whole run."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from fitbot.__main__ import main
from fitbot.base_model.settings import LoraSettings
from fitbot.commands.fit import FitbotCLI
from fitbot.dpo.run import LastCheckpoint, RunSettings, new_run_folder, resolve_checkpoint
from fitbot.dpo.run_name import lock_run
from fitbot.errors import AdapterError
from tests.audit.planted import clean_records, write
from tests.conftest import ROOT

CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def quickstart(run_root: Path, *options: str) -> list[str]:
    """Arguments of a run of the shipped default on its first pairs: two epochs of two steps."""
    os.environ["WANDB_MODE"] = "disabled"
    return [
        *("--config", str(ROOT / "configs" / "quickstart.yaml"), "--run.root", str(run_root)),
        *("--data.train_path", str(ROOT / "data" / "fitness_train.json")),
        *("--data.val_path", str(ROOT / "data" / "fitness_val.json")),
        *("--data.train_limit", "16", "--data.val_limit", "4", "--trainer.max_epochs", "2"),
        *("--data.accumulate_batches", "2", "--trainer.log_every_n_steps", "6"),
        *("--model.reference_cache", str(run_root / "reference")),
        *("--trainer.enable_progress_bar", "false", *options),
    ]


def test_an_unknown_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fitt"]) == 2
    assert capsys.readouterr().err == "fitbot: no command 'fitt'; did you mean 'fit'?\n"


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (["fit", "--model.betta", "1"], "model.beta"),
        (["fit", "--data.trainpath", "x"], "data.train_path"),
        (["fit", "--model.learning_rat", "1e-3"], "model.learning_rate"),  # no abbreviation
        (["fit", "--model.lora.rr", "3"], "model.lora.r"),
        (["validate", "--data.val_pat", "x"], "data.val_path"),
        (["export", "x.ckpt", "--merg"], "merge"),
        (["audit", "x.json", "--max_lenght", "9"], "max_length"),
    ],
)
def test_an_unknown_option_is_refused_in_a_few_lines_with_the_nearest_name(
    args: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(args)

    lines = capsys.readouterr().err.strip().splitlines()
    assert stop.value.code == 2
    assert len(lines) <= 8
    assert lines[-1] == f"did you mean {meant!r}?"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            "fit --model.lr_schedule cosin",
            "model.lr_schedule cosin: must be linear, cosine or constant\ndid you mean 'cosine'?",
        ),
        ("fit --run.log_level all", "run.log_level all: must be DEBUG, INFO, WARNING or ERROR"),
        ("fit --model.learning_rate much", "model.learning_rate much: must be a number"),
        ("fit --data.train_limit x", "data.train_limit x: must be a whole number or null"),
        ("fit --model.expand_4bit no-no", "model.expand_4bit no-no: must be true, false or null"),
        ("fit --model.lora.r x", "model.lora.r x: must be a whole number"),
        (
            "fit --model.lora.target_modules 3",
            "model.lora.target_modules 3: must be a list or auto",
        ),
        (
            "fit --trainer.precision 16-true",
            "trainer.precision 16-true: must be auto, 32-true, bf16-mixed, 16-mixed or null"
            "\ndid you mean '32-true'?",
        ),
        ("evaluate --pairs x --limit ten", "--limit ten: must be a whole number"),
        ("serve --host evil", "--host evil: must be 0.0.0.0, 127.0.0.1 or ::"),
    ],
)
def test_a_wrong_value_is_refused_with_what_it_may_be(
    args: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(args.split())

    assert stop.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith(f"error: {message}")


def test_an_unknown_key_in_a_config_is_refused_with_the_nearest_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "typo.yaml").write_text("model:\n  learning_rat: 1.0e-4\n")

    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(tmp_path / "typo.yaml")])

    assert stop.value.code == 2
    assert "did you mean 'model.learning_rate'?" in capsys.readouterr().err


def test_there_are_configs() -> None:
    assert {path.name for path in CONFIGS} >= {
        *("dpo.yaml", "dpo_v1_1.yaml", "dpo_v2.yaml", "smollm2.yaml", "quickstart.yaml"),
        *("t4.yaml", "debug.yaml", "overfit.yaml"),
    }


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_every_config_parses(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(config), "--print_config"])

    assert stop.value.code == 0
    assert "base_model" in capsys.readouterr().out


def test_a_base_may_be_named_from_the_working_folder(
    base: str, pairs_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(base).parent)
    options = ["--model.load_in_4bit", "false", "--data.train_path", pairs_file]
    options += ["--data.val_path", pairs_file, "--trainer.accelerator", "cpu"]
    options += ["--trainer.max_steps", "1", "--run.root", str(tmp_path / "runs")]

    assert main(["fit", "--model.base_model", f"./{Path(base).name}", *options]) == 0


def test_what_cannot_be_is_refused_before_anything_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fitbot.commands.fit.new_run_folder", lambda run: 1 / 0)
    monkeypatch.chdir(tmp_path.parent)
    cases = {
        "--model.backend=unsloth": "set data.layout: rows",
        "--data.max_length=4000": "exceeds model.max_seq_length",
        "--trainer.accumulate_grad_batches=4": "data.accumulate_batches",
        "--data.max_prompt_length=1024": "must exceed data.max_prompt_length",
        "--data.train_path=nowhere.json": "nowhere.json",
        "--data.val_path=nowhere": "nowhere: there is no such file",
        "--model.base_model=./nowhere": "no config.json there",
        f"--model.base_model={tmp_path.name}": "no config.json there",
        "--model.adapter=./nowhere": "nowhere",
        "--model.learning_rate=-1": "model.learning_rate must be > 0, got -1",
        "--model.lora.r=0": "model.lora.r must be >= 1, got 0",
        "--model.warmup_ratio=.nan": "model.warmup_ratio must be in [0, 1], got nan",
        "--data.batch_size=0": "data.batch_size must be >= 1, got 0",
        "--data.train_limit=0": "data.train_limit must be >= 1, got 0",
        "--run.save_every_n_steps=0": "run.save_every_n_steps must be >= 1, got 0",
        "--answers.top_p=0": "answers.top_p must be in (0, 1], got 0",
        "--serve.port=80": "serve.port must be in [1024, 65535], got 80",
        "--trainer.log_every_n_steps=0": "trainer.log_every_n_steps must be >= 1, got 0",
        "--trainer.max_epochs=0": "trainer.max_epochs must be -1 or >= 1, got 0",
        "--trainer.max_steps=0": "trainer.max_steps must be -1 or >= 1, got 0",
        "--trainer.max_steps=-2": "trainer.max_steps must be -1 or >= 1, got -2",
        "--trainer.min_steps=-1": "trainer.min_steps must be >= 0, got -1",
        "--trainer.val_check_interval=0": "give the steps between two validations",
        "--seed_everything=-1": "seed_everything must be in [0, 4294967295], got -1",
        "--model.lora.random_state=-1": "model.lora.random_state must be >= 0, got -1",
        "--model.max_grad_norm=-1": "model.max_grad_norm must be >= 0, got -1",
        "--model.loss=ipo --model.label_smoothing=0.1": "the loss ipo does not get it",
        f"--data.batch_size={10**400}": "data.batch_size must be >= 1, got a number of 401 digits",
        f"--trainer.max_steps={2**63}": "max_steps must be -1 or >= 1, got a number of 19 digits",
        "--ckpt_path=nowhere.ckpt": "--ckpt_path nowhere.ckpt: no such file",
        "--trainer.strategy=dpp": "trainer.strategy 'dpp' is unknown",
        "--trainer.accelerator=gpu --trainer.devices=99": "trainer's settings cannot be used here",
    }
    for option, message in cases.items():
        assert main(["fit", *quickstart(tmp_path / "runs", *option.split())]) == 1, option
        assert message in capsys.readouterr().err, option
    assert not (tmp_path / "runs").exists()


def test_no_setting_of_fitbots_may_be_infinite_or_nan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stop(Exception):
        pass

    def stop(cli: FitbotCLI, *_: Any) -> None:
        raise Stop(cli._subcommand_parsers["fit"].get_defaults())

    with monkeypatch.context() as patch:
        patch.setattr(FitbotCLI, "parse_arguments", stop)
        with pytest.raises(Stop) as stopped:
            FitbotCLI(["fit"])
    settings = vars(stopped.value.args[0].as_flat())
    settings |= {f"model.lora.{name}": value for name, value in asdict(LoraSettings()).items()}
    own = ("model", "data", "run", "answers", "serve")
    numbers = [
        name
        for name, default in settings.items()
        if name.split(".")[0] in own and isinstance(default, float)
    ]
    assert {"model.learning_rate", "model.lora.dropout", "answers.top_p"} <= set(numbers)

    for name in numbers:
        for value in (".inf", "-.inf", ".nan"):
            assert main(["fit", *quickstart(tmp_path / "runs", f"--{name}={value}")]) == 1, name
            assert f"{name} must be " in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_run_root_that_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert main(["fit", *quickstart(tmp_path / "file")]) == 1

    assert f"run.root {tmp_path / 'file'}: " in capsys.readouterr().err


def test_a_fit_that_is_refused_late_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    online = ("--model.reference", "online")  # or there would be a cache
    root = tmp_path / "runs"
    full = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: full)
        assert main(["fit", *quickstart(root, *online)]) == 1
        assert "GiB, and 0.00 are free there" in capsys.readouterr().err
    monkeypatch.setattr("fitbot.dpo.start_checks.FIRST_LOSS_TOLERANCE", {torch.float32: -1.0})
    assert main(["fit", *quickstart(root, *online, "--trainer.precision", "32-true")]) == 1

    assert "must be ln 2" in capsys.readouterr().err
    assert not root.exists()


def test_a_fit_whose_base_is_out_of_reach_leaves_no_folder_and_no_log_of_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    options = ("--model.base_model", "nobody/has-this", "--run.wandb_project", "fitbot")

    assert main(["fit", *quickstart(tmp_path / "runs", *options)]) == 1

    said = capsys.readouterr().err
    assert "base_model 'nobody/has-this'" in said
    assert "wandb: WARNING" not in said
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the quickstart."""
    root = tmp_path_factory.mktemp("runs")
    assert main(["fit", *quickstart(root)]) == 0
    return root / "quickstart"


def test_a_run_leaves_everything_in_its_folder(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    summary = json.loads((run / "summary.json").read_text())

    assert names >= {
        *("config.yaml", "fit.log", "last.ckpt", "best.ckpt", "metrics", "summary.json"),
        *("curves.png", "adapter"),
    }
    assert summary["steps"] == 4
    assert summary["first_loss"] == pytest.approx(0.693147, abs=1e-5)
    assert summary["train_loss"] < summary["first_loss"]
    assert summary["learning_rate"] == pytest.approx(2e-4 / 3)  # the last step's; after it 0
    for key in ("grad_norm", "val_accuracy", "val_margin", "runtime_seconds", "epochs"):
        assert isinstance(summary[key], int | float), key
    log = (run / "fit.log").read_text()
    assert "first loss 0.6931" in log
    assert "[prompt:" in log
    assert "\033" not in log
    assert "memory expected" in log
    assert log.count("audit: ") == 1  # these pairs give nothing away
    assert "nothing stands out" in log
    assert (run / "last.ckpt").stat().st_size < 8_000_000  # adapter and optimizer, never the base


@pytest.mark.slow
def test_the_start_of_a_run_says_that_its_longer_answers_always_win(tmp_path: Path) -> None:
    train = [r | {"chosen": f"{r['chosen']} and more"} for r in clean_records(16)]
    options = ["--data.train_path", write(tmp_path / "train.json", train)]
    options += ["--trainer.max_steps", "1"]

    assert main(["fit", *quickstart(tmp_path / "runs", *options)]) == 0

    log = (tmp_path / "runs" / "quickstart" / "fit.log").read_text()
    assert "only at length scores 1.00 on training pairs (the longer answer)" in log
    assert "nothing stands out" not in log


def test_auto_is_settled_before_the_config_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "config.yaml"

    def stop(cli: FitbotCLI) -> None:
        saved.write_text(cli.settings, encoding="utf-8")
        raise SystemExit(3)

    monkeypatch.setattr("fitbot.commands.fit.precision_for", lambda device: "16-mixed")
    monkeypatch.setattr(FitbotCLI, "instantiate_classes", stop)
    settings = ["--trainer.precision", "auto", "--model.gradient_checkpointing", "null"]

    with pytest.raises(SystemExit, match="3"):
        main(["fit", *quickstart(tmp_path, *settings)])
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(saved), "--print_config"])

    for text in (saved.read_text(), capsys.readouterr().out):
        assert "precision: 16-mixed" in text
        assert "gradient_checkpointing: null" in text
        assert "precision: auto" not in text


def test_the_recipe_leaves_to_the_device_what_depends_on_it() -> None:
    recipe, t4 = ((ROOT / "configs" / f"{name}.yaml").read_text() for name in ("dpo", "t4"))

    for setting in ("precision: auto", "expand_4bit: null", "gradient_checkpointing: null"):
        assert setting in recipe
        assert setting.split(":")[0] in t4
    assert "max_tokens_per_pass: null" in recipe
    assert "precision: 16-mixed" in t4


@pytest.mark.slow
def test_a_short_run_prefers_right_answers_to_questions_it_has_not_seen(tmp_path: Path) -> None:
    options = ("--data.train_limit", "448", "--data.val_limit", "160", "--trainer.max_epochs", "1")

    assert main(["fit", *quickstart(tmp_path, *options, "--data.accumulate_batches", "4")]) == 0

    summary = json.loads((tmp_path / "quickstart" / "summary.json").read_text())
    assert summary["first_loss"] == pytest.approx(0.693147, abs=1e-6)
    assert summary["val_accuracy"] > 0.6  # of 160; 0.5 before


def test_curves_and_csv_agree(run: Path) -> None:
    with (run / "metrics" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))

    assert {row["step"] for row in rows if row["val/loss"]} == {"1", "2", "3", "4"}
    assert {row["step"] for row in rows if row["train/loss"]} == {"1", "4"}


def test_a_second_run_of_the_name_gets_a_folder_of_its_own(run: Path) -> None:
    before = (run / "summary.json").read_text()

    folder = new_run_folder(RunSettings(name="quickstart", root=str(run.parent)))

    assert folder.name == "quickstart-2"
    assert (run / "summary.json").read_text() == before
    folder.rmdir()


def test_validate_and_predict_measure_the_checkpoint_alike(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test_path = [
        "--data.test_path",
        str(ROOT / "data" / "fitness_val.json"),
        "--data.test_limit",
        "4",
    ]
    args = quickstart(run.parent, "--ckpt_path", "last", *test_path)
    summary = json.loads((run / "summary.json").read_text())

    assert main(["validate", *args]) == 0
    shown = capsys.readouterr().out
    assert main(["predict", *args]) == 0

    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    margin = sum(row["margin"] for row in rows) / len(rows)
    assert len(rows) == 4
    assert margin == pytest.approx(summary["val_margin"], abs=1e-3)
    assert f"{summary['val_margin']:.4f}"[:5] in shown
    assert "step" not in shown  # it is the checkpoint's, which measuring does not count


def test_a_refused_resume_changes_no_file(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    before = content()

    for option, message in (
        ("--data.accumulate_batches=1", "cannot resume"),
        ("--model.lora.r=2", "trained with model.lora.r 16, this run has 2"),
        ("--model.optimizer=adamw_8bit", "model.optimizer adamw, this run has adamw_8bit"),
        ("--data.val_limit=3", "by whose loss best.ckpt was chosen"),
        ("--model.learning_rate=-1", "model.learning_rate must be"),
    ):
        assert main(["fit", *quickstart(run.parent, "--ckpt_path", "last", option)]) == 1, option
        assert message in capsys.readouterr().err

    assert content() == before


def test_a_damaged_checkpoint_is_named_with_best_as_the_way_out(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "quickstart"
    shutil.copytree(run, copy)
    last, best = copy / "last.ckpt", copy / "best.ckpt"
    written = last.read_bytes()

    for damaged in (b"", written[: len(written) // 2], written[:5000] + b"?" + written[5001:]):
        last.write_bytes(damaged)
        assert main(["fit", *quickstart(tmp_path, "--ckpt_path", "last")]) == 1
        assert capsys.readouterr().err.splitlines()[-1] == (
            f"fitbot: {last} is damaged, or no checkpoint: its checksum does not fit; "
            f"go on from best.ckpt: --ckpt_path {best}"
        )
        assert main(["export", str(copy)]) == 1
        assert f"checksum does not fit; run fitbot export {best}" in capsys.readouterr().err


def test_a_second_process_on_a_run_is_refused_and_changes_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fitbot.dpo.run_name._PATIENCE", 0.0)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    with lock_run(run, "quickstart"):
        assert main(["fit", *quickstart(run.parent, "--ckpt_path", "last")]) == 1

    owner = f"run quickstart: process {os.getpid()} on "
    assert owner in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_metrics_are_in_the_file_at_every_log_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def look(callback: LastCheckpoint, trainer: Any, *_: Any) -> None:
        (file,) = tmp_path.glob("quickstart/metrics/*/metrics.csv")
        with file.open() as lines:
            seen.append([row["step"] for row in csv.DictReader(lines)])

    monkeypatch.setattr(LastCheckpoint, "on_train_batch_end", look)

    settings = ("--trainer.log_every_n_steps", "1", "--trainer.max_steps", "2")
    assert main(["fit", *quickstart(tmp_path, *settings, "--data.val_path", "null")]) == 0

    assert seen == [["1"], ["1", "2"]]


def test_progress_counts_the_steps_of_the_whole_run_and_measured_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitbot.report.progress._LINE_SECONDS", 0.0)
    monkeypatch.setattr("fitbot.report.progress._LINE_SHARE", 0.0)
    options = ("--trainer.enable_progress_bar", "true", "--trainer.max_steps", "3")
    every_epoch = ("--trainer.val_check_interval", "1.0")

    assert main(["fit", *quickstart(tmp_path, *options, *every_epoch)]) == 0

    log = (tmp_path / "quickstart" / "fit.log").read_text()
    steps = re.findall(r": fit: (\d) of 3, .*loss 0\.\d{3} acc .* margin .* pairs/s\n", log)
    assert steps == ["1", "2", "3"]
    assert log.count("val pairs: 4 of 4") == 2


@pytest.mark.slow
def test_resuming_by_last_goes_on_in_the_runs_folder(tmp_path: Path) -> None:
    """Killed after step 3 of 4 in another process, resumed here: the unbroken run's weights."""
    every_step = ("--run.save_every_n_steps", "1", "--model.reference", "cached")
    assert main(["fit", *quickstart(tmp_path / "a", *every_step)]) == 0
    killer = (
        "import os, lightning\n"
        "from fitbot.dpo.run import LastCheckpoint\n"
        "save = LastCheckpoint.on_train_batch_end\n"
        "def save_and_die(self, trainer, *args):\n"
        "    save(self, trainer, *args)\n"
        "    if trainer.global_step == 3: os._exit(9)\n"
        "LastCheckpoint.on_train_batch_end = save_and_die\n"
        "import sys; from fitbot.__main__ import main; main(sys.argv[1:])\n"
    )
    args = quickstart(tmp_path / "b", *every_step, "--ckpt_path", "last")
    died = subprocess.run([sys.executable, "-c", killer, "fit", *args], capture_output=True)
    assert died.returncode == 9, died.stderr.decode()[-2000:]

    assert main(["fit", *args]) == 0

    assert [path.name for path in (tmp_path / "b").iterdir() if path.name != "reference"] == [
        "quickstart"
    ]
    broken = torch.load(tmp_path / "b" / "quickstart" / "last.ckpt", weights_only=True)
    whole = torch.load(tmp_path / "a" / "quickstart" / "last.ckpt", weights_only=True)
    for name, weight in whole["state_dict"].items():
        assert torch.equal(broken["state_dict"][name], weight), name
    one, other = (
        json.loads((tmp_path / x / "quickstart" / "summary.json").read_text()) for x in "ab"
    )
    for key in ("first_loss", "train_loss", "mean_train_loss", "val_margin", "grad_norm"):
        assert one[key] == other[key], key


def test_the_command_line_wins_over_a_checkpoints_own_settings(run: Path) -> None:
    # LightningCLI's own rule is the reverse, and silent
    args = quickstart(run.parent, "--ckpt_path", str(run / "last.ckpt"), "--model.beta", "0.7")

    cli = FitbotCLI(["validate", *args])

    assert cli.model.objective.beta == 0.7


def test_lightning_may_not_wrap_our_samplers(run: Path) -> None:
    cli = FitbotCLI(["validate", *quickstart(run.parent)])

    assert cli.trainer._accelerator_connector.use_distributed_sampler is False


def test_last_of_a_run_that_has_none_starts_it_and_best_is_refused(tmp_path: Path) -> None:
    settings = RunSettings(name="new", root=str(tmp_path))

    assert resolve_checkpoint(settings, "last") is None
    with pytest.raises(AdapterError, match=r"no run 'new' .* has a best\.ckpt"):
        resolve_checkpoint(settings, "best")


def test_what_export_writes_can_be_asked_and_trained_on_in_its_own_shape(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    assert main(["export", str(run), "--out", first]) == 0

    assert main(["chat", "--adapter", first, "--max_new_tokens", "4", "--ask", "Hi?"]) == 0
    # the settings say rank 2; the adapter that the run goes on from has rank 16
    options = ("--model.adapter", first, "--model.lora.r", "2", "--trainer.max_steps", "1")
    assert main(["fit", *quickstart(tmp_path, *options)]) == 0
    assert main(["export", str(tmp_path / "quickstart"), "--out", second]) == 0

    config = json.loads((tmp_path / "second" / "adapter_config.json").read_text())
    assert config["r"] == 16
    told = json.loads((tmp_path / "second" / "fitbot.json").read_text())
    assert told["answers"]["temperature"] == 0.7
    summary = json.loads((tmp_path / "quickstart" / "summary.json").read_text())
    assert abs(summary["first_loss"] - 0.6931) < 0.05  # dropout is on in training


def test_chat_answers_in_one_line_for_scripts(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = ["--adapter", str(run / "adapter"), "--max_new_tokens", "8"]

    assert main(["chat", *adapter, "--ask", "How much protein?"]) == 0
    first = capsys.readouterr().out
    assert main(["chat", *adapter, "--ask", "How much protein?"]) == 0

    assert first.strip()
    assert capsys.readouterr().out == first  # the same seed, the same answer


def test_chat_does_not_ask_the_model_about_an_emergency(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["chat", "--adapter", str(run / "adapter"), "--max_new_tokens", "8"]
    question = "I have crushing chest pain. Which exercise next?"

    assert main([*ask, "--ask", question]) == 0
    assert capsys.readouterr().out.startswith("Stop exercising now")
    assert main([*ask, "--raw", "--ask", question]) == 0
    assert "emergency number" not in capsys.readouterr().out


def test_chat_without_an_adapter_asks_the_latest_run_or_else_the_embedded_model(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ask = ["chat", "--max_new_tokens", "8", "--ask", "Are lentils vegan?"]

    assert main(ask) == 0
    alone = capsys.readouterr()
    for name in ("older", "newer"):
        shutil.copytree(run / "adapter", tmp_path / "checkpoints" / name / "adapter")
    os.utime(tmp_path / "checkpoints" / "older" / "adapter" / "fitbot.json", (0, 0))
    assert main(ask) == 0

    assert alone.out.strip()
    assert "the embedded model answers" in alone.err
    newer = Path("checkpoints", "newer", "adapter")
    assert f"named: {newer} answers" in capsys.readouterr().err
    assert main([*ask, "--base"]) == 0
    assert f"the base of {newer} answers" in capsys.readouterr().err


def settings_of(run: Path) -> Any:
    return json.loads((run / "adapter" / "fitbot.json").read_text())


def test_the_exported_adapter_carries_the_recipes_answer_and_serve_settings(run: Path) -> None:
    told = settings_of(run)

    assert told["answers"]["temperature"] == 0.7
    assert told["serve"]["port"] == 8000
    assert told["metrics"]["steps"] == 4
