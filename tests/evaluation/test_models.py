"""Folders of adapters, good and bad, before any model is loaded."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitbot.base_model.embedded import EMBEDDED_SYSTEM_PROMPT
from fitbot.dpo.losses import Objective
from fitbot.errors import AdapterError, ConfigError
from fitbot.evaluation.models import Overrides, resolve_models
from tests.conftest import SYSTEM
from tests.evaluation.exported import write_adapter


@pytest.fixture(scope="module")
def exported(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("run"), base, beta=0.3)


@pytest.fixture
def changed(exported: Path, tmp_path: Path) -> Callable[..., str]:
    """Copies of the adapter that say something else of themselves."""

    def copy(name: str, **sections: Any) -> str:
        folder = tmp_path / name
        shutil.copytree(exported, folder)
        told = json.loads((folder / "fitbot.json").read_text())
        for section, values in sections.items():
            told[section] |= values
        (folder / "fitbot.json").write_text(json.dumps(told))
        return str(folder)

    return copy


def test_without_adapters_the_embedded_base_is_evaluated_alone() -> None:
    lineup = resolve_models([], Overrides())

    assert [model.name for model in lineup.models] == ["base"]
    assert (lineup.base_model, lineup.load_in_4bit) == ("embedded", True)
    assert lineup.system_prompt == EMBEDDED_SYSTEM_PROMPT
    assert (lineup.max_prompt_length, lineup.max_length) == (256, 1024)


def test_another_base_alone_has_no_system_prompt_unless_one_is_said(base: str) -> None:
    asked = Overrides(base_model=base, load_in_4bit=False)

    assert resolve_models([], asked).system_prompt is None
    asked = Overrides(base_model=base, system_prompt="Hi.")
    assert resolve_models([], asked).system_prompt == "Hi."


def test_an_adapter_says_how_it_is_to_be_asked_and_a_run_stands_for_its_adapter(
    exported: Path, base: str
) -> None:
    lineup = resolve_models([str(exported.parent)], Overrides())

    (model,) = lineup.adapters
    assert (model.name, model.adapter) == (exported.parent.name, str(exported))
    assert model.objective == Objective(0.3, 0.0, "sigmoid", 0.0)
    assert model.reference is None
    assert (lineup.base_model, lineup.load_in_4bit) == (base, False)
    assert (lineup.system_prompt, lineup.max_prompt_length) == (SYSTEM, 300)


def test_adapters_of_one_name_are_told_apart(exported: Path, tmp_path: Path) -> None:
    other = tmp_path / exported.parent.name / "adapter"
    shutil.copytree(exported, other)

    lineup = resolve_models([str(exported), str(other)], Overrides())

    assert [model.name for model in lineup.adapters] == [str(exported), str(other)]


def test_bad_folders_are_refused_with_where_what_and_what_to_do(
    exported: Path, changed: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    damaged = changed("damaged")
    (Path(damaged) / "adapter_model.safetensors").write_bytes(b"nothing")
    cases = {
        "nowhere: no such folder; give one that fit exported": ["nowhere"],
        "no fitbot.json there": [str(tmp_path / "empty")],
        "adapter_model.safetensors is not the file that was exported": [damaged],
        "only models of one base can be compared": [
            str(exported),
            changed("base", settings={"base_model": "embedded"}),
        ],
        "in 4 bits": [str(exported), changed("bits", settings={"load_in_4bit": True})],
        "its reference, which is not there any more": [
            changed("reference", settings={"adapter": str(tmp_path / "gone")})
        ],
        "is named twice": [str(exported), str(exported)],
        "the adapters were trained with system_prompt": [
            str(exported),
            changed("prompt", data={"system_prompt": "Be brief."}),
        ],
    }
    for message, folders in cases.items():
        with pytest.raises((AdapterError, ConfigError)) as refused:
            resolve_models(folders, Overrides())
        assert message in str(refused.value)


def test_what_adapters_disagree_on_may_be_said_but_not_their_base(
    exported: Path, changed: Callable[..., str]
) -> None:
    folders = [str(exported), changed("prompt", data={"system_prompt": "Be brief."})]

    assert resolve_models(folders, Overrides(system_prompt="")).system_prompt == ""
    with pytest.raises(AdapterError, match="the command line says embedded"):
        resolve_models(folders[:1], Overrides(base_model="embedded"))


def test_an_export_that_lacks_what_an_evaluation_needs_is_refused(
    changed: Callable[..., str],
) -> None:
    folder = Path(changed("old"))
    told = json.loads((folder / "fitbot.json").read_text())
    del told["settings"]["beta"]
    (folder / "fitbot.json").write_text(json.dumps(told))

    with pytest.raises(AdapterError, match="settings lacks beta; export the adapter anew"):
        resolve_models([str(folder)], Overrides())


def test_adapters_of_different_days_are_asked_on_the_latest(
    exported: Path, changed: Callable[..., str]
) -> None:
    days = [changed(day, data={"date": day}) for day in ("2026-11-30", "2026-12-01", "2026-10-31")]

    assert resolve_models([str(exported)], Overrides()).date is None
    assert resolve_models([str(exported), *days], Overrides()).date == "2026-12-01"
