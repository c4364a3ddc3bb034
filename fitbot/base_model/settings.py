"""Settings that a run records: the base model, its adapter, the answers, the server.

Nothing here imports torch: commands read these for their --help.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal

from fitbot.base_model.architecture import PROJECTIONS
from fitbot.base_model.embedded import EMBEDDED
from fitbot.errors import ConfigError

# How long, in turns of a loop, a thread of llama.cpp's waits for another before it sleeps: about 10
# microseconds. A token has a thousand such waits: sleeping at once makes it take 1.5 times as long,
# and spinning for long takes cores from whoever else is there.
LLAMA_SPINS = "1000"
PORTS = "in [1024, 65535]"  # LitServe takes no others
_UNLIMITED = "-1 or "


def check_ranges(section: str, values: Mapping[str, Any], legal: Mapping[str, str]) -> None:
    """Refuse what is no number, out of range, infinite or NaN; None is left to others.

    Args:
        section: Of the settings.
        values: By the setting's name.
        legal: Ranges such as "> 0", "-1 or >= 1" or "in [0, 0.5)", likewise.

    Raises:
        ConfigError: With the setting's name and its range.
    """
    for name, text in legal.items():
        value = values[name]
        if value is None:
            continue
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        # Torch and Lightning count in 64 bits; no float can hold a number of 400 digits.
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ConfigError(
                f"{section}.{name} must be {text}, got a number of {len(str(abs(value)))} digits; "
                "take one below 2^63"
            )
        if not (is_number and math.isfinite(value) and _is_in(value, text)):
            raise ConfigError(f"{section}.{name} must be {text}, got {value}")


def _is_in(value: float, text: str) -> bool:
    if text.startswith(_UNLIMITED):
        return value == -1 or _is_in(value, text.removeprefix(_UNLIMITED))
    if match := re.fullmatch(r"in ([\[(])(\S+), (\S+)([\])])", text):
        first, low, high, last = match.groups()
        above = value >= float(low) if first == "[" else value > float(low)
        return above and (value <= float(high) if last == "]" else value < float(high))
    sign, least = text.split()
    return value > float(least) if sign == ">" else value >= float(least)


@dataclass
class AnswerSettings:
    """How answers are generated.

    Args:
        temperature: Divides the logits; 0 always takes the likeliest token.
        top_p: Sample among the likeliest tokens that together hold this probability, in (0, 1].
        do_sample: Sample, instead of always taking the likeliest token.
        max_new_tokens: Tokens of one answer at most.
        adaptive_below_gib: With less free GPU memory than this, answers get half of
            max_new_tokens, but at least 512.

    Raises:
        ConfigError: A number is out of range.
    """

    temperature: float = 0.7
    top_p: float = 0.9
    do_sample: bool = True
    max_new_tokens: int = 1024
    adaptive_below_gib: float = 10.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        legal = {"temperature": "in [0, 2]", "top_p": "in (0, 1]", "max_new_tokens": ">= 1"}
        check_ranges("answers", vars(self), legal | {"adaptive_below_gib": ">= 0"})


@dataclass
class ServeSettings:
    """Where the HTTP endpoint listens.

    Args:
        host: Address to bind.
        port: TCP port.
        endpoint: Path of the plain question-and-answer endpoint.
        max_request_length: Characters of one question at most.

    Raises:
        ConfigError: A number is out of range.
    """

    host: str = "0.0.0.0"
    port: int = 8000
    endpoint: str = "/predict/"
    max_request_length: int = 1024

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_ranges("serve", vars(self), {"port": PORTS, "max_request_length": ">= 1"})


Backend = Literal["transformers", "unsloth"]


@dataclass
class LoraSettings:
    """What the adapter looks like.

    Args:
        r: Rank of the update.
        alpha: The update is scaled by alpha / r, or alpha / sqrt(r) with use_rslora.
        dropout: Probability of dropping an adapter's input while training, in [0, 1).
        bias: Only "none": a trained bias would change the reference, which is the adapter off.
        target_modules: Names of the linear layers that get an adapter; never the head. The default
            list and auto mean all of the base's blocks, whatever they are called there.
        use_rslora: Scale by alpha / sqrt(r), https://arxiv.org/abs/2312.03732.
        random_state: Seed of the adapter's initial weights.
    """

    r: int = 16
    alpha: int = 64
    dropout: float = 0.05
    bias: Literal["none"] = "none"
    target_modules: list[str] | Literal["auto"] = field(default_factory=lambda: list(PROJECTIONS))
    use_rslora: bool = False
    random_state: int = 3407


@dataclass
class BaseSettings:
    """Which base model, and how its weights are held.

    Args:
        base_model: Hub id or folder; "embedded" is the small model that fitbot brings along.
        load_in_4bit: Hold the linear layers as NF4, as QLoRA does.
        expand_4bit: Expand the NF4 weights once to the compute dtype: identical values, no
            dequantisation in every step, four times the memory. null: when memory allows.
        max_seq_length: Tokens of the longest sequence the model is set up for.
        gradient_checkpointing: Recompute activations in backward: less memory, a third slower.
            null: where the memory of a GPU asks for it.
        backend: transformers, or unsloth (needs `pip install 'fitbot[unsloth]'`).
    """

    base_model: str = EMBEDDED
    load_in_4bit: bool = True
    expand_4bit: bool | None = None
    max_seq_length: int = 2048
    gradient_checkpointing: bool | None = None
    backend: Backend = "transformers"
