"""Which accelerator a fit takes; a step of a tiny network says if it can be Apple's GPU.

That GPU (MPS) lacks operations, and has computed others wrongly; which ones depends on the versions
of torch and macOS. So the step is done there and on the CPU, and both must give the same.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from lightning.pytorch.accelerators import MPSAccelerator
from torch import Tensor

from fitbot.base_model.gpu import what_failed
from fitbot.base_model.loading import add_adapter
from fitbot.base_model.lora import round_once
from fitbot.base_model.settings import LoraSettings
from fitbot.dpo.losses import DPOTerms, Objective
from fitbot.dpo.memory import activation_bytes
from fitbot.dpo.metrics import PairMeans
from fitbot.dpo.start_checks import COMPUTE_DTYPES
from fitbot.pairs.chat import EncodedPair
from fitbot.platforms import choose_device
from fitbot.policy.agreement import made_up_batch, relative_difference, why_not_shared
from fitbot.policy.policy import Policy

_CPU = torch.device("cpu")
# What rounding may do to a figure, relative to it: with AdamW, to the sign of small gradients.
_SAME_WITHIN = {torch.float32: 0.01, torch.bfloat16: 0.25, torch.float16: 0.25}


def choose_accelerator(trainer: Mapping[str, Any], model: Mapping[str, Any]) -> Any:
    """Decide what `trainer.accelerator: auto` is on a Mac, and say so.

    Args:
        trainer: The settings `trainer.…`.
        model: The settings `model.…`.

    Returns:
        trainer.accelerator; or "mps" or "cpu" where it is auto and Lightning would take MPS.
    """
    accelerator = trainer["accelerator"]
    if accelerator != "auto" or torch.cuda.is_available() or not MPSAccelerator.is_available():
        return accelerator
    return choose_device(partial(_why_not_fit, trainer=trainer, model=model)).type


def why_not_mps(
    device: torch.device, *, compute_dtype: torch.dtype, optimizer: str = "adamw"
) -> str | None:
    """Return why a device cannot train; None if a step of a tiny network gives what a CPU gives.

    Args:
        device: Apple's GPU, or any other.
        compute_dtype: What matrix products run in.
        optimizer: The setting model.optimizer.
    """
    try:
        here, there = (training_step(one, compute_dtype, optimizer) for one in (_CPU, device))
    except Exception as error:  # torch raises many kinds where an operation is missing
        return what_failed(error)
    for what, ours in here.items():
        difference = relative_difference(there[what].cpu(), ours)
        if not difference < _SAME_WITHIN[compute_dtype]:
            return f"in a step of a tiny network, {what} are {difference:.0%} away from the CPU's"
    return None


def training_step(
    device: torch.device, compute_dtype: torch.dtype, optimizer: str
) -> dict[str, Tensor]:
    """Do on a device what a fit does, with a tiny network that is always the same.

    Returns:
        What came of it, by its name in the plural.
    """
    policy = Policy(_tiny_network(compute_dtype).to(device), compute_dtype=compute_dtype)
    if reason := why_not_shared(policy, 100):
        raise ValueError(f"layout rows instead of shared, {reason}")
    activation_bytes(policy, EncodedPair([5, 6, 7], [8, 9], [10], 0, 0, 0, 0))
    kind: Any = torch.optim.AdamW
    if optimizer == "adamw_8bit":
        from fitbot.dpo.optimizer import AdamW8bit as kind  # bitsandbytes takes seconds
    steps = kind([policy.adapter], lr=1e-2)
    scaler = torch.amp.GradScaler(device.type, enabled=compute_dtype == torch.float16)
    batch, means = made_up_batch(policy, "shared"), PairMeans().to(device)

    def compute() -> tuple[DPOTerms, Tensor]:
        steps.zero_grad()
        logps = policy.logps(batch)
        terms = Objective(0.1).terms(logps, policy.reference_logps(batch))
        torch.autograd.backward(scaler.scale(terms.losses.mean()))
        return terms, logps.detach()

    policy.train()  # with dropout, which no two devices draw alike
    compute()
    policy.eval()
    terms, before = compute()
    means.update(terms, before)
    scaler.unscale_(steps)
    norm = torch.nn.utils.clip_grad_norm_(policy.adapter, 1.0)
    scaler.step(steps)
    scaler.update()
    return {
        "log-probs": before,
        "gradients": norm,
        "means": torch.stack(list(means.compute().values())),
        "updates": policy.logps_without_gradient(batch) - before,
    }


def _tiny_network(dtype: torch.dtype) -> Any:
    """Build a network of two layers with an adapter that changes what it says, on the CPU."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=256,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
    )
    with torch.random.fork_rng(devices=[]), _CPU:
        torch.default_generator.manual_seed(0)
        config._name_or_path = "a tiny network"
        base = Qwen3ForCausalLM(config).to(dtype).requires_grad_(False)
        network = add_adapter(base, LoraSettings(r=8, dropout=0.1), None)
        for name, weight in network.named_parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.05)
    round_once(network)
    return network


def _why_not_fit(
    device: torch.device, *, trainer: Mapping[str, Any], model: Mapping[str, Any]
) -> str | None:
    if str(trainer["devices"]) not in ("auto", "1") or trainer["strategy"] != "auto":
        return "it is one device, and several or a trainer.strategy are asked for"
    if model["backend"] != "transformers":
        return f"model.backend {model['backend']} does not know it"
    if model["load_in_4bit"] and model["expand_4bit"] is False:
        return "it keeps no weights in 4 bits, and model.expand_4bit is false"
    dtype = COMPUTE_DTYPES.get(str(trainer["precision"]), torch.bfloat16)
    reason = why_not_mps(device, compute_dtype=dtype, optimizer=model["optimizer"])
    if reason and model["optimizer"] == "adamw_8bit":
        reason += "; it might be with --model.optimizer adamw"
    return reason
