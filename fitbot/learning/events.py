"""What the store holds: answers that were shown, and choices between them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from fitbot.errors import DataError
from fitbot.pairs.formats import Message, parse_question, shorten

GIVEN = "given"  # policy of a text that no model of fitbot's has written

Kind = Literal["pair", "edit", "thumb_up", "thumb_down", "teach"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer of a conversation.

    Args:
        conversation: What was answered; ends in a user turn.
        text: What was shown.
        author: Pseudonym of the person who asked.
        policy: SHA-256 of the adapter that wrote it, "base", or "given".
        version: Its name, such as "fitbot@7".
        token_ids: As generated, the end's included.
        logprobs: Of these tokens, under the policy that wrote them.
        sampling: How they were drawn; plain JSON.
        seed: Of the draws.
        health_touched: Whether the health layer changed or replaced anything.
        completion: What a server called it when it gave it.
        id: The store gives it.
        time: UTC, ISO 8601; the store's clock if empty.
    """

    conversation: tuple[Message, ...]
    text: str
    author: str
    policy: str
    version: str | None = None
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    health_touched: bool = False
    completion: str | None = None
    id: int = 0
    time: str = ""

    def to_columns(self) -> dict[str, Any]:
        """Return what stands in the columns of its row, without the id.

        Raises:
            DataError: It is no answer: no user turn, no author, characters that no file can hold.
        """
        parse_question([turn._asdict() for turn in self.conversation])
        check_text("author", self.author)
        columns = {name: getattr(self, name) for name in COLUMNS}
        for name in ("conversation", "token_ids", "logprobs", "sampling", "seed"):
            columns[name] = as_json(columns[name])
        _check_encodable(self.text)
        return columns

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> "Answer":
        """Make it of its row."""
        values = {name: columns[name] for name in ("id", *COLUMNS)}
        values["conversation"] = conversation_of(values["conversation"])
        values["token_ids"] = tuple(json.loads(values["token_ids"]))
        for name in ("logprobs", "sampling", "seed"):
            values[name] = json.loads(values[name])
        if values["logprobs"] is not None:
            values["logprobs"] = tuple(values["logprobs"])
        values["health_touched"] = bool(values["health_touched"])
        return cls(**values)


COLUMNS = tuple(name for name in Answer.__dataclass_fields__ if name != "id")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A choice as it is stored. A thumb has both sides once the other one had come before it."""

    id: int
    time: str
    author: str
    kind: Kind
    chosen: Answer | None
    rejected: Answer | None
    held_out: bool
    usable: bool  # nothing of it went through the hands of the health layer

    @property
    def conversation(self) -> tuple[Message, ...]:
        """What was answered."""
        side = self.chosen or self.rejected
        assert side is not None
        return side.conversation

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any], answers: Mapping[int, Answer]) -> "Choice":
        """Make it of its row, and of the answers that the row names."""
        sides = {side: answers.get(columns[side]) for side in ("chosen", "rejected")}
        flags = {name: bool(columns[name]) for name in ("held_out", "usable")}
        return cls(**{**dict(columns), **sides, **flags})


@dataclass(frozen=True, kw_only=True)
class LearnPair:
    """A pair to learn from, or to measure on if it is held out."""

    id: int  # of the choice
    conversation: tuple[Message, ...]
    chosen: str
    rejected: str
    author: str
    time: str
    kind: Kind
    held_out: bool

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> "LearnPair":
        """Make it of its row."""
        conversation = conversation_of(columns["conversation"])
        held_out = bool(columns["held_out"])
        return cls(**{**dict(columns), "conversation": conversation, "held_out": held_out})


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much there is."""

    answers: int
    choices: int
    pairs: int  # that can be learned from
    held_out: int  # pairs that are never learned from
    not_usable: int  # choices
    kinds: dict[str, int]
    authors: dict[str, int]  # their choices; 0 of those who have only asked
    versions: dict[str, int]  # whose answers were judged
    first: str | None
    last: str | None
    outdated: list[str]  # versions that learned from what was forgotten since


def as_json(value: object) -> str:
    """Write a value as the columns hold it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def conversation_of(text: str) -> tuple[Message, ...]:
    """Read a conversation that `as_json` wrote."""
    return tuple(Message(*turn) for turn in json.loads(text))


def check_text(what: str, text: str) -> None:
    """Refuse a text that is empty or that no file can hold.

    Raises:
        DataError: It is.
    """
    if not text.strip():
        raise DataError(f"{what} must not be empty")
    _check_encodable(text)


def _check_encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"holds the lone surrogate {text[error.start]!r}, which no file can hold: "
            f"{shorten(text, error.start)}"
        ) from error
