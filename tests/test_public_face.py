"""`import fitbot`: loads nothing, offers four functions, and each does what its command does."""

import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fitbot
from fitbot.__main__ import main
from fitbot.api import Bot, Run
from fitbot.dpo.report import read_metrics
from fitbot.errors import AdapterError, ConfigError, DataError, EngineError, RequestError
from tests.conftest import ROOT

FUNCTIONS = {"audit_pairs", "evaluate", "fit", "load"}
QUICKSTART = ROOT / "configs" / "quickstart.yaml"
TRAIN, VAL = ROOT / "data" / "fitness_train.json", ROOT / "data" / "fitness_val.json"


def settings(root: Path, **more: Any) -> dict[str, Any]:
    """Overrides of a run of the quickstart on its first pairs: two steps."""
    return {
        "run.root": root,
        "run.sample_every_n_steps": None,
        "data.train_path": TRAIN,
        "data.val_path": VAL,
        "data.train_limit": 8,
        "data.val_limit": 4,
        "data.accumulate_batches": 1,
        "trainer.max_epochs": 1,
        "trainer.enable_progress_bar": False,
        "model.reference_cache": root / "reference",
        "model.lora.target_modules": ["q_proj", "v_proj"],
        **more,
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fitbot.fit(QUICKSTART, settings(tmp_path_factory.mktemp("runs")))


def test_importing_it_loads_nothing_heavy() -> None:
    code = f"""
import sys
import fitbot
assert set(fitbot.__all__) == {FUNCTIONS!r} | {{"__version__"}} <= set(dir(fitbot))
heavy = ("torch", "lightning", "transformers", "numpy", "jsonargparse", "fitbot.api")
assert not [name for name in heavy if name in sys.modules]
assert all(type(getattr(fitbot, name)).__name__ == "function" for name in {FUNCTIONS!r})
assert "torch" not in sys.modules
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)

    assert done.returncode == 0, done.stderr


def test_no_module_and_no_package_of_a_wheel_bears_a_functions_name() -> None:
    # `import fitbot.x` sets fitbot.x, in place of a function of that name.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {name.split(".")[-1] for name in project["tool"]["setuptools"]["packages"]}
    modules = {path.stem for path in (ROOT / "fitbot").iterdir()}
    assert {"presets", "evaluation", "api"} <= packages | modules

    assert not (packages | modules) & FUNCTIONS


def test_what_it_does_not_have_is_an_attribute_error_and_its_types_are_its_own() -> None:
    with pytest.raises(AttributeError, match="'fitbot' has no attribute 'train'"):
        _ = fitbot.train  # type: ignore[attr-defined]
    assert (ROOT / "fitbot" / "py.typed").is_file()


def test_a_fit_says_where_everything_is(run: Run) -> None:
    assert run.folder.name == "quickstart"
    assert run.adapter == run.folder / "adapter"
    assert run.summary == json.loads((run.folder / "summary.json").read_text())
    assert run.summary["steps"] == 2
    config = json.loads((run.adapter / "adapter_config.json").read_text())
    assert set(config["target_modules"]) == {"q_proj", "v_proj"}


def test_a_fit_that_is_refused_is_an_error_and_not_the_end_of_the_program(tmp_path: Path) -> None:
    for more, message in (
        ({"model.betta": 1}, "did you mean 'model.beta'?"),
        ({"data.max_length": 4000}, "exceeds model.max_seq_length"),
        ({"model.beta": "much"}, "model.beta"),
    ):
        with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
            fitbot.fit(QUICKSTART, settings(tmp_path, **more))
    with pytest.raises(ConfigError, match="nowhere.yaml"):
        fitbot.fit("nowhere.yaml")
    with pytest.raises(ConfigError, match="trainer.callbacks: .* could be typed"):
        fitbot.fit("quickstart", {"trainer.callbacks": [object()]})


def test_presets_are_fitted_by_name_and_early_stopping_by_its_import_path(tmp_path: Path) -> None:
    stopping = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "val/loss", "patience": 0, "min_delta": 9.0},
    }

    run = fitbot.fit(
        ["quickstart", "overfit"],
        settings(
            tmp_path,
            **{"run.name": "stopped", "trainer.max_epochs": 4, "trainer.callbacks": [stopping]},
        ),
    )

    assert run.folder == tmp_path / "stopped"
    assert run.summary["steps"] == 2  # two validations: the second was no better by 9 nats
    curve = read_metrics(run.folder)["train/loss"]
    assert [step for step, _ in curve] == [1, 2]  # the last log point is the last step


@pytest.fixture(scope="module")
def bot(run: Run) -> Iterator[Bot]:
    with fitbot.load(run.adapter) as opened:
        yield opened


def test_what_was_trained_is_loaded_and_answers(bot: Bot) -> None:
    answer = bot.answer("Is rice ok?", max_new_tokens=8)

    assert answer.strip()
    assert "".join(bot.stream("Is rice ok?", max_new_tokens=8)) == answer
    assert bot.answer("Is rice ok?", max_new_tokens=8, seed=43) != answer
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is rice ok?"}]
    assert bot.answer(turns, max_new_tokens=8).strip()


def test_the_base_answers_when_it_is_asked_for(bot: Bot) -> None:
    with fitbot.load() as untrained:
        alone = untrained.answer("Is rice ok?", max_new_tokens=8, temperature=0)

    assert bot.engine.models == ("fitbot", "base")
    assert bot.answer("Is rice ok?", base=True, max_new_tokens=8, temperature=0) == alone


def test_the_health_layer_answers_in_the_models_place_unless_it_is_left_out(bot: Bot) -> None:
    question = "I have crushing chest pain. Which exercise next?"
    bare = Bot(bot.engine, bot.sampling, None)

    assert bot.answer(question).startswith("Stop exercising now")
    assert "emergency number" not in bare.answer(question, max_new_tokens=8)


def test_who_leaves_the_loop_ends_the_answer_and_a_closed_model_says_so(run: Run) -> None:
    bot = fitbot.load(run.adapter, health_layer=False)
    pieces = bot.stream("Is rice ok?", max_new_tokens=400)

    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 20
    while bot.engine.stats().active and time.monotonic() < deadline:
        time.sleep(0.01)

    assert bot.engine.stats().active == 0
    bot.close()
    with pytest.raises(EngineError):
        bot.answer("Is rice ok?")


@pytest.mark.parametrize(
    ("question", "options", "error", "message"),
    [
        ("  ", {}, DataError, "non-empty string"),
        ([{"role": "assistant", "content": "Yes."}], {}, DataError, "turn of the user"),
        ("Is rice ok?", {"temperature": 9}, RequestError, "temperature is 9"),
        ("Is rice ok? " * 9999, {}, RequestError, "tokens"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once(
    bot: Bot, question: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        bot.stream(question, **options)


def test_a_folder_without_an_adapter_is_refused() -> None:
    with pytest.raises(AdapterError, match="nowhere"):
        fitbot.load("nowhere")


def test_pairs_are_audited_as_the_command_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / name for name in ("train.json", "val.json")]
    for file, source in zip(files, (TRAIN, VAL), strict=True):
        file.write_text(json.dumps(json.loads(source.read_text())[:40]))

    audit = fitbot.audit_pairs(files)
    assert main(["audit", *map(str, files), "--json", str(tmp_path / "audit.json")]) == 0

    assert audit.to_json() == (tmp_path / "audit.json").read_text()
    alone = fitbot.audit_pairs(TRAIN, train_limit=40)
    assert [(file.path, file.records.pairs) for file in alone.files] == [(TRAIN.name, 40)]
    with pytest.raises(DataError, match="nowhere.json"):
        fitbot.audit_pairs("nowhere.json")
    with pytest.raises(DataError, match="no file to audit"):
        fitbot.audit_pairs([])


def test_adapters_are_evaluated_beside_their_base(run: Run) -> None:
    evaluation = fitbot.evaluate([run.adapter], pairs=VAL, limit=4, questions=1, max_new_tokens=2)

    assert [report.model.name for report in evaluation.models] == ["base", "quickstart"]
    assert len(evaluation.models[1].logps) == 4
    with pytest.raises(AdapterError, match="nowhere"):
        fitbot.evaluate(["nowhere"], pairs=VAL)
