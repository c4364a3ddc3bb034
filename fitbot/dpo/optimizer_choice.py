"""Settings of a run → its optimizer and the learning rate of every step."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor


def schedule_steps(
    adapter: Tensor, settings: Mapping[str, Any], num_steps: int
) -> OptimizerLRSchedulerConfig:
    """Make AdamW over the adapter, with warm-up from 0 and a schedule over so many steps.

    The schedules are transformers': the first step has learning rate 0, and so has the end of the
    linear and the cosine one.

    Args:
        adapter: Everything that is trained: (N,) float32.
        settings: The run's, named as in its config.
        num_steps: Optimizer steps of the whole run.
    """
    from transformers import get_scheduler

    kind: Any = torch.optim.AdamW
    if settings["optimizer"] == "adamw_8bit":
        from fitbot.dpo.optimizer import AdamW8bit as kind  # bitsandbytes takes seconds
    rate, decay = settings["learning_rate"], settings["weight_decay"]
    optimizer = kind([adapter], lr=rate, weight_decay=decay)
    schedule = settings["lr_schedule"]
    scheduler = get_scheduler(
        "constant_with_warmup" if schedule == "constant" else schedule,
        optimizer,
        num_warmup_steps=math.ceil(settings["warmup_ratio"] * num_steps),
        num_training_steps=num_steps,
    )
    return {"optimizer": optimizer, "lr_scheduler": scheduler}
