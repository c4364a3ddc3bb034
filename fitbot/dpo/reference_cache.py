"""Whether a fit computes its reference's log-probs once or in every step, and the once."""

import logging
from pathlib import Path
from typing import Literal

from fitbot.base_model.nf4 import count_4bit
from fitbot.base_model.settings import BaseSettings
from fitbot.dpo.pass_runner import PassRunner
from fitbot.pairs.datamodule import PreferenceDataModule
from fitbot.policy.reference import cached_reference_logps, open_reference_cache

logger = logging.getLogger(__name__)

ReferenceSetting = Literal["auto", "cached", "online"]


def should_cache(setting: ReferenceSetting, data: PreferenceDataModule, num_steps: int) -> bool:
    """Decide whether the reference's log-probs are kept; auto: if a run sees its pairs twice."""
    if setting != "auto":
        return setting == "cached"
    pairs_seen, num_pairs = num_steps * data.pairs_per_step, len(data.pairs["train"])
    cached = pairs_seen > num_pairs
    logger.info(
        "reference: %s (the run sees %s pairs, the file has %s)",
        "cached" if cached else "online, adapter off in every step",
        f"{pairs_seen:,}",
        f"{num_pairs:,}",
    )
    return cached


def cache_reference(
    runner: PassRunner, folder: Path, base: BaseSettings, adapter: str | None
) -> None:
    """Give the data module the reference's log-probs of all its pairs; see `policy.reference`.

    Args:
        runner: Computes those that no earlier run has.
        folder: Of the cached log-probs.
        base: Which base the policy has, and how it is held.
        adapter: Folder of the frozen adapter that is the reference; None for the bare base.
    """
    policy, data = runner.policy, runner.data
    cache = open_reference_cache(
        folder,
        base,
        expanded=count_4bit(policy)[1] > 0,
        compute_dtype=policy.compute_dtype,
        device=policy.device,
        layout=data.layout,
        engine=policy.engine_name,
        adapter=adapter,
    )
    for split, pairs in data.pairs.items():
        data.reference_logps[split] = cached_reference_logps(
            policy,
            pairs,
            cache,
            layout=data.layout,
            pad_id=data.pad_id,
            max_tokens=data.token_budget,
            smaller=runner.lower_budget,
        )
