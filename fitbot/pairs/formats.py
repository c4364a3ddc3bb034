"""A record of a preference file → a PreferencePair: what its keys mean.

A record is an object with these keys:

    question, prompt    one or more turns that end in a user turn; `query` is the same
    instruction, input  the same as Alpaca has it; two strings are joined by a line break
    messages,           the same, never a bare string. The answer may come last: it is the chosen
    conversations       one, as in ms-swift's files
    history             a list of [question, answer], turns before such a prompt
    system              a string that goes before the prompt; None and "" mean that there is none;
                        `system_prompt` and `system_message` are the same
    chosen, rejected    one or more turns that end in an assistant turn, the answer. What stands
                        before it must equal the prompt (only a system message may come on top);
                        without a prompt key, it is the prompt. keys.py has their other names.

Turns are a string, a message or a list of messages; a string that clearly is such a list is read
as one, see transcripts.py. A message is {"role": ..., "content": ...} or, as in ShareGPT,
{"from": ..., "value": ...}.

Keys that would change what the model sees are refused; all others mean nothing, see keys.py.
Files of another kind than pairs are refused by their name, see other_formats.py.

Texts are kept exactly as they stand.
"""

import difflib
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from os.path import commonprefix
from typing import Any, NamedTuple

from fitbot.errors import DataError
from fitbot.pairs.keys import (
    CHOSEN_KEYS,
    KNOWN_KEYS,
    MESSAGES_KEYS,
    PROMPT_KEYS,
    REJECTED_KEYS,
    SYSTEM_KEYS,
    TURN_KEYS,
    is_blank,
    refuse_keys,
)
from fitbot.pairs.other_formats import ends_in_answer, has_scores, refuse_other_format
from fitbot.pairs.transcripts import as_messages, read_literal

_USUAL_PROMPT_KEYS = ("question", "prompt", "conversations")
_ROLES = ("system", "user", "assistant")
_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}
_Turns = tuple["Message", ...]


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
    refuse_keys(record)
    record = _with_read_texts(record)
    (chosen_head, chosen), (rejected_head, rejected) = (
        _split_answer(key, value) for key, value in _find_answers(record)
    )
    _demand_equal(chosen_head, rejected_head, "'chosen' and 'rejected' must answer the same prompt")
    if chosen == rejected:
        raise DataError(f"'chosen' and 'rejected' are the same text: {shorten(chosen)}.")
    prompt = _with_history(_parse_prompt(record, chosen_head, chosen), record.get("history"))
    for key in SYSTEM_KEYS:
        prompt = _with_system(prompt, key, record.get(key))
    return PreferencePair(prompt, chosen, rejected, index)


def parse_question(value: object) -> tuple[Message, ...]:
    """Turn a question, or a conversation that ends in one, into messages.

    >>> parse_question("Is rice ok?")
    (Message(role='user', content='Is rice ok?'),)

    Raises:
        DataError: It is neither a text nor messages, or the last turn is not the user's.
    """
    return _parse_turns(value, "question", last="user")


def _with_read_texts(record: dict[str, Any]) -> dict[str, Any]:
    """Read the texts that clearly are messages, or what OpenAI has under 'input'."""
    read: dict[str, Any] = {}
    texts = [key for key in TURN_KEYS if isinstance(record.get(key), str)]
    for key in texts:
        try:
            messages = as_messages(record[key])
        except DataError as error:
            raise DataError(f"{key!r} {error}, got {shorten(record[key])}.") from error
        if messages is not None:
            read[key] = messages
    if "input" in texts and not is_blank(record.get("preferred_output")):
        read["input"] = read_literal(record["input"])
    answers = {key for key in texts if key in (*CHOSEN_KEYS, *REJECTED_KEYS) and record[key]}
    if answers & read.keys() and answers - read.keys():
        one, other = min(answers & read.keys()), min(answers - read.keys())
        raise DataError(
            f"{one!r} is messages written as text, and {other!r} is not: {shorten(record[other])}. "
            'If they are the text of an answer, write it as {"role": "assistant", "content": …}.'
        )
    return {**record, **read}


def _find_answers(record: dict[str, Any]) -> tuple[tuple[str, Any], tuple[str, Any]]:
    """Return the keys and values of the chosen and of the rejected answer."""
    chosen, rejected = _find(record, CHOSEN_KEYS), _find(record, REJECTED_KEYS)
    if chosen is None and rejected is None:
        ranking = record.get("output")
        if isinstance(ranking, str) and ranking.startswith("["):
            ranking = read_literal(ranking)
        if isinstance(ranking, list) and len(ranking) == 2 and not has_scores(record):
            return ("output", ranking[0]), ("output", ranking[1])
        refuse_other_format(record)
    if chosen is None and rejected is not None:
        return _find_chosen_beside(record, rejected), (rejected, record[rejected])
    if chosen is None or rejected is None:
        missing = "chosen" if chosen is None else "rejected"
        raise DataError(f"{missing!r} is missing. {_describe_keys(record, [missing])}")
    return (chosen, record[chosen]), (rejected, record[rejected])


def _find_chosen_beside(record: dict[str, Any], rejected: str) -> tuple[str, Any]:
    """Find the chosen answer where it is the end of a conversation, or a 'response'."""
    for key in MESSAGES_KEYS:
        if ends_in_answer(record.get(key)):
            other = record[rejected]
            is_whole = isinstance(other, list) and len(other) > 1
            return key, record[key] if is_whole else record[key][-1:]
    for key in ("response", "output"):
        if rejected == "rejected_response" and isinstance(record.get(key), str):
            return key, record[key]
    raise DataError(f"'chosen' is missing. {_describe_keys(record, ['chosen'])}")


def _find(record: dict[str, Any], keys: Sequence[str]) -> str | None:
    """Return which of several keys a record has."""
    given = [key for key in keys if not is_blank(record.get(key))]
    for other in given[1:]:
        if record[other] != record[given[0]]:
            raise DataError(
                f"{given[0]!r} and {other!r} must be the same: got {shorten(record[given[0]])} "
                f"and {shorten(record[other])}."
            )
    return next((key for key in (*given, *keys) if key in record), None)


def _split_answer(key: str, value: object) -> tuple[_Turns, str]:
    """Return the messages before the answer, often none, and the answer's text."""
    *head, answer = _parse_turns(value, key, last="assistant")
    if head and head[-1].role != "user":
        raise DataError(
            f"{key!r}: the turn before the answer must be the user's, got {shorten(head[-1])}."
        )
    return tuple(head), answer.content


def _parse_prompt(record: dict[str, Any], head: _Turns, chosen: str) -> _Turns:
    """Return the prompt of the record's prompt keys, or else the head of its answers."""
    prompts = list(_find_prompts(record, chosen))
    if not prompts and not head:
        accepted = "'question', 'prompt' or 'conversations'"
        raise DataError(f"no prompt under {accepted}. {_describe_keys(record, _USUAL_PROMPT_KEYS)}")
    if not prompts:
        return head
    (key, prompt), *others = prompts
    for other_key, other in others:
        _demand_equal(prompt, other, f"{key!r} and {other_key!r} must be the same")
    if not head:
        return prompt
    if head[0].role == "system" and prompt[0].role != "system":
        prompt = (head[0], *prompt)
    _demand_equal(prompt, head, f"'chosen' must begin with {key!r}")
    return prompt


def _find_prompts(record: dict[str, Any], chosen: str) -> Iterator[tuple[str, _Turns]]:
    """Yield the prompt under every key that has one."""
    instruction, given = record.get("instruction"), record.get("input")
    for key in PROMPT_KEYS:
        value = record.get(key)
        # Tables hold None where a record lacks a key that others have.
        if value is None or (is_blank(value) and key not in _USUAL_PROMPT_KEYS):
            continue
        if isinstance(instruction, str) and isinstance(given, str) and instruction and given:
            if key == "input":
                continue
            if key == "instruction":
                value = f"{instruction}\n{given}"
        if key == "input" and isinstance(value, dict) and "messages" in value:
            refuse_keys(value)
            value = value["messages"]
        if key not in MESSAGES_KEYS or not ends_in_answer(value):
            yield key, _parse_turns(value, key, last="user")
            continue
        head, answer = _split_answer(key, value)
        if answer != chosen:
            raise DataError(
                f"{key!r} must end in the user's turn or in the chosen answer, "
                f"got {shorten(answer)}."
            )
        if head:
            yield key, head


def _with_history(prompt: _Turns, history: object) -> _Turns:
    """Put earlier turns, a list of [question, answer], before the question."""
    if isinstance(history, str):
        history = read_literal(history)
    if is_blank(history):
        return prompt
    if not isinstance(history, list) or not all(
        isinstance(turn, list | tuple) and len(turn) == 2 for turn in history
    ):
        raise DataError(f"'history' must be a list of [question, answer], got {shorten(history)}.")
    *system, question = prompt
    if any(message.role != "system" for message in system):
        raise DataError("'history' and a prompt of several turns exclude each other; remove one.")
    texts = [_parse_text(text, "'history'") for turn in history for text in turn]
    turns = (Message(_ROLES[1 + i % 2], text) for i, text in enumerate(texts))
    return (*system, *turns, question)


def _with_system(prompt: _Turns, key: str, system: object) -> _Turns:
    if system is None or system == "":  # a CSV cell cannot say None
        return prompt
    text = _parse_text(system, repr(key))
    if as_messages(text) is not None:
        raise DataError(f"{key!r} is messages written as text, got {shorten(text)}; give the text.")
    message = Message("system", text)
    if prompt[0].role != "system":
        return (message, *prompt)
    _demand_equal((message,), prompt[:1], f"{key!r} and the system message must be the same")
    return prompt


def _parse_turns(value: object, key: str, *, last: str) -> _Turns:
    """Return the turns of a string, a message or a list of messages.

    Args:
        value: What stands under the key; a string is one turn of the role `last`.
        key: The record's key, for messages.
        last: The role that the last turn must have.
    """
    if isinstance(value, str) and key not in MESSAGES_KEYS:
        return (Message(last, _parse_text(value, repr(key))),)
    messages = [value] if isinstance(value, dict) else value
    if not isinstance(messages, list) or not messages:
        forms = "messages" if key in MESSAGES_KEYS else "a string, a message or messages"
        raise DataError(f"{key!r} must be {forms}, got {shorten(value)}.")
    if all(isinstance(message, str) for message in messages):
        raise DataError(
            f"{key!r} must be one text, got a list of {len(messages)}: {shorten(messages)}. Write "
            "the text alone, and a record for each further one."
        )
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
    refuse_keys(value, f"{label}: ")
    is_sharegpt = value.get("from") is not None or "role" not in value
    role_key, text_key = ("from", "value") if is_sharegpt else ("role", "content")
    if role_key not in value or text_key not in value:
        raise DataError(
            f"{label} must have 'role' and 'content', or 'from' and 'value', got {shorten(value)}."
        )
    if is_sharegpt and not is_blank(value.get("content")):
        raise DataError(f"{label} has both 'content' and 'value'; remove one: {shorten(value)}.")
    role = value[role_key]
    if isinstance(role, str):
        role = _SHAREGPT_ROLES.get(role, role)
    if role not in _ROLES:
        accepted = ", ".join((*_ROLES, *_SHAREGPT_ROLES))
        raise DataError(f"{label}: {role_key!r} must be one of {accepted}, got {shorten(role)}.")
    return Message(role, _parse_content(value[text_key], f"{label}: {text_key!r}"))


def _parse_content(value: object, label: str) -> str:
    """Return a message's text: a string, or one part that is text."""
    if isinstance(value, list):
        kinds = [part.get("type") if isinstance(part, dict) else None for part in value]
        if kinds != ["text"]:
            raise DataError(
                f"{label} must be one text, got parts of type {', '.join(map(str, kinds))}. "
                "fitbot trains on text alone; join texts into one."
            )
        refuse_keys(value[0], f"{label}: ")
        value = value[0].get("text")
    return _parse_text(value, label)


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
        nearest = difflib.get_close_matches(key.strip().lower(), accepted, n=1, cutoff=0.75)
        if nearest and key not in KNOWN_KEYS:
            return f"Found the keys {found}. Did you mean {nearest[0]!r} by {key!r}?"
    what = "the better answer 'chosen', the worse 'rejected'"
    what = "the prompt 'prompt'" if accepted is _USUAL_PROMPT_KEYS else what
    return f"Found the keys {found or '(none)'}. Name {what}."


def shorten(value: object, start: int = 0) -> str:
    """Write a value for an error message, from a character on, in 80 characters at most."""
    text = f"…{repr(value)[start:]}" if start else repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
