"""What an evaluation says in words: no word contradicts the figures beside it."""

import itertools
import re
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from fitbot.audit.rules import BILINEAR, RuleScore
from fitbot.dpo.losses import Objective
from fitbot.evaluation.answer_rates import AnswerRates
from fitbot.evaluation.intervals import Comparison, Estimate
from fitbot.evaluation.measure import DriftReport
from fitbot.evaluation.models import Model
from fitbot.evaluation.page import SEVERITIES
from fitbot.evaluation.preference import ACCURACY, ALL, LIKELIER, Group, Standing, reaching
from fitbot.evaluation.report import ModelReport, draw_conclusions, headline

NOTHING = DriftReport(20.0, None, None, None, None)
BASE_REPORT = ModelReport(Model("base", None, None, None), None, NOTHING, {}, [], [])
TUNED = ModelReport(
    Model("it", "x", None, Objective(0.5, 0.0, "sigmoid", 0.0)), None, NOTHING, {}, [], []
)
WORSE, UNCLEAR, GOOD = (
    Estimate(0.3, 0.199, 0.425),
    Estimate(0.53, 0.49, 0.57),
    Estimate(0.77, 0.74, 0.8),
)


def group(
    accuracy: Estimate, rule: float, bag: float | None = None, independent: int = 600
) -> Group:
    rules = [RuleScore("longer", rule, rule - 0.04, rule + 0.04, 0)]
    reading = [] if bag is None else [RuleScore(BILINEAR, bag, bag - 0.04, bag + 0.04, 0)]
    apart = Estimate(0.0, None, None)
    if bag is not None and accuracy.low is not None and accuracy.high is not None:
        apart = Estimate(accuracy.value - bag, accuracy.low - bag, accuracy.high - bag)
    return Group(
        label=ALL,
        value=ALL,
        pairs=600,
        independent=independent,
        like_length=100,
        rules=rules,
        question_rules=reading,
        figures={"base": {LIKELIER: Estimate(0.55, 0.52, 0.58)}, "it": {ACCURACY: accuracy}},
        reached_by={"base": [], "it": reaching(rules, accuracy)},
        beyond={"base": {}, "it": {score.rule: apart for score in reading}},
    )


@pytest.mark.parametrize(
    ("accuracy", "rule", "bag", "said"),
    [
        (
            WORSE,
            0.52,
            None,
            r"^worse than chance: reward accuracy 30\.0% of .* \[0\.199, 0\.425\]$",
        ),
        (WORSE, 0.52, 0.7, r"\]\nless than what a bag of words learns: -40\.0 points"),
        (Estimate(0.38, 0.34, 0.42), 0.52, 0.38, r"^worse than chance: [^;]*0\.420\]$"),
        (
            UNCLEAR,
            0.52,
            0.53,
            r"^not clearly better than chance: reward accuracy 53\.0% [^;\n]*\nnot shown",
        ),
        (GOOD, 0.78, None, r"^no better than a rule: .*the question \(longer\) reaches 0\.780$"),
        (GOOD, 0.52, None, r"^reward accuracy 77.*; no rule .* gets there \(best 0\.520\)$"),
        # What is chance itself explains nothing.
        (
            Estimate(0.6, 0.501, 0.7),
            0.52,
            None,
            r"^reward accuracy 60.*; no rule .* above chance \(best 0\.520 \[0\.480, .*\]\)$",
        ),
        (Estimate(0.6, 0.501, 0.7), 0.55, None, r"^no better than a rule: .* reaches 0\.550$"),
        (GOOD, 0.52, 0.772, r"\nnot shown to be beyond what a bag of words learns: -0\.2 points"),
        (
            GOOD,
            0.52,
            0.6,
            r"\nbeyond what a bag of words learns: \+17\.0 points \[\+14\.0, \+20\.0\]",
        ),
    ],
)
def test_accuracy_is_said_beside_chance_and_rules(
    accuracy: Estimate, rule: float, bag: float | None, said: str
) -> None:
    *found, _ = draw_conclusions(TUNED, BASE_REPORT, group(accuracy, rule, bag), [])

    assert re.search(said, "\n".join(found)), found


def every_group() -> Any:
    accuracies = [
        *(WORSE, UNCLEAR, GOOD, Estimate(0.38, 0.34, 0.42), Estimate(0.433, 0.31, 0.56)),
        *(Estimate(0.5, 0.4, 0.6), Estimate(0.6, 0.501, 0.7), Estimate(1.0, 0.994, 1.0)),
    ]
    rules, bags = (0.5, 0.52, 0.58, 0.78, 0.99), (None, 0.4, 0.55, 0.772)
    for accuracy, rule, bag in itertools.product(accuracies, rules, bags):
        yield accuracy, rule, bag, group(accuracy, rule, bag)


def test_no_sentence_contradicts_its_figures() -> None:
    standings = set()
    for accuracy, rule, bag, whole in every_group():
        text = "\n".join(draw_conclusions(TUNED, BASE_REPORT, whole, []))
        standing = whole.standing("it")
        standings.add(standing)
        shown: Any = SimpleNamespace(whole=whole, models=[BASE_REPORT, TUNED])
        result = headline(shown)
        low, high = accuracy.low, accuracy.high

        assert ("worse than chance" in text) == ("worse than chance" in result) == (high < 0.5)
        unclear = low <= 0.5 <= high
        assert ("not clearly better than chance" in text) == unclear, text
        assert ("not clearly better than chance" in result) == unclear, result
        # A rule explains only what is above chance, and what it is not clearly below; above chance
        # it is itself.
        told_apart = whole.rules[0].low > 0.5
        assert ("reaches" in text) == (0.5 < low <= rule and told_apart), text
        assert ("is clearly above chance" in text) == (0.5 < low <= rule and not told_apart), text
        assert ("gets there" in text) == (low > max(0.5, rule)), text
        assert result.startswith(f"it is {standing}: it prefers the chosen answer in ")
        beyond = bag is not None and low > max(0.5, bag)
        assert bool(re.search("(?m)^beyond what a bag", text)) == beyond, text
        if standing == "better than every rule":
            assert low > max(0.5, rule, bag or 0), text
        if standing == "better than chance":
            assert low > max(0.5, bag or 0), text

    assert standings == set(get_args(Standing)) == set(SEVERITIES)


def test_only_what_is_not_above_chance_is_marked_in_a_group_and_only_of_enough_pairs() -> None:
    assert group(WORSE, 0.52, independent=5).mark("it") == "worse than chance"
    assert group(UNCLEAR, 0.52).mark("it") == "not clearly better than chance"
    assert group(UNCLEAR, 0.52, independent=29).mark("it") is None
    assert group(GOOD, 0.99).mark("it") is None  # one kind of mistake, the longer answer is right
    assert group(GOOD, 0.52).mark("it") is None


def test_of_several_adapters_the_result_names_each() -> None:
    whole = group(GOOD, 0.52)
    whole.figures["other"] = {ACCURACY: WORSE}
    whole.reached_by["other"] = []
    other = ModelReport(Model("other", "y", None, None), None, NOTHING, {}, [], [])
    shown: Any = SimpleNamespace(whole=whole, models=[BASE_REPORT, TUNED, other])
    alone: Any = SimpleNamespace(whole=whole, models=[BASE_REPORT])

    assert headline(shown) == (
        "of 2 adapters on 600 pairs it is better than every rule, other is worse than chance"
    )
    assert headline(alone).startswith("the base alone gives the chosen answer the higher log-prob")


@pytest.mark.parametrize(
    ("difference", "p", "said"),
    [
        (Estimate(0.28, 0.2, 0.35), 0.0001, r"checks, \+28\.0 points \[\+20\.0, \+35\.0\] against"),
        (Estimate(0.02, -0.01, 0.05), 0.2, r"checks, no clear change: \+2\.0 points"),
        # The interval is the bootstrap's and p the test's: both must say it.
        (Estimate(0.02, 0.001, 0.05), 0.06, r"checks, no clear change: \+2\.0 points"),
    ],
)
def test_a_change_is_clear_if_test_and_interval_say_so(
    difference: Estimate, p: float, said: str
) -> None:
    rates = AnswerRates(Estimate(0.5, 0.4, 0.6), {}, {}, Estimate(9.0, 8.0, 10.0))
    tuned = ModelReport(TUNED.model, None, NOTHING, {"greedy": rates}, [], [])
    found = Comparison("greedy: passes", "base", "it", 100, difference, 30, 2, p)

    text = "\n".join(draw_conclusions(tuned, BASE_REPORT, group(GOOD, 0.5), [found]))

    assert re.search(said, text), text
