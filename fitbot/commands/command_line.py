"""What commands share: a parser that says what was meant; printing, and writing a file."""

import difflib
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser
from jsonargparse.typing import Path as ConfigPath

from fitbot.errors import ConfigError
from fitbot.platforms import open_utf8

# It opens configs in the encoding of the country, which on Windows garbles a system prompt.
vars(sys.modules[ConfigPath.__module__])["open"] = open_utf8


class SuggestingParser(ArgumentParser):
    """A parser that names the nearest known option to one that it refuses."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print usage and message and exit with status 2."""
        unknown = re.search(r"(?:option|arguments?:|key) ['\"]?-*([\w.]+)", message)
        if unknown:
            # "Subcommand 'fit' does not accept option 'data.nn'": the options are the subcommand's.
            known = [action.dest for parser in _parsers(self) for action in parser._actions]
            near = difflib.get_close_matches(unknown[1], known, n=1)
            message += f"\ndid you mean {near[0]!r}?" if near else ""
        super().error(message, ex)
        raise AssertionError  # the parser has exited


def add_engine_options(parser: ArgumentParser) -> None:
    """Add the options of every command that answers: which adapter, and what computes."""
    parser.add_argument(
        "--adapter",
        type=Path,
        help="folder that fit exported; default: the latest run's in checkpoints/, or else the "
        "embedded model alone",
    )
    parser.add_argument(
        "--backend",
        choices=["torch", "llama"],
        default="torch",
        help="what computes: PyTorch, or llama.cpp on the files that fitbot export --gguf wrote",
    )


def check_at_least(options: Any, **least: int) -> None:
    """Refuse options that are given and smaller than each must be.

    Raises:
        ConfigError: One is.
    """
    for name, smallest in least.items():
        value = getattr(options, name)
        if value is not None and value < smallest:
            raise ConfigError(f"--{name} must be at least {smallest}, got {value}")


def say(text: str) -> None:
    """Print."""
    print(text)  # noqa: T201


def write_file(path: Path, text: str) -> None:
    """Write a file, its folder made if missing, and say so.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written: {error.strerror}; name another file"
        ) from error
    say(f"wrote {path}")


def _parsers(parser: Any) -> list[Any]:
    children = (action for action in parser._actions if isinstance(action.choices, dict))
    return [parser, *(child for action in children for child in action.choices.values())]
