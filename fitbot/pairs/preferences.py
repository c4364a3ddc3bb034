"""A preference file or hub data set → PreferencePairs.

`sources` reads its records, `formats` says what their keys mean. Nothing here knows about
tokenizers, templates or tensors.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from fitbot.errors import ConfigError, DataError
from fitbot.pairs.formats import PreferencePair, parse_pair
from fitbot.pairs.keys import take_weight, unused_keys
from fitbot.pairs.sources import SOURCES, read_records

logger = logging.getLogger(__name__)

Check = Callable[[PreferencePair, object], None]  # takes the record, too; raises a DataError
_NAMED = 20  # unused keys
NumberedRecord = tuple[int, int | None, object]  # index in the source, and the same


class LoadedPairs(NamedTuple):
    """What load_pairs made of a file."""

    pairs: list[PreferencePair]  # in file order, at least one
    skipped: list[str]  # one message for each record left out
    weights: Mapping[int, float] = MappingProxyType({})  # by record, of those that have one


def load_pairs(
    source: str | Path,
    *,
    limit: int | None = None,
    skip_bad_records: bool = False,
    check: Check | None = None,
) -> LoadedPairs:
    """Read the preference pairs of a file or of a hub data set.

    Args:
        source: A .json (list of records), .jsonl, .csv or .parquet file; or, where no such file
            exists, a hub data set as "owner/name" or "owner/name:split" (the split is else train).
        limit: Read only the first so many records, >= 1; None or more than there are reads all.
        skip_bad_records: Leave out records that make no pair, and return a message for each,
            instead of raising at the first.
        check: Refuses further pairs, see `parse_records`.

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
    loaded = parse_records(source, records, skip_bad_records=skip_bad_records, check=check)
    if not loaded.pairs:
        raise no_pairs(source, loaded.skipped)
    return loaded


def number_records(
    source: str | Path, limit: int | None = None, used: str | None = None
) -> Iterator[NumberedRecord]:
    """Read a source's first records, each with its index and its line.

    At their end one line in the log names the keys that mean nothing to fitbot, but for `used`.
    """
    unused: Counter[str] = Counter()
    for index, (line, record) in enumerate(islice(read_records(source), limit)):
        unused.update(unused_keys(record))
        yield index, line, record
    unused.pop(used or "", None)
    if unused:
        named = ", ".join(f"{key!r} ({count:,})" for key, count in unused.most_common(_NAMED))
        more = f" and {len(unused) - _NAMED} more" if len(unused) > _NAMED else ""
        logger.warning("%s: keys that fitbot makes no use of: %s%s", source, named, more)


def parse_records(
    source: str | Path,
    records: Iterable[NumberedRecord],
    *,
    skip_bad_records: bool,
    check: Check | None = None,
    weight_column: str | None = None,
) -> LoadedPairs:
    """Turn records into pairs; see `load_pairs`. There may be none.

    Args:
        source: What the records are of.
        records: As `number_records` gives them.
        skip_bad_records: As in `load_pairs`.
        check: Looks at every pair and its record, which is a bad one if a DataError is raised.
        weight_column: Key of a pair's weight; a record may lack it.
    """
    pairs: list[PreferencePair] = []
    weights: dict[int, float] = {}
    skipped: list[str] = []
    for index, line, record in records:
        try:
            record, weight = take_weight(record, weight_column)
            pair = parse_pair(record, index)
            if weight is not None:
                weights[index] = weight
            if check is not None:
                check(pair, record)
            pairs.append(pair)
        except DataError as error:
            place = f"record {index}" if line is None else f"record {index} (line {line})"
            message = f"{source}: {place}: {error}"
            if not skip_bad_records:
                # A message of several lines brings those that mend the file.
                way_out = " Fix the record or remove it, or set skip_bad_records."
                raise DataError(message if "\n" in message else message + way_out) from error
            skipped.append(message)
    return LoadedPairs(pairs, skipped, weights)


def no_pairs(source: str | Path, skipped: list[str], equal: int = 0) -> DataError:
    """Say why nothing is left; `equal` pairs were left out as they have the same tokens twice."""
    if equal:
        return DataError(
            f"{source}: in all {equal:,} pairs both answers are the same tokens, so there is "
            "nothing to learn; raise data.max_length if they were cut"
        )
    if skipped:
        return DataError(f"All {len(skipped)} records are bad. The first: {skipped[0]}")
    return DataError(f"{source}: there are no records in it. {SOURCES}")
