"""Choices as the files of fitbot and of other trainers have them: written here, and read again.

    fitbot  question or prompt, chosen, rejected
    trl     prompt, chosen, rejected: messages, as TRL's preference data sets
    openai  input.messages, preferred_output, non_preferred_output: preference fine-tuning
    kto     prompt, completion, label: one answer a record, as TRL's unpaired data sets; thumbs, too

All are JSONL. What fitbot reads as pairs is read by fitbot.pairs.formats.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fitbot.errors import DataError
from fitbot.learning.events import Choice, LearnPair
from fitbot.learning.store import Store
from fitbot.pairs.formats import Message, parse_pair, shorten

_LABELS = ("label", "kto_tag")


class Judgement(NamedTuple):
    """What a record says: one side alone is a thumb."""

    conversation: tuple[Message, ...]
    chosen: str | None
    rejected: str | None
    author: str | None = None  # None where the file has none
    time: str = ""


def export_records(store: Store, form: str, held_out: bool | None = None) -> Iterator[Any]:
    """Yield what may be used of a store as records of a format, the oldest first.

    Args:
        store: Its pairs; for KTO also thumbs without another side.
        form: A key of `FORMATS`.
        held_out: As in `Store.pairs`.
    """
    if form == "kto":
        yield from _kto_records(store, held_out)
        return
    yield from (FORMATS[form](pair) for pair in store.pairs(held_out))


def _fitbot(pair: LearnPair) -> dict[str, Any]:
    record: dict[str, Any] = {"chosen": pair.chosen, "rejected": pair.rejected}
    if len(pair.conversation) == 1:
        record = {"question": pair.conversation[0].content, **record}
    else:
        record = {"prompt": _messages(pair.conversation), **record}
    try:
        if parse_pair(record, 0)[:3] == (pair.conversation, pair.chosen, pair.rejected):
            return record
    except DataError:
        pass
    return _trl(pair)  # a text that reads like messages


def _trl(pair: LearnPair) -> dict[str, Any]:
    return {
        "prompt": _messages(pair.conversation),
        "chosen": _answer(pair.chosen),
        "rejected": _answer(pair.rejected),
    }


def _openai(pair: LearnPair) -> dict[str, Any]:
    return {
        "input": {"messages": _messages(pair.conversation)},
        "preferred_output": _answer(pair.chosen),
        "non_preferred_output": _answer(pair.rejected),
    }


def _kto_records(store: Store, held_out: bool | None) -> Iterator[dict[str, Any]]:
    """Yield both sides of pairs, and every thumb as it was last given."""
    thumbs: dict[tuple[Any, ...], Choice] = {}
    for choice in store.choices(limit=None):  # the newest first
        if choice.usable and choice.kind in ("thumb_up", "thumb_down"):
            side = choice.chosen if choice.kind == "thumb_up" else choice.rejected
            assert side is not None
            thumbs.setdefault((choice.author, choice.conversation, side.text), choice)
    for pair in store.pairs(held_out):
        if pair.kind not in ("thumb_up", "thumb_down"):
            yield _kto(pair.conversation, pair.chosen, True)
            yield _kto(pair.conversation, pair.rejected, False)
    for (_, conversation, text), choice in reversed(thumbs.items()):
        if held_out in (None, choice.held_out):
            yield _kto(conversation, text, choice.kind == "thumb_up")


def _kto(conversation: tuple[Message, ...], text: str, label: bool) -> dict[str, Any]:
    return {"prompt": _messages(conversation), "completion": _answer(text), "label": label}


FORMATS: dict[str, Callable[[LearnPair], dict[str, Any]]] = {
    "fitbot": _fitbot,
    "trl": _trl,
    "openai": _openai,
}
NAMES = (*FORMATS, "kto")


def parse_judgement(record: object, index: int) -> Judgement:
    """Read a record of pairs, or one answer with a label.

    Raises:
        DataError: It is neither.
    """
    label = next((key for key in _LABELS if isinstance(record, dict) and key in record), None)
    if not isinstance(record, dict) or label is None or "completion" not in record:
        pair = parse_pair(record, index)
        return Judgement(pair.prompt, pair.chosen, pair.rejected)
    completion = record["completion"]
    if isinstance(completion, str):
        completion = [{"role": "assistant", "content": completion}]
    rest = {key: value for key, value in record.items() if key not in (label, "completion")}
    # A pair is made of it for a moment, so that one reader says what prompts and answers are.
    pair = parse_pair({**rest, "chosen": completion, "rejected": _answer("\0")}, index)
    if record[label] not in (True, False):
        raise DataError(f"{label!r} must be true or false, got {shorten(record[label])}.")
    if record[label]:
        return Judgement(pair.prompt, pair.chosen, None)
    return Judgement(pair.prompt, None, pair.chosen)


def _messages(conversation: tuple[Message, ...]) -> list[dict[str, str]]:
    return [turn._asdict() for turn in conversation]


def _answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]
