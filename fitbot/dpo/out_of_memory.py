"""What a fit says of its device: what was chosen for it; what would fit when memory ran out."""

import torch

from fitbot.base_model.nf4 import count_4bit
from fitbot.base_model.settings import BaseSettings
from fitbot.errors import NoMemoryError
from fitbot.pairs.datamodule import PreferenceDataModule
from fitbot.policy.policy import Policy

_GIB = 2**30


def what_was_chosen(policy: Policy, token_budget: int) -> str:
    """Say in one line what computes, in which numbers, and what follows from its memory."""
    device = policy.device
    numbers = str(policy.compute_dtype).removeprefix("torch.")
    kept, expanded = count_4bit(policy.network)
    base = "base kept in 4 bits" if kept else "base not quantised"
    activations = "recomputed" if policy.recomputes else "kept"
    return (
        f"device: {_name(device)}: {numbers}, {'4-bit base expanded' if expanded else base}, "
        f"activations {activations}, passes of at most {token_budget:,} tokens"
    )


def no_memory(
    doing: str,
    base: BaseSettings,
    data: PreferenceDataModule,
    policy: Policy | None,
    *,
    device: torch.device | None = None,
    smaller_pass: int | None = None,
) -> NoMemoryError:
    """Say where memory ran out, how much was in use, and which settings need less.

    Args:
        doing: When it was, such as "in a forward pass of 512 tokens".
        base: How the base was to be held.
        data: Whose pairs were computed.
        policy: None while the base was loaded.
        device: The policy's, if there is none yet.
        smaller_pass: Tokens of a pass that could be smaller, if data.max_tokens_per_pass were.
    """
    less = _settings_that_need_less(base, data, policy)
    if smaller_pass is not None:
        less.insert(0, f"data.max_tokens_per_pass: {max(1, smaller_pass // 2)}")
    return NoMemoryError(
        f"out of memory {doing}{_in_use(device if policy is None else policy.device)}. Less is "
        f"needed with any of these: {', '.join(less)}, a smaller model.base_model than "
        f"{base.base_model}"
    )


def _settings_that_need_less(
    base: BaseSettings, data: PreferenceDataModule, policy: Policy | None
) -> list[str]:
    """Name settings that still leave room, with a value, those that change no result first."""
    found = []
    if not (base.gradient_checkpointing or (policy and policy.recomputes)):
        found.append("model.gradient_checkpointing: true")
    if not base.load_in_4bit:
        found.append("model.load_in_4bit: true")
    elif base.expand_4bit is not False and (policy is None or count_4bit(policy.network)[1]):
        found.append("model.expand_4bit: false")
    limits = data.limits
    shorter = max(limits.max_prompt_length + 1, limits.max_length // 2)
    if shorter < limits.max_length:
        found.append(f"data.max_length: {shorter}")
    return [*found, "trainer.strategy: sharded on several GPUs"]


def _name(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type.upper()
    total = torch.cuda.get_device_properties(device).total_memory
    return f"{torch.cuda.get_device_name(device)} ({total / _GIB:.1f} GiB)"


def _in_use(device: torch.device | None) -> str:
    if device is None or device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    here = torch.cuda.memory_reserved(device)
    return (
        f": of {_name(device)} {(total - free) / _GIB:.1f} GiB are in use, {here / _GIB:.1f} of "
        "them by this fit"
    )
