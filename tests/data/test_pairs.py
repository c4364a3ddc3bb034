"""The fitness pairs: balanced, right by their checks, apart in their splits, built the same."""

import csv
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fitbot.evaluation.checks import passes

DATA = Path(__file__).parents[2] / "data"
SPLITS = ("train", "val", "test")
Pair = dict[str, Any]


def table(name: str) -> list[dict[str, str]]:
    with (DATA / "build" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def files() -> dict[str, list[Pair]]:
    return {
        split: json.loads((DATA / f"fitness_{split}.json").read_text(encoding="utf-8"))
        for split in SPLITS
    }


def test_there_are_enough_pairs_of_every_kind(files: dict[str, list[Pair]]) -> None:
    assert [
        len(files[split]) >= least for split, least in zip(SPLITS, (5000, 600, 600), strict=True)
    ]
    kinds = {"seen facts", "unseen facts", "unseen forms"}
    assert {pair["split"] for pair in files["train"]} == {"train"}
    for split in ("val", "test"):
        assert {pair["split"] for pair in files[split]} == kinds
        categories = Counter((pair["split"], pair["category"]) for pair in files[split])
        assert len(categories) == 3 * 8
        assert min(categories.values()) >= 8


def test_the_chosen_answer_passes_its_check_and_the_rejected_one_fails(
    files: dict[str, list[Pair]],
) -> None:
    for pair in (pair for pairs in files.values() for pair in pairs):
        assert passes(pair["chosen"], pair["check"]), pair
        assert not passes(pair["rejected"], pair["check"]), pair


def test_every_pair_has_its_mirror_in_the_same_file(files: dict[str, list[Pair]]) -> None:
    for pairs in files.values():
        there = Counter((pair["split"], pair["chosen"], pair["rejected"]) for pair in pairs)
        for split, chosen, rejected in there:
            assert there[split, chosen, rejected] == there[split, rejected, chosen]


def test_no_question_is_asked_twice(files: dict[str, list[Pair]]) -> None:
    questions = Counter(p["question"].lower() for pairs in files.values() for p in pairs)
    assert [question for question, count in questions.items() if count > 1] == []


def test_unseen_facts_are_not_in_the_training_pairs(files: dict[str, list[Pair]]) -> None:
    tables = [("foods.csv", "food"), ("exercises.csv", "exercise")]
    names = {row[column] for name, column in tables for row in table(name)}

    def facts(pairs: list[Pair], split: str) -> set[str]:
        of_split = [pair for pair in pairs if pair["split"] == split]
        return {fact.split(":")[0] for pair in of_split for fact in pair["facts"]} & names

    seen = facts(files["train"], "train")
    assert len(seen) > 300
    for split in ("val", "test"):
        assert not facts(files[split], "unseen facts") & seen
        assert facts(files[split], "seen facts") <= seen
        assert facts(files[split], "unseen forms") <= seen


def test_no_sentence_is_everywhere_and_many_answers_are_distinct(
    files: dict[str, list[Pair]],
) -> None:
    for pairs in files.values():
        answers = [pair[side] for pair in pairs for side in ("chosen", "rejected")]
        assert len(set(answers)) >= 0.4 * len(answers)
        sentences: Counter[str] = Counter()
        for pair in pairs:
            text = f"{pair['chosen']} {pair['rejected']}"
            sentences.update(set(re.split(r"(?<=[.!?])\s+", text)))
        assert sentences.most_common(1)[0][1] <= 0.02 * len(pairs)


def test_figures_are_those_of_the_table(files: dict[str, list[Pair]]) -> None:
    foods = {row["food"]: row for row in table("foods.csv")}
    checked = 0
    for pair in (pair for pairs in files.values() for pair in pairs):
        for fact in pair["facts"]:
            found = re.fullmatch(r"(.+): ([\d.,]+) (g|mg|kcal) of (\w+) \(USDA.*", fact)
            if found:
                food, figure, _, nutrient = found.groups()
                value = float(foods[food][nutrient])
                assert float(figure.replace(",", "")) == pytest.approx(value, rel=0.06, abs=0.005)
                checked += 1
    assert checked > 1500


def test_sums_are_right(files: dict[str, list[Pair]]) -> None:
    checked = 0
    for pair in (pair for pairs in files.values() for pair in pairs):
        if pair["category"] != "arithmetic":
            continue
        how, result = pair["facts"][0].split(" = ")
        number = float(result.split()[0].replace(",", ""))
        n = [float(x) for x in re.findall(r"\d+(?:\.\d+)?", how)]
        if " x " in how and " + " not in how or " times " in how:
            expected = n[0] * n[1] * (n[2] if len(n) > 2 else 1)
        elif " + " in how:
            expected = n[0] + n[1] * n[2]
        elif "% of" in how:
            expected = n[0] * n[1] / 100
        elif " less " in how:
            expected = n[0] * (1 - n[1] / 100)
        else:
            continue
        assert number == pytest.approx(expected, abs=0.51), pair
        checked += 1
    assert checked > 600


@pytest.mark.slow
def test_the_build_gives_the_same_bytes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(DATA / "build"), str(tmp_path)], check=True)

    for split in SPLITS:
        name = f"fitness_{split}.json"
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes()


def test_the_data_card_names_these_files() -> None:
    card = (DATA / "README.md").read_text(encoding="utf-8")
    for split in SPLITS:
        digest = hashlib.sha256((DATA / f"fitness_{split}.json").read_bytes()).hexdigest()
        assert f"{digest}  fitness_{split}.json" in card
