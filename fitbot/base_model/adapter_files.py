"""The files of an exported adapter: read its shape and its weights, and write its config."""

import json
import math
from pathlib import Path
from typing import Any

from torch import Tensor

from fitbot.base_model.architecture import all_projections
from fitbot.base_model.provenance import provenance_of, sha256_of
from fitbot.base_model.settings import LoraSettings
from fitbot.errors import AdapterError

# A, (r, I), and scaled B, (O, r), by the layer's name: "3.q_proj".
AdapterWeights = dict[str, tuple[Tensor, Tensor]]


def lora_settings_of(adapter: str) -> LoraSettings:
    """Read the shape of an existing adapter, which a run that goes on from it keeps.

    Raises:
        AdapterError: No adapter is there, or one of a kind that fitbot does not train.
    """
    check_adapter_folder(adapter)
    file = Path(adapter) / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    unknown = _unsupported(config)
    if config.get("peft_type") != "LORA" or not isinstance(config.get("target_modules"), list):
        unknown |= {key: config.get(key) for key in ("peft_type", "target_modules")}
    if unknown:
        raise AdapterError(f"{file}: fitbot trains plain LoRA on named layers, found {unknown}")
    return LoraSettings(
        r=config["r"],
        alpha=config["lora_alpha"],
        dropout=config["lora_dropout"],
        target_modules=sorted(config["target_modules"]),
        use_rslora=config.get("use_rslora", False),
    )


def adapter_config(lora: LoraSettings, base_model: str) -> Any:
    """Build the `LoraConfig` that PEFT makes the adapter from, and that an export carries."""
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=base_model,
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias=lora.bias,
        target_modules=list(lora.target_modules),
        use_rslora=lora.use_rslora,
    )


def check_adapter_folder(adapter: str) -> None:
    """Refuse a folder that holds no adapter.

    Raises:
        AdapterError: There is no adapter_config.json.
    """
    if not (Path(adapter) / "adapter_config.json").is_file():
        raise AdapterError(
            f"adapter {adapter!r}: no adapter_config.json there; give a folder that "
            "`fitbot export` or PEFT's save_pretrained wrote"
        )


def rank_of(weights: AdapterWeights) -> int:
    """Return the rank that all layers of an adapter have."""
    return next(iter(weights.values()))[0].shape[0]


def read_adapter(folder: Path) -> AdapterWeights:
    """Read A and scaled B of every layer; safetensors only.

    Raises:
        AdapterError: A file is missing, damaged or not the one that was exported, or the adapter is
            of a kind that is more than A and B.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / "adapter_model.safetensors"
    try:
        check_files(folder, provenance_of(folder).get("sha256", {}))
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        rank = config["r"]
        if _unsupported(config) or rank < 1:
            raise AdapterError(
                f"{folder}: only plain LoRA of one rank can be served, without DoRA, biases or more"
            )
        scaling = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
        tensors = load_file(file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise AdapterError(f"{folder}: its adapter cannot be read: {error}") from error
    weights, served = {}, all_projections()
    for name, a in tensors.items():
        path, _, kind = name.removesuffix(".weight").rpartition(".")
        if kind == "lora_A":
            number, _, layer = ["", "", *path.split(".")][-3:]
            b = tensors.get(f"{path}.lora_B.weight")
            if layer not in served or b is None:
                raise AdapterError(f"{folder}: {name} is not of a layer that can be served")
            weights[f"{number}.{layer}"] = a, scaling * b
    if not weights or 2 * len(weights) != len(tensors):
        raise AdapterError(f"{folder}: {file.name} does not hold LoRA's A and B, and nothing else")
    for name, (a, b) in weights.items():
        if a.shape[:1] != (rank,) or b.shape[1:] != (rank,):
            raise AdapterError(f"{folder}: {name} is not of rank {rank}, as its config says")
        # Zero times infinity is no number: it would spoil the answers of every other adapter.
        if not (a.isfinite().all() and b.isfinite().all()):
            raise AdapterError(f"{folder}: {name} holds what is no finite number")
    return weights


def check_files(folder: Path, sha256: dict[str, str]) -> None:
    """Compare files with the hashes, by name and in hexadecimal, that their export recorded.

    Raises:
        AdapterError: A file is missing or was changed.
    """
    for name, expected in sha256.items():
        if not (folder / name).is_file() or sha256_of(folder / name) != expected:
            raise AdapterError(
                f"{folder}: {name} is not the file that was exported; export the adapter again"
            )


def _unsupported(config: dict[str, Any]) -> dict[str, Any]:
    """Return what PEFT's config has beyond plain LoRA of one rank."""
    more = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save")
    found = {key: config[key] for key in more if config.get(key)}
    return found if config.get("bias", "none") == "none" else found | {"bias": config["bias"]}
