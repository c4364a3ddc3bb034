"""A preference file (JSON, JSONL, CSV, Parquet) or hub data set → PreferencePairs.

A record is an object with these keys; any other key is ignored:

    question, prompt    one or more turns that end in a user turn
    conversations       the same, as ShareGPT calls it; never a bare string
    system              a string that goes before the prompt; None and "" mean that there is none
    chosen, rejected    one or more turns that end in an assistant turn, the answer. What stands
                        before it must equal the prompt (only a system message may come on top);
                        without a prompt key, it is the prompt.

Turns are a string, a message or a list of messages. A message is {"role": ..., "content": ...} or,
as in ShareGPT, {"from": ..., "value": ...}.

Texts are kept exactly as they stand. Nothing here knows about tokenizers, templates or tensors.
"""

import csv
import difflib
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, zip_longest
from os.path import commonprefix
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from fitbot.errors import ConfigError, DataError

_Records = Iterator[tuple[int | None, object]]  # (line number, if the format has lines; record)
NumberedRecord = tuple[int, int | None, object]  # index in the source, and the same

_PROMPT_KEYS = ("question", "prompt", "conversations")
_KNOWN_KEYS = (*_PROMPT_KEYS, "system", "chosen", "rejected")
_ROLES = ("system", "user", "assistant")
_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}
_HUB_ID = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(:(?P<split>\S+))?")
_SOURCES = (
    "Give a .json, .jsonl, .csv or .parquet file, here or as s3://bucket/file or another URL, "
    "or a hub data set as owner/name or owner/name:split."
)
_ROWS_AT_ONCE = 10_000  # of a Parquet file
_JSON_FORMS = "A .json file holds one list of records, a .jsonl file one record per line."


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


class LoadedPairs(NamedTuple):
    """What load_pairs made of a file."""

    pairs: list[PreferencePair]  # in file order, at least one
    skipped: list[str]  # one message for each record left out


def load_pairs(
    source: str | Path, *, limit: int | None = None, skip_bad_records: bool = False
) -> LoadedPairs:
    """Read the preference pairs of a file or of a hub data set.

    Args:
        source: A .json (list of records), .jsonl, .csv or .parquet file; or, where no such file
            exists, a hub data set as "owner/name" or "owner/name:split" (the split is else train).
        limit: Read only the first so many records, >= 1; None or more than there are reads all.
        skip_bad_records: Leave out records that make no pair, and return a message for each,
            instead of raising at the first.

    Returns:
        The pairs in file order and the messages of the skipped records.

    Raises:
        ConfigError: limit is below 1.
        DataError: The source cannot be read or parsed, holds no record, or holds a bad record
            (with skip_bad_records: only bad ones).
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be at least 1, or None for all records, got {limit}.")
    records = number_records(source, limit)
    loaded = parse_records(source, records, skip_bad_records=skip_bad_records)
    if not loaded.pairs:
        raise no_pairs(source, loaded.skipped)
    return loaded


def number_records(source: str | Path, limit: int | None = None) -> Iterator[NumberedRecord]:
    """Read a source's first records, each with its index and its line."""
    for index, (line, record) in enumerate(islice(read_records(source), limit)):
        yield index, line, record


def parse_records(
    source: str | Path, records: Iterable[NumberedRecord], *, skip_bad_records: bool
) -> LoadedPairs:
    """Turn records into pairs; see `load_pairs`. There may be none."""
    pairs: list[PreferencePair] = []
    skipped: list[str] = []
    for index, line, record in records:
        try:
            pairs.append(_parse_pair(record, index))
        except DataError as error:
            place = f"record {index}" if line is None else f"record {index} (line {line})"
            message = f"{source}: {place}: {error}"
            if not skip_bad_records:
                raise DataError(
                    f"{message} Fix the record or remove it, or set skip_bad_records."
                ) from error
            skipped.append(message)
    return LoadedPairs(pairs, skipped)


def no_pairs(source: str | Path, skipped: list[str]) -> DataError:
    """Say why nothing is left."""
    if skipped:
        return DataError(f"All {len(skipped)} records are bad. The first: {skipped[0]}")
    return DataError(f"{source}: there are no records in it. {_SOURCES}")


def fingerprint(source: str) -> str:
    """Name a state of a source, without reading it: where it is, its size, when it changed."""
    if is_remote(source):
        with _telling(source):
            import fsspec

            system, path = fsspec.core.url_to_fs(source)
            return f"{source} {system.ukey(path)}"
    if _is_on_hub(source):  # its own library keeps it
        return f"{source} {_load_hub(source)._fingerprint}"
    path = Path(source)
    status = path.stat()
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"


def read_records(source: str | Path) -> Iterator[tuple[int | None, object]]:
    """Read the records of a file or hub data set as they stand, whatever keys they have.

    Yields:
        The record's line, where the format has lines, and the record.

    Raises:
        DataError: The source cannot be read or parsed.
    """
    if _is_on_hub(source):
        return ((None, record) for record in _load_hub(str(source)))
    return _READERS[Path(source).suffix.lower()](str(source))


def is_remote(source: str | Path) -> bool:
    """Say whether a source lies in object storage, or elsewhere that fsspec knows by a URL."""
    return "://" in str(source)


def _is_on_hub(source: str | Path) -> bool:
    """Say whether a source is a hub data set and no file.

    Raises:
        DataError: It can be neither.
    """
    path = Path(source)
    suffix = path.suffix.lower()
    if not is_remote(source):
        if path.is_dir():
            raise DataError(f"{source}: is a directory. {_SOURCES}")
        if not path.exists():
            if suffix in _READERS or not _HUB_ID.fullmatch(str(source)):
                raise DataError(f"{source}: there is no such file. {_SOURCES}")
            return True
    if suffix not in _READERS:
        raise DataError(f"{source}: unknown file type {suffix!r}. {_SOURCES}")
    return False


def _open(source: str) -> BinaryIO:
    """Open a file, here or in object storage."""
    with _telling(source):
        if not is_remote(source):
            return Path(source).open("rb")
        import fsspec

        opened: BinaryIO = fsspec.open(source, "rb").open()
        return opened


@contextmanager
def _telling(source: str) -> Iterator[None]:
    """Say of which source it is that something could not be done with it."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror or error}.") from error
    except (ImportError, ValueError) as error:  # fsspec knows it not, or not without a package
        raise DataError(f"{source}: cannot be opened: {error}. {_SOURCES}") from error


def _read_json(source: str) -> _Records:
    records = _parse_json(_read_text(source), source, first_line=1)
    if not isinstance(records, list):
        raise DataError(f"{source}: not a list of records: {_shorten(records)}. {_JSON_FORMS}")
    yield from ((None, record) for record in records)


def _read_jsonl(source: str) -> _Records:
    # Line by line, so that a file may be larger than memory; and by line feeds, not splitlines():
    # JSON strings may hold U+2028 and other characters that it breaks at.
    is_empty, read = True, 0
    with _open(source) as file:
        for number, line in enumerate(file, start=1):
            text = _decode(line, source, start=read)
            read += len(line)
            if text.strip():
                is_empty = False
                yield number, _parse_json(text, source, first_line=number)
    if is_empty:
        raise DataError(f"{source}: the file is empty. {_SOURCES}")


def _read_csv(source: str) -> _Records:
    # newline="" keeps the line breaks inside quoted fields as they are.
    reader = csv.reader(io.StringIO(_read_text(source), newline=""), strict=True)
    header: list[str] = []
    line = 1  # where the row starts; reader.line_num is where it ends
    try:
        for row in reader:
            if header and row and len(row) != len(header):
                raise DataError(
                    f"{source}: line {line}: {len(row)} fields, but the header has {len(header)}: "
                    f"{_shorten(row)}. Put a text that holds commas or line breaks in quotes."
                )
            if header and row:
                yield line, dict(zip(header, row, strict=True))
            header = header or row
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{source}: line {line}: the row that starts here is not valid CSV: {error}. "
            'Check its quotes: a quote inside a quoted text is written "".'
        ) from error


def _read_parquet(source: str) -> _Records:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with _open(source) as opened, pq.ParquetFile(opened) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                yield from ((None, record) for record in batch.to_pylist())
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{source}: not a readable Parquet file: {error}. Export it anew."
        ) from error


_READERS = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _load_hub(source: str) -> Any:
    import datasets

    found = _HUB_ID.fullmatch(source)
    assert found is not None
    name, split = found["name"], found["split"] or "train"
    try:
        return datasets.load_dataset(name, split=split)
    except Exception as error:  # the hub client raises anything from OSError to its own types
        raise DataError(
            f"{name}: there is no such file, and split {split!r} of the hub data set of that name "
            f"could not be loaded: {type(error).__name__}: {error}. {_SOURCES}"
        ) from error


def _read_text(source: str) -> str:
    with _open(source) as file:
        text = _decode(file.read(), source)
    if not text.strip():
        raise DataError(f"{source}: the file is empty. {_SOURCES}")
    return text


def _decode(content: bytes, source: str, *, start: int = 0) -> str:
    """Decode what begins at a byte of a file."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{source}: not UTF-8 at byte {start + error.start} ({content[error.start]:#04x}). "
            "Save the file as UTF-8."
        ) from error
    return text if start else text.removeprefix("\ufeff")


def _parse_json(text: str, source: str, *, first_line: int) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        where = f"line {line}, column {error.colno}"
        raise DataError(f"{source}: {where}: not JSON: {error.msg}. {_JSON_FORMS}") from error
    except (RecursionError, ValueError) as error:  # nested too deeply; a number of 5,000 digits
        raise DataError(f"{source}: line {first_line}: unreadable JSON: {error}.") from error


def _parse_pair(record: object, index: int) -> PreferencePair:
    """Turn one record into a pair.

    >>> _parse_pair({"question": "Is rice ok?", "chosen": "Yes.", "rejected": "No."}, 7)
    PreferencePair(prompt=(Message(role='user', content='Is rice ok?'),), chosen='Yes.', \
rejected='No.', record=7)
    """
    if not isinstance(record, dict):
        raise DataError(f"must be an object with keys, got {_shorten(record)}.")
    chosen_head, chosen = _parse_answer(record, "chosen")
    rejected_head, rejected = _parse_answer(record, "rejected")
    _demand_equal(chosen_head, rejected_head, "'chosen' and 'rejected' must answer the same prompt")
    if chosen == rejected:
        raise DataError(f"'chosen' and 'rejected' are the same text: {_shorten(chosen)}.")
    prompt = _with_system(_parse_prompt(record, chosen_head), record.get("system"))
    return PreferencePair(prompt, chosen, rejected, index)


def _parse_answer(record: dict[str, Any], key: str) -> tuple[tuple[Message, ...], str]:
    """Return the messages before the answer, often none, and the answer's text."""
    if key not in record:
        raise DataError(f"{key!r} is missing. {_describe_keys(record, [key])}")
    *head, answer = _parse_turns(record[key], key, last="assistant")
    if head and head[-1].role != "user":
        raise DataError(
            f"{key!r}: the turn before the answer must be the user's, got {_shorten(head[-1])}."
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
        raise DataError(f"{key!r} must be {forms}, got {_shorten(value)}.")
    turns = tuple(
        _parse_message(message, f"{key!r} message {number}")
        for number, message in enumerate(messages)
    )
    for number, turn in enumerate(turns[1:], start=1):
        if turn.role == "system":
            raise DataError(
                f"{key!r} message {number}: system must come first, got {_shorten(turn)}."
            )
    if turns[-1].role != last:
        raise DataError(f"{key!r} must end in a turn of the {last}, got {_shorten(turns[-1])}.")
    return turns


def _parse_message(value: object, label: str) -> Message:
    if not isinstance(value, dict):
        raise DataError(f"{label} must be an object, got {_shorten(value)}.")
    role_key, text_key = ("from", "value") if "from" in value else ("role", "content")
    if role_key not in value or text_key not in value:
        raise DataError(
            f"{label} must have 'role' and 'content', or 'from' and 'value', got {_shorten(value)}."
        )
    role = value[role_key]
    if isinstance(role, str):
        role = _SHAREGPT_ROLES.get(role, role)
    if role not in _ROLES:
        accepted = ", ".join((*_ROLES, *_SHAREGPT_ROLES))
        raise DataError(f"{label}: {role_key!r} must be one of {accepted}, got {_shorten(role)}.")
    return Message(role, _parse_text(value[text_key], f"{label}: {text_key!r}"))


def _parse_text(value: object, label: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{label} must be a non-empty string, got {_shorten(value)}.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{label} holds the lone surrogate {value[error.start]!r} at character {error.start}, "
            f"which no tokenizer can encode, in {_shorten(value)}."
        ) from error
    return value


def _demand_equal(one: Sequence[Message], other: Sequence[Message], rule: str) -> None:
    for left, right in zip_longest(one, other):
        if left != right:
            # Show the place: two long prompts often differ in their last characters only.
            start = max(0, len(commonprefix([repr(left), repr(right)])) - 40)
            raise DataError(f"{rule}: got {_shorten(left, start)} and {_shorten(right, start)}.")


def _describe_keys(record: dict[str, Any], accepted: Sequence[str]) -> str:
    found = ", ".join(f"{key!r} (None)" if record[key] is None else repr(key) for key in record)
    for key in record:
        nearest = difflib.get_close_matches(key.strip().lower(), accepted, n=1)
        if nearest and key not in _KNOWN_KEYS:
            return f"Found the keys {found}. Did you mean {nearest[0]!r} by {key!r}?"
    return f"Found the keys {found or '(none)'}."


def _shorten(value: object, start: int = 0) -> str:
    text = f"…{repr(value)[start:]}" if start else repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
