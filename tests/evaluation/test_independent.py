"""The independent judge: 300 questions of another hand, which a trivial answer does not pass."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fitbot.audit.text import normalise
from fitbot.evaluation.answer_rates import AnswerReport
from fitbot.evaluation.answered import answered_groups
from fitbot.evaluation.cases import INDEPENDENT, Case, load_cases, questions_file
from fitbot.evaluation.checks import passes
from fitbot.evaluation.trivial import ANOTHER, THE_QUESTION, trivial_rates

ROOT = Path(__file__).parents[2]
# Answers of fixed urgency are each right for one of three levels, so for some third of the signs.
MOST = {"triage": 0.4}
MOST_OF_ALL, MOST_OF_ONE = 0.07, 0.08


@pytest.fixture(scope="module")
def judge() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        Path(questions_file(INDEPENDENT)).read_text(encoding="utf-8")
    )
    return found


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return load_cases(questions_file(INDEPENDENT))


def test_there_are_300_questions_of_seven_kinds_with_a_source_each(
    judge: list[dict[str, Any]],
) -> None:
    assert Counter(record["category"] for record in judge) == {
        "loadable weights": 60,
        "pace": 40,
        "one-rep maximum": 30,
        "energy, heart and units": 20,
        "programme constraints": 50,
        "triage": 50,
        "diet rules": 50,
    }
    assert all(record["facts"] and record["facts"][0] for record in judge)
    assert len({normalise(record["question"]) for record in judge}) == 300
    by_template = sum(record["split"] == "template" for record in judge)
    assert 0 < by_template <= 100


def test_a_right_answer_passes_and_a_plausible_wrong_one_fails(
    judge: list[dict[str, Any]],
) -> None:
    for record in judge:
        assert passes(record["chosen"], record["check"]), record
        assert not passes(record["rejected"], record["check"]), record


def test_other_wordings_pass_and_fail_as_well(judge: list[dict[str, Any]]) -> None:
    for record in judge:
        chosen, rejected = record["chosen"], record["rejected"]
        friendly = f"Good question! {chosen} Enjoy your training."
        assert passes(friendly, record["check"]), friendly
        assert passes(f"**{chosen}**", record["check"]), chosen
        assert not passes(f"Good question! {rejected} Enjoy your training.", record["check"])


def test_trivial_answers_pass_few_of_the_checks(cases: list[Case]) -> None:
    whole = trivial_rates(cases)
    assert max(whole.values()) <= MOST_OF_ALL
    assert whole["nothing"] == whole[THE_QUESTION] == whole['"Yes."'] == whole['"No."'] == 0
    assert whole[ANOTHER] < 0.02
    for category in {case.labels["category"] for case in cases}:
        rates = trivial_rates([case for case in cases if case.labels["category"] == category])
        assert max(rates.values()) <= MOST.get(category, MOST_OF_ONE), (category, rates)


def test_saying_the_wrong_and_the_right_thing_does_not_pass(cases: list[Case]) -> None:
    def both(case: Case) -> Iterator[bool]:
        assert case.check is not None
        yield passes(f"{case.pair.rejected} {case.pair.chosen}", case.check)
        yield passes(f"{case.pair.chosen} {case.pair.rejected}", case.check)

    found = {"triage": [0, 0], "other": [0, 0]}
    for case in cases:
        group = found["triage" if case.labels["category"] == "triage" else "other"]
        group[0] += sum(both(case))
        group[1] += 2

    # "Rest a while. Call 999." calls: only what contradicts it, "it is harmless", takes that back.
    assert found["triage"][0] / found["triage"][1] <= 0.4
    assert found["other"][0] / found["other"][1] <= 0.05


def test_none_of_its_questions_is_trained_on(judge: list[dict[str, Any]]) -> None:
    own = {normalise(record["question"]) for record in judge}
    others: list[str] = []
    for path in (ROOT / "data").glob("fitness_*.json"):
        for record in json.loads(path.read_text(encoding="utf-8")):
            turns = record.get("prompt") or [{"content": record["question"]}]
            others += [turn["content"] for turn in turns]
    for path in (ROOT / "data" / "health" / "messages").glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            message = json.loads(line)
            turns = message.get("turns", [])
            others += [message.get("text", ""), *(turn.partition(": ")[2] for turn in turns)]

    assert len(others) > 10_000
    assert not own & set(map(normalise, others))


def test_an_adapter_is_shown_beside_the_base_and_beside_trivial_answers(cases: list[Case]) -> None:
    right = [AnswerReport(case.pair.chosen, True, ()) for case in cases]
    wrong = [AnswerReport(case.pair.rejected, False, ()) for case in cases]

    groups = answered_groups({"base": wrong, "tuned": right}, cases, range(len(cases)))

    assert [group.value for group in groups][0] == "all"
    assert {group.value for group in groups[1:]} == {case.labels["category"] for case in cases}
    for group in groups:
        assert group.passes["tuned"].value == 1
        assert not group.is_trivial("tuned")
        assert group.is_trivial("base")
        (change,) = group.changes
        assert (change.difference.value, change.gained, change.lost) == (1, group.questions, 0)
    assert groups[0].best_trivial[1] > 0


def test_questions_without_a_check_are_not_counted(cases: list[Case]) -> None:
    bare = [case._replace(check=None) for case in cases[:3]]
    judged = {"base": [AnswerReport("", None, ()) for _ in bare]}

    assert answered_groups(judged, bare, range(3)) == []


PIECES = re.findall(r"\S+|\n", ", and or but - : ( ) . ; ** 1 kg yes See \n")


def test_whatever_is_written_is_judged(cases: list[Case]) -> None:
    chance = random.Random(0)
    answers = [" ".join(chance.choices(PIECES, k=chance.randint(1, 6))) for _ in range(60)]

    assert {passes(text, case.check or {}) for case in cases[::4] for text in [*answers, ""]} <= {
        True,
        False,
    }
