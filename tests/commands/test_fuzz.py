"""Generated settings and records at `fitbot fit`: it ends well, or with a sentence of fitbot's.

Reading, encoding and batching are the real ones. Where training is not what is asked about, it is
left out; a smaller number of settings comes to a step of a tiny model.
"""

import functools
import inspect
import json
import math
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lightning import Trainer

from fitbot.api import _typed
from fitbot.commands import fit_help
from fitbot.commands.fit import FitbotCLI, FitTrainer, SeveralDevicesError, run_command
from fitbot.errors import FitbotError
from fitbot.pairs import datamodule
from fitbot.pairs.chat import load_tokenizer
from fitbot.pairs.datamodule import PreferenceDataModule
from tests.conftest import ROOT

QUICK, LONG = 8, 1500  # inputs of each kind; the long run is another one every time
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
    st.text("aé0.:,-_ \n\0'\"{[#&*", max_size=6),
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
    keys = st.sampled_from(["class_path", "init_args", "r", "alpha", "beta", "train_path", "x"])
    more = st.one_of(st.lists(values, max_size=3), st.dictionaries(keys, values, max_size=3))
    return st.one_of(values, more, st.lists(CLASSES, max_size=2))


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


@pytest.fixture
def without_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read and batch the pairs as a fit does, and end there."""

    def read(self: Trainer, model: Any, datamodule: PreferenceDataModule, **_: Any) -> None:
        datamodule.setup("fit")
        for split in datamodule.pairs:
            datamodule.lengths(split)
            datamodule.largest_pass(split)
            datamodule.collate(split, range(min(4, len(datamodule.pairs[split]))))

    monkeypatch.setattr(FitTrainer, "fit", functools.wraps(Trainer.fit)(read))
    monkeypatch.setattr(FitbotCLI, "after_fit", lambda cli: None)


def command(root: str, base: str, pairs: str, chosen: dict[str, Any]) -> list[str]:
    """Arguments of a fit of a step with some settings that were chosen at random."""
    return [
        *("fit", "--config", str(ROOT / "configs" / "quickstart.yaml"), "--run.root", root),
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


# -- records ---------------------------------------------------------------------------------------

KEYS = st.sampled_from(
    [
        *("question", "prompt", "chosen", "rejected", "messages", "input", "system", "tools"),
        *("instruction", "output", "label", "completion", "score_chosen", "history", "", "id"),
    ]
)
PLAIN = st.text("ab \n\t\0é漢\u2028\ud83d\ue0f00\ue0f1,\"'{}[]<|>", max_size=8)
TEXTS = st.one_of(
    PLAIN,
    st.sampled_from(["Yes.", "No.", "<|im_start|>user\n", "<|im_end|>", "<think>x</think>y", "[]"]),
    st.sampled_from(["a" * 5000, "[{'role': 'user', 'content': 'x'}]", '{"role": "user"}']),
)
TURNS = st.lists(
    st.dictionaries(
        st.sampled_from(["role", "content", "from", "value", "tool_calls", "name"]),
        st.one_of(TEXTS, st.sampled_from(["user", "assistant", "system", "human", "gpt"])),
        max_size=3,
    ),
    max_size=3,
)
TOLD = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": TEXTS})
VALUES = st.one_of(
    TEXTS,
    TURNS,
    st.lists(TOLD, max_size=3),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_subnormal=False),
)
GOOD = st.fixed_dictionaries({"question": TEXTS, "chosen": TEXTS, "rejected": TEXTS})
RECORDS = st.lists(
    st.one_of(GOOD, st.dictionaries(KEYS, VALUES, max_size=5), VALUES, GOOD), max_size=4
)


def as_csv(records: list[Any]) -> str:
    rows = [record for record in records if isinstance(record, dict)]
    names = list(rows[0]) if rows else []
    lines = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    return "\n".join(",".join(line) for line in lines)


WRITERS: dict[str, Callable[[list[Any]], str]] = {
    "x.json": json.dumps,
    "x.jsonl": lambda records: "\n".join(map(json.dumps, records)),
    "x.csv": as_csv,
}
FILES = st.one_of(
    st.tuples(st.sampled_from([*WRITERS]), RECORDS),
    st.tuples(st.sampled_from([*WRITERS, "x.parquet", "x.txt"]), st.binary(max_size=60)),
)
MORE = st.fixed_dictionaries(
    {
        "data.skip_bad_records": st.booleans(),
        "data.train_limit": st.sampled_from([None, 1, 2]),
        "data.layout": st.sampled_from(["shared", "rows"]),
        "data.max_length": st.sampled_from([20, 100, 1024]),
        "data.max_prompt_length": st.sampled_from([1, 12, 19]),
        "data.system_prompt": st.one_of(st.none(), TEXTS.filter(lambda text: "\0" not in text)),
    }
)


def records_are_understood_or_refused(
    file: tuple[str, list[Any] | bytes], more: dict[str, Any]
) -> None:
    name, content = file
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(WRITERS[name](content), encoding="utf-8", errors="surrogatepass")
        outcome(command(root, "embedded", str(path), {"data.val_path": None, **more}))


@pytest.mark.usefixtures("without_training")
@settings(quick, max_examples=2 * QUICK)
@given(file=FILES, more=MORE)
def test_records_are_understood_or_refused(
    file: tuple[str, list[Any] | bytes], more: dict[str, Any]
) -> None:
    records_are_understood_or_refused(file, more)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("without_training")
@settings(long, max_examples=2 * LONG)
@given(file=FILES, more=MORE)
def test_very_many_records_are_understood_or_refused(
    file: tuple[str, list[Any] | bytes], more: dict[str, Any]
) -> None:
    records_are_understood_or_refused(file, more)
