"""What a run has logged, read back: one file, or several after it was resumed."""

from pathlib import Path

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


def test_curves_are_drawn_with_and_without_validation(tmp_path: Path) -> None:
    curves = {"train/loss": [(1, 0.7), (2, 0.5)], "train/rewards/margins": [(1, 0.0), (2, 1.0)]}

    draw_curves(curves, tmp_path / "curves.png", title="run")

    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
