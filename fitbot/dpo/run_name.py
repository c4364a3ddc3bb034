"""Which folders are a run's, by the name in its own record, and which process writes there."""

import logging
import os
import re
import socket
import time
from pathlib import Path, PurePath
from typing import IO

import yaml

from fitbot.errors import ConfigError
from fitbot.platforms import lock_file

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
LOCK_FILE = ".lock"  # who writes, and the run's name
_PATIENCE = 5.0  # seconds; a process that was told to end takes some


def check_name(name: str) -> None:
    """Refuse names that are no path below a folder, or that a terminal or a file cannot show.

    Raises:
        ConfigError: It is such a one.
    """
    path = PurePath(name)
    below = path.parts and not path.is_absolute() and ".." not in path.parts
    # "::" would be a chain of file systems to fsspec, by which Lightning writes.
    if not below or path.as_posix() != name or not name.isprintable() or "::" in name:
        raise ConfigError(
            f"run.name {name!r} cannot be a folder below run.root; give a name such as exp1 or "
            "team/exp1, without '..', '::' or a '/' at either end"
        )


def folders_of(root: Path, name: str) -> list[Path]:
    """List the folders of a name's runs: `name`, `name-2` and so on, where their record says so.

    Raises:
        ConfigError: The folder that they lie in cannot be read, or one has lost its record.
    """
    first = root / name
    pattern = re.compile(re.escape(first.name) + r"(-\d+)?")
    try:
        near = [path for path in first.parent.iterdir() if pattern.fullmatch(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError(f"run.root {root}: {first.parent}: {error.strerror}") from error
    for path in near:
        if name_of(path) is None and (path / "last.ckpt").is_file():
            raise ConfigError(
                f"{path} has a last.ckpt, but no {CONFIG_FILE} that says which run's it is; name "
                "the file itself as --ckpt_path, or move the folder away"
            )
    return [path for path in near if name_of(path) == name]


def name_of(folder: Path) -> str | None:
    """Read which run a folder is of; None if it is of none."""
    try:
        if (config := folder / CONFIG_FILE).is_file():
            return str(yaml.safe_load(config.read_text(encoding="utf-8"))["run"]["name"])
        return (folder / LOCK_FILE).read_text(encoding="utf-8").splitlines()[1]
    except (OSError, ValueError, KeyError, TypeError, IndexError, yaml.YAMLError):
        return None


def lock_run(folder: Path, name: str) -> IO[bytes]:
    """Keep other processes from writing into a run's folder.

    Returns:
        What to close when the run is over. The system closes it if this process is killed.

    Raises:
        ConfigError: Another process writes there, or nothing can be written.
    """
    try:
        file = (folder / LOCK_FILE).open("ab+")
    except OSError as error:
        raise ConfigError(f"{folder}: nothing can be written there: {error.strerror}") from error
    until = time.monotonic() + _PATIENCE
    try:
        while not lock_file(file):
            if time.monotonic() > until:
                file.seek(0)
                owner = file.read().decode(errors="replace").partition("\n")[0]
                file.close()
                raise ConfigError(
                    f"run {name}: {owner or 'another process'} is writing {folder}; wait until it "
                    "has ended, or give this run another run.name"
                )
            time.sleep(0.1)
    except OSError as error:
        logger.warning(
            "%s: its file system has no locks (%s), so nothing keeps a second process off this run",
            folder,
            error.strerror,
        )
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n{name}\n".encode())
    file.flush()
    return file


def refuse_running(root: Path, name: str) -> None:
    """Refuse to start a run once more whose first process has no checkpoint yet.

    Raises:
        ConfigError: A process is at work on such a run.
    """
    for folder in folders_of(root, name):
        if not (folder / "last.ckpt").is_file():
            lock_run(folder, name).close()
