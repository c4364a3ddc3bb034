"""An exported adapter's metadata, fitbot.json: how it was trained, asked and served.

Nothing here imports torch, so commands can read it before they start.
"""

import hashlib
import json
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

from fitbot.base_model.embedded import EMBEDDED, EMBEDDED_SYSTEM_PROMPT
from fitbot.base_model.settings import AnswerSettings, ServeSettings
from fitbot.errors import AdapterError, ConfigError

PROVENANCE_FILE = "fitbot.json"

NEEDED_TO_ANSWER = ("base_model", "settings.load_in_4bit", "data.system_prompt")

Settings = TypeVar("Settings")

# What each entry holds, if it is there; a dot leads into a section.
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("settings", "data", "answers", "serve", "sha256", "gguf"), (dict,)),
    **dict.fromkeys(("metrics", "versions"), (dict,)),
    **dict.fromkeys(("base_model", "settings.base_model"), (str,)),
    **dict.fromkeys(("base_sha256", "reference_sha256"), (str, NoneType)),
    **dict.fromkeys(("settings.adapter", "data.system_prompt", "data.date"), (str, NoneType)),
    **dict.fromkeys(("settings.load_in_4bit", "answers.do_sample"), (bool,)),
    **dict.fromkeys(("serve.host", "serve.endpoint"), (str,)),
    **dict.fromkeys(("serve.port", "serve.max_request_length"), (int,)),
    "answers.max_new_tokens": (int,),
    **dict.fromkeys(("metrics.verdict", "trained"), (str,)),
    "gguf.sha256": (dict,),
}

# The embedded model alone has no export to say how it was trained.
_OF_EMBEDDED: dict[str, Any] = {
    "base_model": EMBEDDED,
    "settings": {"load_in_4bit": True},
    "data": {"system_prompt": EMBEDDED_SYSTEM_PROMPT},
}


def latest_adapter(root: Path) -> Path | None:
    """Return the adapter that was exported last by a run below this folder; None if none was.

    Versions that were learned from choices are no runs: versions/7/adapter.
    """
    found = root.glob(f"**/adapter/{PROVENANCE_FILE}")  # a run's name may be team/exp1
    exported = [file for file in found if file.parts[-4:-3] != ("versions",)]
    latest = max(exported, key=lambda file: file.stat().st_mtime, default=None)
    return latest.parent if latest else None


def provenance_of(adapter: Path | None, *needed: str) -> dict[str, Any]:
    """Read the metadata of an exported adapter; None stands for the embedded model.

    Args:
        adapter: Its folder.
        needed: Entries without which the caller can do nothing, such as "data.system_prompt".

    Raises:
        AdapterError: The folder holds no adapter of fitbot's, or an entry is missing or of another
            kind than it must be.
    """
    if adapter is None:
        return _OF_EMBEDDED
    file = adapter / PROVENANCE_FILE
    if not file.is_file():
        within = adapter / "adapter"  # of a run's folder
        where = within if (within / PROVENANCE_FILE).is_file() else "a folder fit exported"
        raise AdapterError(f"{adapter}: no {PROVENANCE_FILE} there; give {where}")
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
        json.dumps(metadata, ensure_ascii=False).encode()  # half a character cannot be written
    except OSError as error:
        raise AdapterError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{file} is damaged; export the adapter anew: {error}") from error
    if not isinstance(metadata, dict):
        raise AdapterError(f"{file} is no export's; export the adapter anew")
    for name, kinds in _KINDS.items():
        found = _entries(metadata, name)
        if not found and name in needed:
            raise AdapterError(f"{file}: {name} is missing; export the adapter anew")
        if found and not isinstance(found[0], kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise AdapterError(
                f"{file}: {name} must be {wanted}, not {type(found[0]).__name__}; export the "
                "adapter anew"
            )
    return metadata


def _entries(metadata: dict[str, Any], name: str) -> list[Any]:
    """Return the one entry of a name, or none."""
    section, _, key = name.rpartition(".")
    # Sections come first in `_KINDS`: by now this one is known to be a dict.
    within = metadata.get(section, {}) if section else metadata
    return [within[key]] if key in within else []


def answer_settings(adapter: Path | None) -> AnswerSettings:
    """Return the settings of the adapter's run for its answers."""
    return _settings(AnswerSettings, adapter, "answers")


def serve_settings(adapter: Path | None) -> ServeSettings:
    """Return the settings of the adapter's run for its server."""
    return _settings(ServeSettings, adapter, "serve")


def _settings(kind: type[Settings], adapter: Path | None, key: str) -> Settings:
    # A run that was started from Python has no such settings; then the defaults hold.
    try:
        return kind(**provenance_of(adapter).get(key, {}))
    except (TypeError, ConfigError) as error:
        raise AdapterError(
            f"{adapter}/{PROVENANCE_FILE}: {key} cannot be read; export the adapter anew: {error}"
        ) from error


def sha256_of(file: Path) -> str:
    """Hash a file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
