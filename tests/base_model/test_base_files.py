"""The hash of a base: the same for the same weights, another for any other base."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from fitbot.base_model import base_files
from fitbot.base_model.base_files import base_hash, check_base
from fitbot.errors import AdapterError, ConfigError
from tests.tiny_model import write_tiny_model


@pytest.fixture
def copy(base: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "copy"))


def change_config(folder: Path, **settings: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def test_the_same_weights_have_one_hash_however_they_are_stored(base: str, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.save_pretrained(tmp_path / "shards", max_shard_size="200KB")
    shutil.copy(Path(base) / "config.json", tmp_path / "shards")
    change_config(tmp_path / "shards", transformers_version="99", _name_or_path="elsewhere")

    assert len([*(tmp_path / "shards").glob("*.safetensors")]) > 1
    assert base_hash(str(tmp_path / "shards")) == base_hash(base)


def test_a_base_of_one_other_number_or_setting_has_another_hash(base: str, copy: Path) -> None:
    hashes = {base_hash(base), base_hash(str(write_tiny_model(copy.parent / "other", seed=1)))}
    for name in ("model.layers.1.mlp.up_proj.weight", "model.norm.weight"):
        tensors = load_file(Path(base) / "model.safetensors")
        last = tensors[name].view(-1)[-1:]
        last += 1e-3
        save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
        hashes.add(base_hash(str(copy)))
    change_config(copy, rms_norm_eps=1e-4)
    hashes.add(base_hash(str(copy)))

    assert len(hashes) == 5


def test_of_a_large_tensor_pieces_from_its_beginning_to_its_end_are_hashed(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_files, "_PIECE", 64)
    file, name = copy / "model.safetensors", "model.layers.0.mlp.up_proj.weight"
    tensors = load_file(file)
    one_row = tensors[name].shape[1] * 4
    rows_between_pieces = tensors[name].nbytes // 16 // one_row
    hashes = {base_hash(str(copy))}
    for row in (0, rows_between_pieces, 15 * rows_between_pieces):
        changed = {**tensors, name: tensors[name].clone()}
        changed[name][row] += 1
        save_file(changed, file, metadata={"format": "pt"})
        hashes.add(base_hash(str(copy)))

    assert len(hashes) == 4


def test_a_base_is_refused_where_another_one_was_trained_on(base: str, copy: Path) -> None:
    trained_on = base_hash(base)

    check_base(str(copy), trained_on, "it")
    check_base("./nowhere", None, "of a time before hashes")
    write_tiny_model(copy, seed=1)
    with pytest.raises(AdapterError, match=r"^it was not trained on what base_model '"):
        check_base(str(copy), trained_on, "it")


@pytest.mark.parametrize("kept", [0, 5, 40, 5000, -1])
def test_a_cut_weight_file_is_named(copy: Path, kept: int) -> None:
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])

    with pytest.raises(ConfigError, match="its weights cannot be read: model.safetensors"):
        base_hash(str(copy))


def test_a_pointer_instead_of_weights_or_no_weights_at_all_is_named(copy: Path) -> None:
    file = copy / "model.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n")
    with pytest.raises(ConfigError, match=r"model\.safetensors is a pointer of Git LFS"):
        base_hash(str(copy))
    file.unlink()

    with pytest.raises(ConfigError, match="its weights cannot be read"):
        base_hash(str(copy))
