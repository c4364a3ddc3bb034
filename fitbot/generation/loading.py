"""Opens an engine: base model, decoder, engine, and the exported adapter that it answers with."""

import logging
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig

from fitbot.base_model.adapter_files import AdapterWeights, check_files, rank_of, read_adapter
from fitbot.base_model.base_files import check_base
from fitbot.base_model.embedded import EMBEDDED, resolve_base_model
from fitbot.base_model.gguf_file import ADAPTER_FILE, BASE_FILE, Kind
from fitbot.base_model.gpu import compute_dtype_on
from fitbot.base_model.loading import load_base
from fitbot.base_model.provenance import NEEDED_TO_ANSWER, answer_settings, provenance_of
from fitbot.base_model.settings import BaseSettings
from fitbot.errors import AdapterError, ConfigError, EngineError, RoomError
from fitbot.generation.decoders.choice import CONTEXT, open_decoder, precision_for
from fitbot.generation.decoders.decoder import Decoder
from fitbot.generation.decoders.llama_decoder import LARGEST_RANK, LlamaDecoder
from fitbot.generation.decoders.torch_decoder import Precision
from fitbot.generation.gguf_cache import cached_gguf
from fitbot.generation.merging import merge_checked
from fitbot.generation.messages import BASE, TUNED
from fitbot.generation.scheduler import LocalEngine
from fitbot.generation.token_budget import BudgetRule
from fitbot.pairs.chat import Chat, load_tokenizer
from fitbot.platforms import choose_device

logger = logging.getLogger(__name__)

_LONE_RANK = 16  # largest of adapters that an engine without one of its own may add
_LLAMA_SLOTS = 8


def open_engine(
    adapter: Path | None,
    *,
    slots: int | None = None,
    context: int | None = None,
    precision: Precision | None = None,
    max_waiting: int = 64,
    more_adapters: int = 0,
    policy: BudgetRule = "room",
    merged: bool = False,
) -> LocalEngine:
    """Load base and adapter and start answering.

    The weights are those that training saw, an NF4 base expanded; the adapter is kept beside them,
    unmerged. So one engine answers as "fitbot", with the adapter, and as "base", without. Merged,
    it answers as "fitbot" only.

    Args:
        adapter: Folder that `fitbot fit` or `fitbot export` wrote; None for the embedded model.
        slots, context: See `open_decoder`.
        precision: Of the matrix products. By default bfloat16 on a GPU, float16 where it has
            none; on a CPU float32, bfloat16 from a billion parameters on.
        max_waiting: Requests accepted beyond those that are active.
        more_adapters: Adapters that `LocalEngine.add` may add, of at most this one's rank.
        policy: How many tokens a request may have, see `answer_budget`.
        merged: Add the adapter to the weights, in float32, before they are rounded to `precision`.

    Raises:
        AdapterError: The folder holds no adapter of fitbot's, or one that does not fit its base,
            or the base was changed since.
        ConfigError: The base is of a kind that the embedded engine does not know; or `merged`, and
            there is no adapter, others are to be added, or too much of it is lost in rounding.
    """
    if merged and (adapter is None or more_adapters):
        raise ConfigError("--merged: needs an adapter, and takes no others besides it")
    provenance = provenance_of(adapter, *NEEDED_TO_ANSWER)
    chat = chat_of(provenance)
    weights = None if adapter is None else read_adapter(adapter)
    check_base(provenance["base_model"], provenance.get("base_sha256"), str(adapter))
    device = choose_device()  # no decoder is for Apple's GPU

    def load() -> Any:
        dtype = compute_dtype_on(device)
        if not merged or weights is None:
            return load_trained(provenance, device, dtype, expand=False)
        model = load_trained(provenance, device, dtype)
        rounded = precision or precision_for(model, device)
        merge_checked(model, weights, chat, rounded, folder=adapter)
        return model

    beside = None if merged else weights
    rank = _LONE_RANK if beside is None else rank_of(beside)
    ranks = rank * (more_adapters + (beside is not None))
    decoder = open_decoder(
        load, device, slots=slots, context=context, precision=precision, ranks=ranks
    )
    name = TUNED if merged else BASE
    return _start(
        decoder, chat, adapter, beside, rank, name=name, max_waiting=max_waiting, policy=policy
    )


def open_llama_engine(
    adapter: Path | None,
    *,
    quantize: Kind | None = None,
    slots: int | None = None,
    context: int | None = None,
    max_waiting: int = 64,
    more_adapters: int = 0,
    policy: BudgetRule = "room",
) -> LocalEngine:
    """Start answering by llama.cpp, on a CPU.

    The base is the file that `fitbot export --gguf` wrote into the adapter's folder, or else one of
    `gguf_cache`. The adapter is kept beside it, as in `open_engine`, whose arguments these are.
    Base and adapter have a key-value cache each, for all slots.

    Args:
        quantize: Precision of the base's matrices; by default the exported file's, or else q8_0,
            for the embedded model f32.

    Raises:
        AdapterError: The files are not those that were exported, or the adapter does not fit.
        ConfigError: llama.cpp is not installed or cannot open the base, or that has no such form.
    """
    if reason := _why_no_llama():
        raise ConfigError(f"--backend llama: {reason}")
    provenance = provenance_of(adapter, *NEEDED_TO_ANSWER)
    base_model, chat = provenance["base_model"], chat_of(provenance)
    exported = provenance.get("gguf", {"kind": None, "sha256": (ADAPTER_FILE,)})
    has_adapter = adapter is not None and ADAPTER_FILE in exported["sha256"]
    weights = read_adapter(adapter) if adapter is not None and has_adapter else None
    kind = quantize or exported["kind"] or ("f32" if base_model == EMBEDDED else "q8_0")
    if adapter is not None and kind == exported["kind"]:
        check_files(adapter, exported["sha256"])
        file = adapter / BASE_FILE
    else:
        check_base(base_model, provenance.get("base_sha256"), str(adapter))
        device, in_4bit = torch.device("cpu"), provenance["settings"]["load_in_4bit"]
        load = partial(load_trained, provenance, device, torch.float32)
        file = cached_gguf(base_model, kind, chat, load, in_4bit=in_4bit)
    decoder = LlamaDecoder(
        file,
        AutoConfig.from_pretrained(resolve_base_model(base_model)),
        chat,
        kind,
        slots=slots or _LLAMA_SLOTS,
        context=context or CONTEXT["cpu"],
        adapters=more_adapters + (weights is not None),
    )
    decoder.warm_up()
    return _start(
        decoder, chat, adapter, weights, LARGEST_RANK, max_waiting=max_waiting, policy=policy
    )


def open_fastest(
    adapter: Path | None,
    *,
    quantize: Kind | None = None,
    precision: Precision | None = None,
    merged: bool = False,
    **options: Any,
) -> LocalEngine:
    """Open the engine that is fastest here, and log which one that is.

    That is llama.cpp on a CPU, where it is installed and knows the base, unless weights are to be
    merged or have a precision.

    Args:
        quantize: See `open_llama_engine`.
        precision, merged: See `open_engine`, whose arguments and errors the other ones are too.
    """
    if choose_device().type == "cpu" and not (merged or precision):
        reason = _why_no_llama()
        if reason is None:
            try:
                return open_llama_engine(adapter, quantize=quantize, **options)
            except ConfigError as error:
                reason = str(error)
        logger.warning("answers: by fitbot's own decoder, as llama.cpp cannot: %s", reason)
    if quantize:
        logger.warning("answers: --quantize %s is for llama.cpp, which does not answer", quantize)
    return open_engine(adapter, precision=precision, merged=merged, **options)


def _why_no_llama() -> str | None:
    missing = [name for name in ("xllamacpp", "gguf") if find_spec(name) is None]
    if missing:
        return f"{missing[0]} is not installed here; run pip install 'fitbot[cpu]'"
    return None


def load_trained(
    provenance: dict[str, Any], device: torch.device, dtype: torch.dtype, *, expand: bool = True
) -> Any:
    """Load the base that an adapter was trained on, an NF4 base expanded if that is wanted."""
    in_4bit = provenance["settings"]["load_in_4bit"]
    expand = in_4bit and expand
    base = BaseSettings(provenance["base_model"], load_in_4bit=in_4bit, expand_4bit=expand)
    return load_base(base, device=device, compute_dtype=dtype)


def chat_of(provenance: dict[str, Any]) -> Chat:
    """Load the tokenizer and how conversations were rendered in training."""
    tokenizer = load_tokenizer(provenance["base_model"])
    data = provenance["data"]
    ends = ends_of(provenance["base_model"])
    return Chat(tokenizer, system_prompt=data["system_prompt"], date=data.get("date"), ends=ends)


def ends_of(base_model: str) -> set[int]:
    """Return the tokens that a base's generation_config.json lists as ends of an answer.

    Raises:
        ConfigError: The file cannot be read.
    """
    source = resolve_base_model(base_model)
    try:
        found = GenerationConfig.from_pretrained(source).eos_token_id
    except OSError as error:
        file = Path(source, "generation_config.json")
        if not file.exists():  # not every base has one
            return set()
        raise ConfigError(f"{file} cannot be read; mend it or take it away") from error
    return set(found if isinstance(found, list) else [found]) - {None}


def _start(
    decoder: Decoder,
    chat: Chat,
    adapter: Path | None,
    weights: AdapterWeights | None,
    rank: int,
    **options: Any,
) -> LocalEngine:
    """Start an engine; weights that are not merged are the model that answers by default."""
    below_gib = answer_settings(adapter).adaptive_below_gib
    engine = LocalEngine(decoder, chat, rank=rank, below_gib=below_gib, **options)
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

    Args:
        engine: A running engine.
        name: What requests call the adapter.
        folder: That `fitbot fit` or `fitbot export` wrote.

    Raises:
        AdapterError: It was trained on another base, its rank is too large, or its files are not
            those that were exported.
        RoomError: There is no room for one more.
        RequestError: The name is taken, or is not a valid one.
    """
    provenance, own = provenance_of(folder, "base_model"), engine.chat.tokenizer.name_or_path
    base_model = provenance["base_model"]
    try:
        is_own = resolve_base_model(base_model) == own
    except ConfigError:  # a folder that does not exist on this machine
        is_own = False
    if not is_own:
        raise AdapterError(f"{folder} was trained on {base_model}, this engine holds {own}")
    weights = read_adapter(folder)
    check_base(base_model, provenance.get("base_sha256"), str(folder))
    _add(engine, name, weights, folder)


def _add(engine: LocalEngine, name: str, weights: AdapterWeights, folder: Path) -> None:
    try:
        engine.add(name, weights)
    except EngineError:
        raise
    except RoomError as error:
        raise RoomError(f"{folder} does not fit: {error}") from error
    except (ConfigError, RuntimeError) as error:
        raise AdapterError(f"{folder} does not fit: {error}") from error
