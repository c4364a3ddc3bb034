"""What commands share: a parser that says what was meant; printing, and writing a file."""

import difflib
import re
import sys
from argparse import ArgumentError
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

from jsonargparse import ArgumentParser
from jsonargparse._typehints import ActionTypeHint
from jsonargparse.typing import Path as ConfigPath

from fitbot.base_model.gguf_file import KINDS
from fitbot.commands.explain import in_one_line
from fitbot.errors import ConfigError, FitbotError
from fitbot.platforms import open_utf8

# It opens configs in the encoding of the country, which on Windows garbles a system prompt.
vars(sys.modules[ConfigPath.__module__])["open"] = open_utf8


class SuggestingParser(ArgumentParser):
    """A parser that takes no abbreviations, and says what could be meant by what it refuses."""

    def __init__(self, *args: Any, **options: Any):
        """Take what jsonargparse's parser takes."""
        super().__init__(*args, **{"allow_abbrev": False, **options})

    def parse_args(self, *args: Any, **options: Any) -> Any:
        """Parse what was typed.

        Raises:
            ConfigError: It fails in a way that the parser has no message for.
        """
        try:
            return super().parse_args(*args, **options)
        except (FitbotError, ArgumentError):
            raise
        except Exception as error:  # nested too deeply, a number of 5,000 digits, and their like
            raise ConfigError(f"the settings cannot be read: {in_one_line(error)}") from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print usage and message and exit with status 2."""
        # "Subcommand 'fit' does not accept option 'data.nn'": the options are the subcommand's.
        actions = {action.dest: action for parser in _parsers(self) for action in parser._actions}
        message = _plain(message, {name: _type_of(action) for name, action in actions.items()})
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
        choices=["auto", "torch", "llama"],
        default="auto",
        help="what computes: PyTorch, or on a CPU llama.cpp; auto takes llama.cpp on a CPU where "
        "the extra `cpu` is installed and it knows the base",
    )
    parser.add_argument(
        "--quantize",
        choices=KINDS,
        help="how llama.cpp holds the base: q4_k_m is smaller and faster, and loses some of it, "
        "see docs/explanation/serving.md; default: what fitbot export --gguf wrote, or else q8_0, "
        "for the embedded model f32",
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


def announce(text: str) -> None:
    """Say on stderr what happens now."""
    with suppress(OSError):  # a full disk is no reason to stop
        print(text, file=sys.stderr, flush=True)  # noqa: T201


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


def _type_of(action: Any) -> Any:
    return action._typehint if isinstance(action, ActionTypeHint) else action.type


def _plain(message: str, types: dict[str, Any]) -> str:
    """Say in one line what jsonargparse says of types, and what could be meant.

    Args:
        message: Its own.
        types: Of all options, by name.
    """
    for name, kind in list(types.items()):  # such as model.lora.r
        for one in (kind, *get_args(kind)):
            if is_dataclass(one):
                types |= {f"{name}.{field.name}": field.type for field in fields(one)}
    name = ".".join(dict.fromkeys(re.findall(r'Parser key "([\w.]+)":', message)))
    # An option of a class has one below it, too: trainer.callbacks.help.
    sections = {known.rpartition(".")[0] for known in types if not known.endswith(".help")}
    is_section = name in sections
    if not is_section and (refused := _of_class(message)):
        return f"{name}{refused}"
    within = re.search(r"Problem with given class_path .*:\n +(.*(?:\n  .*)?)\n +- Exp", message)
    unknown = re.search(r"(?:[Oo]ption|arguments?:) ['\"]?-*([\w.]+)", message)
    value = re.search(r"(?:(?:Got|Given) value:|Unable to load config) (.*)", message)
    if unknown:
        wanted = f"{name}.{unknown[1]}" if name else unknown[1]
        message = f"{name} has no {unknown[1]!r}" if name else message
        return message + _nearest(wanted, set(types) - {wanted})
    if within:  # it is the message of a parser of the class
        return f"{name}.{within[1].removeprefix('--')}"
    if is_section and value:
        return f"{name} {value[1]}: must be a mapping of settings, or a file of them"
    legal, shown = _legal(types.get(name)), name if "." in name else f"--{name}"
    if value is None or not legal:
        return re.sub(r'^Parser key "[\w.]+":', f"{shown}:", message)
    legal = legal if "." in name else [word for word in legal if word != "null"]
    words = [*legal[:-2], " or ".join(legal[-2:])]
    return f"{shown} {value[1]}: must be {', '.join(words)}{_nearest(value[1], legal)}"


def _of_class(message: str) -> str | None:
    """Say in one line why a class that a setting names cannot be had; None of other settings."""
    found = r"Problem with given class_path '(.*)':\n +(?:--)?(.*)(?:\n +(did you mean .*))?"
    if problem := re.search(found, message):
        path, said, hint = problem.groups()
        return f": {path}: {said}" + (f"\n{hint}" if hint else "")
    wanted = re.search(r"import path string|subclass of (\w+)", message)
    value = re.search(r"Given value: (.*)", message)
    if wanted is None or value is None:
        return None
    return f" {value[1]}: must be the import path of a {wanted[1] or 'class'}, or a list of such"


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"\ndid you mean {near[0]!r}?" if near else ""


def _legal(kind: Any) -> list[str]:
    """List what values of a type may be, in words; nothing for a type that is not simple."""
    simple = {bool: ["true", "false"], int: ["a whole number"], float: ["a number"]}
    simple |= {str: ["a text"], Path: ["a path"]}
    if get_origin(kind) is list:
        return ["a list"]
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    if kind is type(None):
        return ["null"]
    if range_ := getattr(kind, "_expression", ""):  # of jsonargparse's types with a range
        return [f"a whole number v with {range_}"]
    if get_args(kind):
        parts = [_legal(one) for one in get_args(kind)]
        return [word for part in parts for word in part] if all(parts) else []
    return simple.get(kind, [])
