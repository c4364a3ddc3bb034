"""An exported adapter → an engine that answers with it, on the base it was trained on."""

from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import AutoConfig

from fitbot.base_model.adapter_files import check_files, rank_of, read_adapter
from fitbot.base_model.embedded import EMBEDDED, resolve_base_model
from fitbot.base_model.gguf_file import ADAPTER_FILE, BASE_FILE
from fitbot.base_model.loading import load_base
from fitbot.base_model.provenance import answer_settings, provenance_of
from fitbot.base_model.settings import BaseSettings
from fitbot.errors import AdapterError, ConfigError, EngineError, RoomError
from fitbot.generation.decoders.torch_decoder import Decoder, Precision
from fitbot.generation.llama_engine import LlamaEngine
from fitbot.generation.llama_models import LlamaModels
from fitbot.generation.merging import merge_checked
from fitbot.generation.messages import BASE, TUNED
from fitbot.generation.scheduler import LocalEngine
from fitbot.generation.token_budget import Policy
from fitbot.pairs.chat import Chat, load_tokenizer

_LONE_RANK = 16  # of adapters that may be added where there is none
_CONTEXT = 2048  # tokens of prompt and answer together, unless the base takes fewer
_SLOTS = {"cpu": 16, "cuda": 128, "llama": 8}
_SMALL = 100_000_000  # parameters below which 8 bits save no time

Answering = TypeVar("Answering", LocalEngine, LlamaEngine)


def open_engine(
    adapter: Path | None,
    *,
    slots: int | None = None,
    context: int = _CONTEXT,
    precision: Precision | None = None,
    max_waiting: int = 64,
    more_adapters: int = 0,
    policy: Policy = "room",
    merged: bool = False,
) -> LocalEngine:
    """Load base and adapter and start answering.

    The weights are those that training saw, an NF4 base expanded; the adapter lies beside them,
    unmerged. So one engine answers as "fitbot", with the adapter, and as "base", without. Merged,
    it answers as "fitbot" only.

    Args:
        adapter: Folder that `fitbot fit` or `fitbot export` wrote; None for the embedded model.
        slots: Requests answered at once; 16 on a CPU, 128 on a GPU by default.
        context: Tokens that prompt and answer may have together.
        precision: Of the matrix products. By default bfloat16 on a GPU, float16 where it has
            none; on a CPU int8, float32 for a small base.
        max_waiting: Requests accepted beyond those that are active.
        more_adapters: Adapters that `LocalEngine.add` may add, of at most this one's rank.
        policy: How many tokens a request is granted, see `grant`.
        merged: Add the adapter to the weights, in float32, before they are rounded to `precision`.

    Raises:
        AdapterError: The folder holds no adapter of fitbot's, or one that does not fit its base.
        ConfigError: The base is of a kind that the embedded engine does not know; or `merged`, and
            there is no adapter, others are to be added, or too much of it is lost in rounding.
    """
    if merged and (adapter is None or more_adapters):
        raise ConfigError("--merged: needs an adapter, and takes no others besides it")
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
    precision = precision or precision_for(model, device)
    chat = Chat(load_tokenizer(base_model), system_prompt=provenance["data"]["system_prompt"])
    weights = None if adapter is None else read_adapter(adapter)
    if merged and weights is not None:
        _merge(model, weights, chat, precision, adapter)
        weights = None
    rank = _LONE_RANK if weights is None else rank_of(weights)
    places = more_adapters + (weights is not None)
    decoder = decoder_for(device)(
        model,
        slots=slots or _SLOTS[device.type],
        context=min(context, model.config.max_position_embeddings),
        precision=precision,
        ranks=rank * places,
    )
    del model
    return _start(
        decoder,
        chat,
        adapter,
        weights,
        name=TUNED if merged else BASE,
        rank=rank,
        max_waiting=max_waiting,
        policy=policy,
    )


def open_llama_engine(
    adapter: Path | None,
    *,
    slots: int | None = None,
    context: int = _CONTEXT,
    max_waiting: int = 64,
    more_adapters: int = 0,
    policy: Policy = "room",
) -> LlamaEngine:
    """Start answering with the files that `fitbot export --gguf` wrote, on a CPU by llama.cpp.

    The adapter lies beside the weights, as in `open_engine`, whose arguments these are. Base and
    adapter have a key-value cache each, for all slots.

    Raises:
        AdapterError: The folder holds no such files, or not those that were exported.
        ConfigError: llama.cpp is not installed, or cannot open them.
    """
    provenance = provenance_of(adapter)
    if adapter is None or "gguf" not in provenance:
        raise AdapterError(
            f"{adapter or 'the embedded model'} has no GGUF files yet; write them with fitbot "
            f"export {adapter or EMBEDDED} --gguf q8_0, and name their folder with --adapter"
        )
    told, base_model = provenance["gguf"], provenance["base_model"]
    check_files(adapter, told["sha256"])
    weights = read_adapter(adapter) if ADAPTER_FILE in told["sha256"] else None
    chat = Chat(load_tokenizer(base_model), system_prompt=provenance["data"]["system_prompt"])
    opener = LlamaModels(
        adapter / BASE_FILE,
        AutoConfig.from_pretrained(resolve_base_model(base_model)),
        chat,
        told["kind"],
        slots=slots or _SLOTS["llama"],
        context=context,
    )
    adapters = more_adapters + (weights is not None)
    engine = LlamaEngine(opener, chat, adapters=adapters, max_waiting=max_waiting, policy=policy)
    return _with_adapter(engine, adapter, weights)


def _start(
    decoder: Decoder,
    chat: Chat,
    adapter: Path | None,
    weights: dict[str, tuple[Tensor, Tensor]] | None,
    *,
    name: str = BASE,
    rank: int,
    max_waiting: int,
    policy: Policy,
) -> LocalEngine:
    """Start an engine and give it its adapter, if the decoder has none of it yet."""
    decoder.warm_up()
    engine = LocalEngine(
        decoder,
        chat,
        name=name,
        rank=rank,
        max_waiting=max_waiting,
        policy=policy,
        below_gib=answer_settings(adapter).adaptive_below_gib,
    )
    return _with_adapter(engine, adapter, weights)


def _with_adapter(
    engine: Answering, adapter: Path | None, weights: dict[str, tuple[Tensor, Tensor]] | None
) -> Answering:
    """Give an engine its adapter, if it has one, as the model that answers by default."""
    if adapter is not None and weights is not None:
        try:
            _add(engine, TUNED, weights, adapter)
        except AdapterError:
            engine.close()
            raise
        engine.prefer(TUNED)
    return engine


def add_adapter(engine: LocalEngine | LlamaEngine, name: str, folder: Path) -> None:
    """Let a running engine answer with one adapter more.

    Raises:
        AdapterError: It is not of the engine's base, its rank is too large, or its files are not
            those that were exported.
        RoomError: There is no room for one more.
        RequestError: The name is taken, or is none.
    """
    base_model, own = provenance_of(folder).get("base_model"), engine.chat.tokenizer.name_or_path
    try:
        is_own = resolve_base_model(str(base_model)) == own
    except ConfigError:  # a folder that is not here
        is_own = False
    if not is_own:
        raise AdapterError(f"{folder} was trained on {base_model}, this engine holds {own}")
    _add(engine, name, read_adapter(folder), folder)


def _merge(
    model: Any,
    weights: dict[str, tuple[Tensor, Tensor]],
    chat: Chat,
    precision: Precision,
    folder: Path | None,
) -> None:
    try:
        merge_checked(model, weights, chat, precision)
    except AdapterError as error:
        raise AdapterError(f"{folder} does not fit: {error}") from error


def _add(
    engine: LocalEngine | LlamaEngine,
    name: str,
    weights: dict[str, tuple[Tensor, Tensor]],
    folder: Path,
) -> None:
    try:
        engine.add(name, weights)
    except EngineError:
        raise
    except RoomError as error:
        raise RoomError(f"{folder} does not fit: {error}") from error
    except (ConfigError, RuntimeError) as error:
        raise AdapterError(f"{folder} does not fit: {error}") from error


def decoder_for(device: torch.device) -> type[Decoder]:
    """Choose kernels by hand and CUDA graphs where the GPU has bfloat16."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        from fitbot.generation.decoders.cuda_graph_decoder import GraphedDecoder

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
