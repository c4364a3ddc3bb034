"""Open WebUI's export of feedback: its tree of messages, its siblings, what is left out."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fitbot.learning.importing import Imported, import_choices
from fitbot.learning.store import Store
from fitbot.pairs.formats import Message

CONVERSATION = (
    Message("system", "Be brief."),
    Message("user", "Rice?"),
    Message("assistant", "Yes."),
    Message("user", "How much?"),
)


def message(number: str, parent: str | None, role: str, content: str, **more: Any) -> Any:
    return {"id": number, "parentId": parent, "role": role, "content": content, **more}


MESSAGES = [
    message("q1", None, "user", "Rice?", childrenIds=["a1"], models=["one"]),
    message("a1", "q1", "assistant", "Yes.", childrenIds=["q2"], model="one", done=True),
    message("q2", "a1", "user", "How much?", childrenIds=["a2", "b2", "c2"]),
    message("a2", "q2", "assistant", "A cup.", childrenIds=[], model="one", done=True),
    message("b2", "q2", "assistant", "A sack.", childrenIds=[], model="two", done=True),
]


def rating(
    about: str = "a2", value: Any = 1, siblings: Any = ("two",), user: str = "u-1", **more: Any
) -> Any:
    """A record as Open WebUI writes it, with keys that mean nothing here."""
    return copy.deepcopy(
        {
            "id": f"f-{user}-{about}",
            "user_id": user,
            "version": 0,
            "type": "rating",
            "data": {
                **{"rating": value, "model_id": "one", "reason": "", "comment": "", "tags": []},
                **({"sibling_model_ids": list(siblings)} if siblings else {}),
                "details": {"rating": 8},
            },
            "meta": {
                **{"arena": True, "model_id": "one", "message_id": about, "message_index": 4},
                **{"chat_id": "c-1", "base_models": {"one": None}},
            },
            "snapshot": {
                "chat": {
                    **{"id": "c-1", "user_id": user, "title": "Rice"},
                    "chat": {
                        "models": ["one"],
                        "params": {"system": "Be brief."},
                        "history": {"messages": {m["id"]: m for m in MESSAGES}, "currentId": "a2"},
                        "messages": [],
                    },
                }
            },
            "created_at": 1_764_000_000,
            "updated_at": 1_764_000_100,
            "user": {"id": user, "name": "Anna", "email": "anna@example.org"},
            **more,
        }
    )


def messages_of(record: Any) -> Any:
    return record["snapshot"]["chat"]["chat"]["history"]["messages"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "feedback.sqlite") as store:
        yield store


def load(store: Store, *records: Any) -> Imported:
    file = store.path.with_name("feedback-history-export.json")
    file.write_text(json.dumps(records))
    return import_choices(store, file, author="me", is_touched=lambda *_: False)


def pairs(store: Store) -> list[tuple[str, str]]:
    return [(pair.chosen, pair.rejected) for pair in store.pairs()]


@pytest.mark.parametrize(
    ("value", "pair"), [(1, ("A cup.", "A sack.")), ("-1", ("A sack.", "A cup."))]
)
def test_a_rating_beside_siblings_is_a_pair(
    value: Any, pair: tuple[str, str], store: Store
) -> None:
    assert load(store, rating(value=value)) == (1, 0, 0, [])

    (found,) = store.choices()
    assert pairs(store) == [pair]
    assert (found.kind, found.conversation) == ("pair", CONVERSATION)
    assert found.author == store.pseudonym("u-1")
    assert found.time == "2025-11-24T16:00:00.000+00:00"
    content = store.path.read_bytes() + Path(f"{store.path}-wal").read_bytes()
    assert b"u-1" not in content
    assert b"example.org" not in content


def test_a_rating_without_siblings_is_a_thumb_and_thumbs_are_paired(store: Store) -> None:
    assert load(store, rating(siblings=None)) == (1, 0, 0, [])
    assert store.counts().kinds == {"thumb_up": 1}

    assert load(store, rating(about="b2", value=-1, siblings=None)) == (1, 0, 0, [])
    assert pairs(store) == [("A cup.", "A sack.")]


def test_siblings_that_were_rated_alike_are_not_compared(store: Store) -> None:
    done = load(store, rating(), rating(about="b2", siblings=["one"]))

    assert done == (2, 0, 0, [])
    assert store.counts().kinds == {"thumb_up": 2}


def test_two_ratings_that_say_the_same_are_one_pair_and_an_import_is_done_once(
    store: Store,
) -> None:
    records = rating(), rating(about="b2", value=-1, siblings=["one"]), rating(user="u-2")

    assert load(store, *records) == (2, 1, 0, [])
    assert load(store, *records) == (0, 3, 0, [])
    assert len(store.counts().authors) == 2


def test_a_chat_right_below_the_snapshot_is_read_too(store: Store) -> None:
    record = rating()
    record["snapshot"]["chat"] = record["snapshot"]["chat"]["chat"]

    assert load(store, record) == (1, 0, 0, [])


def broken(**changes: Any) -> Any:
    record = rating()
    for number, change in changes.items():
        messages_of(record)[number].update(change)
    return record


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (rating(value=None), "with the rating None is no thumb"),
        (rating(type="comment"), "a record of type 'comment' with the rating 1 is no thumb"),
        (rating(snapshot=None), "has no chat in 'snapshot'"),
        (rating(about="zz"), "the rated message is not in the chat"),
        (broken(a2={"error": {"content": "x"}}), "message a2 is an error"),
        (broken(a2={"content": " "}), "message a2 is no answer with a text"),
        (broken(a2={"done": False}), "message a2 was not written to its end"),
        (
            broken(a2={"content": '<details type="reasoning">So</details>A cup.'}),
            "message a2 has folded parts",
        ),
        (broken(q2={"files": [{"type": "image"}]}), "message q2 has files"),
        (broken(q1={"parentId": "zz"}), "message zz, which the rated one goes back to, is not"),
        (broken(q1={"parentId": "q2"}), "message q2 goes back to itself"),
        (broken(q2={"role": "assistant"}), "must end in a turn of the user"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_record(record: Any, said: str, store: Store) -> None:
    done = load(store, rating(user="u-9"), record)

    assert done.added == 1
    assert len(done.refused) == 1
    assert f"{store.path.with_name('feedback-history-export.json')}: record 1: " in done.refused[0]
    assert said in done.refused[0]


def test_a_sibling_that_cannot_be_compared_with_is_named(store: Store) -> None:
    record = broken(b2={"error": True})

    done = load(store, record)

    assert (done.added, store.counts().kinds) == (1, {"thumb_up": 1})
    assert done.refused[0].endswith("record 0: sibling message b2 is an error")
