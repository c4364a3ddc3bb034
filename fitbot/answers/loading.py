"""An exported adapter → an engine that answers with it, on the base it was trained on."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fitbot.answers.decoder import ADAPTED, Decoder, Precision, rank_of
from fitbot.answers.engine import TUNED
from fitbot.answers.grant import Policy
from fitbot.answers.local import LocalEngine
from fitbot.answers.provenance import answer_settings, provenance_of, sha256_of
from fitbot.embedded import resolve_base_model
from fitbot.errors import AdapterError, ConfigError, EngineError
from fitbot.pairs.chat import Chat, load_tokenizer
from fitbot.policy.base import BaseSettings, load_base

_LONE_RANK = 16  # of adapters that may be added where there is none
_CONTEXT = 2048  # tokens of prompt and answer together, unless the base takes fewer
_SLOTS = {"cpu": 16, "cuda": 128}
_SMALL = 100_000_000  # parameters below which 8 bits save no time


def open_engine(
    adapter: Path | None,
    *,
    slots: int | None = None,
    context: int = _CONTEXT,
    precision: Precision | None = None,
    max_waiting: int = 64,
    more_adapters: int = 0,
    policy: Policy = "room",
) -> LocalEngine:
    """Load base and adapter and start answering.

    The weights are those that training saw, an NF4 base expanded; the adapter lies beside them,
    unmerged. So one engine answers as "fitbot", with the adapter, and as "base", without.

    Args:
        adapter: Folder that `fitbot fit` or `fitbot export` wrote; None for the embedded model.
        slots: Requests answered at once; 16 on a CPU, 128 on a GPU by default.
        context: Tokens that prompt and answer may have together.
        precision: Of the matrix products. By default bfloat16 on a GPU, float16 where it has
            none; on a CPU int8, float32 for a small base.
        max_waiting: Requests accepted beyond those that are active.
        more_adapters: Adapters that `LocalEngine.add` may add, of at most this one's rank.
        policy: How many tokens a request is granted, see `grant`.

    Raises:
        AdapterError: The folder holds no adapter of fitbot's, or one that does not fit its base.
        ConfigError: The base is of a kind that the embedded engine does not know.
    """
    provenance = provenance_of(adapter)
    base_model = provenance["base_model"]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = BaseSettings(
        base_model=base_model,
        load_in_4bit=provenance["settings"]["load_in_4bit"],
        expand_4bit=provenance["settings"]["load_in_4bit"],
    )
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = load_base(base, device=device, compute_dtype=dtype)
    weights = None if adapter is None else read_adapter(adapter)
    rank = _LONE_RANK if weights is None else rank_of(weights)
    places = more_adapters + (weights is not None)
    decoder = decoder_for(device)(
        model,
        slots=slots or _SLOTS[device.type],
        context=min(context, model.config.max_position_embeddings),
        precision=precision or precision_for(model, device),
        ranks=rank * places,
    )
    del model
    decoder.warm_up()
    tokenizer = load_tokenizer(base_model)
    chat = Chat(tokenizer, system_prompt=provenance["data"]["system_prompt"])
    settings = answer_settings(adapter)
    engine = LocalEngine(
        decoder,
        chat,
        rank=rank,
        max_waiting=max_waiting,
        policy=policy,
        below_gib=settings.adaptive_below_gib,
    )
    if adapter is not None and weights is not None:
        try:
            _add(engine, TUNED, weights, adapter)
        except AdapterError:
            engine.close()
            raise
        engine.prefer(TUNED)
    return engine


def add_adapter(engine: LocalEngine, name: str, folder: Path) -> None:
    """Let a running engine answer with one adapter more.

    Raises:
        AdapterError: It is not of the engine's base, its files are not those that were exported,
            or there is no room.
        RequestError: The name is taken, or is none.
    """
    base_model, own = provenance_of(folder)["base_model"], engine.chat.tokenizer.name_or_path
    if resolve_base_model(base_model) != own:
        raise AdapterError(f"{folder} was trained on {base_model}, this engine holds {own}")
    _add(engine, name, read_adapter(folder), folder)


def _add(
    engine: LocalEngine, name: str, weights: dict[str, tuple[Tensor, Tensor]], folder: Path
) -> None:
    try:
        engine.add(name, weights)
    except EngineError:
        raise
    except (ConfigError, RuntimeError) as error:
        raise AdapterError(f"{folder} does not fit: {error}") from error


def read_adapter(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Read A and scaled B of every layer, by names like "3.q_proj"; safetensors only.

    Raises:
        AdapterError: A file is missing, damaged or not the one that was exported, or the adapter is
            of a kind that is more than A and B.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / "adapter_model.safetensors"
    try:
        for name, expected in provenance_of(folder).get("sha256", {}).items():
            if sha256_of(folder / name) != expected:
                raise AdapterError(
                    f"{folder}: {name} is not the file that was exported; export the adapter again"
                )
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(file)
    except (OSError, ValueError, SafetensorError) as error:
        raise AdapterError(f"{folder}: its adapter cannot be read: {error}") from error
    more = ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern")
    if any(config.get(key) for key in more) or config.get("bias") != "none":
        raise AdapterError(
            f"{folder}: only plain LoRA of one rank can be served, without DoRA, biases or more"
        )
    root = math.sqrt(config["r"]) if config.get("use_rslora") else config["r"]
    scaling = config["lora_alpha"] / root
    weights = {}
    for name, a in tensors.items():
        path, _, kind = name.removesuffix(".weight").rpartition(".")
        if kind == "lora_A":
            *_, number, _, layer = path.split(".")
            if layer not in ADAPTED or f"{path}.lora_B.weight" not in tensors:
                raise AdapterError(f"{folder}: {name} is not of a layer that can be served")
            weights[f"{number}.{layer}"] = a, scaling * tensors[f"{path}.lora_B.weight"]
    if not weights or 2 * len(weights) != len(tensors):
        raise AdapterError(f"{folder}: {file.name} does not hold LoRA's A and B, and nothing else")
    return weights


def decoder_for(device: torch.device) -> type[Decoder]:
    """Choose kernels by hand and CUDA graphs where the GPU has bfloat16."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        from fitbot.answers.graphed import GraphedDecoder

        return GraphedDecoder
    return Decoder


def precision_for(model: Any, device: torch.device) -> Precision:
    """Choose what is fastest there."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if native else "float16"
    small = sum(weight.numel() for weight in model.parameters()) < _SMALL
    has_int8 = "fbgemm" in torch.backends.quantized.supported_engines
    return "float32" if small or not has_int8 else "int8"
