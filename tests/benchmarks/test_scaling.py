"""The formula of docs/explanation/scaling.md: its arithmetic, its fit, the document's tables."""

import sys

import numpy as np
import pytest

from tests.conftest import ROOT, make_policy

sys.path.append(str(ROOT / "benchmarks"))
import cost
import scaling
from work import Lengths, Shape, lengths_of, shape_of, work_of

from fitbot.pairs.chat import EncodedPair

SHAPE = Shape(8, 12, 2, 4, 2, 3, 100, tied=True)


def test_the_documents_tables_are_those_of_the_raw_results() -> None:
    text = cost.DOCUMENT.read_text(encoding="utf-8")

    assert cost.fill(text, cost.tables()) == text, "python benchmarks/cost.py --write"


def test_what_was_held_out_is_as_near_as_the_document_says() -> None:
    points = cost.read_points("H200")
    fitted = cost.fitted("H200", points)
    others = [p for p in points if p not in fitted]
    assert {p.processes for p in others} == {1, 2, 4}
    assert {p.size for p in fitted}.isdisjoint(p.size for p in others if p.is_synthetic)
    assert len(others) >= 10

    seconds = cost.fit_time(fitted)

    assert max(p.seconds for p in others) > 3 * max(p.seconds for p in fitted)
    assert all(cost.predicted(p, seconds) == pytest.approx(p.seconds, rel=0.1) for p in others)


def test_another_gpus_steps_follow_from_data_sheets() -> None:
    measured = {machine: cost.read_points(machine) for machine in ("H200", "H100")}

    seconds = cost.time_constants("H100", measured)

    full = [p for p in measured["H100"] if p.pairs / p.processes >= 8]
    assert {p.processes for p in full} == {1, 2, 4}
    assert all(cost.predicted(p, seconds) == pytest.approx(p.seconds, rel=0.1) for p in full)


def test_arithmetic_is_counted_as_by_hand() -> None:
    pair = EncodedPair([1] * 3, [1] * 2, [1] * 4, 0, 0, 0, 0)
    lengths = lengths_of([pair, pair])
    # Prompt 1 + 2 + 3 keys, chosen 4 + 5, rejected 4 + 5 + 6 + 7.
    assert lengths == Lengths(18, 12, 2 * (6 + 9 + 22))

    work = work_of(SHAPE, lengths, rank=2)

    weights = 2 * (8 * 12 + 2 * 8 * 6 + 12 * 8 + 3 * 8 * 12)
    assert SHAPE.layer_weights == weights
    assert work.products == 4 * 18 * weights
    assert work.head == 4 * 12 * 8 * 100
    assert work.attention == 12 * 74 * 12 * 2
    assert SHAPE._replace(tied=False).weights - SHAPE.weights == 800


def test_shapes_are_those_of_real_models(base: str) -> None:
    policy = make_policy(base)
    shape = shape_of(policy.network.config)

    frozen = sum(
        p.numel() for n, p in policy.network.named_parameters() if p.ndim == 2 and "lora" not in n
    )
    assert shape.weights == frozen
    rank = policy.network.peft_config["default"].r
    assert shape.adapter_weights(rank) == policy.adapter.numel()
    billions = {size: shape.weights / 1e9 for size, shape in scaling.SIZES.items()}
    for size, named in (("0.6b", 0.6), ("1.7b", 1.7), ("8b", 8.2), ("32b", 32.8), ("70b", 70.6)):
        assert billions[size] == pytest.approx(named, rel=0.02), size


def test_the_fit_finds_constants_that_points_were_made_with() -> None:
    true = np.array([1e-4, 2e-12, 9e-12, 1e-11])
    lengths = (Lengths(134, 52, 8e3), Lengths(1034, 602, 4e5))
    points = [
        cost.Point("file", "0.6b", "1x1x1", pairs, 1, shape, pair, 1, 0.0, None)
        for pairs in (2, 8, 32)
        for pair in lengths
        for shape in (scaling.SIZES["0.6b"], scaling.SIZES["1.7b"])
    ]
    points = [p._replace(seconds=float(p.terms() @ true)) for p in points]

    assert cost.fit_time(points) == pytest.approx(true, rel=1e-3)


def test_steps_are_averaged_without_what_is_no_step() -> None:
    steps = [900.0, 10, 10, 10, 10, 500, 10, 10, 12, 10, 700]  # of the second step and so on

    assert scaling.usual(steps, apart=[7, 12]) == 10.333
    assert cost.duration(0.4) == "0 s"
    assert cost.duration(7200) == "2 h"
