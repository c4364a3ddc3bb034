"""A trained adapter → a folder that plain PEFT loads, or merged weights; the command `export`.

The folder holds the adapter (safetensors), the tokenizer with its chat template, a model card, and
`fitbot.json`: base, data hashes, settings, versions and metrics, so that an adapter can always tell
what it was made from.
"""

import json
import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fitbot.base_model.adapter_files import adapter_config
from fitbot.base_model.lora import POLICY_ADAPTER
from fitbot.base_model.provenance import PROVENANCE_FILE, sha256_of
from fitbot.base_model.settings import LoraSettings
from fitbot.errors import AdapterError
from fitbot.pairs.chat import load_tokenizer
from fitbot.version import __version__

logger = logging.getLogger(__name__)

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")


_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "lightning")
_STATE_PREFIX = "policy.network."


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
        training: What fitbot.json says besides base, settings and versions.

    Returns:
        The folder.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {_peft_name(name): value.cpu().contiguous() for name, value in state_dict.items()}
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    base_model = hyper_parameters["base_model"]
    config = adapter_config(LoraSettings(**hyper_parameters["lora"]), base_model)
    config.inference_mode = True
    config.save_pretrained(folder)
    load_tokenizer(base_model).save_pretrained(folder)
    open_weights(folder)
    provenance = {
        "base_model": base_model,
        "settings": hyper_parameters,
        "versions": {"fitbot": __version__} | {name: version(name) for name in _PACKAGES},
        "sha256": {name: sha256_of(folder / name) for name in ADAPTER_FILES},
        **training,
    }
    (folder / PROVENANCE_FILE).write_text(json.dumps(provenance, indent=2) + "\n", "utf-8")
    (folder / "README.md").write_text(_model_card(provenance), "utf-8")
    return folder


def open_weights(folder: Path) -> None:
    """Let whoever may read the tokenizer read the weights."""
    # safetensors writes for the owner alone, and a server may be another user, as in a container.
    mode = (folder / "tokenizer.json").stat().st_mode
    for file in folder.glob("*.safetensors"):
        file.chmod(mode)


def _peft_name(name: str) -> str:
    """PEFT's files leave out our wrapper's name and the adapter's."""
    return name.removeprefix(_STATE_PREFIX).replace(f".{POLICY_ADAPTER}.", ".")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint of fitbot into the memory of the host.

    Raises:
        AdapterError: There is no such file, or it is no checkpoint of fitbot.
    """
    if not path.is_file():
        raise AdapterError(f"{path}: no such checkpoint; give a .ckpt file or a run's folder")
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if "hyper_parameters" not in checkpoint or "base_model" not in checkpoint["hyper_parameters"]:
        raise AdapterError(f"{path} is not a checkpoint of fitbot")
    return checkpoint


def training_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return what fitbot.json says of a checkpoint's training: step, data, settings of the run."""
    return {
        "step": checkpoint["global_step"],
        "data": checkpoint["PreferenceDataModule"]["provenance"],
        **checkpoint["run_settings"],
    }


def _model_card(provenance: dict[str, Any]) -> str:
    data, settings = provenance["data"], provenance["settings"]
    metrics = provenance.get("metrics", {})
    rows = [f"| {name} | {value} |" for name, value in metrics.items()]
    files = [
        f"- {split}: `{data[split]['path']}`, {data[split]['pairs']:,} pairs, "
        f"sha256 of their tokens `{data[split]['sha256'][:16]}`"
        for split in ("train", "val")
        if split in data
    ]
    return "\n".join(
        [
            "---",
            f"base_model: {provenance['base_model']}",
            "library_name: peft",
            "tags: [dpo, lora]",
            "---",
            "",
            f"# LoRA adapter for {provenance['base_model']}",
            "",
            f"Trained by direct preference optimisation (beta {settings['beta']}) with fitbot "
            f"{provenance['versions']['fitbot']}. It was rendered with thinking off and the system "
            f"prompt {data['system_prompt']!r}; ask it the same way.",
            "",
            "## Pairs",
            "",
            *files,
            "",
            "## Figures of the run",
            "",
            *(
                ["| figure | value |", "|---|---|", *rows]
                if rows
                else ["See summary.json of the run."]
            ),
            "",
            "Reward accuracy and margin say how far the policy moved towards its training pairs, "
            "not that its answers are right. This is not medical advice.",
            "",
            "All settings and versions are in `fitbot.json`.",
            "",
        ]
    )
