"""Run `fitbot fit` with somebody watching: settings and a callback in, nothing out."""

import tempfile
from pathlib import Path
from typing import Any

import lightning

from fitbot.commands import fit as cli
from fitbot.dpo.callbacks import StepLog

ROOT = Path(__file__).parent.parent


def fit(config: str, settings: dict[str, Any], watch: lightning.Callback) -> None:
    """Train as the command does, in a folder that is gone afterwards, without validation.

    Args:
        config: File name in configs/.
        settings: Options of the command, without the dashes; they win over the config.
        watch: Lightning callback; it comes after fitbot's own.
    """
    build = cli.FitbotCLI.instantiate_trainer

    def watched(self: Any, **kwargs: Any) -> lightning.Trainer:
        trainer = build(self, **kwargs)
        trainer.callbacks.append(watch)
        return trainer

    cli.FitbotCLI.instantiate_trainer = watched  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        everything = {
            "run.root": folder,
            "run.wandb_project": "null",
            "run.save_every_n_steps": 1_000_000,
            "model.reference_cache": folder,
            "data.val_path": "null",
            "trainer.enable_progress_bar": "false",
            **settings,
        }
        options = [word for name, value in everything.items() for word in (f"--{name}", str(value))]
        cli.main(["fit", "--config", str(ROOT / "configs" / config), *options])
    cli.FitbotCLI.instantiate_trainer = build  # type: ignore[method-assign]


def last_log(trainer: lightning.Trainer) -> dict[str, float]:
    """Return what the latest log point said."""
    return next(c for c in trainer.callbacks if isinstance(c, StepLog)).last
