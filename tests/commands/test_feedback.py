"""The command as a person types it: list, export, import, forget."""

import io
import json
import re
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from fitbot.__main__ import main
from fitbot.commands.feedback import _FORMS
from fitbot.health.layer import open_layer
from fitbot.learning.formats import NAMES
from fitbot.learning.store import Store
from tests.learning.given import add, bytes_of, thumb

PAIRS = [
    {"question": "Is rice ok?", "chosen": "Yes, it is.", "rejected": "No."},
    {"question": "I have chest pain. Shall I run?", "chosen": "Stop.", "rejected": "Run."},
]


class Person:
    """Types commands in a folder."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        self.folder, self._patch, self._capsys = folder, patch, capsys
        self.store = folder / "checkpoints" / "learning" / "feedback.sqlite"
        patch.chdir(folder)
        patch.setenv("COLUMNS", "80")
        words_alone = open_layer(None, "none")
        patch.setattr("fitbot.health.layer.open_layer", lambda: words_alone)

    def feedback(self, *words: str, status: int = 0, keys: str = "") -> tuple[str, str]:
        """Run it; return what it wrote to stdout and stderr."""
        self._patch.setattr(sys, "stdin", io.StringIO(keys))
        try:
            found = main(["feedback", *words])
        except SystemExit as stop:
            found = int(stop.code or 0)
        said = self._capsys.readouterr()
        assert found == status, said
        return said.out, said.err

    def write(self, records: Any, name: str = "pairs.json") -> str:
        (self.folder / name).write_text(json.dumps(records), encoding="utf-8")
        return name


@pytest.fixture
def person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Person:
    return Person(tmp_path, monkeypatch, capsys)


def fill(person: Person) -> None:
    with Store(person.store) as store:
        one, other = add(store, "Yes,\nit is. " * 20, "No.", version="fitbot@7", policy="a" * 64)
        store.add_choice(author="anna", kind="pair", chosen=one, rejected=other)
        thumb(store, "Of course.", up=True, author="ben", policy="b" * 64)
        store.learned("fitbot@8", [1])


def test_list_counts_and_shows_the_latest(person: Person) -> None:
    fill(person)

    said, _ = person.feedback("list", "--last", "1", "--json", "counts.json")

    lines = said.splitlines()
    assert re.match(r"checkpoints/learning/feedback.sqlite: 2 choices, \d{4}-\d\d-\d\d to", said)
    assert max(map(len, lines)) <= 80
    assert re.search(r"^  pairs    [01] to learn from, [01] held out$", said, re.M)
    assert re.search(r"^  kinds    pair             1\n           thumb_up         1$", said, re.M)
    assert re.search(r"^  authors  anna             1\n           ben              1$", said, re.M)
    assert re.search(r"^  versions bbbbbbbbbbbb     1\n           fitbot@7         1$", said, re.M)
    assert re.search(
        r"^2  20.*  thumb_up  ben( held out)?\n  Is rice ok\?\n  \+ Of cou", said, re.M
    )
    assert "Yes, it is." not in said
    written = json.loads((person.folder / "counts.json").read_text())
    assert written["kinds"] == {"pair": 1, "thumb_up": 1}
    assert [choice["id"] for choice in written["latest"]] == [2]
    assert "rice" not in json.dumps(written)


def test_what_is_imported_is_exported_again_by_its_owner_alone(person: Person) -> None:
    file = person.write(PAIRS)

    said, _ = person.feedback("import", file, "--author", "coach")
    assert said == (
        "added 2 choices; 0 were there already; 0 could not be read\n"
        "1 of them are never learned from, because of the health layer\n"
    )
    assert person.feedback("import", file)[0].startswith("added 0 choices; 2 were there already")

    said, _ = person.feedback("export", "--out", "out/pairs.jsonl")
    assert said.endswith(
        "wrote out/pairs.jsonl\n1 record; 1 choice left out, which the health layer touched\n"
    )
    out = person.folder / "out" / "pairs.jsonl"
    assert [json.loads(line) for line in out.read_text().splitlines()] == PAIRS[:1]
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    person.feedback("export", "--format", "kto")
    kto = (person.folder / "feedback.jsonl").read_text().splitlines()
    assert [json.loads(line)["label"] for line in kto] == [True, False]


def test_records_that_are_refused_are_said_and_the_exit_status_says_so(person: Person) -> None:
    file = person.write([*PAIRS, {"question": "Rice?"}])

    said, errors = person.feedback("import", file, status=1)

    assert said.startswith("added 2 choices; 0 were there already; 1 could not be read\n")
    assert "pairs.json: record 2: " in errors


@pytest.mark.parametrize("keys", ["", "n\n", "perhaps\n"])
def test_forget_asks_and_removes_nothing_without_a_yes(keys: str, person: Person) -> None:
    fill(person)

    said, asked = person.feedback("forget", "anna", keys=keys, status=1)

    assert said == ""
    assert "1 choice of anna, and all that anna asked\nlearned from by fitbot@8\n" in asked
    with Store(person.store) as store:
        assert store.counts().choices == 2


@pytest.mark.parametrize(("words", "keys"), [((), "y\n"), (("--yes",), "")])
def test_forget_removes_and_names_the_versions(
    words: tuple[str, ...], keys: str, person: Person
) -> None:
    fill(person)

    said, _ = person.feedback("forget", "anna", *words, keys=keys)

    assert said.startswith(
        "removed: 1 choice of anna, and all that anna asked\nThese versions learned from them, and "
    )
    assert "fitbot@8" in said
    assert b"it is." not in bytes_of(person.store.parent)
    assert "learned from what was forgotten since: fitbot@8" in person.feedback("list")[0]
    assert "has nothing of 'anna'" in person.feedback("forget", "anna", status=1)[1]


def test_a_user_of_open_webui_is_forgotten_by_id(person: Person) -> None:
    with Store(person.store) as store:
        thumb(store, "Yes.", up=True, author=store.pseudonym("u-1"))

    assert person.feedback("forget", "u-1", "--yes")[0].startswith("removed: 1 choice of p-")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["list"], 1, "there is no such file; choices are kept there by"),
        (["export", "--store", "other.sqlite"], 1, "other.sqlite: there is no such file"),
        (["list", "it"], 2, "list takes nothing but options"),
        (["import"], 2, "import takes a FILE"),
        (["forget"], 2, "forget takes an AUTHOR"),
        (["forget", "anna", "--out", "x"], 2, "--out is an option of export, not of forget"),
        (["export", "--last", "3"], 2, "--last is an option of list, not of export"),
        (["list", "--last", "-1"], 1, "--last must be at least 0, got -1"),
        (["import", "nowhere.json"], 1, "nowhere.json: there is no such file"),
        (["remove"], 2, "remove"),
    ],
)
def test_what_cannot_be_done_is_said(
    words: list[str], status: int, said: str, person: Person
) -> None:
    assert said in person.feedback(*words, status=status)[1]


def test_an_empty_store_has_nothing_to_export(person: Person) -> None:
    Store(person.store).close()

    assert (
        "there is nothing to export as trl"
        in (person.feedback("export", "--format", "trl", status=1)[1])
    )
    assert "0 choices" in person.feedback("list")[0]


def test_forms_are_those_that_can_be_written(person: Person) -> None:
    assert _FORMS == NAMES
    assert max(map(len, person.feedback("--help")[0].splitlines())) <= 80
