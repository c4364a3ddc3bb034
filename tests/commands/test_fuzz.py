"""Generated settings and records at `fitbot fit`: it ends well, or with a sentence of fitbot's.

Reading, encoding, batching and the audit are the real ones. Where training is not what is asked
about, it is left out; a smaller number of settings comes to a step of a tiny model.
"""

import csv
import functools
import gzip
import inspect
import io
import json
import math
import tempfile
import warnings
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lightning import Trainer

from fitbot.api import _typed
from fitbot.audit.report import RunSettings, audit_sources
from fitbot.commands import fit_help
from fitbot.commands.fit import FitbotCLI, FitTrainer, SeveralDevicesError, run_command
from fitbot.errors import FitbotError
from fitbot.pairs import datamodule, keys
from fitbot.pairs.chat import load_tokenizer
from fitbot.pairs.datamodule import PreferenceDataModule
from fitbot.pairs.sources import read_records
from tests.conftest import ROOT

QUICK, LONG = 40, 400  # inputs of each kind; the long run is another one every time
quick = settings(
    max_examples=QUICK,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
long = settings(quick, max_examples=LONG, derandomize=False)

# They decide where files go, start other processes, change torch for all later tests, or would
# train for hours.
LEFT_OUT = {
    *("run.root", "run.name", "model.reference_cache", "data.pair_cache"),
    *("trainer.strategy", "trainer.plugins", "trainer.num_nodes", "trainer.default_root_dir"),
    *("trainer.deterministic", "trainer.benchmark", "trainer.max_steps", "trainer.accelerator"),
}
OWN = [
    f"{section}.{name}"
    for section in fit_help.SECTIONS
    for name in fit_help.settings_of(section)
    if f"{section}.{name}" not in LEFT_OUT
]
LIGHTNINGS = [
    name
    for name in (f"trainer.{name}" for name in inspect.signature(Trainer).parameters)
    if name not in LEFT_OUT
]
NAMES = st.sampled_from([*OWN, *LIGHTNINGS, *("seed_everything", "ckpt_path", "model", "data")])
WORDS = st.sampled_from(
    [
        *("auto", "cpu", "last", "best", "embedded", "none", "true", "sigmoid", "ipo", "adamw"),
        *("adamw_8bit", "linear", "cosine", "constant", "eager", "compiled", "cached", "online"),
        *("rows", "shared", "unsloth", "transformers", "DEBUG", "32-true", "16-mixed", "simple"),
        *("value", "norm", "json.loads", "math.sqrt", "00:00:00:00", "team/project", "data/x.json"),
    ]
)
SMALL = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.sampled_from([0.0, 0.1, 0.5, 1.0, 1.5, -0.5, 1e-9, math.nan, math.inf]),
    st.text("aé0.:,-_ \n\0'\"{[#&*\udcff漢", max_size=6),  # \udcff: a byte that is not UTF-8
    WORDS,
)
LARGE = st.sampled_from([10**9, 2**31, 2**63, 2**64, 1e300, -(10**12), "9" * 5000])
CLASSES = st.sampled_from(
    [
        {"class_path": f"lightning.pytorch.{path}", "init_args": args}
        for path in ("callbacks.EarlyStopping", "callbacks.ModelCheckpoint", "loggers.CSVLogger")
        for args in ({}, {"monitor": "x"}, {"save_dir": "\0"}, {"monitor": "val/loss", "mode": "x"})
    ]
)


def nested(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values, and lists and mappings of them."""
    names = ["class_path", "init_args", "x", *(name.rpartition(".")[2] for name in OWN)]
    some = st.sampled_from(names)
    more = st.one_of(st.lists(values, max_size=3), st.dictionaries(some, values, max_size=3))
    return st.one_of(values, more, st.lists(CLASSES, max_size=2), st.lists(more, max_size=2))


def outcome(words: list[str]) -> str:
    """Run a command line; anything but success and a sentence of fitbot's raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's, of settings that are odd
        try:
            run_command(words, exits=False, alone=True)
        except SeveralDevicesError:
            return "refused: it takes several processes"
        except FitbotError as error:
            return f"refused: {error}"
        except BaseException as error:
            error.add_note(" ".join(map(repr, words)))
            raise
    return "success"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three short pairs."""
    records = [{"question": f"{n} sets?", "chosen": "Yes.", "rejected": f"No, {n}"} for n in "123"]
    path = tmp_path_factory.mktemp("pairs") / "pairs.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return str(path)


@pytest.fixture(autouse=True)
def kept_parser(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One parser and one tokenizer for all inputs, in a folder of their own; no drawing."""
    made: dict[str, Any] = {}
    make = FitbotCLI.setup_parser

    def setup_parser(cli: FitbotCLI, *args: Any) -> None:
        if not made:
            make(cli, *args)
            made.update(
                (name, getattr(cli, name))
                for name in ("parser", "_subcommand_parsers", "_subcommand_method_arguments")
            )
        vars(cli).update(made)

    monkeypatch.setattr(FitbotCLI, "setup_parser", setup_parser)
    monkeypatch.setattr(datamodule, "load_tokenizer", functools.cache(load_tokenizer))
    monkeypatch.setattr("fitbot.dpo.report.draw_curves", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


def read_and_batch(data: PreferenceDataModule) -> None:
    """Read, encode and batch pairs as a fit does; no record may vanish."""
    data.setup("fit")
    for split, pairs in data.pairs.items():
        limit = data.hparams[f"{split}_limit"]
        records = sum(1 for _ in islice(read_records(data.paths[split] or ""), limit))
        assert pairs.cut.num_pairs + len(pairs.skipped) == records, "a record is gone"
        data.lengths(split)
        data.largest_pass(split)
        data.collate(split, range(min(4, len(pairs))))


@pytest.fixture
def without_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read and batch the pairs as a fit does, and end there."""

    def read(self: Trainer, model: Any, datamodule: PreferenceDataModule, **_: Any) -> None:
        read_and_batch(datamodule)

    monkeypatch.setattr(FitTrainer, "fit", functools.wraps(Trainer.fit)(read))
    monkeypatch.setattr(FitbotCLI, "after_fit", lambda cli: None)


def command(
    root: str, base: str, pairs: str, chosen: dict[str, Any], *configs: str | Path
) -> list[str]:
    """Arguments of a fit of a step with some settings that were chosen at random."""
    return [
        *("fit", "--config", str(ROOT / "configs" / "quickstart.yaml")),
        *(word for config in configs for word in ("--config", str(config))),
        *("--run.root", root),
        *("--model.base_model", base, "--model.reference_cache", f"{root}/reference"),
        *("--data.pair_cache", f"{root}/pairs", "--data.train_path", pairs),
        *("--data.val_path", pairs, "--trainer.enable_progress_bar", "false"),
        *("--run.sample_every_n_steps", "null", "--trainer.val_check_interval", "1.0"),
        *(f"--{name}={_typed(name, value)}" for name, value in chosen.items()),
        *("--trainer.max_steps", "1", "--trainer.accelerator", "cpu"),
    ]


def settings_are_understood_or_refused(base: str, pairs: str, chosen: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as root:
        outcome(command(root, base, pairs, chosen))


ANY = st.dictionaries(NAMES, nested(st.one_of(SMALL, LARGE)), min_size=1, max_size=4)
TRAINED = st.dictionaries(NAMES, nested(SMALL), min_size=1, max_size=3)


@pytest.mark.usefixtures("without_training")
@quick
@given(chosen=ANY)
def test_settings_are_understood_or_refused(base: str, pairs: str, chosen: dict[str, Any]) -> None:
    settings_are_understood_or_refused(base, pairs, chosen)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("without_training")
@long
@given(chosen=ANY)
def test_very_many_settings_are_understood_or_refused(
    base: str, pairs: str, chosen: dict[str, Any]
) -> None:
    settings_are_understood_or_refused(base, pairs, chosen)


@settings(quick, max_examples=QUICK // 2)
@given(chosen=TRAINED)
def test_settings_that_come_to_a_step_train_or_are_refused(
    base: str, pairs: str, chosen: dict[str, Any]
) -> None:
    settings_are_understood_or_refused(base, pairs, chosen)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(long, max_examples=LONG // 4)
@given(chosen=TRAINED)
def test_very_many_settings_train_or_are_refused(
    base: str, pairs: str, chosen: dict[str, Any]
) -> None:
    settings_are_understood_or_refused(base, pairs, chosen)


CONFIGS = st.one_of(
    ANY.map(lambda chosen: as_config(chosen).encode()),
    st.tuples(ANY, st.binary(max_size=3), st.integers(0, 200)).map(
        lambda parts: damaged(as_config(parts[0]).encode(), *parts[1:])
    ),
    st.text("model:\n  beta: 0.1\t-[]{}&*!|>'\"#%@,?é\ufeff", max_size=40).map(str.encode),
)


def as_config(chosen: dict[str, Any]) -> str:
    """Write settings as a config file has them, in sections."""
    tree: dict[str, Any] = {}
    for name, value in chosen.items():
        *sections, last = name.split(".")
        place = tree
        for section in sections:
            if not isinstance(place.get(section), dict):
                place[section] = {}
            place = place[section]
        place[last] = value
    return yaml.safe_dump(tree)


def damaged(content: bytes, more: bytes, place: int) -> bytes:
    """Put bytes into a file, in the place of as many."""
    return content[:place] + more + content[place + len(more) :]


def a_config_is_understood_or_refused(base: str, pairs: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as root:
        config = Path(root) / "config.yaml"
        config.write_bytes(content)
        outcome(command(root, base, pairs, {}, config))


@pytest.mark.usefixtures("without_training")
@quick
@given(content=CONFIGS)
def test_configs_are_understood_or_refused(base: str, pairs: str, content: bytes) -> None:
    a_config_is_understood_or_refused(base, pairs, content)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("without_training")
@long
@given(content=CONFIGS)
def test_very_many_configs_are_understood_or_refused(base: str, pairs: str, content: bytes) -> None:
    a_config_is_understood_or_refused(base, pairs, content)


# -- records ---------------------------------------------------------------------------------------

KEYS = st.sampled_from(
    [
        *keys.KNOWN_KEYS,
        *("tools", "functions", "images", "weight", "output", "response", "completion", "label"),
        *("score_chosen", "score", "completions", "responses", "ranks", "response_0", "winner"),
        *("", "id", "Chosen", "chosen ", "a.b", "é", "\ud800"),
    ]
)
FIELDS = st.sampled_from(
    [
        *("role", "content", "from", "value", "tool_calls", "name", "reasoning_content", "weight"),
        *("train", "loss", "tool_call_id", "text", "type", "x"),
    ]
)
ROLES = st.sampled_from(["user", "assistant", "system", "human", "gpt", "tool", "developer"])
PLAIN = st.text(
    "ab \n\t\0\r\ufeffé漢\u0301\u200d\u202e\u2028\ud83d\ue0f00\ue0f1,\"'{}[]<|>", max_size=8
)
TEXTS = st.one_of(
    PLAIN,
    st.sampled_from(["Yes.", "No.", "<|im_start|>user\n", "<|im_end|>", "<think>x</think>y", "[]"]),
    st.sampled_from(["<think>x", "x</think>", "<think></think>", "\n\nHuman: a\n\nAssistant: b"]),
    st.sampled_from(["a" * 5000, "[{'role': 'user', 'content': 'x'}]", '{"role": "user"}']),
)
NUMBERS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_subnormal=False),
    st.sampled_from([10**400, -(10**4000), 2**63, 1e308]),
)
PARTS = st.lists(
    st.dictionaries(
        st.sampled_from(["type", "text", "image", "image_url"]),
        st.one_of(TEXTS, st.sampled_from(["text", "image_url", "image"]), NUMBERS),
        max_size=3,
    ),
    max_size=3,
)
TURNS = st.lists(
    st.dictionaries(FIELDS, st.one_of(TEXTS, ROLES, PARTS, NUMBERS), max_size=3), max_size=3
)
TOLD = st.fixed_dictionaries({"role": ROLES, "content": st.one_of(TEXTS, PARTS)})
SHAREGPT = st.fixed_dictionaries({"from": ROLES, "value": TEXTS})
CONVERSATIONS = st.one_of(
    TURNS,
    st.lists(TOLD, max_size=3),
    st.lists(SHAREGPT, max_size=3),
    TOLD,
    TURNS.map(lambda t: [t]),
)
DEEP = st.sampled_from([2, 50, 300]).map(lambda depth: json.loads(depth * "[" + depth * "]"))
VALUES = st.one_of(
    TEXTS,
    CONVERSATIONS,
    CONVERSATIONS.map(repr),  # as pandas writes it into a table
    CONVERSATIONS.map(json.dumps),
    CONVERSATIONS.map(lambda turns: {"messages": turns}),
    st.lists(TEXTS, max_size=3),
    st.lists(st.lists(TEXTS, max_size=3), max_size=2),
    NUMBERS,
    DEEP,
)
GOOD = st.fixed_dictionaries(
    {
        "question": st.one_of(
            st.sampled_from(["Is rice ok?", "漢字 e\u0301?", " \x07\r\nÉ"]), TEXTS
        ),
        "chosen": st.one_of(st.sampled_from(["Yes.", "<think>x</think>y", " yes\n", "é"]), TEXTS),
        "rejected": st.one_of(st.sampled_from(["No.", "<think>", "e\u0301", "No. " * 99]), TEXTS),
    }
)
# The forms of other tools, of which one value is often something else.
NEARLY = st.builds(
    lambda form, key, value, often: {**form, key: value} if often else form,
    st.sampled_from(
        [
            {"messages": [{"role": "user", "content": "q"}], "chosen": "a", "rejected": "b"},
            {"instruction": "q", "input": "i", "output": ["a", "b"]},
            {"query": "q", "response": "a", "rejected_response": "b", "history": [["h", "i"]]},
            {
                "input": {"messages": [{"role": "user", "content": "q"}]},
                "preferred_output": [{"role": "assistant", "content": "a"}],
                "non_preferred_output": [{"role": "assistant", "content": "b"}],
            },
            {"conversations": [{"from": "human", "value": "q"}], "chosen": "a", "rejected": "b"},
            {"prompt": "q", "completion": "a", "label": True},
            {"instruction": "q", "completions": [{"response": "a", "overall_score": 1}] * 2},
            {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
        ]
    ),
    KEYS,
    VALUES,
    st.booleans(),
)
RECORDS = st.one_of(
    *[st.lists(GOOD, min_size=1, max_size=4)] * 2,
    st.lists(NEARLY, min_size=1, max_size=4),
    st.lists(
        st.one_of(GOOD, NEARLY, st.dictionaries(KEYS, VALUES, max_size=5), VALUES), max_size=4
    ),
)


def rows_of(records: list[Any]) -> tuple[list[str], list[list[Any]]]:
    """Make a table's header and rows."""
    rows = [record for record in records if isinstance(record, dict)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, [[row.get(name) for name in names] for row in rows]


def as_csv(records: list[Any]) -> bytes:
    names, rows = rows_of(records)
    text = io.StringIO(newline="")
    csv.writer(text, escapechar="\\").writerows([names, *rows])
    return text.getvalue().encode("utf-8", "surrogatepass")


def as_bad_csv(records: list[Any]) -> bytes:
    names, rows = rows_of(records)
    lines = [",".join(map(str, line)) for line in [names, *rows]]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def as_parquet(records: list[Any]) -> bytes:
    names, rows = rows_of(records)
    columns = {as_utf8(name): [row[i] for row in rows] for i, name in enumerate(names)}
    written = io.BytesIO()
    try:
        pq.write_table(pa.table(columns), written)
    except (pa.ArrowException, OverflowError, UnicodeError):  # a column is not of one type
        texts = {name: [as_utf8(str(value)) for value in columns[name]] for name in columns}
        pq.write_table(pa.table(texts), written)
    return written.getvalue()


def as_utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def as_json(records: list[Any]) -> bytes:
    return json.dumps(records).encode()


def as_unescaped_json(records: list[Any]) -> bytes:
    return json.dumps(records, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")


def as_jsonl(records: list[Any]) -> bytes:
    return b"\n".join(json.dumps(record).encode() for record in records)


WRITERS: dict[str, Callable[[list[Any]], bytes]] = {
    "x.json": as_json,
    "y.json": as_unescaped_json,
    "x.jsonl": as_jsonl,
    "x.csv": as_csv,
    "y.csv": as_bad_csv,
    "x.parquet": as_parquet,
}
DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda content: content,  # none
    lambda content: b"\xef\xbb\xbf" + content,
    lambda content: content.decode("utf-8", "replace").encode("utf-16"),
    lambda content: content.replace(b"\n", b"\r\n"),
    lambda content: content[: len(content) * 2 // 3],
    lambda content: content.replace(b"}", b",}", 1),
    lambda content: content.replace(b'"chosen"', b'"chosen":"a","chosen"', 1),
    lambda content: content.replace(b",", b"\0", 1),
    lambda content: content.replace(b"e", b"\xe9", 1),
    lambda content: content + content,
    gzip.compress,
]
WRITTEN = st.builds(
    lambda name, records, damage: (name, damage(WRITERS[name](records))),
    st.sampled_from([*WRITERS]),
    RECORDS,
    st.one_of(st.just(DAMAGES[0]), st.sampled_from(DAMAGES)),
)
FILES = st.one_of(
    *[WRITTEN] * 9, st.tuples(st.sampled_from([*WRITERS, "x.txt"]), st.binary(max_size=60))
)
LENGTHS = [(1, 20), (19, 20), (60, 100), (60, 100), (256, 1024), (256, 1024), (256, 1024)]
MORE = st.fixed_dictionaries(
    {
        "skip_bad_records": st.sampled_from([True, True, False]),
        "train_limit": st.sampled_from([None, None, 1, 2]),
        "layout": st.sampled_from(["shared", "rows"]),
        "system_prompt": st.one_of(st.none(), TEXTS),
    }
)


def records_are_understood_or_refused(
    file: tuple[str, bytes], more: dict[str, Any], lengths: tuple[int, int]
) -> None:
    """Read a file as a fit and an audit do; the command line around it is what settings try."""
    name, content = file
    prompt, whole = lengths
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / name
        path.write_bytes(content)
        try:
            read_and_batch(
                PreferenceDataModule(
                    train_path=str(path),
                    val_path=None,
                    pair_cache=f"{root}/pairs",
                    max_prompt_length=prompt,
                    max_length=whole,
                    **more,
                )
            )
            refused = None
        except FitbotError as error:
            refused = error
        asked = RunSettings("embedded", more["system_prompt"], prompt, whole, 8, 1)
        try:
            audit_sources(str(path), [], asked, train_limit=more["train_limit"])
        except FitbotError:
            assert refused, "a fit takes what the audit refuses"


@settings(quick, max_examples=5 * QUICK)
@given(file=FILES, more=MORE, lengths=st.sampled_from(LENGTHS))
def test_records_are_understood_or_refused(
    file: tuple[str, bytes], more: dict[str, Any], lengths: tuple[int, int]
) -> None:
    records_are_understood_or_refused(file, more, lengths)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(long, max_examples=2 * LONG)
@given(file=FILES, more=MORE, lengths=st.sampled_from(LENGTHS))
def test_very_many_records_are_understood_or_refused(
    file: tuple[str, bytes], more: dict[str, Any], lengths: tuple[int, int]
) -> None:
    records_are_understood_or_refused(file, more, lengths)
