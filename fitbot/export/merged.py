"""A trained adapter merged into the weights of its base, in bf16, and what the rounding loses."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fitbot.base_model.embedded import absolute_base
from fitbot.base_model.loading import load_policy_network
from fitbot.base_model.settings import BaseSettings, LoraSettings
from fitbot.errors import AdapterError
from fitbot.export.adapter import copy_mode, versions, write_provenance
from fitbot.generation.merging import WORTH_MERGING
from fitbot.pairs.batch import PairBatch, collate_pairs
from fitbot.pairs.chat import Chat, LengthLimits, load_tokenizer
from fitbot.pairs.preferences import load_pairs
from fitbot.pairs.rendered import rendered_check
from fitbot.pairs.template import keep_day
from fitbot.platforms import choose_device
from fitbot.policy.policy import Policy, to_device

logger = logging.getLogger(__name__)


def export_merged(
    folder: Path, checkpoint: dict[str, Any], *, training: dict[str, Any], drift_pairs: int
) -> dict[str, float]:
    """Merge an adapter into the weights it was trained on and write them as bf16.

    A 4-bit base is expanded first, so that the merge starts from the very values that training saw;
    what the merge changes is the rounding of base + update to bf16. How far that moves log-probs is
    measured on pairs of the run's own validation (else training) file.

    Args:
        folder: Where to.
        checkpoint: A loaded checkpoint.
        training: What fitbot.json records besides base, settings, versions and drift.
        drift_pairs: Pairs to measure on.

    Returns:
        Mean and largest absolute change of a completion's log-prob, nats; the share of the
        adapter's own change that merged weights still show; the number of completions measured.

    Raises:
        AdapterError: The adapter does not fit the base.
    """
    settings, data = checkpoint["hyper_parameters"], checkpoint["datamodule_hyper_parameters"]
    settings = {**settings, "base_model": absolute_base(settings["base_model"])}
    policy = _load_policy(settings, checkpoint["state_dict"])
    chat = Chat(
        load_tokenizer(settings["base_model"]),
        system_prompt=data["system_prompt"],
        date=training["data"].get("date"),
    )
    skips = data.get("skip_bad_records", False)
    pairs = load_pairs(
        data["val_path"] or data["train_path"],
        limit=drift_pairs,
        skip_bad_records=skips,
        check=rendered_check(chat.tokenizer),
    ).pairs
    limits = LengthLimits(data["max_prompt_length"], data["max_length"])
    encoded = chat.encode_pairs(pairs, limits, refused=[] if skips else None)
    batches = [
        to_device(collate_pairs([pair], layout="rows", pad_id=0), policy.device) for pair in encoded
    ]

    reference, unmerged = _score(policy.reference_logps, batches), _score(policy.logps, batches)
    policy.network.merge_adapter()
    merged = _score(policy.logps, batches)

    drift = _measure_drift(reference, unmerged, merged)
    policy.network.unload().save_pretrained(folder)  # the layers are merged already
    keep_day(chat.tokenizer, chat.date)
    chat.tokenizer.save_pretrained(folder)
    copy_mode(folder)
    provenance = {"base_model": settings["base_model"], "settings": settings}
    provenance |= {"versions": versions(), "merge_drift": drift}
    write_provenance(folder, provenance | training, "merged")
    return drift


def _load_policy(settings: dict[str, Any], state_dict: dict[str, Tensor]) -> Policy:
    """Load the expanded base with the checkpoint's adapter beside it."""
    base_model, in_4bit = settings["base_model"], settings["load_in_4bit"]
    base = BaseSettings(base_model, in_4bit, expand_4bit=in_4bit)
    base.max_seq_length = settings["max_seq_length"]
    network = load_policy_network(
        base, LoraSettings(**settings["lora"]), device=choose_device(), compute_dtype=torch.bfloat16
    )
    policy = Policy(network, compute_dtype=torch.bfloat16).eval()
    weights = {name.removeprefix("policy."): value for name, value in state_dict.items()}
    if policy.load_state_dict(weights, strict=False).unexpected_keys:
        raise AdapterError("the checkpoint's adapter does not fit its base model")
    return policy


@torch.no_grad()
def _score(logps: Callable[[PairBatch], Tensor], batches: Sequence[PairBatch]) -> Tensor:
    """Return the log-probs of all completions, (P, 2) for P pairs."""
    return torch.cat([logps(batch) for batch in batches])


def _measure_drift(reference: Tensor, unmerged: Tensor, merged: Tensor) -> dict[str, float]:
    """Compare the log-probs of base, unmerged and merged model, (P, 2) each."""
    change = (merged - unmerged).abs()
    kept, whole = (merged - reference).flatten(), (unmerged - reference).flatten()
    drift = {
        "mean_nats": change.mean().item(),
        "max_nats": change.max().item(),
        # Regress one change on the other: 1 is all of it, NaN that there was none.
        "effect_kept": (kept @ whole / (whole @ whole)).item(),
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
    return drift
