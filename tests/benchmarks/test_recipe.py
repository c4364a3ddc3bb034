"""configs/dpo_v2.yaml and docs/explanation/recipe.md say what was measured; where results lay."""

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
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
