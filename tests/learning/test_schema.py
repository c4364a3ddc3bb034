"""Files that are full, damaged, foreign, newer or older; many writers; kills at any moment."""

import random
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from fitbot.errors import BusyError, ConfigError
from fitbot.learning import schema
from fitbot.learning.store import Store
from tests.conftest import ROOT
from tests.learning.given import add, bytes_of, texts_of, thumb

KILLS = [3, pytest.param(50, marks=pytest.mark.slow)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "feedback.sqlite"


def fill(path: Path, count: int = 20) -> None:
    with Store(path) as store, store.together():
        for number in range(count):
            one, other = add(store, f"Yes {number}." * 40, "No.")
            store.add_choice(author="anna", kind="pair", chosen=one, rejected=other)


# -- files -----------------------------------------------------------------------------------------


def write_text(path: Path) -> None:
    path.write_text("question,chosen,rejected\n" * 9)


def write_foreign(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE songs (title)")
    db.close()


def write_marked(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA application_id = 7")
        db.execute("CREATE TABLE songs (title)")
    db.close()


def write_newer(path: Path) -> None:
    fill(path)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (write_text, "is no SQLite database. Name another file"),
        (write_foreign, "is another program's database. Name another file"),
        (write_marked, "is another program's database. Name another file"),
        (write_newer, "its schema is 99, this fitbot knows 2. Update fitbot, or name another"),
        (Path.mkdir, "cannot be opened: Is a directory"),
    ],
)
def test_what_is_no_store_is_refused_and_left_as_it_is(
    write: Callable[[Path], None], said: str, path: Path
) -> None:
    write(path)
    before = bytes_of(path.parent)

    with pytest.raises(ConfigError, match=said) as refusal:
        Store(path)

    assert str(refusal.value).startswith(str(path))
    assert bytes_of(path.parent).replace(b"\n", b"") == before.replace(b"\n", b"")


@pytest.mark.parametrize("kept", [0.5, 1.0])
def test_a_damaged_file_is_said_to_be_damaged(kept: float, path: Path) -> None:
    fill(path)
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content[: int(len(content) * kept)])

    def read() -> None:
        with Store(path) as store:
            store.choices()

    with pytest.raises(ConfigError, match=r"is damaged. Move it away with .* saves what can be"):
        read()


def test_a_full_disk_costs_no_event_that_was_stored(path: Path) -> None:
    with Store(path) as store:
        thumb(store, "Yes.", up=True)
        (pages,) = store._db.execute("PRAGMA page_count").fetchone()
        store._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(ConfigError, match="the disk is full, and the last event is not"):
            thumb(store, "No. " * 20_000, up=False)
        store._db.execute("PRAGMA max_page_count = 1000000")
        thumb(store, "Never.", up=False)
        assert texts_of(store) == [("Yes.", "Never.")]


def test_a_file_that_cannot_be_written_is_said(path: Path) -> None:
    with Store(path) as store:
        store._db.execute("PRAGMA query_only = ON")
        with pytest.raises(ConfigError, match="cannot be written: SQLite must write the file and"):
            thumb(store, "Yes.", up=True)
    with pytest.raises(ConfigError, match="cannot be opened: Not a directory. Change permissions"):
        Store(path / "below" / "it.sqlite")


@pytest.mark.parametrize(("kind", "options"), [("nfs4", "rw"), ("NTFS", "rw,remote")])
def test_a_network_file_system_is_refused(
    kind: str, options: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks = [
        SimpleNamespace(mountpoint="/", fstype="ext4", opts="rw"),
        SimpleNamespace(mountpoint=str(path.parent.resolve()), fstype=kind, opts=options),
        SimpleNamespace(mountpoint=str(path.parent.resolve() / "deeper"), fstype="nfs", opts=""),
    ]
    monkeypatch.setattr("psutil.disk_partitions", lambda **_: disks)

    with pytest.raises(ConfigError, match=f"network file system \\({kind}\\)"):
        Store(path)
    assert not path.exists()
    disks[1].fstype, disks[1].opts = "xfs", "rw"
    Store(path).close()


def test_who_waits_in_vain_is_told_to_try_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.1)
    said = "other processes have written all the time; try again"
    with Store(path) as store, Store(path) as other:
        with other.together(), pytest.raises(BusyError, match=said):
            thumb(store, "Yes.", up=True)
        assert store.counts().choices == 0


# -- versions --------------------------------------------------------------------------------------

NEXT = ("ALTER TABLE choices ADD COLUMN note TEXT", "UPDATE choices SET note = 'old'")


def test_an_older_file_is_copied_and_brought_up_to_date(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path)
    with Store(path) as old:
        before = old.choices(limit=None)
        monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, NEXT])
        with Store(path) as store:
            assert store._column("SELECT DISTINCT note FROM choices") == ["old"]
            assert store.choices(limit=None) == before
            thumb(store, "Yes.", up=True)
        monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:-1])
        with pytest.raises(ConfigError, match="was written by a newer fitbot"):
            thumb(old, "No.", up=False)  # a process that still runs the old one
    copy = Path(f"{path}.before-3")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with Store(copy) as store:
        assert store.choices(limit=None) == before


def test_a_migration_that_fails_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, (*NEXT, "DROP TABLE nowhere")])
        with pytest.raises(ConfigError, match="SQLite says: no such table: nowhere"):
            Store(path)
    with Store(path) as store:
        assert len(store.choices(limit=None)) == 20


# -- many at once, and killed ----------------------------------------------------------------------

WRITER = """
import os, sys
from pathlib import Path
from fitbot.learning.store import Store
from tests.learning.given import add
store, name = Store(Path(sys.argv[1])), sys.argv[2]
os.write(1, b"\\n")
for number in range(int(sys.argv[3])):
    with store.together():
        one, other = add(store, f"{name} {number} yes", f"{name} {number} no", author=name)
        store.add_choice(author=name, kind="pair", chosen=one, rejected=other)
    os.write(1, f"{number}\\n".encode())  # acknowledged
"""
FORGETTER = """
import os, sys
from pathlib import Path
from fitbot.learning.store import Store
store = Store(Path(sys.argv[1]))
os.write(1, b"\\n")
store.forget("anna")
"""


def start(code: str, *words: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)


def assert_whole(path: Path) -> None:
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


def test_many_processes_begin_a_file_and_write_at_once(path: Path) -> None:
    writers = [start(WRITER, path, name, 15) for name in ("anna", "ben", "cem")]

    said = [writer.communicate(timeout=120)[0] for writer in writers]

    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert said == [b"\n" + b"".join(b"%d\n" % n for n in range(15))] * 3
    with Store(path) as store:
        assert store.counts().authors == dict.fromkeys(("anna", "ben", "cem"), 15)
        assert len(store.pairs()) == 45
    assert_whole(path)


def kill_at_random(process: subprocess.Popen[bytes], draw: random.Random) -> bytes:
    """Kill a process some time after its first line; return what it had written."""
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(draw.uniform(0, 0.15))
    process.kill()
    rest = process.communicate()[0]
    assert process.returncode == -9
    return first + rest


@pytest.mark.parametrize("kills", KILLS)
def test_no_acknowledged_event_is_lost_when_a_writer_is_killed(kills: int, path: Path) -> None:
    draw, promised = random.Random(kills), []
    for number in range(kills):
        said = kill_at_random(start(WRITER, path, f"w{number}", 10**6), draw)
        promised += [f"w{number} {line} yes" for line in said.decode().split()]
        assert_whole(path)
        with Store(path) as store:
            found = texts_of(store)
        assert set(promised) <= {chosen for chosen, _ in found}
        # Of what nobody was promised, all is there or nothing.
        assert len(found) <= len(promised) + number + 1
        assert all(chosen.replace("yes", "no") == rejected for chosen, rejected in found)
    assert promised


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_who_is_killed_while_it_forgets_has_forgotten_all_or_nothing(
    kills: int, path: Path
) -> None:
    draw, outcomes = random.Random(1), []
    for number in range(kills):
        file = path.with_name(f"{number}") / path.name
        fill(file, 200)
        process = start(FORGETTER, file)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.choice((0, 0.003, 0.01, 0.03, 0.1, 0.5)))
        process.kill()
        process.communicate()
        with Store(file) as store:
            left = store.counts().choices
            assert left in (0, 200)
            assert (b"Yes 7.Yes 7." in bytes_of(file.parent)) == bool(left)
        outcomes.append(left)
    if kills > 10:
        assert set(outcomes) == {0, 200}


def test_a_power_cut_finds_every_event_on_the_disk(path: Path) -> None:
    """That the file is synced at every event is SQLite's promise of these settings."""
    with Store(path) as store:
        assert store._column("PRAGMA synchronous") == [2]  # FULL
        assert store._column("PRAGMA journal_mode") == ["wal"]
