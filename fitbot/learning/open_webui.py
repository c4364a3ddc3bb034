"""Open WebUI's export of feedback → judgements.

The file is a list of ratings. Each has the chat as it was then, a tree of messages: `snapshot`,
which the export of an administrator has and what is shared with others lacks. Where the rated
answer had siblings, a thumb up says that it is better than each of them, and a thumb down that it
is worse: Open WebUI counts them so in its own ranking of models. Any other rating is a thumb.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from fitbot.errors import DataError
from fitbot.learning.formats import Judgement
from fitbot.pairs.formats import Message, parse_question, shorten

_HIDDEN = '<details type="'  # reasoning, tool calls: shown folded, and no part of the answer
_NO_CHAT = (
    "has no chat in 'snapshot', so the texts are not known. Export in Open WebUI as administrator: "
    "Admin Panel, Evaluations, Feedbacks, export"
)


def is_rating(record: object) -> bool:
    """Say whether a record is of such an export."""
    return isinstance(record, dict) and {"type", "data", "meta", "snapshot"} <= record.keys()


class Ratings:
    """All ratings of a file, by which each of them is read."""

    def __init__(self, records: list[Any], pseudonym: Callable[[str], str]):
        """Take the records that `is_rating`, and what makes pseudonyms of users' ids."""
        self._pseudonym = pseudonym
        self._rated = {_key(one, _at(one, "meta", "message_id")): _sign(one) for one in records}

    def read(self, record: Any) -> tuple[list[Judgement], list[str]]:
        """Read one record.

        Returns:
            What it says, and of siblings that could not be compared with, why.

        Raises:
            DataError: It says nothing.
        """
        up = _sign(record)
        if record["type"] != "rating" or up is None:
            what = shorten(_at(record, "data", "rating"))
            raise DataError(
                f"a record of type {record['type']!r} with the rating {what} is no thumb"
            )
        messages = _messages_of(record)
        number = _at(record, "meta", "message_id")
        text = _text_of(messages, number)
        parent = messages[number].get("parentId")
        conversation = _conversation(record, messages, parent)
        author = str(record.get("user_id") or "")
        common = (self._pseudonym(author) if author else None, _time(record))
        found, skipped = [], []
        for sibling in _siblings(record, messages, number, parent):
            try:
                other = _text_of(messages, sibling)
            except DataError as error:
                skipped.append(f"sibling {error}")
                continue
            # Two that were rated alike are not compared with each other.
            if other != text and self._rated.get(_key(record, sibling)) != up:
                sides = (text, other) if up else (other, text)
                found.append(Judgement(conversation, *sides, *common))
        thumb = Judgement(conversation, text if up else None, None if up else text, *common)
        return found or [thumb], skipped


def _at(record: Any, *keys: str) -> Any:
    """Return what stands below several keys; None where one is missing."""
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def _sign(record: Any) -> bool | None:
    return {"1": True, "-1": False}.get(str(_at(record, "data", "rating")))


def _key(record: Any, message: object) -> tuple[str, str, str]:
    return str(record.get("user_id")), str(_at(record, "meta", "chat_id")), str(message)


def _chat(record: Any) -> Any:
    chat = _at(record, "snapshot", "chat")
    return chat if _at(chat, "history") else _at(chat, "chat")


def _messages_of(record: Any) -> dict[str, Any]:
    messages = _at(_chat(record), "history", "messages")
    if not isinstance(messages, dict) or not messages:
        raise DataError(_NO_CHAT)
    if _at(messages, str(_at(record, "meta", "message_id"))) is None:
        raise DataError("the rated message is not in the chat; it was removed before the export")
    return messages


def _text_of(messages: Mapping[str, Any], number: Any) -> str:
    """Return an answer's text.

    Raises:
        DataError: It is no text that a model could learn to write.
    """
    message = messages.get(number)
    content = _at(message, "content")
    if _at(message, "role") != "assistant" or not isinstance(content, str) or not content.strip():
        why = "is no answer with a text"
    elif _at(message, "error"):
        why = "is an error"
    elif _at(message, "done") is False:
        why = "was not written to its end"
    elif _HIDDEN in content:
        why = "has folded parts, as of reasoning or tools, which fitbot does not learn"
    else:
        return content
    raise DataError(f"message {number} {why}")


def _conversation(record: Any, messages: Mapping[str, Any], last: Any) -> tuple[Message, ...]:
    """Follow the tree from the user's turn up to its root."""
    turns: list[dict[str, Any]] = []
    while last is not None:
        message = messages.get(last)
        if len(turns) > len(messages):
            raise DataError(f"message {last} goes back to itself")
        if not isinstance(message, dict):
            raise DataError(f"message {last}, which the rated one goes back to, is not in the chat")
        if message.get("files"):
            raise DataError(f"message {last} has files, which fitbot does not read")
        if message.get("role") == "assistant":
            _text_of(messages, last)
        turns.insert(0, {"role": message.get("role"), "content": message.get("content")})
        last = message.get("parentId")
    system = _at(_chat(record), "params", "system")
    if isinstance(system, str) and system.strip():
        turns.insert(0, {"role": "system", "content": system})
    return parse_question(turns)


def _siblings(record: Any, messages: Mapping[str, Any], number: Any, parent: Any) -> Iterator[str]:
    """Yield the other answers to the same turn, where Open WebUI says that there were any."""
    if not _at(record, "data", "sibling_model_ids"):
        return
    for key, message in messages.items():
        if key != number and _at(message, "parentId") == parent:
            yield key


def _time(record: Any) -> str:
    try:
        return datetime.fromtimestamp(record["created_at"], UTC).isoformat(timespec="milliseconds")
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return ""
