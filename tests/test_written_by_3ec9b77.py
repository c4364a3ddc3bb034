"""What commit 3ec9b77 wrote still loads: its checkpoint resumes and exports, its adapter serves.

The README.md in the folder beside this file says how they were made.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close

from fitbot.__main__ import main
from tests.serve_fixtures import Start
from tests.tiny_model import write_tiny_model

WRITTEN = Path(__file__).parent / "written_by_3ec9b77"


def weights_in(adapter: Path) -> dict[str, Tensor]:
    return load_file(adapter / "adapter_model.safetensors")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder as that commit left it: its config's paths are relative."""
    write_tiny_model(tmp_path / "base")
    shutil.copytree(WRITTEN / "cut", tmp_path / "runs" / "cut")
    shutil.copy(WRITTEN / "pairs.json", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_run_goes_on_from_its_checkpoint_and_ends_where_it_would_have(folder: Path) -> None:
    assert main(["fit", "--config", "runs/cut/config.yaml", "--ckpt_path", "last"]) == 0

    expected: dict[str, Any] = json.loads((WRITTEN / "straight/summary.json").read_text())
    found = json.loads((folder / "runs/cut/summary.json").read_text())
    kept = ("first_loss", "mean_train_loss")  # of the steps before it was cut off, too
    for name in ("steps", "epochs", "train_loss", "train_margin", "val_loss", "val_margin", *kept):
        assert found[name] == pytest.approx(expected[name], rel=1e-4), name
    assert_close(
        weights_in(folder / "runs/cut/adapter"), weights_in(WRITTEN / "straight/adapter"),
        rtol=1e-3, atol=1e-5,
    )  # fmt: skip


def test_its_checkpoint_exports_the_weights_that_it_holds(folder: Path) -> None:
    assert main(["export", "runs/cut", "--out", "exported"]) == 0

    exported = weights_in(folder / "exported")
    assert exported.keys() == weights_in(WRITTEN / "straight/adapter").keys()
    assert json.loads((folder / "exported/fitbot.json").read_text())["step"] == 5


@pytest.mark.slow
def test_its_adapter_is_served_and_says_what_it_said(start: Start, tmp_path: Path) -> None:
    expected = json.loads((WRITTEN / "straight/answers.json").read_text())
    adapter = WRITTEN / "straight/adapter"
    write_tiny_model(tmp_path / "base")
    server = start(
        f"--adapter={adapter}", "--backend=torch", program=("-m", "fitbot", "serve"), cwd=tmp_path
    )

    for model in ("fitbot", "base"):
        body = {
            "model": model,
            "messages": [{"role": "user", "content": expected["question"]}],
            "temperature": 0,
            "max_tokens": 40,
            "logprobs": True,
        }
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60).json()
        (choice,) = answer["choices"]
        logprobs = [token["logprob"] for token in choice["logprobs"]["content"]]
        assert choice["message"]["content"] == expected[model]["text"]
        assert logprobs == pytest.approx(expected[model]["logprobs"], abs=1e-3)
    assert expected["fitbot"] != expected["base"]  # or the adapter would not show
