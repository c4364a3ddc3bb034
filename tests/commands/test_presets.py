"""`fitbot presets`, presets as --config, and that their shared settings are the same."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fitbot.__main__ import main
from fitbot.shipped import preset, presets
from tests.conftest import ROOT

CODE = "import sys; from fitbot.__main__ import main; sys.exit(main(sys.argv[1:]))"


def settings_of(capsys: pytest.CaptureFixture[str], *configs: str) -> dict[str, Any]:
    """Return what a command line's configs come to, by dotted names."""
    words = [word for config in configs for word in ("--config", config)]
    with pytest.raises(SystemExit) as stop:
        main(["fit", *words, "--print_config"])
    assert stop.value.code == 0
    return flat(yaml.safe_load(capsys.readouterr().out))


def flat(settings: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        one = {before + name: value}
        found |= flat(value, f"{before}{name}.") if isinstance(value, dict) else one
    return found


def changed(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    names = one.keys() | other.keys()
    return {name for name in names if one.get(name, ...) != other.get(name, ...)}


def test_they_are_listed_with_what_each_is_in_80_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["presets"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[: len(presets())]] == list(presets())
    assert all(len(line) <= 80 for line in lines[: len(presets())])


def test_one_is_printed_as_it_is_to_be_edited(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "dpo_v2"]) == 0
    assert capsys.readouterr().out == (ROOT / "configs" / "dpo_v2.yaml").read_text()
    assert main(["presets", "dpo_v3"]) == 1
    assert "did you mean 'dpo_v2'?" in capsys.readouterr().err


def test_a_name_and_a_path_are_the_same_config(capsys: pytest.CaptureFixture[str]) -> None:
    by_path = settings_of(capsys, str(ROOT / "configs" / "dpo.yaml"))

    assert settings_of(capsys, "dpo") == by_path
    assert by_path["model.base_model"] == "unsloth/Qwen3-0.6B-unsloth-bnb-4bit"


def test_an_overlay_brings_along_what_it_lies_on_unless_something_is_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    alone = settings_of(capsys, "debug")
    on_dpo = settings_of(capsys, "dpo", "debug")

    assert alone == settings_of(capsys, "quickstart", "debug")
    assert (alone["model.base_model"], alone["run.name"]) == ("embedded", "debug")
    assert on_dpo["model.base_model"].startswith("unsloth/")
    assert on_dpo["trainer.limit_train_batches"] == 3


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_a_name_that_is_neither_file_nor_preset_is_refused_with_the_nearest(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--config", "quickstar"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(
        "fitbot: quickstar: there is no such file and no such preset; did you mean 'quickstart'?"
    )


def test_recipes_differ_where_they_mean_to(capsys: pytest.CaptureFixture[str]) -> None:
    dpo, follow_up, ours = (
        flat(yaml.safe_load(preset(name).read_text())) for name in ("dpo", "dpo_v1_1", "dpo_v2")
    )

    assert changed(dpo, follow_up) == {
        *("run.name", "model.learning_rate", "model.lr_schedule", "model.warmup_ratio"),
        *("trainer.max_epochs", "trainer.val_check_interval", "trainer.check_val_every_n_epoch"),
    }
    assert changed(dpo, ours) == {
        *("run.name", "run.stop_when_saturated", "trainer.max_epochs", "trainer.log_every_n_steps"),
        *("model.learning_rate", "model.label_smoothing", "model.nll_weight", "model.optimizer"),
        *("data.train_path", "data.val_path", "data.train_limit", "data.val_limit"),
        "data.batch_size",
    }
    small = settings_of(capsys, "smollm2")
    assert changed(small, settings_of(capsys, "dpo_v2")) == {
        *("run.name", "run.wandb_project", "model.base_model"),
    }
    assert small["model.base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_quickstart_begins_in_an_empty_folder(tmp_path: Path) -> None:
    words = ["fit", "--config", "quickstart", "--data.train_limit", "16", "--data.val_limit", "4"]
    words += ["--trainer.max_steps", "1", "--run.sample_every_n_steps", "null"]

    done = subprocess.run(
        [sys.executable, "-c", CODE, *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )

    assert done.returncode == 0, done.stderr[-2000:]
    told = "fitness_train.json is not in this folder: taken from fitbot's own"
    assert done.stderr.count(told) == 1
    assert (tmp_path / "checkpoints" / "quickstart" / "adapter" / "fitbot.json").is_file()
