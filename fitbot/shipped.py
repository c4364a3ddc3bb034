"""What comes with fitbot beside its code: presets, pairs, and the embedded model.

A wheel has them inside the package, a checkout in folders beside it.
"""

import difflib
from pathlib import Path
from typing import Literal

from fitbot.errors import ConfigError

_IN_CHECKOUT = {"presets": "configs", "data": "data", "tiny": "checkpoints/fitbot-tiny"}

# Presets that are a few settings on top of another preset.
LIES_ON = {"debug": "quickstart", "overfit": "quickstart", "t4": "dpo"}


def shipped(what: Literal["presets", "data", "tiny"]) -> Path:
    """Return the folder of what comes with fitbot."""
    package = Path(__file__).parent
    installed = package / what
    return installed if installed.is_dir() else package.parent / _IN_CHECKOUT[what]


def presets() -> dict[str, Path]:
    """Return the file of every preset, by name."""
    return {file.stem: file for file in sorted(shipped("presets").glob("*.yaml"))}


def preset(name: str) -> Path:
    """Return the file of a preset.

    Raises:
        ConfigError: There is no preset of that name.
    """
    known = presets()
    if name not in known:
        # Whoever names the file of a checkout that is not here means the preset.
        stem = Path(name).stem
        near = [stem] if stem in known else difflib.get_close_matches(stem, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ConfigError(
            f"{name}: there is no such file and no such preset{hint} Presets: {', '.join(known)}; "
            "`fitbot presets` says what they are"
        )
    return known[name]


def config_files(config: str, *, first: bool) -> list[Path]:
    """Find the files of a --config that is a file or the name of a preset.

    Args:
        config: As it was typed. A file goes before a preset of the same name.
        first: Whether no other config comes before it: then a preset that lies on another one
            brings that one along.

    Raises:
        ConfigError: It is neither.
    """
    if Path(config).is_file():
        return [Path(config)]
    files = [preset(config)]
    if first and config in LIES_ON:
        files.insert(0, preset(LIES_ON[config]))
    return files


def shipped_pairs(source: str | Path) -> Path | None:
    """Find the pairs that come with fitbot and that `data/NAME` means where there is no such file.

    Returns:
        Their file; None for every other source.
    """
    path = Path(source)
    file = shipped("data") / path.name
    if path.parts != ("data", path.name) or path.exists() or not file.is_file():
        return None
    return file
