"""Labels and checks of a file's records."""

import json
from pathlib import Path
from typing import Any

import pytest

from fitbot.errors import DataError
from fitbot.evaluation.cases import dependent_groups, groups_of, load_cases
from fitbot.evaluation.models import Overrides
from fitbot.evaluation.run import read_inputs
from tests.conftest import ROOT

RECORD = {"question": "Rest?", "chosen": "Yes, rest.", "rejected": "No, run."}


def write(folder: Path, records: list[dict[str, Any]]) -> str:
    path = folder / "pairs.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return str(path)


def test_the_test_pairs_come_with_every_label_and_check() -> None:
    cases = load_cases(str(ROOT / "data" / "fitness_test_v1.json"))
    groups = groups_of(cases)

    assert len(cases) == 654
    assert all(case.check for case in cases)
    assert {split: len(where) for split, where in groups["split"].items()} == {
        "unseen facts": 218,
        "seen facts": 218,
        "unseen forms": 218,
    }
    assert list(groups) == ["category", "flaw", "split"]
    assert next(iter(groups["category"])) == "facts"  # the largest comes first
    assert sum(map(len, groups["flaw"].values())) == 654


def test_a_pair_and_its_mirror_hang_together_and_strangers_do_not(tmp_path: Path) -> None:
    mirror = {"question": "Run?", "chosen": RECORD["rejected"], "rejected": "YES,  rest."}
    again = {"question": "rest? ", "chosen": "A", "rejected": "B"}
    half = {"question": "Lift?", "chosen": RECORD["chosen"], "rejected": "Sit."}

    cases = load_cases(write(tmp_path, [RECORD, half, mirror, again]))

    assert dependent_groups([case.pair for case in cases]) == [0, 1, 0, 0]


def test_records_of_any_other_format_have_neither_labels_nor_checks(tmp_path: Path) -> None:
    shared = [{"role": "user", "content": "Rest?"}]
    record = {
        side: [*shared, {"role": "assistant", "content": side}] for side in ("chosen", "rejected")
    }

    (case,) = load_cases(write(tmp_path, [record]))

    assert (case.pair.chosen, case.labels, case.check) == ("chosen", {}, None)


def test_keys_that_a_table_filled_with_none_are_no_rules(tmp_path: Path) -> None:
    check = {"any": ["yes"], "number": None, "format": None}

    (case,) = load_cases(write(tmp_path, [RECORD | {"check": check}]))

    assert case.check == {"any": ["yes"]}


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ({"tone": "kind"}, "record 1: 'check' cannot be used, KeyError: 'tone'"),
        ({"format": "poem"}, "KeyError: 'poem'"),
        ({"number": "many"}, "ValueError: could not convert string to float: 'many'"),
        ("yes", "record 1: 'check' cannot be used"),
        ({"any": ["perhaps"]}, "does not tell right from wrong: 'chosen' fails it"),
        ({"none": ["perhaps"]}, "does not tell right from wrong: 'rejected' passes it"),
        ({}, "'rejected' passes it"),
    ],
)
def test_a_check_that_cannot_be_used_is_refused_before_anything_else(
    check: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as refused:
        load_cases(write(tmp_path, [RECORD, RECORD | {"check": check}]))

    assert message in str(refused.value)


@pytest.mark.parametrize("role", ["path", "train_path"])
def test_a_rendered_text_is_refused_as_a_fit_refuses_it(
    base: str, tmp_path: Path, role: str
) -> None:
    (tmp_path / "bad").mkdir()
    rendered = {**RECORD, "chosen": f"{RECORD['chosen']}<|im_end|>"}
    rendered.pop("check", None)
    good, bad = write(tmp_path, [RECORD]), write(tmp_path / "bad", [RECORD, rendered])
    files: dict[str, Any] = {"path": good, "train_path": None, role: bad}

    with pytest.raises(DataError, match="record 1: .*<|im_end|>"):
        read_inputs(
            [],
            overrides=Overrides(base_model=base, load_in_4bit=False),
            limit=None,
            questions=0,
            max_new_tokens=1,
            temperature=None,
            top_p=None,
            seed=0,
            **files,
        )
