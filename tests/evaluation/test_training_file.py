"""Which file the rules learn from, and what is said where there is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from fitbot.evaluation.models import Model
from fitbot.evaluation.training_file import find_training_file


def adapter(folder: Path, data: dict[str, Any]) -> Model:
    folder.mkdir()
    (folder / "fitbot.json").write_text(json.dumps({"data": data}))
    return Model(folder.name, str(folder), None, None)


def test_rules_learn_from_the_file_that_all_adapters_were_trained_on(tmp_path: Path) -> None:
    path = str(tmp_path / "train.json")
    Path(path).touch()
    adapters = [adapter(tmp_path / name, {"train": {"path": path}}) for name in "ab"]

    assert find_training_file(adapters, None) == (path, "", None)


def test_a_file_that_is_named_is_taken_instead(tmp_path: Path) -> None:
    one = adapter(tmp_path / "a", {"train": {"path": "gone.json"}})

    assert find_training_file([one], "mine.json") == ("mine.json", "", None)
    assert find_training_file([], "mine.json") == ("mine.json", "", None)


def test_the_base_alone_was_trained_on_nothing() -> None:
    assert find_training_file([], None) == (None, "", None)


@pytest.mark.parametrize(
    ("trained_on", "limit"),
    [
        ([{"pairs": 32, "limit": 32}], 32),
        ([{"pairs": 30, "limit": 32}], 32),  # two were left out
        ([{"pairs": 78, "limit": None}], None),
        ([{"pairs": 32, "limit": 32}, {"pairs": 64, "limit": 64}], 64),
        ([{"pairs": 32, "limit": 32}, {"pairs": 78, "limit": None}], None),
        ([{"pairs": 32}], 32),  # an adapter that was written before the limit was
        ([{"pairs": "many", "limit": "all"}], None),
    ],
)
def test_rules_learn_from_the_part_of_the_file_that_was_trained_on(
    trained_on: list[dict[str, Any]], limit: int | None, tmp_path: Path
) -> None:
    path = str(tmp_path / "train.json")
    Path(path).touch()
    adapters = [
        adapter(tmp_path / str(place), {"train": {"path": path, **own}})
        for place, own in enumerate(trained_on)
    ]

    assert find_training_file(adapters, None) == (path, "", limit)
    assert find_training_file(adapters, path) == (path, "", None)  # who names it gets all of it


def test_where_there_is_no_training_file_the_reason_is_said(tmp_path: Path) -> None:
    silent = adapter(tmp_path / "a", {})
    damaged = adapter(tmp_path / "b", {"train": "data.json"})
    gone = adapter(tmp_path / "c", {"train": {"path": "gone.json"}})

    for adapters, why in (
        ([silent], "does not say which file"),
        ([damaged], "does not say which file"),
        ([gone], "gone.json, which the adapter was trained on, is no file here"),
        ([silent, gone], "trained on different files"),
    ):
        path, missing, _ = find_training_file(adapters, None)
        assert path is None
        assert why in missing
        assert "--train names a file" in missing
