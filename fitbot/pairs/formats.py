"""A record of a preference file → a PreferencePair: what its keys mean.

A record is an object with these keys; any other key is ignored:

    question, prompt    one or more turns that end in a user turn
    conversations       the same, as ShareGPT calls it; never a bare string
    system              a string that goes before the prompt; None and "" mean that there is none
    chosen, rejected    one or more turns that end in an assistant turn, the answer. What stands
                        before it must equal the prompt (only a system message may come on top);
                        without a prompt key, it is the prompt.

Turns are a string, a message or a list of messages. A message is {"role": ..., "content": ...} or,
as in ShareGPT, {"from": ..., "value": ...}.

Texts are kept exactly as they stand.
"""

import difflib
from collections.abc import Sequence
from itertools import zip_longest
from os.path import commonprefix
from typing import Any, NamedTuple

from fitbot.errors import DataError

_PROMPT_KEYS = ("question", "prompt", "conversations")
_KNOWN_KEYS = (*_PROMPT_KEYS, "system", "chosen", "rejected")
_ROLES = ("system", "user", "assistant")
_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str  # system, user or assistant
    content: str


class PreferencePair(NamedTuple):
    """One prompt with the answer that was preferred and the one that was not."""

    prompt: tuple[Message, ...]  # ends with a user turn; a system message only comes first
    chosen: str
    rejected: str
    record: int  # index of the record in its file, from 0


def parse_pair(record: object, index: int) -> PreferencePair:
    """Turn one record into a pair.

    >>> parse_pair({"question": "Is rice ok?", "chosen": "Yes.", "rejected": "No."}, 7)
    PreferencePair(prompt=(Message(role='user', content='Is rice ok?'),), chosen='Yes.', \
rejected='No.', record=7)
    """
    if not isinstance(record, dict):
        raise DataError(f"must be an object with keys, got {shorten(record)}.")
    chosen_head, chosen = _parse_answer(record, "chosen")
    rejected_head, rejected = _parse_answer(record, "rejected")
    _demand_equal(chosen_head, rejected_head, "'chosen' and 'rejected' must answer the same prompt")
    if chosen == rejected:
        raise DataError(f"'chosen' and 'rejected' are the same text: {shorten(chosen)}.")
    prompt = _with_system(_parse_prompt(record, chosen_head), record.get("system"))
    return PreferencePair(prompt, chosen, rejected, index)


def parse_question(value: object) -> tuple[Message, ...]:
    """Turn a question, or a conversation that ends in one, into messages.

    >>> parse_question("Is rice ok?")
    (Message(role='user', content='Is rice ok?'),)

    Raises:
        DataError: It is neither a text nor messages, or the last turn is not the user's.
    """
    return _parse_turns(value, "question", last="user")


def _parse_answer(record: dict[str, Any], key: str) -> tuple[tuple[Message, ...], str]:
    """Return the messages before the answer, often none, and the answer's text."""
    if key not in record:
        raise DataError(f"{key!r} is missing. {_describe_keys(record, [key])}")
    *head, answer = _parse_turns(record[key], key, last="assistant")
    if head and head[-1].role != "user":
        raise DataError(
            f"{key!r}: the turn before the answer must be the user's, got {shorten(head[-1])}."
        )
    return tuple(head), answer.content


def _parse_prompt(record: dict[str, Any], head: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the prompt of the record's prompt keys, or else the head of its answers."""
    # Tables hold None where a record lacks a key that others have.
    keys = [key for key in _PROMPT_KEYS if record.get(key) is not None]
    if not keys and not head:
        accepted = "'question', 'prompt' or 'conversations'"
        raise DataError(f"no prompt under {accepted}. {_describe_keys(record, _PROMPT_KEYS)}")
    if not keys:
        return head
    prompt = _parse_turns(record[keys[0]], keys[0], last="user")
    for key in keys[1:]:
        other = _parse_turns(record[key], key, last="user")
        _demand_equal(prompt, other, f"{keys[0]!r} and {key!r} must be the same")
    if not head:
        return prompt
    if head[0].role == "system" and prompt[0].role != "system":
        prompt = (head[0], *prompt)
    _demand_equal(prompt, head, f"'chosen' must begin with {keys[0]!r}")
    return prompt


def _with_system(prompt: tuple[Message, ...], system: object) -> tuple[Message, ...]:
    if system is None or system == "":  # a CSV cell cannot say None
        return prompt
    message = Message("system", _parse_text(system, "'system'"))
    if prompt[0].role != "system":
        return (message, *prompt)
    _demand_equal((message,), prompt[:1], "'system' and the system message must be the same")
    return prompt


def _parse_turns(value: object, key: str, *, last: str) -> tuple[Message, ...]:
    """Return the turns of a string, a message or a list of messages.

    Args:
        value: What stands under the key; a string is one turn of the role `last`.
        key: The record's key, for messages.
        last: The role that the last turn must have.
    """
    if isinstance(value, str) and key != "conversations":
        return (Message(last, _parse_text(value, repr(key))),)
    messages = [value] if isinstance(value, dict) else value
    if not isinstance(messages, list) or not messages:
        forms = "messages" if key == "conversations" else "a string, a message or messages"
        raise DataError(f"{key!r} must be {forms}, got {shorten(value)}.")
    turns = tuple(
        _parse_message(message, f"{key!r} message {number}")
        for number, message in enumerate(messages)
    )
    for number, turn in enumerate(turns[1:], start=1):
        if turn.role == "system":
            raise DataError(
                f"{key!r} message {number}: system must come first, got {shorten(turn)}."
            )
    if turns[-1].role != last:
        raise DataError(f"{key!r} must end in a turn of the {last}, got {shorten(turns[-1])}.")
    return turns


def _parse_message(value: object, label: str) -> Message:
    if not isinstance(value, dict):
        raise DataError(f"{label} must be an object, got {shorten(value)}.")
    role_key, text_key = ("from", "value") if "from" in value else ("role", "content")
    if role_key not in value or text_key not in value:
        raise DataError(
            f"{label} must have 'role' and 'content', or 'from' and 'value', got {shorten(value)}."
        )
    role = value[role_key]
    if isinstance(role, str):
        role = _SHAREGPT_ROLES.get(role, role)
    if role not in _ROLES:
        accepted = ", ".join((*_ROLES, *_SHAREGPT_ROLES))
        raise DataError(f"{label}: {role_key!r} must be one of {accepted}, got {shorten(role)}.")
    return Message(role, _parse_text(value[text_key], f"{label}: {text_key!r}"))


def _parse_text(value: object, label: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{label} must be a non-empty string, got {shorten(value)}.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{label} holds the lone surrogate {value[error.start]!r} at character {error.start}, "
            f"which no tokenizer can encode, in {shorten(value)}."
        ) from error
    return value


def _demand_equal(one: Sequence[Message], other: Sequence[Message], rule: str) -> None:
    for left, right in zip_longest(one, other):
        if left != right:
            # Show the place: two long prompts often differ in their last characters only.
            start = max(0, len(commonprefix([repr(left), repr(right)])) - 40)
            raise DataError(f"{rule}: got {shorten(left, start)} and {shorten(right, start)}.")


def _describe_keys(record: dict[str, Any], accepted: Sequence[str]) -> str:
    found = ", ".join(f"{key!r} (None)" if record[key] is None else repr(key) for key in record)
    for key in record:
        nearest = difflib.get_close_matches(key.strip().lower(), accepted, n=1)
        if nearest and key not in _KNOWN_KEYS:
            return f"Found the keys {found}. Did you mean {nearest[0]!r} by {key!r}?"
    return f"Found the keys {found or '(none)'}."


def shorten(value: object, start: int = 0) -> str:
    """Write a value for an error message, from a character on, in 80 characters at most."""
    text = f"…{repr(value)[start:]}" if start else repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
