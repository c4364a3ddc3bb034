"""Events to store."""

from pathlib import Path
from typing import Any

from fitbot.learning.events import Answer
from fitbot.learning.store import Store
from fitbot.pairs.formats import Message

QUESTION = (Message("user", "Is rice ok?"),)


def answer(text: str, **more: Any) -> Answer:
    """Anna's question, answered."""
    return Answer(
        **{"conversation": QUESTION, "author": "anna", "policy": "base", **more, "text": text}
    )


def add(store: Store, *texts: str, **more: Any) -> list[int]:
    """Store answers."""
    return [store.add_answer(answer(text, **more)) for text in texts]


def thumb(store: Store, text: str, up: bool, **more: Any) -> int:
    """Store an answer and a thumb on it."""
    (number,) = add(store, text, **more)
    author = more.get("author", "anna")
    if up:
        return store.add_choice(author=author, kind="thumb_up", chosen=number)
    return store.add_choice(author=author, kind="thumb_down", rejected=number)


def texts_of(store: Store, held_out: bool | None = None) -> list[tuple[str, str]]:
    """Return all pairs' answers."""
    return [(pair.chosen, pair.rejected) for pair in store.pairs(held_out)]


def bytes_of(folder: Path) -> bytes:
    """Return what is in all files."""
    return b"\n".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
