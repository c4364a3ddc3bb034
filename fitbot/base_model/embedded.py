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
_LARGEST_POINTER = 1024  # bytes
EMBEDDED_SYSTEM_PROMPT = "You are a helpful AI fitness assistant for gym-goers and vegetarians."


def resolve_base_model(base_model: str) -> str:
    """Turn a base model's name into what transformers can load: a hub id or an existing folder.

    Raises:
        ConfigError: It is written like a path or is one, and no model is there, or one whose files
            Git LFS has not fetched.
    """
    if base_model == EMBEDDED:
        source = str(embedded_model())
    else:
        source = absolute_base(base_model)
        # No hub id has a backslash or a colon, as paths of Windows do.
        # transformers, too, takes what is there before it asks the hub.
        is_path = re.match(r"[./~]|.*[\\:]|.*/.*/", base_model) or Path(source).exists()
        if is_path and not (Path(source) / "config.json").is_file():
            raise ConfigError(
                f"base_model {base_model!r}: no config.json there; give a folder with a model that "
                "transformers can load, a hub id such as 'Qwen/Qwen3-0.6B', or 'embedded'"
            )
    _refuse_pointers(base_model, Path(source))
    return source


def absolute_base(base_model: str) -> str:
    """Name a base's folder so that it is found from any working folder; other names stay."""
    # Not Path's expanduser, which raises where there is no such user.
    folder = os.path.expanduser(base_model)  # noqa: PTH111
    if base_model == EMBEDDED or not (Path(folder) / "config.json").is_file():
        return base_model
    return absolute_path(folder)


def absolute_path(path: str) -> str:
    """Make a path absolute; links stay, for they may lead elsewhere on another host."""
    return os.path.abspath(path)  # noqa: PTH100


def is_pointer(file: Path) -> bool:
    """Say whether a file is one that Git LFS has put in the place of the real one."""
    is_small = file.is_file() and file.stat().st_size < _LARGEST_POINTER
    return is_small and file.read_bytes().startswith(b"version https://git-lfs")


def _refuse_pointers(base_model: str, folder: Path) -> None:
    for file in sorted(folder.glob("*.*")) if folder.is_dir() else []:
        if is_pointer(file):
            raise ConfigError(
                f"base_model {base_model!r}: {file.name} is a pointer of Git LFS, not the file "
                "itself; run `git lfs pull` in that folder"
            )


def embedded_model() -> Path:
    """Return the folder of the embedded model."""
    return shipped("tiny")
