"""A base and its adapter by Unsloth instead of transformers and PEFT."""

from dataclasses import asdict
from typing import Any

import torch

from fitbot.base_model.embedded import resolve_base_model
from fitbot.base_model.nf4 import prepare_4bit
from fitbot.base_model.settings import BaseSettings, LoraSettings
from fitbot.errors import ConfigError


def load_unsloth(
    settings: BaseSettings,
    lora: LoraSettings,
    *,
    device: torch.device,
    dtype: torch.dtype,
    adapter: str | None,
) -> Any:
    """Load a base with a fresh LoRA adapter on it by Unsloth's FastLanguageModel.

    Raises:
        ConfigError: Unsloth is missing, cannot run here, or cannot do what the settings ask.
    """
    if adapter is not None:
        raise ConfigError("adapter: continuing an adapter needs backend: transformers")
    if settings.expand_4bit:
        raise ConfigError("expand_4bit: true needs backend: transformers; Unsloth keeps NF4")
    try:
        from unsloth import FastLanguageModel
    except ImportError as error:
        raise ConfigError(
            "backend: unsloth is not installed here; run pip install 'fitbot[unsloth]', or set "
            "backend: transformers"
        ) from error
    except NotImplementedError as error:
        raise ConfigError(f"backend: unsloth cannot run on this machine: {error}") from error
    checkpointing = "unsloth" if settings.gradient_checkpointing else False
    base, _ = FastLanguageModel.from_pretrained(
        resolve_base_model(settings.base_model),
        max_seq_length=settings.max_seq_length,
        dtype=dtype,
        load_in_4bit=settings.load_in_4bit,
        use_gradient_checkpointing=checkpointing,
        device_map={"": str(device)},
    )
    if settings.load_in_4bit:
        prepare_4bit(base, dtype)
    knobs = asdict(lora)
    if lora.target_modules == "auto":
        del knobs["target_modules"]  # its own default: the seven of Llama
    return FastLanguageModel.get_peft_model(
        base,
        lora_alpha=knobs.pop("alpha"),
        lora_dropout=knobs.pop("dropout"),
        use_gradient_checkpointing=checkpointing,
        **knobs,
    )
