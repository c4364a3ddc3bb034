"""A trained adapter → a folder that plain PEFT loads.

The folder holds the adapter (safetensors), the tokenizer with its chat template, a model card, and
`fitbot.json`: base, data hashes, settings, versions and metrics, so that it is always known what an
adapter was made from.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fitbot.base_model.adapter_files import adapter_config
from fitbot.base_model.checkpoint_file import is_whole, whole_one_beside
from fitbot.base_model.embedded import absolute_base
from fitbot.base_model.lora import POLICY_ADAPTER
from fitbot.base_model.provenance import PROVENANCE_FILE, sha256_of
from fitbot.base_model.settings import LoraSettings
from fitbot.errors import AdapterError
from fitbot.export.card import Kind, write_card
from fitbot.pairs.chat import load_tokenizer
from fitbot.pairs.template import keep_day
from fitbot.platforms import replace_file
from fitbot.version import __version__

_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"  # PEFT's names
_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "lightning")


def export_adapter(
    folder: Path,
    state_dict: dict[str, Tensor],
    hyper_parameters: dict[str, Any],
    *,
    training: dict[str, Any],
) -> Path:
    """Write an adapter as a PEFT folder; the base model is not needed for it.

    Args:
        folder: Where to; made if missing.
        state_dict: The module's adapter weights, as its checkpoints hold them.
        hyper_parameters: The module's settings.
        training: What fitbot.json records besides base, settings and versions.

    Returns:
        The folder.

    Raises:
        AdapterError: Weights are infinite or NaN; nothing is written.
    """
    from safetensors.torch import save_file

    if not all(weight.isfinite().all() for weight in state_dict.values()):
        raise AdapterError(
            f"{folder}: nothing is exported, for weights of the adapter are infinite or NaN; take "
            "an earlier checkpoint, such as best.ckpt"
        )
    folder.mkdir(parents=True, exist_ok=True)
    weights = {  # PEFT's files leave out our wrapper and the adapter
        name.removeprefix("policy.network.").replace(f".{POLICY_ADAPTER}.", "."): (
            value.cpu().contiguous()
        )
        for name, value in state_dict.items()
    }
    save_file(weights, folder / _WEIGHTS, metadata={"format": "pt"})
    base_model = absolute_base(hyper_parameters["base_model"])
    config = adapter_config(LoraSettings(**hyper_parameters["lora"]), base_model)
    config.inference_mode = True
    config.save_pretrained(folder)
    tokenizer, data = load_tokenizer(base_model), training["data"]
    keep_day(tokenizer, data.get("date"))
    tokenizer.save_pretrained(folder)
    copy_mode(folder)
    provenance = {
        "base_model": base_model,
        "settings": {**hyper_parameters, "base_model": base_model},
        "versions": versions(),
        "sha256": {name: sha256_of(folder / name) for name in (_WEIGHTS, _CONFIG)},
        **training,
    }
    write_provenance(folder, provenance, "adapter")
    return folder


@contextmanager
def all_or_nothing(folder: Path) -> Iterator[Path]:
    """Give a folder to write to, beside this one; its files come here once all are written."""
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        yield partial
        if folder.exists():
            for file in partial.iterdir():
                replace_file(file, folder / file.name)
        else:
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def versions() -> dict[str, str]:
    """Return the versions that matter; without 4 bits, bitsandbytes may be missing."""
    return {"fitbot": __version__} | {name: version(name) for name in _PACKAGES if find_spec(name)}


def copy_mode(folder: Path) -> None:
    """Give the weights' files the permissions of the tokenizer's."""
    # safetensors writes for the owner alone, but in a container a server may be another user.
    mode = (folder / "tokenizer.json").stat().st_mode
    for file in folder.glob("*.safetensors"):
        file.chmod(mode)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint of fitbot into the memory of the host.

    Raises:
        AdapterError: There is no such file, or it is damaged, or no checkpoint of fitbot.
    """
    if not path.is_file():
        raise AdapterError(f"{path}: no such checkpoint; give a .ckpt file or a run's folder")
    if not is_whole(path):
        other = whole_one_beside(path)
        raise AdapterError(
            f"{path} is damaged, or no checkpoint: its checksum does not fit; "
            + (f"run fitbot export {other}" if other else "give a .ckpt file that is whole")
        )
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if "hyper_parameters" not in checkpoint or "base_model" not in checkpoint["hyper_parameters"]:
        raise AdapterError(f"{path} is not a checkpoint of fitbot")
    return checkpoint


def training_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return what fitbot.json records of a checkpoint's training: step, data, run settings."""
    return {
        **{name: checkpoint.get(name) for name in ("base_sha256", "reference_sha256")},
        "step": checkpoint["global_step"],
        "data": checkpoint["PreferenceDataModule"]["provenance"],
        **checkpoint["run_settings"],
    }


def write_provenance(folder: Path, provenance: dict[str, Any], kind: Kind) -> None:
    """Write fitbot.json and the model card of an export."""
    (folder / PROVENANCE_FILE).write_text(json.dumps(provenance, indent=2) + "\n", "utf-8")
    write_card(folder, provenance, kind)
