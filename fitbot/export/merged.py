"""A trained adapter merged into the weights of its base, in bf16, and what the rounding loses."""

import json
import logging
from pathlib import Path
from typing import Any

import torch

from fitbot.base_model.provenance import PROVENANCE_FILE
from fitbot.base_model.settings import LoraSettings
from fitbot.errors import AdapterError
from fitbot.export.adapter import open_weights, training_of
from fitbot.pairs.chat import load_tokenizer

WORTH_MERGING = 0.9  # share of the adapter's effect below which a merge loses too much

logger = logging.getLogger(__name__)


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
    from fitbot.base_model.loading import load_policy_network
    from fitbot.base_model.settings import BaseSettings
    from fitbot.pairs.batch import collate_pairs
    from fitbot.pairs.chat import Chat, LengthLimits
    from fitbot.pairs.preferences import load_pairs
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
    limits = LengthLimits(data["max_prompt_length"], data["max_length"])
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
    open_weights(folder)
    provenance = {"base_model": settings["base_model"], "settings": settings, "merge_drift": drift}
    (folder / PROVENANCE_FILE).write_text(
        json.dumps({**provenance, **training_of(checkpoint)}, indent=2) + "\n", "utf-8"
    )
    return drift


def _share(kept: torch.Tensor, whole: torch.Tensor) -> float:
    """Regress one change on another: 1 means all of it, NaN that there was none."""
    return (kept @ whole / (whole @ whole)).item()
