"""A run's metrics.csv files → one picture of loss, accuracy and margin, train and validation."""

import csv
from pathlib import Path

# A row of a curve: optimizer step, value.
Curve = list[tuple[int, float]]

_PANELS = (
    ("loss", "loss (nats)"),
    ("rewards/accuracies", "reward accuracy"),
    ("rewards/margins", "reward margin"),
)


def read_metrics(folder: Path) -> dict[str, Curve]:
    """Read everything a run has logged, its resumed parts included.

    A run that was resumed from step n wrote another file from there on; what the file before it
    says of later steps was undone by resuming.

    Args:
        folder: The run's folder.

    Returns:
        For every metric its values by step, ascending.
    """
    curves: dict[str, dict[int, float]] = {}
    files = (folder / "metrics").glob("version_*/metrics.csv")
    for file in sorted(files, key=lambda path: int(path.parent.name.removeprefix("version_"))):
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        first = min((int(row["step"]) for row in rows), default=0)
        for curve in curves.values():
            for step in [step for step in curve if step >= first]:
                del curve[step]
        for row in rows:
            for name, text in row.items():
                if text and name != "step":
                    curves.setdefault(name, {})[int(row["step"])] = float(text)
    return {name: sorted(curve.items()) for name, curve in curves.items()}


def draw_curves(curves: dict[str, Curve], path: Path, *, title: str) -> None:
    """Draw loss, reward accuracy and margin of train and validation over the steps, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    figure.suptitle(title)
    for axes, (name, label) in zip(figure.subplots(1, 3), _PANELS, strict=True):
        for stage, style in (("train", "-"), ("val", "o-")):
            curve = curves.get(f"{stage}/{name}", [])
            if curve:
                axes.plot(*zip(*curve, strict=True), style, label=stage, markersize=5)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
        if name == "rewards/accuracies":
            axes.set_ylim(-0.03, 1.03)
    figure.savefig(path, dpi=120)
