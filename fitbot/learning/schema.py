"""The store's SQLite file: made, opened, brought up to date, and its errors in plain words.

`user_version` is the schema's version. A file of a newer one is refused and left as it is; an older
one is copied first and then migrated in one transaction.
"""

import logging
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fitbot.errors import BusyError, ConfigError
from fitbot.platforms import mode_for_others

logger = logging.getLogger(__name__)

BUSY_SECONDS = 10.0  # that a writer waits for others
_APPLICATION = 0x66697462  # "fitb"; SQLite's mark of whose file it is
_MAGIC = b"SQLite format 3\0"
_HEADER = 100  # bytes; user_version is at 60, application_id at 68

# One tuple of statements a version; never change one that was released, append.
# `digest` names a conversation without its text. Ids are never used again.
MIGRATIONS: list[tuple[str, ...]] = [
    (
        "CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
        """CREATE TABLE answers (
            id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, author TEXT NOT NULL,
            digest TEXT NOT NULL, conversation TEXT NOT NULL, text TEXT NOT NULL,
            token_ids TEXT NOT NULL, logprobs TEXT NOT NULL, sampling TEXT NOT NULL,
            seed TEXT NOT NULL, policy TEXT NOT NULL, version TEXT,
            health_touched INTEGER NOT NULL)""",
        """CREATE TABLE choices (
            id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, author TEXT NOT NULL,
            kind TEXT NOT NULL, digest TEXT NOT NULL, chosen INTEGER, rejected INTEGER,
            held_out INTEGER NOT NULL, usable INTEGER NOT NULL)""",
        "CREATE INDEX choices_of_conversation ON choices (digest)",
        """CREATE TABLE learned (version TEXT NOT NULL, choice INTEGER NOT NULL,
            time TEXT NOT NULL, PRIMARY KEY (version, choice)) WITHOUT ROWID""",
    ),
    (  # what a server called an answer when it gave it
        "ALTER TABLE answers ADD COLUMN completion TEXT",
        "CREATE INDEX answers_by_completion ON answers (completion)",
    ),
]

_DAMAGED = (
    "is damaged. Move it away with the files beside it that end in -wal and -shm; "
    "`sqlite3 OLD .recover | sqlite3 NEW` saves what can be read"
)
_NOT_WRITABLE = (
    "cannot be written: SQLite must write the file and its folder. Change their permissions, or "
    "name another file"
)
_NO_DATABASE = "is no SQLite database. Name another file, or move this one away"
# By the name of SQLite's error, or what it begins with.
_WORDS = {
    "SQLITE_FULL": "the disk is full, and the last event is not stored; all before it are. Free "
    "some space there",
    "SQLITE_READONLY": _NOT_WRITABLE,
    "SQLITE_CANTOPEN": _NOT_WRITABLE,
    "SQLITE_PERM": _NOT_WRITABLE,
    "SQLITE_IOERR": "cannot be read or written. Look whether the disk is full or failing",
    "SQLITE_CORRUPT": _DAMAGED,
    "SQLITE_NOTADB": _NO_DATABASE,
}
# SQLite's WAL is memory that processes share, and the machines of such a file system share none.
_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afpfs", "webdav", "afs", "ncpfs", "sshfs"),
    *("fuse.sshfs", "fuse.glusterfs", "glusterfs", "ceph", "fuse.ceph", "lustre", "gpfs", "beegfs"),
}


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Say in plain words what SQLite refuses.

    Raises:
        BusyError: Others wrote all the time.
        ConfigError: Anything else; it says what to do.
    """
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise _busy(path) from error
        words = next((words for start, words in _WORDS.items() if name.startswith(start)), None)
        if words is None:
            words = f"SQLite says: {error}. It may be another fitbot's; restart or update fitbot"
        raise ConfigError(f"{path}: {words}") from error


def open_database(path: Path, held_out: float) -> sqlite3.Connection:
    """Open the file for several threads, made or migrated if it must be; mode 0600.

    Args:
        path: The file; its folder is made if missing.
        held_out: The share that is never learned from, kept in a new file.

    Raises:
        BusyError, ConfigError: It cannot be.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_network(path)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        _refuse_others_file(path)
        _keep_private(path)
        # Several processes may open a new file at once.
        with telling(path), FileLock(f"{path}.lock", timeout=6 * BUSY_SECONDS, mode=0o600):
            return _open(path, held_out)
    except Timeout as error:
        raise _busy(path) from error
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be opened: {error.strerror}. Change permissions, or name another file"
        ) from error


def copies_of(path: Path) -> list[Path]:
    """Return the copies that migrations have left."""
    return sorted(path.parent.glob(f"{path.name}.before-*"))


def check_version(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that another fitbot has migrated meanwhile.

    Raises:
        ConfigError: It has.
    """
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found > len(MIGRATIONS):
        raise _newer(path, found)


def _busy(path: Path) -> BusyError:
    return BusyError(f"{path}: other processes have written all the time; try again")


def _newer(path: Path, found: int) -> ConfigError:
    return ConfigError(
        f"{path}: was written by a newer fitbot: its schema is {found}, this fitbot knows "
        f"{len(MIGRATIONS)}. Update fitbot, or name another file; nothing was changed"
    )


def _foreign(path: Path) -> ConfigError:
    return ConfigError(f"{path}: is another program's database. Name another file")


def _refuse_network(path: Path) -> None:
    import psutil

    place, best = path.parent.resolve() / path.name, None
    disks: list[Any] = []
    with suppress(OSError):  # a machine that does not say what it has
        disks = psutil.disk_partitions(all=True)
    for disk in disks:
        mount = Path(disk.mountpoint)
        if place.is_relative_to(mount) and (best is None or len(mount.parts) >= len(best[0].parts)):
            best = mount, disk
    if best and (best[1].fstype.lower() in _NETWORK or "remote" in best[1].opts.split(",")):
        raise ConfigError(
            f"{path}: lies on a network file system ({best[1].fstype}), where SQLite cannot keep "
            "several processes apart. Name a file on a disk of this machine"
        )


def _refuse_others_file(path: Path) -> None:
    """Look at the first bytes: SQLite itself may write as soon as it opens a file."""
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if not header:
        return
    if not header.startswith(_MAGIC) or len(header) < _HEADER:
        raise ConfigError(f"{path}: {_NO_DATABASE}")
    version, application = (int.from_bytes(header[at : at + 4], "big") for at in (60, 68))
    if application not in (0, _APPLICATION):
        raise _foreign(path)
    if application and version > len(MIGRATIONS):
        raise _newer(path, version)


def _keep_private(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file = Path(f"{path}{suffix}")
        with suppress(FileNotFoundError):  # the last process to close removes them
            if mode := mode_for_others(file):
                file.chmod(0o600)
                logger.warning("%s: others could use it (mode %s); it is 0600 now", file, mode)


def _open(path: Path, held_out: float) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        for setting in (
            *("synchronous = FULL", "fullfsync = ON"),  # the latter for macOS
            *("secure_delete = ON", "temp_store = MEMORY", "trusted_schema = OFF"),
        ):
            db.execute(f"PRAGMA {setting}")
        _use_wal(db, path)
        _migrate(db, path, held_out)
    except BaseException:
        db.close()
        raise
    return db


def _use_wal(db: sqlite3.Connection, path: Path) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    if application != _APPLICATION and db.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise _foreign(path)
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise ConfigError(
            f"{path}: its file system has no shared memory, which SQLite needs where several "
            "processes write. Name a file on a disk of this machine"
        )


def _migrate(db: sqlite3.Connection, path: Path, held_out: float) -> None:
    check_version(db, path)
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        if found:
            _copy(path, Path(f"{path}.before-{len(MIGRATIONS)}"))
        for statements in MIGRATIONS[found:]:
            for statement in statements:
                db.execute(statement)
        if not found:
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
            facts = [("key", secrets.token_bytes(32)), ("held_out", held_out)]
            db.executemany("INSERT INTO facts VALUES (?, ?)", facts)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    # So that the first bytes say whose file it is.
    db.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _copy(path: Path, copy: Path) -> None:
    os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
    source, target = sqlite3.connect(path), sqlite3.connect(copy)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
    logger.info("%s: brought up to date; as it was before: %s", path, copy)
