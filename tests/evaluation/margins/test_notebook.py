"""The notebook runs from top to bottom where there is nothing, and as committed it did.

Executed in an empty folder, on a few pairs.
"""

import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "notebooks"
PAIRS = 24
sys.path.insert(0, str(FOLDER))

from execute import NOTEBOOK, execute, sources_hash  # noqa: E402


@pytest.fixture
def committed() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def outputs_of(notebook: Any) -> list[Any]:
    return [
        output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]


@pytest.mark.slow
def test_it_runs_where_nothing_is_there_and_then_finds_the_run_it_made(
    committed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FITBOT_PAIRS", str(PAIRS))
    monkeypatch.delenv("FITBOT_RUN", raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))

    execute(committed, tmp_path)  # raises where a cell does

    told = "".join(output.get("text", "") for output in outputs_of(committed))
    assert "looking at checkpoints/short" in told
    assert f"on {PAIRS} pairs" in told
    assert (tmp_path / "checkpoints" / "short" / "adapter" / "fitbot.json").is_file()
    kinds = [set(output.get("data", {})) for output in outputs_of(committed)]
    assert sum("image/png" in kind for kind in kinds) == 6
    assert sum("text/html" in kind for kind in kinds) == 3


def test_its_outputs_are_of_its_cells_in_order_and_without_an_error(committed: Any) -> None:
    counts = [cell.execution_count for cell in committed.cells if cell.cell_type == "code"]

    assert committed.metadata["executed_sources"] == sources_hash(committed), "run make notebook"
    assert counts == list(range(1, len(counts) + 1))
    assert not [output for output in outputs_of(committed) if output.output_type == "error"]
    assert not [output for output in outputs_of(committed) if output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs_of(committed)) == 6


def test_it_is_small_and_tells_nothing_of_the_machine_that_ran_it(committed: Any) -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    without_pictures = re.sub(r'"image/png": "[^"]*"', "", text)

    assert len(text) < 1_000_000
    assert "looking at checkpoints/quickstart" in text
    assert not re.findall(r"/home/|/root/|/tmp/|site-packages|it/s", without_pictures)
    assert str(NOTEBOOK.resolve().parents[1]) not in text
    assert not [cell for cell in committed.cells if "execution" in cell.metadata]


def test_what_it_says_of_its_own_run_names_no_figures_for_those_are_outputs(committed: Any) -> None:
    text = "\n\n".join(cell.source for cell in committed.cells if cell.cell_type == "markdown")
    about = [paragraph for paragraph in text.split("\n\n") if "*Here*" in paragraph][1:]

    assert len(about) == 9  # after the one that says what they are
    assert not [paragraph for paragraph in about if re.search("[1-9]", paragraph)]
