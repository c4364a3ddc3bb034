"""What is exported is read by fit and audit, and imported again as it was."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fitbot.__main__ import main
from fitbot.errors import DataError
from fitbot.learning.formats import FORMATS, NAMES, export_records
from fitbot.learning.importing import import_choices
from fitbot.learning.store import Store
from fitbot.pairs.formats import Message
from fitbot.pairs.preferences import load_pairs
from tests.learning.given import QUESTION, add, thumb

TALK = (
    Message("system", "Be brief."),
    *(Message("user", "Rice?"), Message("assistant", "Yes."), Message("user", "How much?\n")),
)
CONVERSATIONS = [
    QUESTION,
    TALK,
    (Message("user", "[{'role': 'user', 'content': 'a question that reads like messages'}]"),),
]
TEXTS = ("A cup, \u2028 or “two”. 🍚", 'Write {"role": "assistant"}.\n\n```\nno\n```')
LIKE_MESSAGES = ('[{"role": "assistant", "content": "so"}]', "plain")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "one.sqlite") as store:
        yield store


def fill(store: Store) -> None:
    with store.together():
        _fill(store)


def _fill(store: Store) -> None:
    for told in CONVERSATIONS:
        for texts in (TEXTS, LIKE_MESSAGES):
            one, other = add(store, *texts, conversation=told)
            store.add_choice(author="anna", kind="pair", chosen=one, rejected=other)
    for number in range(40):  # of both parts
        told = (Message("user", f"Question {number}?"),)
        one, other = add(store, "Yes.", "No.", conversation=told)
        store.add_choice(author="anna", kind="edit", chosen="Mine.", rejected=other)


def write(path: Path, records: Any) -> Path:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


def harmless(_: Sequence[Message], texts: Sequence[str]) -> bool:
    return "harm" in " ".join(texts)


def load(store: Store, file: Path) -> Any:
    return import_choices(store, file, author="me", is_touched=harmless)


def triples(store: Store) -> list[Any]:
    return [(pair.conversation, pair.chosen, pair.rejected) for pair in store.pairs()]


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_is_what_fit_reads(form: str, store: Store, tmp_path: Path) -> None:
    fill(store)

    file = write(tmp_path / "pairs.jsonl", export_records(store, form))

    read = load_pairs(file)
    assert [(pair.prompt, pair.chosen, pair.rejected) for pair in read.pairs] == triples(store)
    assert not read.skipped


@pytest.mark.parametrize("form", FORMATS)
def test_audit_takes_an_export(
    form: str, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(store)
    file = write(tmp_path / "pairs.jsonl", export_records(store, form))

    assert main(["audit", str(file)]) == 0
    assert "keys that fitbot makes no use of" not in capsys.readouterr().out


@pytest.mark.parametrize("form", NAMES)
def test_an_import_has_what_was_exported_and_adds_nothing_twice(
    form: str, store: Store, tmp_path: Path
) -> None:
    fill(store)
    file = write(tmp_path / "pairs.jsonl", export_records(store, form))
    count = len(store.pairs()) * (2 if form == "kto" else 1)

    assert load(store, file) == (0, count, 0, [])
    with Store(tmp_path / "other.sqlite") as other:
        assert load(other, file) == (count, 0, 0, [])
        if form == "kto":  # thumbs of two pairs of one conversation make further pairs
            assert set(triples(other)) > set(triples(store))
        else:
            assert sorted(triples(other)) == sorted(triples(store))
        assert load(other, file) == (0, count, 0, [])
        assert set(other.counts().authors) == {"me"}


@pytest.mark.parametrize("form", NAMES)
def test_parts_are_exported_apart_and_unusable_choices_never(form: str, store: Store) -> None:
    fill(store)
    one, other = add(store, "Harm.", "No.", health_touched=True)
    store.add_choice(author="anna", kind="pair", chosen=one, rejected=other)
    thumb(store, "Harm.", up=False, health_touched=True)

    whole, learn, measure = (list(export_records(store, form, p)) for p in (None, False, True))

    assert len(whole) == len(learn) + len(measure)
    assert learn
    assert measure
    assert "Harm." not in json.dumps(whole)


def test_ktos_file_has_thumbs_as_they_were_last_given(store: Store) -> None:
    thumb(store, "Yes.", up=True)
    thumb(store, "No.", up=False)  # the two are a pair, and no more records for it
    thumb(store, "Perhaps.", up=True)
    thumb(store, "Perhaps.", up=False)

    records = list(export_records(store, "kto"))

    assert records[0] == {
        "prompt": [{"role": "user", "content": "Is rice ok?"}],
        "completion": [{"role": "assistant", "content": "Yes."}],
        "label": True,
    }
    assert [(one["completion"][0]["content"], one["label"]) for one in records] == [
        ("Yes.", True),
        ("No.", False),
        ("Perhaps.", False),
    ]


def test_forms_are_those_of_their_makers(store: Store) -> None:
    one, other = add(store, "Yes.", "No.")
    store.add_choice(author="anna", kind="pair", chosen=one, rejected=other)
    prompt = [{"role": "user", "content": "Is rice ok?"}]
    yes, no = ([{"role": "assistant", "content": text}] for text in ("Yes.", "No."))

    assert list(export_records(store, "fitbot")) == [
        {"question": "Is rice ok?", "chosen": "Yes.", "rejected": "No."}
    ]
    assert list(export_records(store, "trl")) == [{"prompt": prompt, "chosen": yes, "rejected": no}]
    assert list(export_records(store, "openai")) == [
        {"input": {"messages": prompt}, "preferred_output": yes, "non_preferred_output": no}
    ]


def test_bad_records_are_named_and_the_good_ones_stored(store: Store, tmp_path: Path) -> None:
    good = {"question": "Rice?", "chosen": "Yes.", "rejected": "No."}
    file = write(
        tmp_path / "mixed.jsonl",
        [
            good,
            {"question": "Rice?", "chosen": "Yes."},
            {"prompt": "Rice?", "completion": "Yes.", "label": "maybe"},
            {"prompt": "Rice?", "completion": " ", "label": True},
            {"prompt": "Bread?", "completion": "Yes.", "label": True},
            {"question": "Oats?", "chosen": "harm", "rejected": "No."},
            17,
        ],
    )

    done = load(store, file)

    assert (done.added, done.known, done.touched) == (3, 0, 1)
    wheres = [f"{file}: record {index} (line {index + 1}): " for index in (1, 2, 3, 6)]
    assert all(why.startswith(where) for why, where in zip(done.refused, wheres, strict=True))
    assert "'rejected' is missing" in done.refused[0]
    assert "'label' must be true or false, got 'maybe'" in done.refused[1]
    assert "must be a non-empty string" in done.refused[2]
    assert store.counts().kinds == {"pair": 2, "thumb_up": 1}
    assert store.counts().not_usable == 1


def test_an_import_that_was_cut_off_goes_on_where_it_was(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitbot.learning.importing._AT_ONCE", 4)
    file = write(
        tmp_path / "pairs.jsonl",
        [{"question": f"Rice {n}?", "chosen": "Yes.", "rejected": "No."} for n in range(10)],
    )
    with monkeypatch.context() as patch:
        real, calls = store.has, [0]

        def cut_off(*words: Any) -> bool:
            calls[0] += 1
            if calls[0] == 7:
                raise KeyboardInterrupt
            return real(*words)

        patch.setattr(store, "has", cut_off)
        with pytest.raises(KeyboardInterrupt):
            load(store, file)

    assert store.counts().choices == 4
    assert load(store, file) == (6, 4, 0, [])


def test_a_file_that_is_no_list_of_records_adds_nothing(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "half.jsonl"
    file.write_text('{"question": "Rice?", "chosen": "Yes.", "rejected": "No."}\n{"quest')

    with pytest.raises(DataError, match=r"half.jsonl: line 2, column .*: not JSON"):
        load(store, file)
    assert store.counts().answers == 0
