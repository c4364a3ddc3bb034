"""What a learning folder's versions began from; it stays the same for as long as the folder does.

Nothing here imports torch.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fitbot.base_model.embedded import absolute_base, absolute_path
from fitbot.base_model.provenance import provenance_of, sha256_of
from fitbot.errors import ConfigError
from fitbot.platforms import written_whole

_FILE, _WEIGHTS = "origin.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class Origin:
    """A base, and the adapter that version 0 is; without one, version 0 is the base."""

    base_model: str
    load_in_4bit: bool
    system_prompt: str | None
    adapter: str | None = None
    sha256: str | None = None  # of the adapter's weights

    @classmethod
    def of(cls, adapter: Path | None) -> "Origin":
        """Read what an exported adapter says of itself; None stands for the embedded model."""
        needed = ("base_model", "settings.load_in_4bit", "data.system_prompt")
        found = provenance_of(adapter, *needed)
        own = None if adapter is None else absolute_path(str(adapter))
        return cls(
            absolute_base(found["base_model"]),
            found["settings"]["load_in_4bit"],
            found["data"]["system_prompt"],
            own,
            sha256_of(Path(own) / _WEIGHTS) if own else None,
        )


def recorded_origin(folder: Path) -> Origin | None:
    """Return what a learning folder began from; None of a new one.

    Raises:
        ConfigError: The file that says it is damaged.
    """
    file = folder / _FILE
    if not file.is_file():
        return None
    try:
        return Origin(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{file} is damaged: {error}; name another --learning_folder") from error


def keep_origin(folder: Path, origin: Origin) -> None:
    """Write what a folder's versions begin from.

    Raises:
        ConfigError: They began from something else.
    """
    before = recorded_origin(folder)
    if before is None:
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(folder / _FILE) as file:
            file.write(json.dumps(asdict(origin), indent=2).encode())
        return
    if (before.base_model, before.sha256) != (origin.base_model, origin.sha256):
        raise ConfigError(
            f"{folder}: what was learned there began from {before.adapter or before.base_model}, "
            f"and this is {origin.adapter or origin.base_model}; name another --learning_folder"
        )
