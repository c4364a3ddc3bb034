"""Figures of pairs against cases worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fitbot.audit.rules import BILINEAR, NEAREST, RulePreferences
from fitbot.dpo.losses import Objective
from fitbot.dpo.metrics import NAMES, PairMeans
from fitbot.evaluation.cases import Case
from fitbot.evaluation.intervals import estimate_mean
from fitbot.evaluation.models import Model
from fitbot.evaluation.preference import (
    ACCURACY,
    ACCURACY_LIKE_LENGTH,
    ACCURACY_PER_TOKEN,
    CHOSEN_CHANGE,
    LIKELIER,
    LIKELIER_LIKE_LENGTH,
    LIKELIER_PER_TOKEN,
    REJECTED_CHANGE,
    Group,
    PairFigures,
    displacement_of,
    measure_groups,
)
from fitbot.evaluation.report import beyond_sentence
from tests.audit.planted import clean_records, pairs_of

BASE = Model("base", None, None, None)
TUNED = Model("tuned", "x", None, Objective(0.5, 0.0, "sigmoid", 0.0))

# Chosen gains 2, 0, 1 and 1 nats, rejected loses 1, gains 0, gains 3 and gains 1: beta 0.5 makes
# that margins of 1.5, 0, -1 and 0. The third pair's answers have 10 and 40 tokens.
LOGPS = torch.tensor([[-8.0, -11.0], [-5.0, -5.0], [-9.0, -17.0], [-4.0, -3.0]]).double()
REFERENCE = torch.tensor([[-10.0, -10.0], [-5.0, -5.0], [-10.0, -20.0], [-5.0, -4.0]]).double()
LENGTHS = np.array([[10, 10], [10, 11], [10, 40], [10, 12]])


def figures(model: Model) -> PairFigures:
    return PairFigures(model, LOGPS, LOGPS if model is BASE else REFERENCE, LENGTHS)


def test_figures_by_hand() -> None:
    found = figures(TUNED).estimates(range(4), range(4))
    values = {name: estimate.value for name, estimate in found.items()}

    assert values["rewards/margins"] == pytest.approx((1.5 + 0 - 1 + 0) / 4)
    assert values["loss"] == pytest.approx(
        sum(math.log1p(math.exp(-margin)) for margin in (1.5, 0, -1, 0)) / 4
    )
    assert values[ACCURACY] == 0.5  # a tie is a guess
    # Changes a token: 0.2 over -0.1, 0 over 0, 0.1 over 0.075, 0.1 over 1 / 12.
    assert values[ACCURACY_PER_TOKEN] == 0.875
    assert values[ACCURACY_LIKE_LENGTH] == 0.75  # of the first two pairs
    assert values[LIKELIER] == 0.625  # the first, the third, and half of the second
    # Log-probs a token: -0.8 and -1.1, -0.5 and -0.45, -0.9 and -0.425, -0.4 and -0.25.
    assert values[LIKELIER_PER_TOKEN] == 0.25
    assert values[LIKELIER_LIKE_LENGTH] == 0.75
    assert values["logps/chosen"] == -26 / 4
    assert values["logps/rejected"] == -36 / 4
    assert values[CHOSEN_CHANGE] == 1.0
    assert values[REJECTED_CHANGE] == 0.75


def test_the_objectives_figures_are_those_that_validation_shows() -> None:
    terms = Objective(beta=0.5).terms(LOGPS.float(), REFERENCE.float())
    shown = PairMeans()
    shown.update(terms, LOGPS.float())

    found = figures(TUNED).estimates(range(4), range(4))

    for name in NAMES:
        assert found[name].value == pytest.approx(shown.compute()[name].item(), rel=1e-6), name


def test_the_loss_is_that_of_the_runs_own_objective() -> None:
    # Log-ratios differ by 3, 0, -2 and 0; IPO pulls to 1 / (2 beta) = 1. Chosen answers have 10
    # tokens each and log-probs of -26 together.
    ipo = replace(TUNED, objective=Objective(0.5, 0.0, "ipo", 0.2))

    found = figures(ipo).estimates(range(4), range(4))

    assert found["loss"].value == pytest.approx((4 + 1 + 9 + 1) / 4 + 0.2 * 26 / 10 / 4)


def test_the_base_is_its_own_reference_and_has_no_rewards() -> None:
    found = figures(BASE).estimates(range(4), range(4))

    assert not [name for name in found if name.startswith(("rewards", "loss", "logratios"))]
    assert found[LIKELIER].value == 0.625
    assert displacement_of(figures(BASE), range(4)) is None


def test_a_group_without_answers_of_like_length_has_no_such_figure() -> None:
    found = figures(TUNED).estimates(range(4), [2, 3])

    assert ACCURACY_LIKE_LENGTH not in found
    assert found[ACCURACY].value == 0.25


@pytest.mark.parametrize(
    ("chosen", "rejected", "verdict"),
    [
        (2.0, -3.0, "chosen answers became likelier and rejected ones less likely"),
        (2.0, 0.0, "chosen answers became likelier, rejected ones did not clearly move: 2.00 [1."),
        (2.0, 1.0, "chosen answers became likelier, and rejected ones, too:"),
        (-2.0, -6.0, "chosen answers became less likely, too (displacement)"),
        (-2.0, 0.0, "chosen answers became less likely, rejected ones did not clearly move"),
        (-2.0, 3.0, "chosen answers became less likely and rejected ones likelier, the wrong way"),
        (0.0, -6.0, "only rejected answers clearly moved, they became less likely"),
        (0.0, 6.0, "only rejected answers clearly moved, they became likelier"),
        (0.0, 0.0, "neither clearly became likelier or less likely"),
        # Most pairs went down, and the interval holds 0.
        (-0.1, 0.0, "neither clearly became likelier or less likely: -0.100 [-0."),
    ],
)
def test_it_is_said_whether_chosen_answers_became_likelier_or_only_rejected_ones_less(
    chosen: float, rejected: float, verdict: str
) -> None:
    noise = torch.linspace(-1, 1, 20).double()[:, None]
    change = torch.tensor([[chosen, rejected]]).double() + noise
    reference = torch.full((20, 2), -10.0).double()
    model = PairFigures(TUNED, reference + change, reference, np.full((20, 2), 5))

    found = displacement_of(model, range(20))

    assert found is not None
    assert found.verdict.startswith(verdict)
    shares = (found.both_up, found.chosen_up_only, found.rejected_up_only, found.neither_up)
    assert sum(shares) == pytest.approx(1)
    assert found.chosen_up_only == pytest.approx(
        np.mean((change[:, 0] > 0).numpy() & (change[:, 1] <= 0).numpy())
    )


def measured(right: int, reading: dict[str, RulePreferences], *, per_group: int = 1) -> list[Group]:
    """Groups of 60 pairs of two splits, of which a model prefers so many as it should."""
    change = np.where(np.arange(60) < right, 1.0, -1.0)
    reference = torch.full((60, 2), -10.0).double()
    logps = reference + torch.tensor(np.stack([change, np.zeros(60)], axis=1))
    model = PairFigures(TUNED, logps, reference, np.full((60, 2), 5))
    pairs = pairs_of(clean_records(60))
    cases = [Case(x, {"split": "seen" if i % 2 else "new"}, None) for i, x in enumerate(pairs)]
    ids = [i // per_group for i in range(60)]
    return measure_groups(cases, ids, [model], {"shorter, words": np.zeros(60)}, reading)


def prefers(right: int) -> RulePreferences:
    """Be right in the last so many of 60 pairs."""
    return np.where(np.arange(60) >= 60 - right, 0.5, -0.5)


def test_a_model_stands_beside_rules_that_read_the_question_pair_by_pair() -> None:
    whole, *parts = measured(48, {NEAREST: prefers(30), BILINEAR: prefers(36)})

    assert [x.rule for x in whole.question_rules] == [BILINEAR, NEAREST]
    assert [x.rule for x in whole.rules] == ["shorter, words"]
    difference = whole.beyond["tuned"][BILINEAR]
    assert difference.value == pytest.approx((48 - 36) / 60)
    # The model is right in the first 48, the rule in the last 36.
    by_pair = (np.arange(60) < 48).astype(float) - (np.arange(60) >= 24)
    assert difference == estimate_mean(by_pair, range(60))
    assert whole.beyond_best("tuned") == difference
    assert [part.value for part in parts] == ["new", "seen"]
    assert all(set(part.beyond["tuned"]) == {NEAREST, BILINEAR} for part in parts)


def test_pairs_that_depend_on_each_other_make_the_difference_less_sure() -> None:
    alone, together = (
        measured(48, {BILINEAR: prefers(36)}, per_group=n)[0].beyond["tuned"][BILINEAR]
        for n in (1, 6)
    )

    assert alone.value == together.value
    assert alone.low is not None
    assert together.low is not None
    assert together.low < alone.low


@pytest.mark.parametrize(
    ("right", "says"),
    [
        (58, "beyond what a bag of words learns: +"),
        (31, "not shown to be beyond what a bag of words learns: +1.7 points"),
        (8, "less than what a bag of words learns: -"),
    ],
)
def test_it_is_said_whether_a_model_learned_more_than_a_bag_of_words(right: int, says: str) -> None:
    whole, *_ = measured(right, {BILINEAR: prefers(30)})

    (text,) = beyond_sentence(whole, "tuned")

    assert text.startswith(says)
    assert text.endswith("against question x answer words (0.500)")


def test_without_such_rules_nothing_is_said_of_them() -> None:
    whole, *_ = measured(30, {})

    assert list(beyond_sentence(whole, "tuned")) == []
    assert whole.beyond_best("tuned") is None
