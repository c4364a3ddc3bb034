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

import numpy as np
import pytest

from fitbot.audit.question_rules import question_rules
from fitbot.audit.records import prompt_text
from fitbot.audit.rules import BILINEAR, length_rules
from fitbot.audit.shortcuts import audit_shortcuts
from fitbot.audit.text import normalise
from fitbot.evaluation.checks import passes
from fitbot.pairs.formats import PreferencePair, parse_pair

DATA = Path(__file__).parents[2] / "data"
SPLITS = ("train", "val", "test")
FIRST_TEST = "fitness_test_v1.json"
FIRST_TEST_SHA = "ebcf2a9795b23effd3c61542d558ecf4fd47a05aca4b68bc05d0c427456d579f"
CATEGORIES = {
    "facts", "diet", "arithmetic", "constraints", "format", "caution", "myths", "asking back",
    "programmes", "habits", "turns", "indian food", "units",
}  # fmt: skip
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


def asked(pair: Pair) -> str:
    """All that is asked, in its normal form."""
    return normalise(prompt_text(parse_pair(pair, 0)))


def parsed(pairs: list[Pair]) -> list[PreferencePair]:
    return [parse_pair(pair, i) for i, pair in enumerate(pairs)]


def test_there_are_enough_pairs_of_every_kind(files: dict[str, list[Pair]]) -> None:
    for split, least in zip(SPLITS, (6500, 750, 750), strict=True):
        assert len(files[split]) >= least
    kinds = {"seen facts", "unseen facts", "unseen forms"}
    assert {pair["split"] for pair in files["train"]} == {"train"}
    for split in ("val", "test"):
        assert {pair["split"] for pair in files[split]} == kinds
        categories = Counter((pair["split"], pair["category"]) for pair in files[split])
        assert len(categories) == 3 * len(CATEGORIES)
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
    questions = Counter(asked(pair) for pairs in files.values() for pair in pairs)
    assert [question for question, count in questions.items() if count > 1] == []


def test_the_first_test_file_is_frozen_and_nobody_asks_its_questions(
    files: dict[str, list[Pair]],
) -> None:
    old = (DATA / FIRST_TEST).read_bytes()
    assert hashlib.sha256(old).hexdigest() == FIRST_TEST_SHA

    questions = {asked(pair) for pair in json.loads(old)}
    assert not questions & {asked(pair) for pairs in files.values() for pair in pairs}


def test_long_answers_and_conversations_are_there(files: dict[str, list[Pair]]) -> None:
    pairs = [pair for pairs in files.values() for pair in pairs]
    long = [p for p in pairs if 30 <= len(p["chosen"].split()) <= 120]
    conversations = [p for p in pairs if "prompt" in p]
    assert len(long) >= 1500
    assert len(conversations) >= 500
    assert {len(pair["prompt"]) for pair in conversations} <= {3, 5, 7}
    for pair in pairs:
        assert len(pair["chosen"].split()) <= 120
        assert len(parse_pair(pair, 0).prompt) == len(pair.get("prompt", [0]))


@pytest.mark.slow
@pytest.mark.parametrize("split", ["val", "test"])
def test_no_rule_that_reads_answers_alone_tells_more_than_chance(
    files: dict[str, list[Pair]], split: str
) -> None:
    train, pairs = parsed(files["train"]), parsed(files[split])

    report = audit_shortcuts(train, pairs, split)

    by_answer = {score.rule: score.accuracy for score in report.rules}
    assert set(length_rules(pairs)) <= set(by_answer)
    assert {rule: share for rule, share in by_answer.items() if share > 0.53} == {}


@pytest.mark.slow
@pytest.mark.parametrize("split", ["val", "test"])
def test_words_of_question_and_answer_tell_little(files: dict[str, list[Pair]], split: str) -> None:
    preferences = question_rules(parsed(files["train"]), parsed(files[split]))[BILINEAR]

    assert np.mean((preferences > 0) + 0.5 * (preferences == 0)) <= 0.65


def test_no_question_contradicts_itself(files: dict[str, list[Pair]]) -> None:
    both = {
        r"I am new to this\.": r"advanced|expert|old hand|ten years|well trained|professional",
        r"I have trained for about a year\.": r"beginner|newcomer|never trained|first week",
        r"My friends disagree about it\.": r"\bI\b(?! read)|\bmy\b|\bme\b|[Ss]uggest|Name one",
        r"otherwise well\.": r"hurts|sore|sprain|grandmother|older adults|pregnan",
    }
    for pair in (pair for pairs in files.values() for pair in pairs):
        # Each question of a breath with two is a sentence or two of its own.
        for text in re.split(r"[“”]|First|Second|first|second", pair.get("question", "")):
            for frame, core in both.items():
                if re.search(frame, text):
                    assert not re.search(core, re.sub(frame, "", text)), pair["question"]


def test_every_load_can_be_loaded(files: dict[str, list[Pair]]) -> None:
    checked = 0
    for pair in (pair for pairs in files.values() for pair in pairs):
        for fact in pair["facts"] if pair["category"] == "arithmetic" else []:
            found = re.fullmatch(r"(?:\d+ % of|\d+ \+) .* = ([\d.,]+) (kg|lb)", fact)
            if found:
                step = 2.5 if found[2] == "kg" else 5
                assert float(found[1].replace(",", "")) % step == 0, fact
                checked += 1
    assert checked > 60


def test_verbs_agree_with_the_foods_that_begin_a_sentence(files: dict[str, list[Pair]]) -> None:
    plural = r"(?:Lentils|Chickpeas|\w+ beans|\w+ eggs|Prawns|Sardines|Soybeans|Glute bridges)"
    wrong = re.compile(rf"(?:^|[.!?] ){plural} (?:is|has|works|was|fits|gives|suits|makes)\b")
    for pair in (pair for pairs in files.values() for pair in pairs):
        for answer in (pair["chosen"], pair["rejected"]):
            assert not wrong.search(answer), answer


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
        assert sentences.most_common(1)[0][1] <= 0.021 * len(pairs)


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
    assert f"{FIRST_TEST_SHA}  {FIRST_TEST}" in card
