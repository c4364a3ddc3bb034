"""`make reproduce` goes all the way on a CPU, with the embedded model, and ends in a page."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fitbot.__main__ import main
from fitbot.base_model.adapter_files import read_adapter
from fitbot.base_model.provenance import provenance_of
from tests.conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import reproduce


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def report(name: str, perplexity: float, passes: float) -> dict[str, Any]:
    return {
        "model": {"name": name},
        "drift": {"perplexity": perplexity},
        "answers": {"greedy": {"passes": estimate(passes)}},
    }


def test_the_page_has_base_runs_and_rules() -> None:
    rule = {"rule": "longer", "accuracy": 0.5, "low": 0.4, "high": 0.6}
    figures = {"rewards/accuracies": estimate(0.7)}
    group = {
        **{"pairs": 894, "rules": [rule], "question_rules": []},
        "figures": {"base": {}, "dpo-fitness": figures},
    }
    models = [report("base", 50.0, 0.1), report("dpo-fitness", 45.0, 0.2)]

    page = reproduce.page_of(
        {
            **{"command": "python x", "base": "b", "rehearsal": False, "skipped": ["Skipped: y"]},
            "machine": {"commit": "abc", "gpu": "a GPU"},
            "runs": {"dpo-fitness": {"steps": 4875, "seconds": 90.0, "gib": 4.389}},
            "evaluations": {"fitness": {"groups": [group], "models": models}},
        }
    )

    lines = page.splitlines()
    assert "| base |  |  |  |  | 0.100 [0.000, 0.200] |  |" in lines
    tuned = "| dpo-fitness | 4875 | 1.5 | 4.39 | 0.700 [0.600, 0.800] | 0.200 [0.100, 0.300] |"
    assert f"{tuned} -10.0% |" in lines
    assert "| a rule: longer |  |  |  | 0.500 [0.400, 0.600] |  |  |" in lines
    assert "Skipped: y." in lines


def test_published_pairs_are_judged_by_their_validation_pairs() -> None:
    args: Any = SimpleNamespace(published=["owner/pairs:train", "v.json"], rehearse=False)
    args.model, args.out = "m", Path("out")

    settings = reproduce.settings_of("published", args)

    assert settings["data.train_path"] == "owner/pairs:train"
    assert settings["data.train_limit"] == 4200
    assert reproduce.pairs_of(args)["published"]["judged"] == "v.json"


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    command = [sys.executable, str(ROOT / "benchmarks" / "reproduce.py"), "--out", str(tmp_path)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "is not empty; name a new folder" in done.stderr


@pytest.mark.slow
def test_a_rehearsal_ends_in_a_page(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, str(ROOT / "benchmarks" / "reproduce.py"), "--rehearse"]

    done = subprocess.run(
        [*command, "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    page = (out / "reproduced.md").read_text()
    told = json.loads((out / "reproduced.json").read_text())
    assert page in done.stdout
    expected = {f"{preset}-fitness" for preset in reproduce.PRESETS}
    assert told["runs"].keys() == expected
    assert all(run["steps"] == 3 for run in told["runs"].values())
    assert all(f"| {name} | 3 |" in page for name in expected)
    assert "Skipped: TRL" in page
    assert str(tmp_path) not in page


@pytest.mark.slow
def test_trl_trains_what_its_twin_was_trained_on_and_fitbot_reads_it(
    base: str, pairs_file: str, tmp_path: Path
) -> None:
    pytest.importorskip("trl")
    words = ["--model.base_model", base, "--data.train_path", pairs_file, "--data.val_path", "null"]
    words += ["--run.root", str(tmp_path), "--run.name", "dpo", "--run.wandb_project", "null"]
    words += ["--data.train_limit", "2", "--trainer.max_steps", "1"]
    assert main(["fit", "--config", "dpo", *words]) == 0
    script = str(ROOT / "benchmarks" / "reproduce.py")
    twin, out = tmp_path / "dpo" / "adapter", tmp_path / "trl"

    done = subprocess.run(
        [sys.executable, script, "--trl", str(twin), "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((out / "trl.json").read_text())["steps"] == 1
    ours, theirs = read_adapter(twin), read_adapter(out / "adapter")
    assert ours.keys() == theirs.keys()
    assert provenance_of(out / "adapter")["data"] == provenance_of(twin)["data"]
