"""Pairs on disk are the pairs in memory; encoded once, found again, gone on with."""

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fitbot.errors import ConfigError, DataError
from fitbot.pairs import store
from fitbot.pairs.chat import Chat, EncodedPair, LengthLimits
from fitbot.pairs.formats import PreferencePair
from fitbot.pairs.preferences import load_pairs
from fitbot.pairs.store import open_pairs, some_of
from tests.conftest import LIMITS, ROOT, make_data
from tests.pairs.forms import tokenizer_of

_ALL = json.loads((ROOT / "data" / "fitness_train.json").read_text(encoding="utf-8"))
RECORDS = [record for record in _ALL if "question" in record][:50]  # no conversations


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight records a shard: seven shards, encoded in this process, for a test need not wait."""
    monkeypatch.setattr(store, "SHARD", 8)
    monkeypatch.setattr(store, "ProcessPoolExecutor", HerePool)


class HerePool:
    """Runs at once what a pool of processes would run sometime."""

    ran: list[int] = []

    def __init__(self, workers: int, context: Any, initializer: Any, initargs: Any) -> None:
        assert workers >= 1
        type(self).ran = []
        initializer(*initargs)

    def __enter__(self) -> "HerePool":
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, function: Any, number: int, records: Any) -> Any:
        self.ran.append(number)
        future: Future[Any] = Future()
        try:
            future.set_result(function(number, records))
        except DataError as error:
            future.set_exception(error)
        return future

    def shutdown(self, **_: object) -> None: ...


def write_jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def expected(path: Path, chat: Chat) -> tuple[list[EncodedPair], list[PreferencePair]]:
    texts = load_pairs(path).pairs
    return chat.encode_pairs(texts, LIMITS), texts


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
@pytest.mark.usefixtures("small_shards")
def test_pairs_on_disk_are_those_in_memory(chat: Chat, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs.{suffix}"
    keep = [{key: r[key] for key in ("question", "chosen", "rejected")} for r in RECORDS]
    if suffix == "jsonl":
        write_jsonl(path, keep)
    elif suffix == "json":
        path.write_text(json.dumps(keep))
    else:
        pq.write_table(pa.Table.from_pylist(keep), path)
    pairs, texts = expected(path, chat)

    found = open_pairs(path, chat, LIMITS, cache=tmp_path / "cache")

    assert list(found) == pairs
    assert list(found.texts) == texts
    assert len(found) == 50
    assert found[-1] == pairs[-1]
    sizes = [pair.num_tokens for pair in pairs]
    assert found.sizes().tolist() == [found.extent(i).tokens for i in range(50)] == sizes
    scored = [len(pair.chosen) + len(pair.rejected) for pair in pairs]
    assert [found.extent(i).scored for i in range(50)] == scored
    assert found.keys().tobytes() == b"".join(store.key_of(pair) for pair in pairs)
    assert found.cut.num_pairs == 50
    with pytest.raises(IndexError):
        found[50]


@pytest.mark.usefixtures("small_shards")
def test_what_is_encoded_is_found_again_and_nothing_else(chat: Chat, tmp_path: Path) -> None:
    path, cache = write_jsonl(tmp_path / "pairs.jsonl", RECORDS), tmp_path / "cache"
    settings: dict[str, Any] = {"cache": cache}
    first = open_pairs(path, chat, LIMITS, **settings)
    assert HerePool.ran == [0, 1, 2, 3, 4, 5, 6]

    HerePool.ran = []
    again = open_pairs(path, chat, LIMITS, **settings)
    assert HerePool.ran == []
    assert again.sha256 == first.sha256
    assert list(again) == list(first)

    changes: list[dict[str, Any]] = [
        {"chat": Chat(chat.tokenizer, system_prompt="Be brief.")},
        {"limits": LengthLimits(300, 350)},
        {"limit": 40},
        {"source": write_jsonl(tmp_path / "reversed.jsonl", RECORDS[::-1])},
    ]
    for changed in changes:
        HerePool.ran = []
        arguments: dict[str, Any] = (
            {"source": path, "chat": chat, "limits": LIMITS} | settings | changed
        )
        open_pairs(**arguments)
        assert HerePool.ran, changed
    write_jsonl(path, RECORDS[1:])
    assert open_pairs(path, chat, LIMITS, **settings).sha256 != first.sha256


@pytest.mark.usefixtures("small_shards")
def test_an_interrupted_encoding_goes_on(
    chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = write_jsonl(tmp_path / "pairs.jsonl", RECORDS), tmp_path / "cache"
    write = store._write_shard

    def fail_at_four(number: int, records: Any) -> Any:
        if number == 4:
            raise DataError("power cut")
        return write(number, records)

    monkeypatch.setattr(store, "_write_shard", fail_at_four)
    with pytest.raises(DataError, match="power cut"):
        open_pairs(path, chat, LIMITS, cache=cache)
    monkeypatch.setattr(store, "_write_shard", write)

    found = open_pairs(path, chat, LIMITS, cache=cache)

    assert HerePool.ran == [4, 5, 6] or HerePool.ran == [4]  # what was under way may be there
    assert list(found) == expected(path, chat)[0]


@pytest.mark.usefixtures("small_shards")
def test_a_bad_record_is_named_by_its_place_in_the_file(chat: Chat, tmp_path: Path) -> None:
    records = [*RECORDS[:20], {"question": "Q"}, *RECORDS[20:]]
    path = write_jsonl(tmp_path / "pairs.jsonl", records)

    with pytest.raises(DataError, match=r"record 20 \(line 21\): 'chosen' is missing"):
        open_pairs(path, chat, LIMITS, cache=tmp_path)
    found = open_pairs(path, chat, LIMITS, cache=tmp_path, skip_bad_records=True)

    assert len(found) == 50
    assert found[20].record == 21
    assert len(found.skipped) == 1
    path = write_jsonl(tmp_path / "bad.jsonl", [{"question": "Q"}] * 17)
    with pytest.raises(DataError, match="All 17 records are bad"):
        open_pairs(path, chat, LIMITS, cache=tmp_path, skip_bad_records=True)


@pytest.mark.usefixtures("small_shards")
def test_damage_is_told(chat: Chat, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "pairs.jsonl", RECORDS)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"data\.pair_cache .*file: cannot be written"):
        open_pairs(path, chat, LIMITS, cache=tmp_path / "file")

    open_pairs(path, chat, LIMITS, cache=tmp_path / "cache")
    next((tmp_path / "cache").glob("*/000003.arrow")).unlink()

    with pytest.raises(DataError, match=r"000003\.arrow: is gone; delete "):
        open_pairs(path, chat, LIMITS, cache=tmp_path / "cache")


@pytest.mark.slow
def test_processes_encode_what_one_does(
    chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SHARD", 30)
    path = write_jsonl(tmp_path / "pairs.jsonl", RECORDS)

    found = open_pairs(path, chat, LIMITS, cache=tmp_path / "cache")

    assert list(found) == expected(path, chat)[0]
    files = {file.name for file in (tmp_path / "cache").glob("*/*")}
    assert files >= {"000000.arrow", "000001.arrow", "store.json"}
    assert not [name for name in files if name.endswith(".partial")]


def equal_once_cut(count: int) -> list[dict[str, str]]:
    """Answers that differ beyond the limit only."""
    return [{"question": "Q?", "chosen": "a" * 800 + "b", "rejected": "a" * 800}] * count


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.usefixtures("small_shards")
def test_pairs_that_are_equal_once_cut_are_counted_and_left_out_or_kept(
    chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_disk: bool
) -> None:
    # A shard has nothing else; others have one, or none.
    records = [*equal_once_cut(9), *RECORDS[:20], *equal_once_cut(1)]
    path = write_jsonl(tmp_path / "pairs.jsonl", records)
    if not on_disk:
        monkeypatch.setattr(store, "SHARD", 99)

    found = open_pairs(path, chat, LIMITS, cache=tmp_path / "cache", keep_equal=False)
    kept = open_pairs(path, chat, LIMITS, cache=tmp_path / "cache")

    assert [pair.record for pair in found] == [text.record for text in found.texts]
    assert [pair.record for pair in found] == list(range(9, 29))
    assert (len(found.keys()), len(found.sizes()), len(kept)) == (20, 20, 30)
    assert (found.cut.num_pairs, found.cut.equal, kept.cut.equal) == (30, 10, 10)
    assert str(found.cut).endswith("; 10 with the same tokens in both answers")
    alone = open_pairs(path, chat, LIMITS, cache=tmp_path / "cache", limit=29)
    assert [pair[:3] for pair in found] == [pair[:3] for pair in alone][9:]


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("count", [3, 17])
def test_a_file_whose_pairs_are_all_equal_is_refused(
    chat: Chat, tmp_path: Path, count: int
) -> None:
    path = write_jsonl(tmp_path / "pairs.jsonl", equal_once_cut(count))

    with pytest.raises(DataError, match=f"in all {count} pairs both answers are the same tokens"):
        open_pairs(path, chat, LIMITS, cache=tmp_path / "cache", keep_equal=False)


@pytest.mark.parametrize("record", [{"system": "Be brief."}, {"question": "Q" * 90}])
def test_a_record_that_cannot_be_encoded_is_named_and_may_be_skipped(
    tmp_path: Path, record: dict[str, str]
) -> None:
    plain = {"question": "Q?", "chosen": "Yes.", "rejected": "No."}
    path = write_jsonl(tmp_path / "pairs.jsonl", [plain, plain | record, plain])
    chat = Chat(tokenizer_of("gemma"))
    limits = LengthLimits(60, 50)  # a long prompt leaves no room for an answer

    with pytest.raises(DataError, match=r"pairs\.jsonl: record 1: .* skip_bad_records"):
        open_pairs(path, chat, limits, cache=tmp_path)
    found = open_pairs(path, chat, limits, cache=tmp_path, skip_bad_records=True)

    assert [pair.record for pair in found] == [text.record for text in found.texts] == [0, 2]
    assert len(found.skipped) == 1
    assert "pairs.jsonl: record 1: " in found.skipped[0]


@pytest.mark.usefixtures("small_shards")
def test_pairs_of_another_day_are_encoded_anew(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "pairs.jsonl", RECORDS)
    tokenizer = tokenizer_of("llama3_2")

    hashes = [
        open_pairs(path, Chat(tokenizer, date=day), LIMITS, cache=tmp_path / "cache").sha256
        for day in ("2024-02-28", "2024-02-29", "2024-02-28")
    ]

    assert hashes[0] == hashes[2] != hashes[1]


def test_few_pairs_leave_nothing_on_disk(chat: Chat, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "pairs.jsonl", RECORDS)

    found = open_pairs(path, chat, LIMITS, cache=tmp_path / "cache", limit=7)

    assert list(found) == expected(path, chat)[0][:7]
    assert not (tmp_path / "cache").exists()


def test_a_fit_from_object_storage_sees_the_same_pairs(
    base: str, chat: Chat, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "pairs.jsonl", RECORDS)
    with fsspec.open("memory://bucket/pairs.jsonl", "wb") as file:
        file.write(path.read_bytes())

    near, far = make_data(base, str(path)), make_data(base, "memory://bucket/pairs.jsonl")
    near.setup("fit")
    far.setup("fit")

    assert far.identity() == near.identity()
    with pytest.raises(DataError, match="memory://bucket/other.jsonl: cannot be read"):
        make_data(base, "memory://bucket/other.jsonl").setup("fit")
    with pytest.raises(DataError, match="nowhere://bucket/other.jsonl: cannot be opened"):
        make_data(base, "nowhere://bucket/other.jsonl").setup("fit")


def test_an_epochs_order_is_a_permutation_by_seed(base: str, tmp_path: Path) -> None:
    path = str(write_jsonl(tmp_path / "pairs.jsonl", RECORDS))
    orders = {}
    for seed in (1, 2):
        data = make_data(base, path, seed=seed, batch_size=8, accumulate_batches=1)
        data.setup("fit")
        loader = data.train_dataloader()
        batches = list(loader)
        assert [sum(part.num_pairs for part in batch) for batch in batches] == [8] * 6 + [2]
        orders[seed] = torch.cat([part.records for batch in batches for part in batch]).tolist()
        assert sorted(orders[seed]) == list(range(50))
    assert orders[1] != orders[2]


def test_some_pairs_come_from_all_over_and_from_few_places() -> None:
    assert some_of(range(300), 300) == list(range(300))

    some = some_of(range(1_000_000), 10_000)

    assert len(set(some)) == 10_000
    assert some[0] == 0
    assert some[-1] > 950_000
    places = {index // 20_000 for index in some}  # shards
    assert len(places) == 50
    assert len({index // 20_000 for index in some_of(range(100_000_000), 10_000)}) <= 100


@pytest.mark.usefixtures("small_shards")
def test_no_more_files_are_mapped_than_a_process_may(
    chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAPPED", 3)
    path = write_jsonl(tmp_path / "pairs.jsonl", RECORDS)
    pairs, _ = expected(path, chat)
    opened: list[Path] = []
    original = store.Shard.open

    def opening(file: Path) -> Any:
        opened.append(file)
        return original(file)

    monkeypatch.setattr(store.Shard, "open", opening)

    found = open_pairs(path, chat, LIMITS, cache=tmp_path / "cache")

    assert list(found) == pairs  # seven shards, one after the other
    assert len(opened) == len(set(opened)) == 7
    assert found[0] == pairs[0]  # its shard was let go
    assert len(opened) == 8
    assert found._opened.cache_info().currsize <= 3


@pytest.mark.usefixtures("small_shards")
def test_weights_lie_beside_the_pairs_that_they_are_of(chat: Chat, tmp_path: Path) -> None:
    given = [None if n % 5 == 0 else n / 4 for n in range(50)]
    records = [
        record | ({} if weight is None else {"weight": weight})
        for record, weight in zip(RECORDS, given, strict=True)
    ]
    path = write_jsonl(tmp_path / "pairs.jsonl", records)
    settings: dict[str, Any] = {"cache": tmp_path / "cache", "weight_column": "weight"}

    for found in (open_pairs(path, chat, LIMITS, **settings) for _ in range(2)):
        weights = found.weights().tolist()
        assert [None if weight != weight else weight for weight in weights] == given
    # Without the setting a weight is refused, even where the pairs are encoded already.
    with pytest.raises(DataError, match=r"data\.weight_column weight has pairs weighed by it"):
        open_pairs(path, chat, LIMITS, cache=tmp_path / "cache")
