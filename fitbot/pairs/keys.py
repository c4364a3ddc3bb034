"""What the keys of records and messages are called, and which change what a model must see."""

import math
from collections.abc import Iterator
from typing import Any

from fitbot.errors import DataError

MESSAGES_KEYS = ("messages", "conversations")
PROMPT_KEYS = ("question", "prompt", "query", "instruction", "input", *MESSAGES_KEYS)
SYSTEM_KEYS = ("system", "system_prompt", "system_message")
CHOSEN_KEYS = ("chosen", "preferred_output", "chosen_response")
REJECTED_KEYS = ("rejected", "non_preferred_output", "rejected_messages", "rejected_response")
TURN_KEYS = (*PROMPT_KEYS, *CHOSEN_KEYS, *REJECTED_KEYS)
KNOWN_KEYS = (*TURN_KEYS, *SYSTEM_KEYS, "history")

_OF_EVALUATION = ("category", "flaw", "facts", "check", "split", "id")
_IN_MESSAGES = {"role", "content", "from", "value"}
_IN_PARTS = {"type", "text"}
_IN_INPUT = {"messages", "parallel_tool_calls"}  # of OpenAI's preference files
# What a template or another trainer makes something of, and fitbot does not.
_TOOLS = {"tools", "functions", "tool_calls", "function_call", "tool_choice"}
_MEDIA = {"image", "images", "audio", "audios", "video", "videos", "documents"}
_WEIGHTS = {"weight", "weights", "sample_weight", "loss_weight", "loss_scale", "loss_mask", "mask"}
_REFUSED = _TOOLS | _MEDIA | _WEIGHTS | {"chat_template", "chat_template_kwargs", "enable_thinking"}
_THOUGHTS = {"reasoning_content", "reasoning", "thinking", "thought"}
_REFUSED_IN_MESSAGES = {
    *(_TOOLS | _MEDIA | _WEIGHTS | _THOUGHTS),
    *("name", "tool_call_id", "refusal", "prefix", "recipient", "channel", "loss", "train"),
}
_KNOWN, _KNOWN_IN_MESSAGES = {*KNOWN_KEYS}, _IN_MESSAGES | _REFUSED_IN_MESSAGES | _IN_INPUT
_NOTHING = ("", "[]", "{}", "none", "null", "nan")  # as the cells of tables say it
# Values that ask for what fitbot does anyway.
_AS_EVER: dict[str, tuple[str, ...]] = dict.fromkeys(
    (*_WEIGHTS, "loss", "train"), ("1", "1.0", "true")
)
_AS_EVER |= dict.fromkeys(("mask", "prefix", "enable_thinking"), ("0", "0.0", "false"))
_AS_EVER |= {"tool_choice": ("none", "auto"), "function_call": ("none", "auto")}


def is_blank(value: object) -> bool:
    """Say whether a record lacks a key that other records of its table have."""
    return value is None or value in ("", [], {}) or value != value


def refuse_keys(values: dict[str, Any], where: str = "") -> None:
    """Refuse what would change what the model sees, or how much it counts.

    Args:
        values: A record, or a message.
        where: What to say before the key; a message if it is not empty.

    Raises:
        DataError: One of the keys is there, and says more than fitbot does anyway.
    """
    for key in sorted((_REFUSED_IN_MESSAGES if where else _REFUSED) & values.keys()):
        said = str(values[key]).strip().lower()
        if is_blank(values[key]) or said in _NOTHING or said in _AS_EVER.get(key, ()):
            continue
        way_out = "Remove the key if the answers do not depend on it"
        if key in _WEIGHTS and not where:
            way_out = f"data.weight_column {key} has pairs weighed by it; or remove the key"
        if key in _THOUGHTS:
            way_out = "Write the thought into the content, as <think>…</think> before the answer"
        raise DataError(
            f"{where}{key!r} would change what the model sees or learns from, and fitbot makes "
            f"nothing of it. {way_out}."
        )


def take_weight(record: object, column: str | None) -> tuple[object, float | None]:
    """Take a pair's weight out of its record; None where the record has none.

    Raises:
        DataError: It is no number, below 0 or not finite.
    """
    if column is None or not isinstance(record, dict) or column not in record:
        return record, None
    rest = {key: value for key, value in record.items() if key != column}
    if is_blank(record[column]):
        return rest, None
    try:
        weight = float(record[column])
    except (TypeError, ValueError):
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise DataError(
            f"{column!r} must be a number >= 0, because data.weight_column names it, got "
            f"{record[column]!r:.80}."
        )
    return rest, weight


def unused_keys(record: object) -> Iterator[str]:
    """Name the keys of a record, and of its messages, that mean nothing to fitbot."""
    if not isinstance(record, dict):
        return
    is_chosen_named = any(not is_blank(record.get(key)) for key in CHOSEN_KEYS)
    for key, value in record.items():
        if key in _KNOWN:
            if isinstance(value, str):
                continue
            for message in value if isinstance(value, list) else [value]:
                if isinstance(message, dict):
                    yield from (
                        f"{key}.{field}"
                        for field in message.keys() - _KNOWN_IN_MESSAGES
                        if not is_blank(message[field])
                    )
                    yield from _unused_in_parts(key, message.get("content"))
        elif key in ("output", "response") and not is_chosen_named:
            continue  # an answer
        elif key not in _REFUSED and key not in _OF_EVALUATION and not is_blank(value):
            yield str(key)


def _unused_in_parts(key: str, content: object) -> Iterator[str]:
    for part in content if isinstance(content, list) else []:
        if isinstance(part, dict):
            unused = part.keys() - _IN_PARTS - _REFUSED_IN_MESSAGES
            yield from (f"{key}.content.{field}" for field in unused if not is_blank(part[field]))
