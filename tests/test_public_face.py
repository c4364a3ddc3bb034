"""`import fitbot`: loads nothing, offers four functions, and each does what its command does."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import fitbot
from fitbot.__main__ import main
from fitbot.api import Run
from fitbot.errors import AdapterError, ConfigError, DataError
from fitbot.generation.messages import Sampling
from fitbot.pairs.formats import Message
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


def test_what_was_trained_is_loaded_and_answers(run: Run) -> None:
    with closing(fitbot.load(run.adapter)) as engine:
        assert engine.models == ("fitbot", "base")
        stream = engine.submit([Message("user", "Is rice ok?")], Sampling(max_new_tokens=8))
        assert "".join(chunk.text for chunk in stream).strip()
    with closing(fitbot.load()) as engine:
        assert engine.models == ("base",)
    with pytest.raises(AdapterError, match="nowhere"):
        fitbot.load("nowhere")


def test_pairs_are_audited_as_the_command_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / name for name in ("train.json", "val.json")]
    for file, source in zip(files, (TRAIN, VAL), strict=True):
        file.write_text(json.dumps(json.loads(source.read_text())[:40]))

    audit = fitbot.audit_pairs(files[0], [files[1]])
    assert main(["audit", *map(str, files), "--json", str(tmp_path / "audit.json")]) == 0

    assert audit.to_json() == (tmp_path / "audit.json").read_text()
    with pytest.raises(DataError, match="nowhere.json"):
        fitbot.audit_pairs("nowhere.json")


def test_adapters_are_evaluated_beside_their_base(run: Run) -> None:
    evaluation = fitbot.evaluate([run.adapter], pairs=VAL, limit=4, questions=1, max_new_tokens=2)

    assert [report.model.name for report in evaluation.models] == ["base", "quickstart"]
    assert len(evaluation.models[1].logps) == 4
    with pytest.raises(AdapterError, match="nowhere"):
        fitbot.evaluate(["nowhere"], pairs=VAL)
