"""fitbot-tiny: the small model that comes with fitbot, for `make quickstart` and the tests.

It has Qwen3's architecture and chat format, and was trained from scratch on the project's own text;
checkpoints/fitbot-tiny/README.md says how, and what it is for.
"""

import os
import re
from pathlib import Path

from fitbot.errors import ConfigError
from fitbot.shipped import shipped

EMBEDDED = "embedded"  # its name in the base_model setting
EMBEDDED_SYSTEM_PROMPT = "You are a helpful AI fitness assistant for gym-goers and vegetarians."


def resolve_base_model(base_model: str) -> str:
    """Turn a base model's name into what transformers can load: a hub id or an existing folder.

    Raises:
        ConfigError: It is written like a path, and no such folder is there.
    """
    if base_model == EMBEDDED:
        return str(embedded_model())
    found = absolute_base(base_model)
    # No hub id has a backslash or a colon, as paths of Windows do.
    is_path = re.match(r"[./~]|.*[\\:]|.*/.*/", base_model)
    if is_path and not (Path(found) / "config.json").is_file():
        raise ConfigError(
            f"base_model {base_model!r}: no config.json there; give a folder with a model that "
            "transformers can load, a hub id such as 'Qwen/Qwen3-0.6B', or 'embedded'"
        )
    return found


def absolute_base(base_model: str) -> str:
    """Name a base's folder so that it is found from any working folder; other names stay."""
    folder = Path(base_model).expanduser()
    if base_model == EMBEDDED or not (folder / "config.json").is_file():
        return base_model
    return absolute_path(str(folder))


def absolute_path(path: str) -> str:
    """Make a path absolute; links stay, for they may lead elsewhere on another host."""
    return os.path.abspath(path)  # noqa: PTH100


def embedded_model() -> Path:
    """Return the folder of the embedded model."""
    return shipped("tiny")
