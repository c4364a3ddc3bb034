"""Where records come from: JSON, JSONL, CSV and Parquet files, object storage, hub data sets."""

import csv
import io
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from fitbot.errors import DataError, FitbotError
from fitbot.pairs.formats import shorten
from fitbot.pairs.transcripts import RepeatedKeyError, unique_keys
from fitbot.shipped import shipped_pairs

logger = logging.getLogger(__name__)

_Records = Iterator[tuple[int | None, object]]  # (line number, if the format has lines; record)
_HUB_ID = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(:(?P<split>\S+))?")
SOURCES = (
    "Give a .json, .jsonl, .csv or .parquet file, here or as s3://bucket/file or another URL, "
    "or a hub data set as owner/name or owner/name:split."
)
_ROWS_AT_ONCE = 10_000  # of a Parquet file
_LONGEST_FIELD = 2**31 - 1  # characters of a CSV file; what a C long holds everywhere
_POINTER = b"version https://git-lfs"
_BETWEEN = re.compile(r"[\s\[,]*")  # a list's records
_JSON_FORMS = "A .json file holds one list of records, a .jsonl file one record per line."


def fingerprint(source: str) -> str:
    """Name a state of a source, without reading it: where it is, its size, when it changed."""
    source = str(shipped_pairs(source) or source)
    if is_remote(source):
        with _telling(source):
            import fsspec

            system, path = fsspec.core.url_to_fs(source)
            return f"{source} {system.ukey(path)}"
    if is_on_hub(source):  # its own library keeps it
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
    if own := shipped_pairs(source):
        _say_whose(str(source), own)
        source = own
    if is_on_hub(source):
        return ((None, record) for record in _load_hub(str(source)))
    return _READERS[Path(source).suffix.lower()](str(source))


@cache  # a source may be read several times
def _say_whose(source: str, own: Path) -> None:
    logger.info("%s is not in this folder: taken from fitbot's own, %s", source, own)


def is_remote(source: str | Path) -> bool:
    """Say whether a source lies in object storage, or elsewhere that fsspec knows by a URL."""
    return "://" in str(source)


def is_on_hub(source: str | Path) -> bool:
    """Say whether a source is a hub data set and no file.

    Raises:
        DataError: It can be neither.
    """
    path = Path(source)
    suffix = path.suffix.lower()
    if not is_remote(source):
        if path.is_dir():
            raise DataError(f"{source}: is a directory. {SOURCES}")
        if not path.exists():
            if suffix in _READERS or not _HUB_ID.fullmatch(str(source)):
                raise DataError(f"{source}: there is no such file. {SOURCES}")
            return True
    if suffix not in _READERS:
        raise DataError(f"{source}: unknown file type {suffix!r}. {SOURCES}")
    return False


def _open(source: str) -> BinaryIO:
    """Open a file, here or in object storage."""
    with _telling(source):
        if is_remote(source):
            import fsspec

            opened: BinaryIO = fsspec.open(source, "rb").open()
            return opened
        with Path(source).open("rb") as file:
            is_pointer = file.read(len(_POINTER)) == _POINTER
        if is_pointer:
            raise DataError(
                f"{source}: is a pointer of Git LFS, not the file itself. Run `git lfs pull` there."
            )
        return Path(source).open("rb")


@contextmanager
def _telling(source: str) -> Iterator[None]:
    """Say of which source it is that something could not be done with it."""
    try:
        yield
    except FitbotError:
        raise
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror or error}.") from error
    except (ImportError, ValueError) as error:  # fsspec knows it not, or not without a package
        raise DataError(f"{source}: cannot be opened: {error}. {SOURCES}") from error


def _read_json(source: str) -> _Records:
    records = _parse_json(_read_text(source), source, first_line=1)
    if not isinstance(records, list):
        raise DataError(f"{source}: not a list of records: {shorten(records)}. {_JSON_FORMS}")
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
        raise DataError(f"{source}: the file is empty. {SOURCES}")


def _read_csv(source: str) -> _Records:
    csv.field_size_limit(_LONGEST_FIELD)
    # newline="" keeps the line breaks inside quoted fields as they are.
    reader = csv.reader(io.StringIO(_read_text(source), newline=""), strict=True)
    header: list[str] = []
    line = 1  # where the row starts; reader.line_num is where it ends
    try:
        for row in reader:
            if header and row and len(row) != len(header):
                raise DataError(
                    f"{source}: line {line}: {len(row)} fields, but the header has {len(header)}: "
                    f"{shorten(row)}. Put a text that holds commas or line breaks in quotes."
                )
            if header and row:
                yield line, dict(zip(header, row, strict=True))
            if row and not header:
                if len(row) == 1 and (found := re.search("[;\t|]", row[0])):
                    raise DataError(
                        f"{source}: line {line}: the columns are separated by {found[0]!r}. "
                        "Export the file with commas."
                    )
                _refuse_repeated(row, f"{source}: line {line}")
                header = row
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{source}: line {line}: the row that starts here is not valid CSV: {error}. "
            'Check its quotes: a quote inside a quoted text is written "".'
        ) from error


def _refuse_repeated(columns: list[str], where: str) -> None:
    for name, count in Counter(columns).items():
        if name and count > 1:
            raise DataError(f"{where}: {count} columns are named {name!r}. Rename or remove one.")


def _read_parquet(source: str) -> _Records:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with _open(source) as opened, pq.ParquetFile(opened) as file:
            _refuse_repeated(file.schema_arrow.names, source)
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                yield from ((None, record) for record in batch.to_pylist())
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{source}: not a readable Parquet file: {str(error).strip('. ')}. Export it anew."
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
            f"could not be loaded: {type(error).__name__}: {error}. {SOURCES}"
        ) from error


def _read_text(source: str) -> str:
    with _open(source) as file:
        text = _decode(file.read(), source)
    if not text.strip():
        raise DataError(f"{source}: the file is empty. {SOURCES}")
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
        return json.loads(text, object_pairs_hook=unique_keys)
    except RepeatedKeyError as error:
        line = first_line + _lines_before_repeated_key(text)
        raise DataError(
            f"{source}: line {line}: the record that starts here has the key {str(error)!r} twice "
            "in one object. Rename or remove one."
        ) from error
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        where = f"line {line}, column {error.colno}"
        raise DataError(f"{source}: {where}: not JSON: {error.msg}. {_JSON_FORMS}") from error
    except (RecursionError, ValueError) as error:
        why = "a number of more than 4,300 digits; write it as text"
        if isinstance(error, RecursionError):
            why = "lists or objects nested too deeply; write them as text"
        raise DataError(f"{source}: line {first_line}: unreadable JSON: {why}.") from error


def _lines_before_repeated_key(text: str) -> int:
    """Count the line breaks before the record that has a key twice."""
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
    start = _BETWEEN.match(text, 0).end()  # type: ignore[union-attr]
    try:
        while text[start] != "]":
            _, end = decoder.raw_decode(text, start)
            start = _BETWEEN.match(text, end).end()  # type: ignore[union-attr]
    except RepeatedKeyError:
        pass
    return text.count("\n", 0, start)
