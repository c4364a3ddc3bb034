"""A run's folder: where it is, what is logged there, which checkpoint `last` and `best` mean."""

import logging
import os
from dataclasses import dataclass
from netrc import netrc
from pathlib import Path
from typing import Literal

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from fitbot.errors import AdapterError, ConfigError

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"


@dataclass
class RunSettings:
    """Where a run keeps what it writes, and where its metrics go.

    Args:
        name: Name of the run and of its folder; a second run of the name gets a number.
        root: Folder that holds the runs.
        save_every_n_steps: Optimizer steps between two writings of last.ckpt.
        wandb_project: Weights & Biases project to log to as well; null for none.
        tensorboard: Log to TensorBoard as well (needs `pip install 'fitbot[tensorboard]'`).
        log_level: How much is said on the terminal and in the log file.
    """

    name: str = "fitbot"
    root: str = "checkpoints"
    save_every_n_steps: int = 200
    wandb_project: str | None = None
    tensorboard: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def new_run_folder(run: RunSettings) -> Path:
    """Make the next free folder of the run's name: name, name-2, name-3 …"""
    number = 1
    while True:
        folder = Path(run.root) / (run.name if number == 1 else f"{run.name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1


def resolve_checkpoint(run: RunSettings, ckpt_path: str | None) -> Path | None:
    """Turn --ckpt_path into a file.

    Args:
        run: Whose checkpoints `last` and `best` are: those of the latest run of the name.
        ckpt_path: A file, `last`, `best` or None.

    Returns:
        The checkpoint; None if none was asked for, or `last` of a run that has none yet, so that
        the same command starts and resumes a job that may be cut off at any time.

    Raises:
        AdapterError: There is no such file.
    """
    if ckpt_path is None:
        return None
    if ckpt_path in ("last", "best"):
        files = [*Path(run.root).glob(f"{run.name}*/{ckpt_path}.ckpt")]
        own = [file for file in files if _is_run_of(file.parent, run)]
        if own:
            return max(own, key=lambda file: file.stat().st_mtime)
        if ckpt_path == "last":
            return None
        raise AdapterError(f"--ckpt_path best: no run {run.name!r} in {run.root} has a best.ckpt")
    if not Path(ckpt_path).is_file():
        raise AdapterError(f"--ckpt_path {ckpt_path}: no such file; give a .ckpt, last or best")
    return Path(ckpt_path)


def folder_of(checkpoint: Path) -> Path | None:
    """Return the run folder that a checkpoint lies in; None if it lies elsewhere."""
    return checkpoint.parent if (checkpoint.parent / CONFIG_FILE).is_file() else None


def run_loggers(folder: Path, run: RunSettings) -> list[Logger]:
    """CSV always; wandb and TensorBoard as the settings say.

    A resumed run gets another CSV version: the logger empties a folder that it finds.
    """
    loggers: list[Logger] = [CSVLogger(folder, name="metrics")]
    if run.wandb_project:
        _never_ask_for_a_key()
        loggers.append(WandbLogger(project=run.wandb_project, name=run.name, save_dir=folder))
    if run.tensorboard:
        try:
            loggers.append(TensorBoardLogger(folder, name="tensorboard"))
        except ModuleNotFoundError as error:
            raise ConfigError(
                "run.tensorboard is true, but TensorBoard is not installed; run "
                "pip install 'fitbot[tensorboard]', or set it to false"
            ) from error
    return loggers


def run_checkpoints(folder: Path, run: RunSettings, *, validates: bool) -> list[ModelCheckpoint]:
    """Write last.ckpt every so many steps, and best.ckpt whenever validation loss is lowest."""
    last = ModelCheckpoint(
        folder, "last", every_n_train_steps=run.save_every_n_steps, enable_version_counter=False
    )
    best = ModelCheckpoint(folder, "best", monitor="val/loss", enable_version_counter=False)
    return [last, best] if validates else [last]


def start_logging(level: str, log_file: Path | None) -> None:
    """Say things on the terminal and, in full, in the run's log file."""
    # A tip for another product, printed at every start.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    ours = logging.getLogger("fitbot")
    ours.setLevel(level)
    ours.propagate = False
    for handler in ours.handlers[:]:
        ours.removeHandler(handler)
        handler.close()
    terminal = logging.StreamHandler()
    terminal.setFormatter(logging.Formatter("%(message)s"))
    ours.addHandler(terminal)
    if log_file is not None:
        file = logging.FileHandler(log_file, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        ours.addHandler(file)


def _is_run_of(folder: Path, run: RunSettings) -> bool:
    number = folder.name.removeprefix(run.name)
    return number == "" or (number.startswith("-") and number[1:].isdigit())


def _never_ask_for_a_key() -> None:
    """Log offline when there is no key: wandb would otherwise stop the run to ask for one."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE"):
        return
    file = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    if file.is_file() and netrc(file).authenticators("api.wandb.ai"):
        return
    os.environ["WANDB_MODE"] = "offline"
    logger.info("wandb: no key found, logging offline; `wandb sync` uploads the run later")
