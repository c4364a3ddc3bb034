"""The files of an adapter: what of them fitbot understands, its shape, its weights, its config.

Options are accepted by an allow-list: whatever is not on it is refused by its name and value.
"""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fitbot.base_model.architecture import all_projections
from fitbot.base_model.embedded import is_pointer
from fitbot.base_model.provenance import PROVENANCE_FILE, provenance_of, sha256_of
from fitbot.base_model.settings import LoraSettings
from fitbot.errors import AdapterError

# A, (r, I), and scaled B, (O, r), by the layer's `layer_key`: "3.q_proj".
AdapterWeights = dict[str, tuple[Tensor, Tensor]]
# A, (r, I), and B, (O, r), in float32, by the module's name: "model.layers.3.self_attn.q_proj".
ModuleWeights = dict[str, tuple[Tensor, Tensor]]

_CONFIG, _FILE = "adapter_config.json", "adapter_model.safetensors"
_OLD_FILE = "adapter_model.bin"
_REQUIRED = ("peft_type", "r", "lora_alpha", "target_modules")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | float) and value >= 1 and value % 1 == 0


_READ: dict[str, Callable[[Any], bool]] = {
    "r": _is_whole,
    "lora_alpha": _is_whole,
    "lora_dropout": lambda value: isinstance(value, int | float) and 0 <= value < 1,
    "use_rslora": lambda value: value in (True, False, None),
    "target_modules": lambda value: (
        bool(value) and isinstance(value, str | list) and all(isinstance(one, str) for one in value)
    ),
}
_NOTES = {  # say nothing about what the adapter computes
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_version",
    "runtime_config",
}
# Values with which other options change nothing, besides null and false.
_IDLE: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "task_type": ("CAUSAL_LM",),
    "revision": ("main",),
    "bias": ("none",),
    # With any other start the base's own weights were changed as well.
    "init_lora_weights": (True, "gaussian", "orthogonal"),
    "rank_pattern": ({},),
    "alpha_pattern": ({},),
    "loftq_config": ({},),
    "modules_to_save": ([],),
    "exclude_modules": ([], ""),
    "fan_in_fan_out": (True,),  # how the base's Conv1D holds its weight, which PEFT sees by itself
    "layers_to_transform": ([],),
    "target_parameters": ([],),
    "megatron_core": ("megatron.core",),
    "qalora_group_size": (16,),
}


def lora_settings_of(adapter: str) -> LoraSettings:
    """Read the shape of an existing adapter, which a run that goes on from it keeps.

    Raises:
        AdapterError: No adapter is there, or one that fitbot does not understand.
    """
    return load_adapter(Path(adapter))[0]


def check_options(config: dict[str, Any], folder: Path) -> None:
    """Refuse an adapter_config.json with options that fitbot does not understand.

    Raises:
        AdapterError: With the names and values of all of them.
    """
    odd = [f"{name} {json.dumps(value)}" for name, value in config.items() if _is_odd(name, value)]
    if odd:
        raise AdapterError(
            f"{folder}: only plain LoRA of one rank can be used, and adapter_config.json says "
            f"{', '.join(odd)}; merge such an adapter into its base by PEFT's merge_and_unload, "
            "and take that as the base"
        )


def _is_odd(name: str, value: Any) -> bool:
    if name in _READ:
        return not _READ[name](value)
    # 0 is not False here: it is the number of a layer or of a token.
    return not (name in _NOTES or value is None or value is False or value in _IDLE.get(name, ()))


def load_adapter(folder: Path) -> tuple[LoraSettings, ModuleWeights]:
    """Read an adapter's shape and all of its weights; safetensors only.

    Raises:
        AdapterError: A file is missing, damaged or not the one that was exported, or holds what
            fitbot does not understand.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_adapter_folder(str(folder))
    try:
        if (folder / PROVENANCE_FILE).is_file():
            check_files(folder, provenance_of(folder).get("sha256", {}))
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        check_options(config, folder)
        if missing := [name for name in _REQUIRED if config.get(name) is None]:
            raise ValueError(f"adapter_config.json lacks {', '.join(missing)}")
        rank, targets = int(config["r"]), config["target_modules"]
        weights = _pair_up(load_file(folder / _FILE), folder)
        for module, (a, b) in weights.items():
            _check_weights(a, b, rank, f"{folder}: {module}")
            if not _is_target(module, targets):
                raise AdapterError(
                    f"{folder}: {_FILE} holds {module}, which is none of the target_modules in "
                    "adapter_config.json"
                )
        lora = LoraSettings(
            r=rank,
            alpha=int(config["lora_alpha"]),
            dropout=float(config.get("lora_dropout", 0.0)),
            # A pattern may mean other modules in another base; these are those that were trained.
            target_modules=sorted(weights if isinstance(targets, str) else targets),
            use_rslora=bool(config.get("use_rslora")),
        )
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, re.error,
        SafetensorError,
    ) as error:  # fmt: skip
        raise AdapterError(f"{folder}: its adapter cannot be read: {error}") from error
    # In 16 bits a scaled B would be rounded once more.
    return lora, {module: (a.float(), b.float()) for module, (a, b) in weights.items()}


def _pair_up(tensors: dict[str, Tensor], folder: Path) -> ModuleWeights:
    """Find A and B of every module, and nothing else."""
    halves: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name)
        if match is None:
            raise AdapterError(
                f"{folder}: {_FILE} holds {name}, which has no place in plain LoRA; only A and B "
                "of linear layers can be used"
            )
        halves[match[2]][match[1]] = tensor
    a, b = halves.values()
    if not a and not b:
        raise AdapterError(f"{folder}: {_FILE} does not hold LoRA's A and B")
    if alone := sorted(a.keys() ^ b.keys()):
        missing = "B" if alone[0] in a else "A"
        raise AdapterError(f"{folder}: {_FILE} lacks {alone[0]}.lora_{missing}.weight")
    return {module: (a[module], b[module]) for module in a}


def _check_weights(a: Tensor, b: Tensor, rank: int, where: str) -> None:
    if a.dim() != 2 or b.dim() != 2 or a.shape[0] != rank or b.shape[1] != rank:
        raise AdapterError(
            f"{where} is not of rank {rank}, as its config says: its A is {list(a.shape)}, its B "
            f"{list(b.shape)}"
        )
    known = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    if a.dtype not in known or b.dtype not in known:
        raise AdapterError(f"{where} is held as {a.dtype} and {b.dtype}; save it as float32")
    # Zero times infinity is no number: it would spoil the answers of every other adapter.
    if not (a.isfinite().all() and b.isfinite().all()):
        raise AdapterError(f"{where} holds what is no finite number")


def _is_target(module: str, targets: str | list[str]) -> bool:
    """Say whether PEFT adapts a module where adapter_config.json has these target_modules."""
    if isinstance(targets, str):
        return targets == "all-linear" or re.fullmatch(targets, module) is not None
    return any(f".{module}".endswith(f".{target}") for target in targets)


def adapter_hash(folder: str) -> str:
    """Hash an adapter's weights, in hexadecimal, to know it again."""
    return sha256_of(Path(folder) / _FILE)


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
    """Refuse a folder that does not hold both files of an adapter.

    Raises:
        AdapterError: One is not there, or Git LFS has not fetched it, or it is of an old form.
    """
    for name in (_CONFIG, _FILE):
        file = Path(adapter) / name
        if is_pointer(file):
            raise AdapterError(
                f"adapter {adapter!r}: {name} is a pointer of Git LFS, not the file itself; run "
                "`git lfs pull` in that folder"
            )
        if file.is_file():
            continue
        if name == _FILE and (Path(adapter) / _OLD_FILE).is_file():
            raise AdapterError(
                f"adapter {adapter!r}: only {_FILE} is read, and {_OLD_FILE} is there; in that "
                "folder run python -c 'import torch, safetensors.torch as s; "
                f's.save_file(torch.load("{_OLD_FILE}", weights_only=True), "{_FILE}")\''
            )
        raise AdapterError(
            f"adapter {adapter!r}: no {name} there; give a folder that "
            "`fitbot export` or PEFT's save_pretrained wrote"
        )


def base_of(adapter: str) -> str | None:
    """Read the name of the base that an adapter says it is of; None if it says none.

    Raises:
        AdapterError: Its config cannot be read.
    """
    try:
        config = json.loads((Path(adapter) / _CONFIG).read_text(encoding="utf-8"))
        return config.get("base_model_name_or_path") or None
    except (OSError, ValueError, AttributeError) as error:
        raise AdapterError(f"{adapter}: its adapter cannot be read: {error}") from error


def rank_of(weights: AdapterWeights) -> int:
    """Return the rank that all layers of an adapter have."""
    return next(iter(weights.values()))[0].shape[0]


def read_adapter(folder: Path) -> AdapterWeights:
    """Read A and scaled B of every layer, for an engine that answers.

    Raises:
        AdapterError: See `load_adapter`.
    """
    lora, modules = load_adapter(folder)
    scaling = lora.alpha / (math.sqrt(lora.r) if lora.use_rslora else lora.r)
    return {layer_key(module): (a, scaling * b) for module, (a, b) in modules.items()}


def layer_key(module: str) -> str:
    """Return what engines call a layer: "3.q_proj", or its whole name where no family has it."""
    match, known = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", module), all_projections()
    if match is None or match[2] not in known:
        return module
    return f"{int(match[1])}.{known[match[2]]}"


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
