"""A base that a run named by a relative path: found from any folder, refused if it is another."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftConfig
from safetensors.torch import load_file, save_file

from fitbot.__main__ import main
from fitbot.base_model.base_files import base_hash
from fitbot.dpo.run import LastCheckpoint
from fitbot.errors import AdapterError, ConfigError
from fitbot.evaluation.models import Overrides, resolve_models
from fitbot.export.adapter import load_checkpoint
from fitbot.export.vllm import write_deployment
from fitbot.generation.loading import add_adapter, open_engine
from tests.conftest import make_data, make_module, make_trainer
from tests.tiny_model import write_tiny_model


@pytest.fixture
def run(base: str, pairs_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a step was trained on "models/base", and from which we went elsewhere."""
    shutil.copytree(base, tmp_path / "models" / "base")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    train("models/base", pairs_file, tmp_path)
    assert main(["export", "last.ckpt", "--out", "adapter"]) == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def train(base: str, pairs_file: str, folder: Path, *, adapter: str | None = None) -> None:
    """Train one step more than was trained before."""
    before = folder / "last.ckpt"
    steps = torch.load(before, weights_only=True)["global_step"] + 1 if before.exists() else 1
    trainer = make_trainer(folder, max_steps=steps, callbacks=[LastCheckpoint(folder, 1)])
    data = make_data(base, pairs_file, batch_size=2, accumulate_batches=1)
    resumed: dict[str, Any] = {"ckpt_path": before, "weights_only": True} if before.exists() else {}
    trainer.fit(make_module(base, folder, adapter=adapter), data, **resumed)


def test_it_is_found_from_another_working_folder_by_whoever_needs_it(run: Path) -> None:
    adapter, base = run / "adapter", str(run / "models" / "base")

    metadata = json.loads((adapter / "fitbot.json").read_text())
    words = shlex.split(write_deployment(adapter, "vllm").read_text(), comments=True)

    assert metadata["base_model"] == metadata["settings"]["base_model"] == base
    assert metadata["base_sha256"] == base_hash(base)
    assert load_checkpoint(run / "last.ckpt")["base_sha256"] == base_hash(base)
    assert PeftConfig.from_pretrained(adapter).base_model_name_or_path == base
    assert words[words.index("serve") + 1] == base
    assert resolve_models([str(adapter)], Overrides()).base_model == base
    assert main(["export", str(run / "last.ckpt"), "--out", "again"]) == 0
    assert main(["export", str(run / "last.ckpt"), "--merge", "--drift_pairs", "2"]) == 0
    open_engine(adapter, slots=1, context=64).close()


def test_another_base_at_the_same_path_is_refused_by_whoever_loads_it(
    run: Path, pairs_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, base = run / "adapter", str(run / "models" / "base")
    engine = open_engine(adapter, slots=1, context=64, more_adapters=1)
    write_tiny_model(run / "models" / "base", seed=1)

    for load in (
        lambda: open_engine(adapter),
        lambda: add_adapter(engine, "more", adapter),
        lambda: resolve_models([str(adapter)], Overrides()),
        lambda: write_deployment(adapter, "vllm"),
        lambda: make_module(base, run, adapter=str(adapter)).configure_model(),
    ):
        with pytest.raises(AdapterError, match=r"adapter was not trained on what base_model '/"):
            load()
    engine.close()
    with pytest.raises(AdapterError, match=r"model\.base_model '/.*' holds other weights"):
        train(base, pairs_file, run)
    for more in ([], ["--merge"], ["--gguf", "f32"]):
        assert main(["export", str(run / "last.ckpt"), *more]) == 1
        assert "last.ckpt was not trained on what base_model" in capsys.readouterr().err


def test_a_run_goes_on_where_its_base_was_moved_and_where_it_is_the_same(
    run: Path, pairs_file: str
) -> None:
    moved = shutil.move(run / "models", run / "elsewhere" / "models")

    train("models/base", pairs_file, run)

    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"]["base_model"] == str(Path(moved) / "base")
    for load in (
        lambda: open_engine(run / "adapter"),
        lambda: resolve_models([str(run / "adapter")], Overrides()),
        lambda: write_deployment(run / "adapter", "vllm"),
    ):
        with pytest.raises(ConfigError, match=r"^base_model '/.*/models/base': no config\.json th"):
            load()


def test_another_adapter_where_the_reference_lay_is_refused(
    run: Path, pairs_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run)
    (run / "last.ckpt").unlink()
    train("models/base", pairs_file, run, adapter="adapter")
    assert main(["export", "last.ckpt", "--out", "second"]) == 0
    monkeypatch.chdir(run / "elsewhere")
    (model,) = resolve_models([str(run / "second")], Overrides()).adapters

    file = run / "adapter" / "adapter_model.safetensors"
    save_file({name: one + 1 for name, one in load_file(file).items()}, file)
    (run / "adapter" / "fitbot.json").unlink()  # which would have told at once

    assert model.reference == str(run / "adapter")
    with pytest.raises(AdapterError, match=r"model\.adapter '/.*' holds other weights"):
        train(str(run / "models/base"), pairs_file, run, adapter=str(run / "adapter"))
    with pytest.raises(AdapterError, match=r"its reference, and .* holds other weights now"):
        resolve_models([str(run / "second")], Overrides())
