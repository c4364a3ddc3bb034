"""Texts that are conversations: messages written as text, and Human/Assistant transcripts."""

import ast
import json
import re
import warnings
from collections import Counter
from typing import Any

from fitbot.errors import DataError

_ROLES = {"system", "developer", "user", "assistant", "tool", "function", "observation"}
_SPEAKERS = {*_ROLES, "human", "gpt", "function_call"}  # of ShareGPT
_CONTENTS = {"content", "tool_calls", "function_call"}
_MAY_BE_MESSAGES = re.compile(r"""\s*(?:array\()?\[?\s*\{\s*['"]""")
_MUST_BE_MESSAGES = re.compile(
    r"""\s*(?:array\()?\[\s*\{(?=[\s\S]*['"](?:content|value)['"]\s*:)"""
    rf"""[\s\S]*?['"](?:role|from)['"]\s*:\s*['"](?:{"|".join(sorted(_SPEAKERS))})['"]"""
)
# Between dictionaries, as numpy writes them for pandas; a string is matched to be passed over.
_WITHOUT_COMMA = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\}\s+\{""", re.DOTALL)
# Of Anthropic: a text before the first Human, in a prompt alone, is the system's.
_TRANSCRIPT = re.compile(
    r"\s*Human:(?=[\s\S]*\r?\n\r?\nAssistant:)"
    r"|(?=[\s\S]*\r?\n\r?\nHuman:[\s\S]*\r?\n\r?\nAssistant:\s*\Z)"
)
_SPEAKER = re.compile(r"(?:\A|\r?\n\r?\n)(Human|Assistant): ?")
_TRANSCRIPT_ROLES = {"Human": "user", "Assistant": "assistant"}


class RepeatedKeyError(Exception):
    """Raised for a JSON object that has a key twice."""


def unique_keys(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object of its items: json's object_pairs_hook.

    Raises:
        RepeatedKeyError: A key is there twice; json alone would keep the last.
    """
    found = dict(items)
    if len(found) < len(items):
        raise RepeatedKeyError(Counter(key for key, _ in items).most_common(1)[0][0])
    return found


def as_messages(text: str) -> list[dict[str, Any]] | None:
    """Read a text that clearly is a conversation; None for any other.

    It is a JSON or Python list of messages, as pandas writes it into a CSV cell, or a transcript
    as in Anthropic's hh-rlhf.

    >>> as_messages("[{'role': 'user', 'content': 'Rice?'}]")
    [{'role': 'user', 'content': 'Rice?'}]
    >>> as_messages("\\n\\nHuman: Rice?\\n\\nAssistant: Yes.")[1]
    {'role': 'assistant', 'content': 'Yes.'}
    >>> as_messages('[{"name": "Ann", "role": "coach"}]')

    Raises:
        DataError: It begins as a list of messages and cannot be read as one.
    """
    if _TRANSCRIPT.match(text):
        return _read_transcript(text)
    if not _MAY_BE_MESSAGES.match(text):
        return None
    value = read_literal(text)
    messages = [value] if isinstance(value, dict) else value
    if isinstance(messages, list) and messages and all(map(_is_message, messages)):
        _refuse_repeated_keys(text)
        return messages
    if value is text and _MUST_BE_MESSAGES.match(text):
        raise DataError(
            "begins as a list of messages written as text, but is neither valid JSON nor Python. "
            "Write the file anew as JSONL or Parquet, where messages stay messages"
        )
    return None


def read_literal(text: str) -> Any:
    """Read a JSON or Python value that stands in a table's cell; any other text as it stands."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings(action="ignore"):  # of backslashes
            return ast.literal_eval(_WITHOUT_COMMA.sub(_with_comma, text.strip()))
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return text


def _with_comma(found: re.Match[str]) -> str:
    return "}, {" if found[0].startswith("}") else found[0]


def _refuse_repeated_keys(text: str) -> None:
    try:
        json.loads(text, object_pairs_hook=unique_keys)
    except RepeatedKeyError as error:
        raise DataError(f"has the key {str(error)!r} twice in one message") from error
    except ValueError:
        pass  # Python's


def _is_message(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    if "value" in value and str(value.get("from")) in _SPEAKERS:
        return True
    return bool(_CONTENTS & value.keys()) and str(value.get("role")) in _SPEAKERS


def _read_transcript(text: str) -> list[dict[str, Any]]:
    system, *parts = _SPEAKER.split(text.lstrip())
    turns = list(zip(parts[::2], parts[1::2], strict=True))
    if len(turns) > 1 and turns[-1][0] == "Assistant" and not turns[-1][1].strip():
        turns.pop()  # a prompt ends where the assistant is to speak
    told = [{"role": _TRANSCRIPT_ROLES[name], "content": said} for name, said in turns]
    return [{"role": "system", "content": system}, *told] if system else told
