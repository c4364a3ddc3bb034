"""Opens the engine, in the worker process; PyTorch is loaded there and nowhere else.

All functions can be pickled. Options are those of the functions they call.
"""

import os
from pathlib import Path
from typing import Any

from fitbot.base_model.provenance import provenance_of
from fitbot.base_model.settings import LLAMA_SPINS
from fitbot.generation.engine import Engine

REMOTE_KEY = "FITBOT_REMOTE_KEY"  # environment variable with the remote server's key


def open_local(backend: str, adapter: Path | None, options: dict[str, Any]) -> Engine:
    """Open fitbot's own engine, on PyTorch or on llama.cpp."""
    if backend == "llama":
        os.environ.setdefault("GOMP_SPINCOUNT", LLAMA_SPINS)  # read when torch is loaded
    from transformers.utils import logging as of_transformers

    from fitbot.generation.loading import open_engine, open_llama_engine

    of_transformers.disable_default_handler()  # what it says becomes a line of the server's log
    of_transformers.enable_propagation()
    opener = open_llama_engine if backend == "llama" else open_engine
    engine: Engine = opener(adapter, **options)
    return engine


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
