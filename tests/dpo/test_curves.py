"""What a run has logged, read back: one file, or several after it was resumed."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from fitbot.dpo.losses import Objective
from fitbot.dpo.report import draw_curves, read_metrics


def write(folder: Path, version: int, text: str) -> None:
    path = folder / "metrics" / f"version_{version}" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")


def test_a_resumed_run_replaces_what_the_first_part_logged_after_its_checkpoint(
    tmp_path: Path,
) -> None:
    # cut off after step 150, resumed from step 100; part 10 comes after part 2
    write(tmp_path, 0, "step,train/loss,val/loss\n1,0.7,\n100,0.5,\n100,,0.6\n150,0.4,\n")
    write(tmp_path, 2, "step,train/loss,val/loss\n150,0.45,\n200,0.3,\n200,,0.5\n")
    write(tmp_path, 10, "step,train/loss,val/loss\n250,0.2,\n")

    curves = read_metrics(tmp_path)

    assert curves == {
        "train/loss": [(1, 0.7), (100, 0.5), (150, 0.45), (200, 0.3), (250, 0.2)],
        "val/loss": [(100, 0.6), (200, 0.5)],
    }


def test_a_finished_run_that_is_only_measured_again_keeps_its_last_step(tmp_path: Path) -> None:
    write(tmp_path, 0, "step,train/loss,val/loss\n1,0.7,\n40,0.5,\n40,,0.6\n")
    write(tmp_path, 1, "step,val/loss\n40,0.6\n")

    assert read_metrics(tmp_path)["train/loss"] == [(1, 0.7), (40, 0.5)]


def test_a_row_cut_off_by_a_kill_and_a_file_without_rows_take_nothing_away(tmp_path: Path) -> None:
    write(tmp_path, 0, "epoch,step,train/loss\n0.1,1,0.7\n0.2,2,0.6\n0.3,3")
    write(tmp_path, 1, "epoch,step,train/loss\n")

    assert read_metrics(tmp_path)["train/loss"] == [(1, 0.7), (2, 0.6)]


@pytest.mark.parametrize(
    ("objective", "axis", "level"),
    [
        (Objective(0.1, 0.0, "sigmoid", 0.0), "loss (nats)", math.log(2)),
        (Objective(0.1, 0.2, "sigmoid", 0.0), "loss (nats)", math.log(2)),
        (Objective(0.1, 0.0, "ipo", 0.0), "loss (nats²)", 25.0),
        (Objective(0.1, 0.0, "sigmoid", 0.1), "loss (nats)", None),
        (Objective(0.1, 0.0, "mine.hinge", 0.0, lambda *_, **__: torch.zeros(1)), "loss", None),
    ],
)
def test_curves_have_a_line_where_a_model_lies_that_learned_nothing_if_that_is_known(
    objective: Objective,
    axis: str,
    level: float | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: Any, **kwargs: Any) -> None:
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    curves = {"train/loss": [(1, 0.7), (2, 0.5)], "train/rewards/margins": [(1, 0.0), (2, 1.0)]}

    draw_curves(curves, tmp_path / "curves.png", title="run", objective=objective)

    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    loss, accuracy, margin, change = figures[0].axes
    assert loss.get_ylabel() == axis
    lines = [
        [line.get_data()[1] for line in axes.lines if line.get_linestyle() == ":"]
        for axes in (loss, accuracy, margin, change)
    ]
    assert lines == [
        [] if level is None else [pytest.approx([level] * 2)],
        [[0.5] * 2],
        [[0.0] * 2],
        [[0.0] * 2],
    ]
