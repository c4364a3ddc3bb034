"""What comes with fitbot is found wherever it runs: presets by name, pairs by their usual path."""

import shutil
from pathlib import Path

import pytest

from fitbot import shipped
from fitbot.base_model.embedded import embedded_model
from fitbot.errors import ConfigError, DataError
from fitbot.pairs.preferences import load_pairs
from fitbot.pairs.sources import fingerprint
from tests.conftest import ROOT

NAMES = {"debug", "dpo", "dpo_v1_1", "dpo_v2", "overfit", "quickstart", "smollm2", "t4"}


def test_a_checkout_has_them_beside_the_package() -> None:
    assert set(shipped.presets()) == NAMES
    assert shipped.preset("dpo") == ROOT / "configs" / "dpo.yaml"
    assert embedded_model() == ROOT / "checkpoints" / "fitbot-tiny"


def test_a_wheel_has_them_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "fitbot"
    for folder, source in (("presets", "configs"), ("data", "data")):
        shutil.copytree(ROOT / source, package / folder, ignore=shutil.ignore_patterns("*.py"))
    monkeypatch.setattr(shipped, "__file__", str(package / "shipped.py"))
    monkeypatch.chdir(tmp_path)

    assert shipped.preset("dpo") == package / "presets" / "dpo.yaml"
    assert len(load_pairs("data/fitness_val.json", limit=3).pairs) == 3
    assert fingerprint("data/fitness_val.json").startswith(f"{package / 'data'}")


def test_pairs_in_this_folder_go_before_those_that_come_with_fitbot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped.shipped_pairs("data/fitness_train.json") == ROOT / "data" / "fitness_train.json"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "fitness_train.json").write_text("[]")

    assert shipped.shipped_pairs("data/fitness_train.json") is None
    for other in ("fitness_val.json", "other/fitness_val.json", "data/mine.json", "s3://data/x"):
        assert shipped.shipped_pairs(other) is None
    with pytest.raises(DataError, match=r"data/mine\.json: there is no such file"):
        load_pairs("data/mine.json")


def test_a_config_is_a_file_or_else_a_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()  # such as a run's folder
    (tmp_path / "t4").write_text("seed_everything: 1\n")

    def names(config: str, *, first: bool = True) -> list[str]:
        return [path.name for path in shipped.config_files(config, first=first)]

    assert names("quickstart") == ["quickstart.yaml"]
    assert names("debug") == ["quickstart.yaml", "debug.yaml"]
    assert names("debug", first=False) == ["debug.yaml"]
    assert shipped.config_files("t4", first=True) == [Path("t4")]
    for wrong, meant in (("dpo_v3", "dpo_v2"), ("configs/dpo.yaml", "dpo")):
        with pytest.raises(ConfigError, match=f"no such preset; did you mean '{meant}'"):
            shipped.config_files(wrong, first=True)


@pytest.mark.parametrize("name", sorted(shipped.LIES_ON))
def test_an_overlay_says_first_what_it_lies_on(name: str) -> None:
    text = shipped.preset(name).read_text()

    assert text.startswith(f"# On top of {shipped.LIES_ON[name]}: ")
