"""configs/dpo_v2.yaml and docs/explanation/recipe.md say what was measured; where results lay."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from fitbot.dpo.losses import LOSSES
from fitbot.dpo.module import DPOModule
from tests.conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import recipe
import recipe_tables
from train import without_folders

RESULTS = ROOT / "benchmarks" / "results"


def read(name: str, day: str = "2026-11-23") -> list[dict[str, Any]]:
    return recipe_tables.read(RESULTS / f"recipe_{name}_h200_{day}.json")


def setting(config: dict[str, Any], name: str) -> Any:
    for part in name.split("."):
        config = config.get(part, {})
    return config


def test_the_config_is_the_run_that_validation_chose() -> None:
    chosen = recipe_tables.choose(read("search") + read("refine"))
    published, ours = (
        yaml.safe_load(Path(ROOT / "configs" / name).read_text())
        for name in ("dpo.yaml", "dpo_v2.yaml")
    )

    for name, value in chosen["settings"].items():
        assert setting(ours, name) == value, name
    changed = {
        f"{part}.{name}"
        for part in ("model", "trainer")
        for name in ours[part]
        if ours[part][name] != published[part].get(name)
    }
    assert changed <= chosen["settings"].keys()


def test_the_document_holds_the_tables_that_the_results_give() -> None:
    text = (ROOT / "docs" / "explanation" / "recipe.md").read_text()

    second = read("second_edition", "2026-12-01")
    tables = recipe_tables.tables(read("search") + read("refine"), read("final"), second)

    lines = [line for line in tables.splitlines() if line]
    assert len(lines) > 90
    assert [line for line in lines if line not in text] == []


def test_results_tell_no_paths_of_the_machines_that_made_them() -> None:
    typed = "python benchmarks/train.py --model /a/b/q06 --out=/r/x.json --data data/fitness.json"
    shown = "python benchmarks/train.py --model q06 --out=x.json --data data/fitness.json"

    assert without_folders(typed) == shown
    path = r"[\"\s=]/(?!pytorch/)(?:\w[\w.-]*/)+\w[^\s\"]*"  # there torch itself was compiled
    for file in RESULTS.iterdir():
        assert not re.findall(path, file.read_text()), file.name


@pytest.mark.parametrize("what", ["losses", "before"])
def test_every_run_of_these_is_one_that_a_fit_takes(what: str) -> None:
    args: Any = SimpleNamespace(
        what=what, only=None, records=32, model="embedded", questions=4, published=None
    )
    model = yaml.safe_load(Path(ROOT / "configs" / "dpo_v2.yaml").read_text())["model"]
    fits = []

    for run in recipe.plan(args):
        todo = recipe.commands(run, args, Path("folder"))
        assert list(todo)[-2:] == ["fit", "evaluation"]
        for command in todo.values():
            if "fit" in command:
                words = command[command.index("--config") + 2 :]
                told = dict(zip(words[::2], map(yaml.safe_load, words[1::2]), strict=True))
                ours = {
                    name.removeprefix("--model."): value
                    for name, value in told.items()
                    if name.startswith("--model.") and name.count(".") == 1
                }
                fits.append(told)
                DPOModule(**(model | ours | {"adapter": None}))  # refuses what a loss does not read

    if what == "losses":
        assert {one.get("--model.loss", "sigmoid") for one in fits} == LOSSES.keys()
    else:
        going_on = [one for one in fits if "--model.adapter" in one]
        assert len(fits) == 4 * len(going_on) == 12
        assert {one["--model.adapter"] for one in going_on} == {"folder/before0/adapter"}
        assert all("--model.loss" not in one for one in going_on)


def test_the_table_has_a_row_for_all_seeds_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "figures", lambda run: run["found"])
    base = {"greedy pass, base": 0.1, "sampled pass, base": 0.2}
    runs = [
        {"name": f"DPO, {seed}", "of": "DPO", "found": base | {"all": 0.5 + seed / 10}}
        for seed in (1, 3)
    ]

    found = recipe.table([*runs, {"name": "x", "failed": "why"}]).splitlines()

    assert found[2] == "| base |  |  | 0.100 | 0.200 |  |"
    assert found[3] == "| DPO | 0.700 [0.600, 0.800] |  |  |  |  |"
    assert len(found) == 4
