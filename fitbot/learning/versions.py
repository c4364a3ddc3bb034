"""The versions of a model that learning has made: folders on disk, and which of them answers.

    versions/
      current.json   {"number": 7}; 0 is the base that learning began from. {"number": 6, "next": 7}
                     means 7 as soon as its folder is there
      7/             version.json, outcomes.json, adapter/ as every fit exports it
      8.partial/     being written; swept at the next start

The learner writes versions, any process may make another one current. Every file and folder takes
its place in one step, so a process that is killed leaves the last whole state.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fitbot.base_model.provenance import sha256_of
from fitbot.errors import AdapterError, ConfigError
from fitbot.learning.gate import BETTER, NOT_WORSE, REFUSED
from fitbot.platforms import written_whole

UNDONE = "undone"
STATES = (NOT_WORSE, BETTER, REFUSED, UNDONE)
_ADAPTER, _RECORD, _OUTCOMES, _CURRENT = "adapter", "version.json", "outcomes.json", "current.json"

Outcomes = dict[str, dict[str, Any]]  # by measure, by item


@dataclass(frozen=True)
class Version:
    """One version; 0 is the base and has no folder."""

    number: int
    parent: int
    state: str  # one of STATES
    reason: str  # one sentence of the gate
    choices: tuple[int, ...] = ()  # ids of those it learned from, besides its parent's
    seed: int = 0
    steps: int = 0
    drift: float = 0.0  # nats a token from the base
    figures: dict[str, Any] | None = None  # by measure, as the gate has them
    better: tuple[str, ...] = ()  # measures by which it is the best version so far
    # Refused only because too little was shown: the next lesson goes on from it.
    unsettled: bool = False
    start: int = 0  # the version whose weights its lesson began with: its parent or such a one
    seconds: dict[str, float] | None = None  # by stage
    time: float = 0.0  # when it was made, seconds since 1970
    sha256: dict[str, str] | None = None  # of the adapter's files

    @property
    def name(self) -> str:
        """What requests call it."""
        return f"fitbot@{self.number}"


BASE_VERSION = Version(0, 0, BETTER, "where learning began", better=())


class Versions:
    """The versions of one learning folder."""

    def __init__(self, folder: Path):
        """Take the learning folder; it is made when the first version is written."""
        self.folder = folder / "versions"

    def sweep(self) -> list[str]:
        """Remove what a killed learner has left half written; return its names."""
        partial = sorted(self.folder.glob("*.partial"))
        if (self.folder / _CURRENT).is_file():
            self._point_to(self.current)  # a version that was announced and never came
        for path in partial:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(
                missing_ok=True
            )
        return [path.name for path in partial]

    def all(self) -> list[Version]:
        """Return all versions, oldest first, without the base.

        Raises:
            AdapterError: A record is damaged.
        """
        return [self.get(number) for number in self.numbers()]

    def get(self, number: int) -> Version:
        """Return one version.

        Raises:
            ConfigError: There is none of this number.
            AdapterError: Its record is damaged.
        """
        if number == 0:
            return BASE_VERSION
        file = self.folder / str(number) / _RECORD
        if not file.is_file():
            known = ", ".join(map(str, self.numbers())) or "none"
            raise ConfigError(f"there is no version {number}; there are: {known}")
        try:
            version = Version(**json.loads(file.read_text(encoding="utf-8")))
            if version.number != number or version.state not in STATES:
                raise ValueError(f"number {version.number}, state {version.state!r}")
        except (ValueError, TypeError) as error:
            raise AdapterError(
                f"{file} is damaged: {error}. Remove the folder {file.parent}, and make another "
                "version current if it was this one"
            ) from error
        return replace(version, choices=tuple(version.choices), better=tuple(version.better))

    def named(self, name: str) -> Version:
        """Return a version by its name, such as fitbot@7.

        Raises:
            ConfigError: It is no such name, or there is no such version.
        """
        head, _, number = name.partition("@")
        if head != "fitbot" or not number.isdecimal():
            raise ConfigError(f"{name!r} is no version; give one such as fitbot@7")
        return self.get(int(number))

    def adapter(self, number: int) -> Path | None:
        """Return the folder of a version's adapter, once its files are checked; None for the base.

        Raises:
            ConfigError: There is no such version.
            AdapterError: A file is missing or is not the one that was written.
        """
        version = self.get(number)
        if number == 0:
            return None
        folder = self.folder / str(number) / _ADAPTER
        for name, expected in (version.sha256 or {}).items():
            if not (folder / name).is_file() or sha256_of(folder / name) != expected:
                raise AdapterError(
                    f"{version.name}: {folder / name} is missing or was changed since it was made; "
                    "make another version current"
                )
        return folder

    @property
    def current(self) -> int:
        """The number of the version that answers.

        Raises:
            AdapterError: The file that says it is damaged.
        """
        file = self.folder / _CURRENT
        if not file.is_file():
            return 0
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            following = int(found.get("next", 0))
            if following and (self.folder / str(following)).is_dir():
                return following
            return int(found["number"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AdapterError(
                f"{file} is damaged: {error!r}; remove it to begin at the base, or write the "
                'number of a version into it: {"number": 7}'
            ) from error

    def make_current(self, number: int) -> Version:
        """Have a version answer from now on, whatever its state.

        Raises:
            ConfigError: There is no such version.
            AdapterError: Its files are damaged; the current version stays.
        """
        self.adapter(number)
        version = self.get(number)
        if version.state == UNDONE:  # the user has changed their mind
            version = replace(version, state=NOT_WORSE)
            self._write(version)
        self._point_to(number)
        return version

    def undo(self) -> Version:
        """Take the current version back, and return its parent, which answers again.

        Raises:
            ConfigError: The base answers, so there is nothing to take back.
        """
        if self.current == 0:
            raise ConfigError("there is nothing to undo: the base answers")
        return self.take_back(self.current)

    def take_back(self, number: int) -> Version:
        """Take a version back, and return the one that answers now.

        If it answers, or one does that came from it, its parent answers again; what came of it in
        this line is taken back with it.

        Raises:
            ConfigError: There is no such version, or it has never answered.
            AdapterError: The parent's files are damaged; nothing has changed.
        """
        version, line = self.get(number), self.line(self.current)
        if number == 0 or (version.state == REFUSED and version not in line):
            raise ConfigError(f"{version.name} cannot be taken back: it never took another's place")
        gone = line[: line.index(version) + 1] if version in line else [version]
        if version in line:
            self.make_current(version.parent)
        for one in gone:
            if one.state != REFUSED:  # made current all the same, it is still refused
                self._write(replace(one, state=UNDONE))
        return self.get(self.current)

    def line(self, number: int) -> list[Version]:
        """Return a version and those that it came from, the base last."""
        found = [self.get(number)]
        while found[-1].number:
            found.append(self.get(found[-1].parent))
        return found

    def best(self, number: int, measure: str) -> int:
        """Return the version in a line that was last shown better by a measure; else the base.

        Against it later versions are held, too: many that each lose a little add up otherwise.
        """
        return next((one.number for one in self.line(number) if measure in one.better), 0)

    def next_number(self) -> int:
        """Return the number that the next version has: refused ones count, gaps are not filled."""
        return max(self.numbers(), default=0) + 1

    def outcomes(self, number: int) -> Outcomes:
        """Return what was measured of a version; nothing where nothing was, or it is damaged."""
        file = self.folder / str(number) / _OUTCOMES
        try:
            found: Outcomes = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # it can be measured again
            return {}
        return found

    def keep_outcomes(self, number: int, outcomes: Outcomes) -> None:
        """Write what was measured of a version; of the base, too."""
        folder = self.folder / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(folder / _OUTCOMES) as file:
            file.write(json.dumps(outcomes).encode())

    @contextmanager
    def writing(self, number: int) -> Iterator[Path]:
        """Give a folder for a new version's adapter; nothing of it stays unless `add` follows."""
        partial = self.folder / f"{number}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial / _ADAPTER
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def add(self, version: Version, outcomes: Outcomes, *, answers: bool = False) -> Version:
        """Put a version whose adapter was written in its place; within `writing`.

        Args:
            version: Its record.
            outcomes: What was measured of it.
            answers: It is the current one from the same moment on.
        """
        partial = self.folder / f"{version.number}.partial"
        adapter = partial / _ADAPTER
        hashes = {file.name: sha256_of(file) for file in sorted(adapter.iterdir())}
        version = replace(version, sha256=hashes, time=version.time or time.time())
        with written_whole(partial / _OUTCOMES) as file:
            file.write(json.dumps(outcomes).encode())
        self._write(version, partial)
        if answers:
            self._point_to(self.current, following=version.number)
        partial.rename(self.folder / str(version.number))
        if answers:
            self._point_to(version.number)
        return version

    def numbers(self) -> list[int]:
        """Return the versions' numbers, the oldest first, without the base's."""
        folders = [path for path in self.folder.glob("*") if path.name.isdecimal()]
        return sorted(int(path.name) for path in folders if path.name != "0")

    def _write(self, version: Version, folder: Path | None = None) -> None:
        record = json.dumps(asdict(version), indent=2)
        with written_whole((folder or self.folder / str(version.number)) / _RECORD) as file:
            file.write(record.encode())

    def _point_to(self, number: int, following: int | None = None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with written_whole(self.folder / _CURRENT) as file:
            after = {} if following is None else {"next": following}
            file.write(json.dumps({"number": number, **after}).encode())
