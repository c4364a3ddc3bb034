"""A file of judgements → choices in the store; what was stored before is not stored again."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from fitbot.errors import DataError
from fitbot.health.answer import AnswerFilter
from fitbot.health.layer import HealthLayer
from fitbot.learning.events import Kind
from fitbot.learning.formats import Judgement, parse_judgement
from fitbot.learning.open_webui import Ratings, is_rating
from fitbot.learning.store import Store
from fitbot.pairs.formats import Message
from fitbot.pairs.sources import read_records

IsTouched = Callable[[Sequence[Message], Sequence[str]], bool]  # by the health layer
_AT_ONCE = 200  # in one transaction; others may write in between


class Imported(NamedTuple):
    """What became of a file."""

    added: int
    known: int  # were stored before
    touched: int  # of those added, by the health layer: they are never learned from
    refused: list[str]  # why, with record and line


def touched_by(layer: HealthLayer) -> IsTouched:
    """Return what says whether a health layer would have spoken up."""

    def is_touched(conversation: Sequence[Message], texts: Sequence[str]) -> bool:
        verdict = layer.check(conversation)
        if verdict.kind != "ok":
            return True
        for text in texts:
            answer = AnswerFilter(layer, verdict)
            answer.feed(text)
            answer.finish()
            if answer.intervened:
                return True
        return False

    return is_touched


def import_choices(
    store: Store, source: str | Path, *, author: str, is_touched: IsTouched
) -> Imported:
    """Store what a file says. If the program ends before all is stored, import the file again.

    Args:
        store: Where to.
        source: Pairs in any form that fit reads, KTO's, or Open WebUI's export of feedback.
        author: Of records that name none.
        is_touched: Says whether the health layer would have spoken up.

    Raises:
        DataError: The file cannot be read as records at all; nothing is stored.
    """
    judgements, refused = _read(store, source)
    known = touched = 0
    # The health layer takes its time, in which others may write.
    usable = [
        not is_touched(one.conversation, [text for text in one[1:3] if text is not None])
        for one in judgements
    ]
    for start in range(0, len(judgements), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        with store.together():
            for one, is_usable in zip(judgements[part], usable[part], strict=True):
                if store.has(one.conversation, one.chosen, one.rejected, one.author):
                    known += 1
                    continue
                touched += not is_usable
                store.add_choice(
                    author=one.author or author,
                    kind=_kind(one),
                    chosen=one.chosen,
                    rejected=one.rejected,
                    conversation=one.conversation,
                    usable=is_usable,
                    time=one.time,
                )
    return Imported(len(judgements) - known, known, touched, refused)


def _read(store: Store, source: str | Path) -> tuple[list[Judgement], list[str]]:
    records = list(read_records(source))
    ratings = Ratings([one for _, one in records if is_rating(one)], store.pseudonym)
    found: list[Judgement] = []
    refused: list[str] = []
    for index, (line, record) in enumerate(records):
        where = f"{source}: record {index}" + (f" (line {line})" if line else "")
        try:
            if is_rating(record):
                judgements, skipped = ratings.read(record)
                found += judgements
                refused += [f"{where}: {why}" for why in skipped]
            else:
                found.append(parse_judgement(record, index))
        except DataError as error:
            refused.append(f"{where}: {error}")
    # Open WebUI writes the newest first.
    return sorted(found, key=lambda one: one.time), refused


def _kind(one: Judgement) -> Kind:
    if one.chosen is not None and one.rejected is not None:
        return "pair"
    return "thumb_up" if one.rejected is None else "thumb_down"
