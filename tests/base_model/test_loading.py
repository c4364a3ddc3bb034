"""A base whose files are missing, cut or damaged is refused in a sentence, never half loaded."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fitbot.base_model.loading import check_base_files, load_base
from fitbot.base_model.settings import BaseSettings, LoraSettings
from fitbot.errors import ConfigError
from fitbot.pairs.chat import load_tokenizer
from tests.conftest import make_policy

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 17342512\n"
WEIGHTS = "model.safetensors"


@pytest.fixture
def copy(base: str, tmp_path: Path) -> Path:
    """A copy of the tiny base, to be damaged."""
    return Path(shutil.copytree(base, tmp_path / "copy"))


def load(folder: Path) -> Any:
    settings = BaseSettings(str(folder), load_in_4bit=False)
    return load_base(settings, device=torch.device("cpu"), compute_dtype=torch.float32)


def change(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def cut(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def without_a_layer(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    kept = {name: tensor for name, tensor in weights.items() if ".layers.1." not in name}
    save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})


def of_another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 384}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), "cannot be loaded: OSError: .*no file named"),
        (cut, r"model\.safetensors is cut or damaged \(.*\); fetch it again"),
        (change(WEIGHTS, ""), r"model\.safetensors is cut or damaged"),
        (change(WEIGHTS, POINTER), r"model\.safetensors is a pointer of Git LFS.*git lfs pull"),
        (change("config.json", POINTER), r"config\.json is a pointer of Git LFS"),
        (change("config.json", "{"), "cannot be loaded: "),
        (change("config.json", "[]"), "cannot be loaded: "),
        (change("config.json", '{"model_type": "qwen99"}'), "cannot be loaded: .*qwen99"),
        (without_a_layer, r"lack 11 of the weights .*, such as model\.layers\.1\."),
        (of_another_size, "cannot be loaded: "),
    ],
)
def test_a_base_that_is_not_whole_is_refused_by_name(
    copy: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(copy)

    with pytest.raises(ConfigError, match=f"copy.*{message}"):
        load(copy)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", ""),
        ("tokenizer.json", '{"model": {}}'),
        ("tokenizer.json", POINTER),
        ("tokenizer_config.json", "["),
        ("tokenizer_config.json", "[]"),
    ],
)
def test_a_damaged_tokenizer_is_refused_in_a_sentence(copy: Path, name: str, text: str) -> None:
    (copy / name).write_text(text)

    with pytest.raises(ConfigError, match=f"base_model .*copy.*(tokenizer could not be|{name})"):
        load_tokenizer(str(copy))


def test_cut_weights_are_found_before_they_are_read(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_base_files(str(copy))
    cut(copy)

    with pytest.raises(ConfigError, match="cut or damaged"):
        check_base_files(str(copy))


def test_memory_that_runs_out_while_a_base_is_loaded_is_not_called_a_damaged_file(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", run_out)

    with pytest.raises(torch.OutOfMemoryError):
        load(copy)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["q_proj", "qproj"], "no linear layer is called 'qproj'; this base has down_proj, gate"),
        (["mlp"], "no linear layer is called 'mlp'"),
        (["embed_tokens", "norm"], "no linear layer is called 'embed_tokens', 'norm'"),
        (["proj"], "no linear layer is called 'proj'"),
        (["lm_head"], "the head stays frozen"),
        ([], "empty"),
    ],
)
def test_a_name_that_no_linear_layer_has_is_refused_and_not_left_out(
    base: str, targets: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"lora\.target_modules: .*{message}"):
        make_policy(base, lora=LoraSettings(r=4, target_modules=targets))


def test_a_layer_may_be_named_with_its_place(base: str) -> None:
    policy = make_policy(base, lora=LoraSettings(r=4, target_modules=["layers.1.mlp.up_proj"]))

    assert len(policy.weights.named_weights()) == 2
