"""Encoded pairs, any number of them: in memory if they are few, else memory-mapped from disk.

Many pairs are encoded once, in parallel, into shards of an Arrow file each. The folder's name is a
hash of what determines the ids (source, tokenizer, limits), so nothing stale is ever read; a shard
that is there is not made again, so an interrupted run goes on where it was. Reading a pair costs
the same whatever their number, and start-up does not read them at all.
"""

import hashlib
import json
import logging
import math
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from fitbot.errors import ConfigError, DataError
from fitbot.pairs.batch import Extent
from fitbot.pairs.chat import Chat, CutReport, EncodedPair, LengthLimits, report_cuts
from fitbot.pairs.formats import Message, PreferencePair
from fitbot.pairs.preferences import (
    LoadedPairs,
    NumberedRecord,
    no_pairs,
    number_records,
    parse_records,
)
from fitbot.pairs.rendered import rendered_check
from fitbot.pairs.sources import fingerprint
from fitbot.platforms import replace_file, workers

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

SHARD = 20_000  # records; as many are held in memory
MAPPED = 30_000  # shards at a time; Linux allows a process 65,530 mappings, its libraries' included
KEY_BYTES = 16
_PLACES = 50  # on disk that some_of reads
_FORMAT = 2  # raise it whenever the same pairs would be stored otherwise
_DONE = "store.json"
_IDS = ("prompt", "chosen", "rejected")
_CUTS = ("prompt_cut", "chosen_cut", "rejected_cut")
_ID_LIST = pa.list_(pa.int32())


class ShardFacts(NamedTuple):
    """What is known of a shard without reading it."""

    records: int  # that were read for it
    pairs: int
    sha256: str  # of the ids of its pairs, in order
    cut: CutReport
    skipped: list[str]  # a message for each record left out


class Lazy(Sequence[Item]):
    """A list whose items are read when they are asked for."""

    def __init__(self, read: Callable[[int], Item], count: int):
        self._read, self._count = read, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Item:  # type: ignore[override]  # no slices
        return self._read(range(self._count)[index])


def some_of(items: Sequence[Item], count: int) -> list[Item]:
    """Take about so many items from all over a list; all of a shorter one.

    They are taken in runs: so few places are read from disk, however long the list is.
    """
    if len(items) <= count:
        return list(items)
    starts = [place * len(items) // _PLACES for place in range(_PLACES)]
    return [items[i] for start in starts for i in range(start, start + count // _PLACES)]


class PairStore(Lazy[EncodedPair]):
    """Encoded pairs by index; the texts that they were made of beside them."""

    def __init__(self, facts: Sequence[ShardFacts], shards: "list[Shard | Path]"):
        """Take shards, or the files that hold them."""
        self._shards = shards
        self._opened = lru_cache(MAPPED)(Shard.open)
        self._ends = np.cumsum([one.pairs for one in facts])
        super().__init__(lambda i: Shard.pair(*self._find(i)), int(self._ends[-1]))
        self.texts = Lazy(lambda i: Shard.text(*self._find(i)), len(self))
        self.skipped = [message for one in facts for message in one.skipped]
        self.cut = CutReport(*map(sum, zip(*(one.cut for one in facts), strict=True)))
        hashes = "".join(one.sha256 for one in facts)
        self.sha256 = hashlib.sha256(hashes.encode()).hexdigest()

    def keys(self) -> NDArray[np.uint64]:
        """Return a hash of every pair's exact ids: (N, 2)."""
        return np.concatenate([self._shard(i).keys() for i in range(len(self._shards))])

    def sizes(self) -> NDArray[np.int64]:
        """Count every pair's tokens, its prompt once: (N,)."""
        return np.concatenate([self._shard(i).sizes() for i in range(len(self._shards))])

    def weights(self) -> NDArray[np.float64]:
        """Return every pair's weight, NaN where its record has none: (N,)."""
        return np.concatenate([self._shard(i).weights() for i in range(len(self._shards))])

    def extent(self, index: int) -> Extent:
        """Count the tokens of one pair, without reading it."""
        return Shard.extent(*self._find(index))

    def _find(self, index: int) -> "tuple[Shard, int]":
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self._shard(number), index - (int(self._ends[number - 1]) if number else 0)

    def _shard(self, number: int) -> "Shard":
        shard = self._shards[number]
        return self._opened(shard) if isinstance(shard, Path) else shard


class Shard:
    """Up to SHARD pairs in Arrow's memory layout, which numpy reads without copying."""

    def __init__(self, batch: pa.RecordBatch):
        """Take a batch as `encode_shard` makes it."""
        self._batch = batch
        self._ids = {name: batch.column(name).values.to_numpy() for name in _IDS}
        self._ends = {name: batch.column(name).offsets.to_numpy() for name in _IDS}
        self._rest = [batch.column(name).to_numpy() for name in (*_CUTS, "record")]

    @classmethod
    def open(cls, file: Path) -> "Shard":
        with pa.memory_map(str(file)) as source:
            return cls(pa.ipc.open_file(source).get_batch(0))

    def pair(self, row: int) -> EncodedPair:
        ids = (self._ids[name][self._ends[name][row] : self._ends[name][row + 1]] for name in _IDS)
        prompt, chosen, rejected = (part.tolist() for part in ids)
        return EncodedPair(prompt, chosen, rejected, *(int(column[row]) for column in self._rest))

    def text(self, row: int) -> PreferencePair:
        """Read what a pair was made of."""
        turns, chosen, rejected = json.loads(self._batch.column("text")[row].as_py())
        prompt = tuple(Message(*turn) for turn in turns)
        return PreferencePair(prompt, chosen, rejected, int(self._rest[-1][row]))

    def keys(self) -> NDArray[np.uint64]:
        """Return all pairs' hashes: (N, 2)."""
        buffer = self._batch.column("key").buffers()[1]
        return np.frombuffer(buffer, dtype=np.uint64).reshape(-1, 2)[: len(self._batch)]

    def extent(self, row: int) -> Extent:
        """Count the tokens of one pair."""
        prompt, *completions = (int(e[row + 1]) - int(e[row]) for e in self._ends.values())
        scored = sum(completions)
        return Extent(prompt + scored, scored)

    def weights(self) -> NDArray[np.float64]:
        """Return all pairs' weights, NaN where there is none: (N,)."""
        weights: NDArray[np.float64] = self._batch.column("weight").to_numpy()
        return weights

    def sizes(self) -> NDArray[np.int64]:
        """Count all pairs' tokens: (N,)."""
        ends = np.stack([self._ends[name] for name in _IDS]).astype(np.int64)
        sizes: NDArray[np.int64] = np.diff(ends).sum(axis=0)
        return sizes


def open_pairs(
    source: str | Path,
    chat: Chat,
    limits: LengthLimits,
    *,
    cache: Path,
    limit: int | None = None,
    skip_bad_records: bool = False,
    keep_equal: bool = True,
    weight_column: str | None = None,
) -> PairStore:
    """Encode the pairs of a file or data set, or find them encoded.

    Args:
        source: As `load_pairs` takes it.
        chat: Renders and encodes.
        limits: On prompts and completions.
        cache: Folder for what is too much for memory.
        limit: Use only the first so many records.
        skip_bad_records: Leave unusable records out, instead of raising at the first.
        keep_equal: Keep pairs whose two answers are the same tokens.
        weight_column: Key of a pair's weight.

    Raises:
        ConfigError: The limit is below 1, or the cache cannot be written.
        DataError: A source or record cannot be used.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be at least 1, or None for all records, got {limit}.")
    job = _Job(str(source), chat, limits, skip_bad_records, keep_equal, weight_column)
    folder = cache / _name(job, limit)
    if (folder / _DONE).exists():
        return _open(folder)
    shards = _in_shards(number_records(source, limit, weight_column))
    first: list[NumberedRecord] = next(shards, [])
    if next(shards, None) is None:
        batch, facts = encode_shard(job, first)
        if facts.pairs == 0:
            raise no_pairs(source, facts.skipped, facts.cut.equal)
        return PairStore([facts], [Shard(batch)])
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"data.pair_cache {cache}: cannot be written: {error.strerror}; name another folder "
            "for encoded pairs"
        ) from error
    # Another run, or another process of this one, may have encoded them meanwhile.
    with FileLock(folder / "lock"):
        if not (folder / _DONE).exists():
            shards.close()
            _build(job, folder, limit)
    return _open(folder)


def key_of(pair: EncodedPair) -> bytes:
    """Hash the exact ids of one pair."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for ids in (pair.prompt, pair.chosen, pair.rejected):
        digest.update(len(ids).to_bytes(8, "little"))
        digest.update(np.array(ids, dtype=np.int32).tobytes())
    return digest.digest()


class _Job(NamedTuple):
    """What a process must know to encode records."""

    source: str
    chat: Chat
    limits: LengthLimits
    skip_bad_records: bool
    keep_equal: bool
    weight_column: str | None = None


def encode_shard(job: _Job, records: list[NumberedRecord]) -> tuple[pa.RecordBatch, ShardFacts]:
    """Encode some records.

    Raises:
        DataError: One cannot be used.
    """
    pairs, skipped, weights = parse_records(
        job.source,
        records,
        skip_bad_records=job.skip_bad_records,
        check=rendered_check(job.chat.tokenizer),
        weight_column=job.weight_column,
    )
    refused: list[str] | None = [] if job.skip_bad_records else None
    try:
        encoded = job.chat.encode_pairs(pairs, job.limits, refused=refused)
    except DataError as error:
        raise DataError(f"{job.source}: {error}; skip_bad_records leaves it out") from error
    skipped = [*skipped, *(f"{job.source}: {message}" for message in refused or [])]
    loaded = LoadedPairs(pairs, skipped, weights)
    return as_shard(encoded, loaded, len(records), keep_equal=job.keep_equal)


def as_shard(
    encoded: Sequence[EncodedPair], loaded: LoadedPairs, records: int, *, keep_equal: bool = True
) -> tuple[pa.RecordBatch, ShardFacts]:
    """Lay out pairs that are encoded, with the texts they were made of; `records` were read."""
    pairs = [pair for pair in encoded if keep_equal or not pair.is_equal]
    keys = [key_of(pair) for pair in pairs]
    text_of = {pair.record: [pair.prompt, pair.chosen, pair.rejected] for pair in loaded.pairs}
    texts = [json.dumps(text_of[pair.record]) for pair in pairs]
    columns = {name: pa.array([getattr(p, name) for p in pairs], _ID_LIST) for name in _IDS}
    columns |= {name: pa.array([getattr(p, name) for p in pairs], pa.int32()) for name in _CUTS}
    weights = [loaded.weights.get(pair.record, math.nan) for pair in pairs]
    columns["weight"] = pa.array(weights, pa.float64())
    columns["record"] = pa.array([pair.record for pair in pairs], pa.int64())
    columns["key"] = pa.array(keys, pa.binary(KEY_BYTES))
    columns["text"] = pa.array(texts, pa.large_string())
    ids = hashlib.sha256(b"".join(keys)).hexdigest()
    facts = ShardFacts(records, len(pairs), ids, report_cuts(encoded), loaded.skipped)
    return pa.RecordBatch.from_pydict(columns), facts


def _name(job: _Job, limit: int | None) -> str:
    """Hash what determines the encoded pairs."""
    tokenizer = job.chat.tokenizer
    rules = getattr(tokenizer, "backend_tokenizer", None)
    identity = [
        _FORMAT,
        SHARD,
        fingerprint(job.source),
        rules.to_str() if rules is not None else repr(sorted(tokenizer.get_vocab().items())),
        tokenizer.chat_template,
        job.chat.system_prompt,
        job.chat.date,
        *job[2:-1],
        limit,
        *([job.weight_column] if job.weight_column else []),  # stores without one keep their names
    ]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]


def _in_shards(records: Iterator[NumberedRecord]) -> Generator[list[NumberedRecord], None, None]:
    while shard := list(islice(records, SHARD)):
        yield shard


def _build(job: _Job, folder: Path, limit: int | None) -> None:
    """Encode all shards that are not there yet, one process a core."""
    logger.info("encoding pairs into %s; safe to interrupt, and to delete later", folder)
    processes = workers()
    facts: list[ShardFacts] = []
    waiting: deque[Future[ShardFacts]] = deque()
    bar = tqdm(desc="encoding pairs", unit=" pairs", unit_scale=True, disable=None)

    def collect() -> None:
        facts.append(waiting.popleft().result())
        bar.update(facts[-1].pairs)

    # Spawned, not forked: this process may hold a GPU and threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _start_worker, (job, folder)) as pool, bar:
        try:
            for number, records in enumerate(
                _in_shards(number_records(job.source, limit, job.weight_column))
            ):
                file = _shard_file(folder, number).with_suffix(".json")
                done = _facts_from(json.loads(file.read_text("utf-8"))) if file.exists() else None
                if done is not None and done.records == len(records):
                    waiting.append(Future())
                    waiting[-1].set_result(done)
                else:
                    waiting.append(pool.submit(_write_shard, number, records))
                # No more than the workers need lies in memory.
                if len(waiting) > 2 * processes:
                    collect()
            while waiting:
                collect()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if not any(one.pairs for one in facts):
        skipped = [message for one in facts for message in one.skipped]
        raise no_pairs(job.source, skipped, sum(one.cut.equal for one in facts))
    _write(folder / _DONE, json.dumps(facts))


_worker: tuple[_Job, Path]  # of a process that encodes


def _start_worker(job: _Job, folder: Path) -> None:
    global _worker
    # As many processes as cores work already.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _worker = job, folder


def _write_shard(number: int, records: list[NumberedRecord]) -> ShardFacts:
    job, folder = _worker
    batch, facts = encode_shard(job, records)
    file = _shard_file(folder, number)
    partial = file.with_suffix(".partial")
    with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    replace_file(partial, file)
    _write(file.with_suffix(".json"), json.dumps(facts))
    return facts


def _write(file: Path, text: str) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    replace_file(partial, file)


def _facts_from(values: list[Any]) -> ShardFacts:
    records, pairs, sha256, cut, skipped = values
    return ShardFacts(records, pairs, sha256, CutReport(*cut), skipped)


def _open(folder: Path) -> PairStore:
    facts = [_facts_from(values) for values in json.loads((folder / _DONE).read_text("utf-8"))]
    files: list[Shard | Path] = [_shard_file(folder, number) for number in range(len(facts))]
    missing = [file for file in files if isinstance(file, Path) and not file.exists()]
    if missing:
        raise DataError(f"{missing[0]}: is gone; delete {folder}, it will be made anew")
    return PairStore(facts, files)


def _shard_file(folder: Path, number: int) -> Path:
    """Name a shard's file; its facts are beside it, as JSON."""
    return folder / f"{number:06}.arrow"
