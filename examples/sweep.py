"""Fit with several settings, one after the other, and list the runs, the best first.

    python examples/sweep.py

`fitbot ray tune` does the same on several GPUs or machines, and draws settings by itself.
"""

import argparse
import itertools
from pathlib import Path

import fitbot

SETTINGS = {"model.beta": [0.1, 0.3], "model.learning_rate": [1e-4, 4e-4]}


def main() -> None:
    """Fit once for every combination."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=1600, help="to train on")
    parser.add_argument("--out", type=Path, default=Path("checkpoints/sweep"), help="folder")
    options = parser.parse_args()
    found = []
    for values in itertools.product(*SETTINGS.values()):
        settings = dict(zip(SETTINGS, values, strict=True))
        run = fitbot.fit(
            "quickstart",
            {
                **settings,
                "data.train_limit": options.pairs,
                "data.val_limit": 200,
                "run.root": options.out,
                "run.sample_every_n_steps": None,
                "model.reference_cache": options.out / "reference",  # all runs share it
            },
        )
        found.append((run.summary["val_accuracy"], run.folder, settings))
    for accuracy, folder, settings in sorted(found, key=lambda one: one[0], reverse=True):
        print(f"{accuracy:.3f}  {settings}  {folder}")


if __name__ == "__main__":
    main()
