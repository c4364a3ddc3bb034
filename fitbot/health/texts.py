"""The fixed texts of the health layer and the numbers to call, in texts.json; an operator's own.

An operator's file has the same form and holds only what it replaces:

    {"numbers": {"en": {"emergency": "999", "crisis": "Samaritans, 116 123"}},
     "texts": {"en": {"drugs": "Please ask our pharmacy."}}}
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from fitbot.errors import ConfigError

_PLACE = re.compile(r"\{(\w*)\}")
_PLACES = ("emergency", "crisis", "eating")  # of numbers in a text
_SECTIONS = ("numbers", "texts", "other languages")
_NUMBERS_OF = {"hi-Latn": "hi"}  # whose numbers a language has, if not its own


class Texts(NamedTuple):
    """Every text by language and name, with its numbers in it.

    Args:
        by_language: Of the languages that the layer knows.
        first_lines: One line for each other language.
        source: An operator's file; None if there is none.
    """

    by_language: Mapping[str, Mapping[str, str]]
    first_lines: Mapping[str, str]
    source: Path | None = None

    def get(self, language: str, *names: str) -> str:
        """Return the first of some texts that there is in a language, or else in English."""
        for texts in (self.by_language.get(language, {}), self.by_language["en"]):
            for name in names:
                if name in texts:
                    return texts[name]
        raise KeyError(names)


@cache
def load_texts(own: Path | None = None) -> Texts:
    """Read the texts, and an operator's over them.

    Raises:
        ConfigError: The operator's file cannot be read, or holds what no text is.
    """
    data = json.loads(files(__package__).joinpath("texts.json").read_text(encoding="utf-8"))
    if own is not None:
        _replace(data, _read(own), own)
    numbers = data["numbers"]
    by_language = {
        language: {
            name: text.format(**numbers[_NUMBERS_OF.get(language, language)])
            for name, text in texts.items()
        }
        for language, texts in data["texts"].items()
    }
    lines = data["other languages"].items()
    first_lines = {code: line.format(**numbers["other"]) for code, line in lines}
    return Texts(by_language, first_lines, own)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the health texts {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"the health texts {path} are no JSON: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"the health texts {path} are no JSON object of {', '.join(_SECTIONS)}")
    return data


def _replace(data: dict[str, Any], own: Mapping[str, Any], path: Path) -> None:
    """Put an operator's entries in the place of those that there are; there are no new ones."""
    for section, entries in own.items():
        _check_known(section, data, path, "section")
        if section == "other languages":
            _replace_texts(data[section], entries, path, section)
            continue
        if not isinstance(entries, dict):
            raise ConfigError(f"{path}: {section} must be an object by language")
        for language, texts in entries.items():
            _check_known(language, data[section], path, f"language of {section}")
            _replace_texts(data[section][language], texts, path, f"{section}.{language}")


def _replace_texts(texts: dict[str, str], own: Any, path: Path, where: str) -> None:
    if not isinstance(own, dict):
        raise ConfigError(f"{path}: {where} must be an object of texts")
    for name, text in own.items():
        _check_known(name, texts, path, f"text of {where}")
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"{path}: {where}.{name} must be a text")
        odd = [place for place in _PLACE.findall(text) if place not in _PLACES]
        if odd or text.count("{") != len(_PLACE.findall(text)) or "}" in _PLACE.sub("", text):
            places = ", ".join(f"{{{place}}}" for place in _PLACES)
            raise ConfigError(f"{path}: {where}.{name}: braces stand for numbers only: {places}")
        texts[name] = text


def _check_known(name: str, known: Mapping[str, Any], path: Path, what: str) -> None:
    if name not in known:
        names = ", ".join(known)
        raise ConfigError(f"{path}: {name!r} is no {what}; there are {names}")
