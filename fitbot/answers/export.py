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

from fitbot import __version__
from fitbot.answers.deploy import TARGETS, write_deployment
from fitbot.answers.gguf_file import FILE_TYPES, Kind
from fitbot.answers.provenance import PROVENANCE_FILE, sha256_of
from fitbot.embedded import EMBEDDED
from fitbot.errors import AdapterError, ConfigError
from fitbot.pairs.chat import load_tokenizer
from fitbot.policy.base import POLICY_ADAPTER, LoraSettings, adapter_config

logger = logging.getLogger(__name__)

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
WORTH_MERGING = 0.9  # share of the adapter's effect below which a merge loses too much
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
    _open_weights(folder)
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


def main(args: list[str]) -> int:
    """Run `fitbot export`: write a checkpoint's adapter, or merged weights.

    Args:
        args: The command and its options, as typed.

    Returns:
        0.
    """
    from fitbot.command_line import SuggestingParser

    parser = SuggestingParser(
        prog="fitbot export",
        allow_abbrev=False,
        description="Write a checkpoint's adapter as PEFT folder.",
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="a .ckpt file, or a run's folder (its last.ckpt); with --target or --gguf an "
        "adapter's folder, too",
    )
    parser.add_argument("--out", type=Path, help="folder to write; default: beside the checkpoint")
    parser.add_argument(
        "--merge", action="store_true", help="write merged bf16 weights instead, and their drift"
    )
    parser.add_argument(
        "--drift_pairs", type=int, default=32, help="pairs that the merge's drift is measured on"
    )
    parser.add_argument(
        "--target",
        choices=list(TARGETS),
        help="write besides what serves the adapter with that engine",
    )
    parser.add_argument(
        "--gguf",
        choices=list(FILE_TYPES),
        help="write besides base and adapter for llama.cpp, the base in this precision, and their "
        "drift; `embedded` instead of a checkpoint is the embedded model alone, into --out",
    )
    options = parser.parse_args(args[1:])
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.merge and (options.target or options.gguf):
        raise ConfigError("--merge: --target and --gguf want the adapter unmerged; leave one out")
    if options.gguf and str(options.checkpoint) == EMBEDDED:
        out = options.out or Path(f"{EMBEDDED}-gguf")
        _export_gguf(out, options.gguf, alone=True)
        return 0
    is_adapter = (options.target or options.gguf) and (
        options.checkpoint / PROVENANCE_FILE
    ).is_file()
    out = options.checkpoint if is_adapter else _export_checkpoint(options)
    if options.target:
        logger.info("wrote %s", write_deployment(out, options.target))
    if options.gguf:
        _export_gguf(out, options.gguf)
    return 0


def _export_checkpoint(options: Any) -> Path:
    """Write the adapter, or merged weights; returns the folder."""
    path = options.checkpoint / "last.ckpt" if options.checkpoint.is_dir() else options.checkpoint
    checkpoint = _load_checkpoint(path)
    out: Path
    if options.merge:
        out = options.out or path.parent / f"{path.stem}-merged"
        export_merged(out, checkpoint, drift_pairs=options.drift_pairs)
    else:
        out = options.out or path.parent / f"{path.stem}-adapter"
        export_adapter(
            out,
            checkpoint["state_dict"],
            checkpoint["hyper_parameters"],
            training=_training(checkpoint),
        )
    logger.info("wrote %s", out)
    return out


def _export_gguf(folder: Path, kind: Kind, *, alone: bool = False) -> None:
    from fitbot.answers.gguf_export import export_gguf

    logging.getLogger("gguf").setLevel(logging.WARNING)
    told = export_gguf(folder, kind, alone=alone)
    for name in told["sha256"]:
        logger.info("wrote %s", folder / name)


def export_merged(
    folder: Path, checkpoint: dict[str, Any], *, drift_pairs: int
) -> dict[str, float]:
    """Merge an adapter into the weights it was trained on and write them as bf16.

    A 4-bit base is expanded first, so that the merge starts from the very values that training saw;
    what the merge changes is the rounding of base + update to bf16. How far that moves log-probs is
    measured on pairs of the run's own validation (else training) file.

    Args:
        folder: Where to.
        checkpoint: A loaded checkpoint.
        drift_pairs: Pairs to measure on.

    Returns:
        Mean and largest absolute change of a completion's log-prob, nats; the share of the
        adapter's own change that merged weights still show; the number of completions measured.
    """
    from fitbot.pairs.batch import collate_pairs
    from fitbot.pairs.chat import Chat, Limits
    from fitbot.pairs.preferences import load_pairs
    from fitbot.policy.base import BaseSettings, load_policy_network
    from fitbot.policy.policy import Policy, to_device

    settings, data = checkpoint["hyper_parameters"], checkpoint["datamodule_hyper_parameters"]
    base = BaseSettings(
        base_model=settings["base_model"],
        load_in_4bit=settings["load_in_4bit"],
        expand_4bit=settings["load_in_4bit"],
        max_seq_length=settings["max_seq_length"],
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = load_policy_network(
        base, LoraSettings(**settings["lora"]), device=device, compute_dtype=torch.bfloat16
    )
    policy = Policy(network, compute_dtype=torch.bfloat16).eval()
    weights = {k.removeprefix("policy."): v for k, v in checkpoint["state_dict"].items()}
    if policy.load_state_dict(weights, strict=False).unexpected_keys:
        raise AdapterError("the checkpoint's adapter does not fit its base model")

    chat = Chat(load_tokenizer(settings["base_model"]), system_prompt=data["system_prompt"])
    pairs = load_pairs(data["val_path"] or data["train_path"], limit=drift_pairs).pairs
    limits = Limits(data["max_prompt_length"], data["max_length"])
    batches = [
        to_device(collate_pairs([pair], layout="rows", pad_id=0), device)
        for pair in chat.encode_pairs(pairs, limits)
    ]
    with torch.no_grad():
        reference = torch.cat([policy.reference_logps(batch) for batch in batches])
        before = torch.cat([policy.logps(batch) for batch in batches])
        policy.network.merge_adapter()
        after = torch.cat([policy.logps(batch) for batch in batches])
    change = (after - before).abs()
    drift = {
        "mean_nats": change.mean().item(),
        "max_nats": change.max().item(),
        "effect_kept": _share((after - reference).flatten(), (before - reference).flatten()),
        "completions": change.numel(),
    }
    logger.info(
        "merging moved the log-probs of %d completions by %.4f nats on average, %.4f at most; "
        "%.0f %% of what the adapter changes is left",
        *(drift[name] for name in ("completions", "mean_nats", "max_nats")),
        100 * drift["effect_kept"],
    )
    if not drift["effect_kept"] > WORTH_MERGING:
        logger.warning(
            "bf16 weights are too coarse for this adapter: what it adds to a weight is lost in the "
            "rounding; keep it unmerged (fitbot export without --merge)"
        )
    merged = policy.network.unload()  # the layers are merged already
    merged.save_pretrained(folder)
    chat.tokenizer.save_pretrained(folder)
    _open_weights(folder)
    provenance = {"base_model": settings["base_model"], "settings": settings, "merge_drift": drift}
    (folder / PROVENANCE_FILE).write_text(
        json.dumps({**provenance, **_training(checkpoint)}, indent=2) + "\n", "utf-8"
    )
    return drift


def _share(kept: torch.Tensor, whole: torch.Tensor) -> float:
    """Regress one change on another: 1 means all of it, NaN that there was none."""
    return (kept @ whole / (whole @ whole)).item()


def _open_weights(folder: Path) -> None:
    """Let whoever may read the tokenizer read the weights."""
    # safetensors writes for the owner alone, and a server may be another user, as in a container.
    mode = (folder / "tokenizer.json").stat().st_mode
    for file in folder.glob("*.safetensors"):
        file.chmod(mode)


def _peft_name(name: str) -> str:
    """PEFT's files leave out our wrapper's name and the adapter's."""
    return name.removeprefix(_STATE_PREFIX).replace(f".{POLICY_ADAPTER}.", ".")


def _load_checkpoint(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise AdapterError(f"{path}: no such checkpoint; give a .ckpt file or a run's folder")
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if "hyper_parameters" not in checkpoint or "base_model" not in checkpoint["hyper_parameters"]:
        raise AdapterError(f"{path} is not a checkpoint of fitbot")
    return checkpoint


def _training(checkpoint: dict[str, Any]) -> dict[str, Any]:
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
