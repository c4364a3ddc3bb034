"""Margins of pairs, and calibration, against cases worked out by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fitbot.dpo.losses import Objective
from fitbot.dpo.metrics import NAMES, pair_figures
from fitbot.errors import ConfigError
from fitbot.evaluation.cases import Case, load_cases
from fitbot.evaluation.margins.margins import Margins, Subject, best_and_worst, calibration_bins
from fitbot.evaluation.margins.plots import (
    plot_by_label,
    plot_calibration,
    plot_distribution,
    plot_length_difference,
    plot_training,
)
from fitbot.pairs.chat import EncodedPair
from fitbot.pairs.formats import Message, PreferencePair
from tests.conftest import SYSTEM
from tests.evaluation.exported import records, write_adapter


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def made_up(values: list[float], labels: dict[str, str] | None = None) -> Margins:
    """Margins without a model: the chosen answer of pair n has n tokens more than the other."""
    cases = [
        Case(
            PreferencePair((Message("user", f"Question {n}?"),), f"yes {n}", f"no {n}", n),
            labels or {},
            None,
        )
        for n in range(len(values))
    ]
    encoded = [EncodedPair([1], [2] * (n + 1), [2], 0, 0, 0, n) for n in range(len(values))]
    column = np.array(values)
    return Margins(cases, encoded, column, np.zeros_like(column), column)


def test_bins_by_hand() -> None:
    # Of the confidences 0.55, 0.55, 0.65, 0.95 and 0.95 the second and the fourth are of a
    # preference for the rejected answer.
    values = np.array([logit(p) for p in (0.55, 0.45, 0.65, 0.05, 0.95)])

    found = calibration_bins(values, range(5), bins=5)

    assert [(one.low, one.high) for one in found] == [
        pytest.approx(ends) for ends in ((0.5, 0.6), (0.6, 0.7), (0.9, 1.0))
    ]
    assert [one.pairs for one in found] == [2, 1, 2]
    assert [one.confidence for one in found] == pytest.approx([0.55, 0.65, 0.95])
    assert [one.right.value for one in found] == [0.5, 1.0, 0.5]
    assert all(one.right.low is not None for one in found)


def test_a_margin_of_0_is_half_sure_and_half_right_and_an_endless_one_is_in_the_last_bin() -> None:
    none, endless = calibration_bins(np.array([0.0, 1000.0]), range(2), bins=2)

    assert (none.low, none.confidence, none.right.value) == (0.5, 0.5, 0.5)
    assert (endless.high, endless.confidence, endless.right.value) == (1.0, 1.0, 1.0)


def test_pairs_that_hang_together_make_an_interval_wider() -> None:
    values = np.array([1.0, 1.0, -1.0, -1.0] * 5)

    apart = calibration_bins(values, range(20), bins=1)[0].right
    together = calibration_bins(values, [n // 2 for n in range(20)], bins=1)[0].right

    assert apart.low is not None
    assert together.low is not None
    assert together.low < apart.low


def test_less_than_one_bin_is_refused() -> None:
    with pytest.raises(ConfigError, match="bins must be at least 1, got 0"):
        calibration_bins(np.array([1.0]), [0], bins=0)


def test_extremes_are_the_largest_and_the_smallest_and_share_no_pair() -> None:
    values = np.array([0.5, -2.0, 3.0, 1.0, -1.0])

    assert best_and_worst(values, 2) == ([2, 3], [1, 4])
    assert best_and_worst(values, 9) == ([2, 3], [1, 4])
    assert best_and_worst(values[:1], 4) == ([], [])


@pytest.fixture(scope="module")
def subject(base: str, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return Subject(write_adapter(tmp_path_factory.mktemp("run"), base))


@pytest.fixture(scope="module")
def found(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Margins:
    file = tmp_path_factory.mktemp("pairs") / "pairs.json"
    file.write_text(json.dumps(records()), encoding="utf-8")
    return subject.margins(load_cases(str(file)))


def test_margins_are_those_of_the_objective(subject: Subject, found: Margins) -> None:
    logps, reference = subject.scorer.logps(found.encoded)
    terms = Objective(beta=subject.objective.beta).terms(logps, reference)
    expected = dict(zip(NAMES, pair_figures(terms, logps).tolist(), strict=True))

    assert found.values.tolist() == expected["rewards/margins"]
    assert found.chosen.tolist() == expected["rewards/chosen"]
    assert found.rejected.tolist() == expected["rewards/rejected"]
    assert found.accuracy.value == np.mean(expected["rewards/accuracies"])
    assert subject.lineup.system_prompt == SYSTEM


def test_length_differences_count_scored_tokens() -> None:
    assert made_up([1.0, 2.0, 3.0]).length_differences.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "margins",
    [
        made_up([0.5, -1.5, 3.0, 0.0]),
        made_up([0.0]),
        made_up([2.0, 2.0], {"category": "<b>$x$ $", "split": "$\\frac"}),
    ],
    ids=["plain", "one pair that says nothing", "odd labels"],
)
def test_every_plot_is_a_picture_whatever_the_margins(margins: Margins, tmp_path: Path) -> None:
    pictures = [
        plot_distribution(margins),
        plot_training(tmp_path),
        plot_by_label(margins, "category"),
        plot_by_label(margins, "split"),
        plot_length_difference(margins),
        plot_calibration(calibration_bins(margins.values, margins.groups)),
    ]

    assert all(picture._repr_png_().startswith(b"\x89PNG") for picture in pictures)
    assert all(repr(picture) for picture in pictures)


def test_training_is_found_from_the_run_and_from_its_adapter(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "metrics" / "version_0"
    folder.mkdir(parents=True)
    head = "step,train/rewards/margins,val/rewards/margins\n"
    (folder / "metrics.csv").write_text(f"{head}1,0.0,\n5,1.0,\n5,,0.5\n", encoding="utf-8")

    by_run = plot_training(tmp_path / "run")
    by_adapter = plot_training(tmp_path / "run" / "adapter")

    assert by_run.png == by_adapter.png
    assert by_run.png != plot_training(tmp_path).png
