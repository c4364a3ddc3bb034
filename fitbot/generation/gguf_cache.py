"""GGUF files of bases, which llama.cpp answers with; each is written once and kept.

They lie in $FITBOT_CACHE/gguf, by default ~/.cache/fitbot/gguf, and may be deleted at will.
"""

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fitbot.base_model.base_files import base_hash
from fitbot.base_model.gguf_file import Kind, write_base
from fitbot.base_model.provenance import sha256_of
from fitbot.errors import ConfigError
from fitbot.pairs.chat import Chat
from fitbot.platforms import replace_file

logger = logging.getLogger(__name__)

_VARIABLE = "FITBOT_CACHE"
_FORMAT = 1  # of the files; another one makes them be written anew


def cached_gguf(
    base_model: str, kind: Kind, chat: Chat, load: Callable[[], Any], *, in_4bit: bool
) -> Path:
    """Return a base's GGUF file; writes it where there is none, or a damaged one.

    Args:
        base_model: Its name or folder.
        kind: Of its matrices.
        chat: Of its tokenizer.
        load: Returns its network, as `write_base` takes it.
        in_4bit: Whether that has been held in 4 bits.

    Raises:
        ConfigError: The base has no such form, or the file cannot be written.
    """
    key = json.dumps([_FORMAT, kind, in_4bit, base_hash(base_model)])
    file = _folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.gguf"
    digest = file.with_suffix(".sha256")
    try:
        if file.is_file() and digest.is_file():
            if sha256_of(file) == digest.read_text(encoding="utf-8"):
                return file
            logger.warning("%s is damaged and is written anew", file)
        logger.warning("the base is written for llama.cpp in %s, once: %s", kind, file)
        _write(file, digest, kind, chat, load())
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be written: {error.strerror or error}; free some space there, let "
            f"{_VARIABLE} name a folder elsewhere, or take --backend torch"
        ) from error
    return file


def _write(file: Path, digest: Path, kind: Kind, chat: Chat, model: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{uuid.uuid4().hex}.partial")  # two may write at the same time
    try:
        write_base(partial, model, chat.tokenizer, kind, end_of_turn_id=chat.end_of_turn_id)
        found = sha256_of(partial)
        digest.unlink(missing_ok=True)  # who dies in between leaves none, not another file's
        replace_file(partial, file)
        digest.write_text(found, encoding="utf-8")
    finally:
        partial.unlink(missing_ok=True)


def _folder() -> Path:
    return Path(os.environ.get(_VARIABLE) or Path.home() / ".cache" / "fitbot") / "gguf"
