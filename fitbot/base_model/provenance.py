"""An exported adapter's metadata, fitbot.json: how it was trained, asked and served.

Nothing here imports torch, so commands can read it before they start.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from fitbot.base_model.embedded import EMBEDDED, EMBEDDED_SYSTEM_PROMPT
from fitbot.base_model.settings import AnswerSettings, ServeSettings
from fitbot.errors import AdapterError

PROVENANCE_FILE = "fitbot.json"

Settings = TypeVar("Settings")

# The embedded model alone has no export to say how it was trained.
_OF_EMBEDDED: dict[str, Any] = {
    "base_model": EMBEDDED,
    "settings": {"load_in_4bit": True},
    "data": {"system_prompt": EMBEDDED_SYSTEM_PROMPT},
}


def latest_adapter(root: Path) -> Path | None:
    """Return the adapter that was exported last by a run below this folder; None if none was."""
    exported = root.glob(f"**/adapter/{PROVENANCE_FILE}")  # a run's name may be team/exp1
    latest = max(exported, key=lambda file: file.stat().st_mtime, default=None)
    return latest.parent if latest else None


def provenance_of(adapter: Path | None) -> dict[str, Any]:
    """Read the metadata of an exported adapter; None stands for the embedded model.

    Raises:
        AdapterError: The folder holds no adapter of fitbot's.
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
    except ValueError as error:
        raise AdapterError(f"{file} is damaged; export the adapter anew: {error}") from error
    if not isinstance(metadata, dict):
        raise AdapterError(f"{file} is no export's; export the adapter anew")
    return metadata


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
    except TypeError as error:
        raise AdapterError(
            f"{adapter}/{PROVENANCE_FILE}: {key} cannot be read; export the adapter anew: {error}"
        ) from error


def sha256_of(file: Path) -> str:
    """Hash a file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
