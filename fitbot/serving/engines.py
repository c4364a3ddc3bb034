"""Opens the engine, in the worker process; PyTorch is loaded there and nowhere else.

All functions can be pickled. Options are those of the functions they call.
"""

import logging
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitbot.base_model.provenance import provenance_of
from fitbot.base_model.settings import LLAMA_SPINS
from fitbot.errors import ConfigError
from fitbot.generation.engine import Engine

if TYPE_CHECKING:
    from fitbot.generation.scheduler import LocalEngine

log = logging.getLogger(__name__)

REMOTE_KEY = "FITBOT_REMOTE_KEY"  # environment variable with the remote server's key


def open_local(backend: str, adapter: Path | None, options: dict[str, Any]) -> "LocalEngine":
    """Open fitbot's own engine, on PyTorch ("torch"), llama.cpp ("llama"), or what is fastest."""
    if backend != "torch" and find_spec("xllamacpp") is not None:
        os.environ.setdefault("GOMP_SPINCOUNT", LLAMA_SPINS)  # read when torch is loaded
    from transformers.utils import logging as of_transformers

    from fitbot.generation.loading import open_engine, open_fastest, open_llama_engine

    of_transformers.disable_default_handler()  # what it says becomes a line of the server's log
    of_transformers.enable_propagation()
    if backend == "torch" and "quantize" in options:
        raise ConfigError("--quantize: not with --backend torch; it is how llama.cpp holds a base")
    openers: dict[str, Any] = {"llama": open_llama_engine, "torch": open_engine}
    engine: LocalEngine = openers.get(backend, open_fastest)(adapter, **options)
    log.info("answers: %s", describe(engine))
    return engine


def describe(engine: "LocalEngine") -> str:
    """Say what fitbot's own engine computes with."""
    decoder: Any = engine.decoder
    names = {
        "LlamaDecoder": "llama.cpp",
        "CudaGraphDecoder": "CUDA graphs",
        "TorchDecoder": "PyTorch, step by step",
    }
    kind = type(decoder).__name__
    return f"{names.get(kind, kind)}, in {decoder.precision}"


def open_remote(
    url: str, model: str | None, adapter: Path | None, more: dict[str, Any], key: str | None
) -> Engine:
    """Open the engine that lets another server answer; `more` is sent with every request."""
    from fitbot.generation.remote import RemoteEngine

    return RemoteEngine(
        url,
        models=[model] if model else None,
        api_key=key,
        system_prompt=provenance_of(adapter, "data.system_prompt")["data"]["system_prompt"],
        extra_fields=more,
    )


def add_local(engine: Any, name: str, folder: Path) -> None:
    """Add an adapter to fitbot's own engine."""
    from fitbot.generation.loading import add_adapter

    add_adapter(engine, name, folder)
