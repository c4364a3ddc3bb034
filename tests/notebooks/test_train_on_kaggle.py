"""The notebook for Kaggle and Colab runs on both, as far as this machine can pass for them.

On the embedded model, with few pairs and steps. The platforms' folders are below a temporary one,
and `google.colab` is a fake. What is not tried is pip: fitbot is there already.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

NOTEBOOK = ROOT / "notebooks" / "train_on_kaggle.ipynb"
SHORT = """
BASE = "embedded"
MORE = {{"data.train_limit": 16, "data.val_limit": 4, "trainer.max_steps": {steps},
        "trainer.accelerator": "cpu", "model.reference_cache": "reference"}}
EVALUATE = {{"limit": 4, "questions": 1, "max_new_tokens": 4}}
QUESTIONS = ["What's a \\"rep\\"?"]
"""
CELLS = ["parameters", "install", "where", "pairs", "doctor", "audit", "resume", "fit", "curves"]
CELLS += ["evaluate", "chat", "export"]

# What the notebook takes of google.colab; it leaves a trace of what it was asked.
COLAB = {
    "__init__": "from google.colab import drive, files",
    "drive": "from pathlib import Path\ndef mount(at): Path(at, 'MyDrive').mkdir(parents=True)",
    "files": """
from pathlib import Path
def upload():
    Path("mine.csv").write_text("question,chosen,rejected\\n" + "".join(
        f"Are {n} sets enough?,Yes: {n} sets.,No!\\n" for n in range(16)))
    return {"mine.csv": b""}
def download(name):
    print("to the browser:", name)
""",
}


@pytest.fixture
def committed() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the root of the machine; where notebooks begin is `start`."""
    for name in ("start", "kaggle/working", "kaggle/input", "content"):
        (tmp_path / name).mkdir(parents=True)
    for name, value in {
        "IPYTHONDIR": tmp_path / "ipython",
        "JUPYTER_RUNTIME_DIR": tmp_path / "jupyter",
        "OMP_NUM_THREADS": 1,
        "PYDEVD_DISABLE_FILE_VALIDATION": 1,
        "PYTHONPATH": f"{ROOT}:{tmp_path / 'fake'}",
        "TRITON_INTERPRET": 0,
    }.items():
        monkeypatch.setenv(name, str(value))
    return tmp_path


def tag_of(cell: Any) -> str:
    (tag,) = cell.metadata["tags"]
    return str(tag)


def execute(notebook: Any, machine: Path, settings: str, without: tuple[str, ...] = ()) -> Any:
    """Run the cells of code but some, with other settings; returns outputs by tag."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cells = [cell for cell in cells if tag_of(cell) not in without]
    for cell in cells:
        for folder in ("/kaggle", "/content"):
            cell.source = cell.source.replace(f'"{folder}', f'"{machine}{folder}')
    cells[0].source += settings
    notebook = nbformat.v4.new_notebook(cells=cells)
    where = {"metadata": {"path": str(machine / "start")}}
    NotebookClient(notebook, timeout=300, resources=where).execute()  # raises where a cell does
    return {tag_of(cell): cell.outputs for cell in cells}


def text_of(outputs: list[Any]) -> str:
    return "".join(output.get("text", "") for output in outputs)


def kinds_of(outputs: list[Any]) -> set[str]:
    return {kind for output in outputs for kind in output.get("data", {})}


def test_it_is_committed_without_outputs_and_every_cell_of_code_has_one_tag(committed: Any) -> None:
    cells = [cell for cell in committed.cells if cell.cell_type == "code"]

    assert [tag_of(cell) for cell in cells] == CELLS
    assert [cell for cell in cells if cell.outputs or cell.execution_count] == []


def test_text_stands_before_every_step_and_addresses_are_nobodys(committed: Any) -> None:
    kinds = "".join(cell.cell_type[0] for cell in committed.cells)

    assert kinds.startswith("mm")  # what it shows, then the settings
    assert "ccc" not in kinds
    assert "http" not in NOTEBOOK.read_text(encoding="utf-8")


@pytest.mark.slow
def test_on_kaggle_it_shows_something_in_every_cell_and_goes_on_in_the_next_session(
    committed: Any, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    working, name = machine / "kaggle" / "working", "qwen3_0.6b_finetuning_v2"
    again = nbformat.from_dict(committed)

    shown = execute(committed, machine, SHORT.format(steps=2))

    assert list(shown) == CELLS
    assert [tag for tag, outputs in shown.items() if not outputs] == []
    text = {tag: text_of(outputs) for tag, outputs in shown.items()}
    assert "where   Kaggle" in text["where"]
    assert "\nall works" in text["doctor"]
    assert "question  " in text["pairs"]
    assert "starts from the beginning" in text["resume"]
    assert "first loss 0.6931" in text["fit"]
    assert "image/png" in kinds_of(shown["curves"])
    assert "reward accuracy" in text["evaluate"]
    assert "&lt;h1" in shown["evaluate"][-1].data["text/html"]
    assert 'What\'s a "rep"?' in text["chat"]
    assert text["chat"].count("  with") == 2
    assert f"{name}-exported.zip" in text["export"]
    assert (working / f"{name}-exported" / "adapter_model.safetensors").is_file()
    assert (working / f"{name}-exported.zip").stat().st_size > 10_000

    # The session ended before its last step; its output is an input of the next one.
    earlier = machine / "kaggle" / "input" / "notebooks" / "me" / "train" / "checkpoints"
    shutil.move(working / "checkpoints", earlier)
    (earlier / name / "summary.json").unlink()
    without = ("doctor", "audit", "curves", "evaluate", "chat", "export")
    shown = execute(again, machine, SHORT.format(steps=3), without)

    assert f"goes on from checkpoints/{name}/last.ckpt" in text_of(shown["resume"])
    summary = json.loads((working / "checkpoints" / name / "summary.json").read_text("utf-8"))
    assert summary["steps"] == 3


@pytest.mark.slow
def test_on_colab_own_pairs_are_uploaded_files_stay_on_the_drive_and_the_adapter_comes_back(
    committed: Any, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    fake = machine / "fake" / "google" / "colab"
    fake.mkdir(parents=True)
    for name, source in COLAB.items():
        (fake / f"{name}.py").write_text(source, encoding="utf-8")
    settings = SHORT.format(steps=1) + 'TRAIN = "mine.csv"\nDRIVE = True\n'

    shown = execute(committed, machine, settings, ("doctor", "audit", "curves", "evaluate", "chat"))

    drive = machine / "content" / "drive" / "MyDrive" / "fitbot"
    assert "where   Colab" in text_of(shown["where"])
    assert "train on mine.csv, validate on nothing" in text_of(shown["pairs"])
    assert "Are 0 sets enough?" in text_of(shown["pairs"])
    assert "to the browser: qwen3_0.6b_finetuning_v2-exported.zip" in text_of(shown["export"])
    assert list(drive.glob("checkpoints/*/adapter/fitbot.json"))
