"""A block of plain text to paste into an issue: 80 columns, no secrets, no user names."""

import getpass
import os
import re
import textwrap
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from fitbot.errors import FitbotError

Fact = tuple[str, str]  # what it is about, and what was found

FAILED = "FAILED: "
_COLUMNS, _LABEL = 80, 10
_SECRET_NAME = re.compile("TOKEN|KEY|SECRET|PASS|CREDENTIAL|AUTH", re.I)
_SECRET = re.compile(r"\b(hf|sk|ghp|github_pat)_[\w-]{8,}|\bsk-[\w-]{8,}|(?<=://)[^/@\s]+(?=@)")
_SHORTEST_SECRET = 8  # characters; a shorter value may be a word that stands anywhere


def draw_section(name: str, find: Callable[[], Iterable[Fact]]) -> tuple[str, bool]:
    """Collect a section's facts and lay them out.

    Args:
        name: Its heading.
        find: Finds its facts. It may raise on the way: what came before is shown, then why.

    Returns:
        The text, and whether something in it failed.
    """
    lines, has_failed = [name], False
    try:
        for label, text in find():
            lines += _draw(label, text)
            has_failed |= text.startswith(FAILED)
    except Exception as error:  # whatever it is, the other sections are wanted all the more
        return "\n".join([*lines, *_draw("", failed(error))]), True
    return "\n".join(lines), has_failed


def failed(error: Exception) -> str:
    """Say what an error says; of another library's only the first line."""
    if isinstance(error, FitbotError):
        return f"{FAILED}{error}"
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{FAILED}{type(error).__name__}: {first[:300]}".rstrip(": ")


def redact(text: str) -> str:
    """Leave out what is the user's own: secrets, the home folder, the user's name in paths."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    text = _SECRET.sub("***", text)
    home = str(Path.home())
    if len(home) > 1:
        text = re.sub(re.escape(home) + r"(?![\w.-])", "~", text)
    with suppress(OSError, KeyError, ImportError):  # a container's user may have no name
        name = re.escape(getpass.getuser())
        text = re.sub(rf"(?<=[/\\]){name}(?=[/\\]|$)", "***", text)
    return text


def _draw(label: str, text: str) -> list[str]:
    start = f"  {label:<{_LABEL}} " if label else "  "
    plain = redact(text).encode("ascii", "replace").decode()
    return textwrap.wrap(
        plain, _COLUMNS, initial_indent=start, subsequent_indent=" " * len(f"  {'':<{_LABEL}} ")
    )
