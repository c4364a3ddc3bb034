"""The file of a comparison's choices: one JSON line each, on the disk before the next is asked.

The first line says what is compared. A choice is never changed: to undo one is a line of its own.

    {"comparison": {...}}
    {"question": 17, "answers": {"a": ..., "b": ...}, "first": "b", "choice": "a", "prompt": [...]}
    {"undone": 17}
"""

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, get_args

from fitbot.errors import ConfigError
from fitbot.platforms import lock_file

logger = logging.getLogger(__name__)

Side = Literal["a", "b"]
Verdict = Literal["a", "b", "tie", "identical", "skip"]  # the better one; or why there is none


@dataclass(frozen=True)
class Choice:
    """What was chosen of one question's answers.

    Args:
        question: Its place in the file of questions, from 0.
        answers: What each side said.
        first: The side whose answer was shown first.
        choice: The side that was preferred, or why none was.
        prompt: The question, as messages of role and content.
    """

    question: int
    answers: dict[Side, str]
    first: Side
    choice: Verdict
    prompt: list[dict[str, str]]


class ChoiceLog:
    """The file, open and locked; `choices` are those that hold."""

    def __init__(self, path: Path, comparison: Mapping[str, Any]):
        """Open the file, or begin it. A last line that was not written whole is removed.

        Args:
            path: The file; its folder is made if missing.
            comparison: What is compared, as plain JSON.

        Raises:
            ConfigError: It cannot be written, another process writes it, it is of another
                comparison, or it is damaged.
        """
        self.path = path
        self.choices: list[Choice] = []
        self._file = _open(path)
        try:
            whole = self._whole_lines()
            if whole:
                self._check_comparison(_parse(path, 1, whole[0]), comparison)
                for number, line in enumerate(whole[1:], start=2):
                    self._replay(number, line)
            else:
                self._write({"comparison": comparison})
        except BaseException:
            self._file.close()
            raise

    def append(self, choice: Choice) -> None:
        """Keep one choice more.

        Raises:
            ConfigError: The file cannot be written; the choice is not kept.
        """
        self._write(asdict(choice))
        self.choices.append(choice)

    def undo(self) -> Choice:
        """Take back the last choice, of which there must be one, and return it.

        Raises:
            ConfigError: The file cannot be written; the choice holds still.
        """
        self._write({"undone": self.choices[-1].question})
        return self.choices.pop()

    def close(self) -> None:
        """Close and unlock the file."""
        self._file.close()

    def _whole_lines(self) -> list[bytes]:
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            logger.warning("%s: the last line was not written whole, and is removed", self.path)
            self._file.truncate(len(whole))
        return whole.splitlines()

    def _check_comparison(self, first: Any, comparison: Mapping[str, Any]) -> None:
        found = first.get("comparison") if isinstance(first, dict) else None
        if not isinstance(found, dict):
            raise ConfigError(f"{self.path} is not a file of choices; name another --out")
        for key in (*comparison, *found):
            if found.get(key) != comparison.get(key):
                raise ConfigError(
                    f"{self.path} is of another comparison: {key} is {json.dumps(found.get(key))} "
                    f"there, {json.dumps(comparison.get(key))} here; go on with what it was begun "
                    "with, or name another --out"
                )

    def _replay(self, number: int, line: bytes) -> None:
        entry = _parse(self.path, number, line)
        try:
            if "undone" in entry:
                undone = self.choices.pop()
                fits = undone.question == entry["undone"]
            else:
                self.choices.append(Choice(**entry))
                choice = self.choices[-1]
                fits = choice.choice in get_args(Verdict) and set(choice.answers) == {"a", "b"}
        except (TypeError, IndexError, AttributeError):
            fits = False
        if not fits:
            raise _damaged(self.path, number)

    def _write(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        end = self._file.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(end)
            raise ConfigError(
                f"{self.path}: cannot be written: {error.strerror}; what was chosen before is "
                "kept, the last choice is not. Make room, then run the same command again"
            ) from error


def _open(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        file = path.open("r+b", buffering=0)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written: {error.strerror}; name another folder by --out"
        ) from error
    is_free = True
    with suppress(OSError):  # a file system without locks
        is_free = lock_file(file)
    if not is_free:
        file.close()
        raise ConfigError(f"{path}: another fitbot compare writes it; end that one first")
    return file


def _parse(path: Path, number: int, line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise _damaged(path, number) from error


def _damaged(path: Path, number: int) -> ConfigError:
    return ConfigError(
        f"{path}: line {number} is damaged; remove the file from that line on, or name another "
        "--out"
    )
