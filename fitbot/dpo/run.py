"""A run's folder: where it is, what is logged there, which checkpoint `last` and `best` mean."""

import logging
import logging.handlers
import os
import re
import shutil
import warnings
from contextlib import suppress
from dataclasses import dataclass
from netrc import netrc
from pathlib import Path
from typing import Any, Literal

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from fitbot.base_model.settings import check_ranges
from fitbot.errors import AdapterError, ConfigError
from fitbot.platforms import replace_file
from fitbot.report.progress import AboveTheBar

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
_LOGS = ("metrics", "wandb", "tensorboard")  # folders of loggers
# The run folder of all processes but the first, which alone writes: it is never made.
NOWHERE = Path("/nonexistent")
_KEPT = 10_000  # log lines before a run has a file for them


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
        stop_when_saturated: End the fit where the pairs have nothing left to teach.
        sample_every_n_steps: Optimizer steps between answers to a few fixed questions, into
            samples.txt and to the loggers; null for never.

    Raises:
        ConfigError: A number is out of range.
    """

    name: str = "fitbot"
    root: str = "checkpoints"
    save_every_n_steps: int = 200
    wandb_project: str | None = None
    tensorboard: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    stop_when_saturated: bool = False
    sample_every_n_steps: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        counts = ("save_every_n_steps", "sample_every_n_steps")
        check_ranges("run", vars(self), dict.fromkeys(counts, ">= 1"))


def new_run_folder(run: RunSettings) -> Path:
    """Make the next free folder of the run's name: name, name-2, name-3 …

    Raises:
        ConfigError: It cannot be made.
    """
    number = 1
    while True:
        folder = Path(run.root) / (run.name if number == 1 else f"{run.name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
        except OSError as error:
            raise ConfigError(
                f"run.root {run.root}: {folder} cannot be made: {error.strerror}; name another"
            ) from error


def remove_if_refused(folder: Path) -> None:
    """Remove the folder of a run that was refused before it began, and its root if it is empty."""
    if not (folder / CONFIG_FILE).exists():
        if (folder / "wandb").exists():  # or the run that wandb has open is not this one
            import wandb

            wandb.finish(exit_code=1)
        for logs in _LOGS:
            shutil.rmtree(folder / logs, ignore_errors=True)
    for path in [*sorted(folder.rglob("*"), reverse=True), folder, folder.parent]:
        with suppress(OSError):  # a file, or a folder with files
            path.rmdir()


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
        files = Path(run.root).glob(f"{run.name}*/{ckpt_path}.ckpt")
        names = re.compile(re.escape(run.name) + r"(-\d+)?")
        own = [file for file in files if names.fullmatch(file.parent.name)]
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
        import wandb

        silent = wandb.Settings(silent=True)
        wandb.setup(silent)  # or it warns of a setting that Lightning makes
        loggers.append(
            WandbLogger(project=run.wandb_project, name=run.name, save_dir=folder, settings=silent)
        )
    if run.tensorboard:
        try:
            loggers.append(TensorBoardLogger(folder, name="tensorboard"))
        except ModuleNotFoundError as error:
            raise ConfigError(
                "run.tensorboard is true, but TensorBoard is not installed; run "
                "pip install 'fitbot[tensorboard]', or set it to false"
            ) from error
    return loggers


class RunFolder(Callback):
    """Writes settings and log into the run's folder, once nothing can refuse the run any more.

    Args:
        folder: Of the run.
        settings: Content of config.yaml.
    """

    def __init__(self, folder: Path, settings: str):
        self.folder, self.settings = folder, settings
        self._has_begun = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a disk that has no room for the checkpoints."""
        if not trainer.is_global_zero:
            return
        trained = sum(weight.numel() for weight in pl_module.parameters() if weight.requires_grad)
        moment = 1 if pl_module.hparams["optimizer"] == "adamw_8bit" else 4  # bytes
        # last.ckpt and its successor, best.ckpt, and the exported adapter.
        needed = trained * (3 * (4 + 2 * moment) + 4)
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise ConfigError(
                f"run.root {self.folder.parent}: the run's checkpoints take {needed / 2**30:.2f} "
                f"GiB, and {free / 2**30:.2f} are free there; free some, or name another folder"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer)  # a run that was finished before has no training

    def _begin(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and not self._has_begun:
            (self.folder / CONFIG_FILE).write_text(self.settings, encoding="utf-8")
            _write_log(self.folder / "fit.log")
        self._has_begun = True


class LastCheckpoint(Callback):
    """Writes last.ckpt every so many optimizer steps, after the last one and after validations.

    Not when training ends: by then Lightning has counted an epoch that a limit of steps cut short
    as complete, and a run resumed from there would skip the rest of it.
    """

    def __init__(self, folder: Path, every_n_steps: int):
        self.path, self.every_n_steps = folder / "last.ckpt", every_n_steps

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        step = trainer.global_step
        is_last = step == trainer.estimated_stepping_batches or trainer.should_stop
        if step % self.every_n_steps == 0 or is_last:
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        # Lightning copies the file from /tmp, which may be another disk: a process that dies
        # meanwhile would leave half a checkpoint and no whole one.
        partial = self.path.with_suffix(".partial")
        trainer.save_checkpoint(partial, weights_only=False)
        if trainer.is_global_zero:
            replace_file(partial, self.path)


def best_checkpoint(folder: Path) -> ModelCheckpoint:
    """Write best.ckpt whenever validation loss is lowest."""
    return ModelCheckpoint(
        folder,
        "best",
        monitor="val/loss",
        # Not after an epoch: a limit of steps may cut it short, before it was validated.
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )


def start_logging(level: str, process: int = 0, *, keep: bool = False) -> None:
    """Say things on the terminal; processes but the first only what went wrong, and which they are.

    Args:
        level: How much is said.
        process: Number of this one.
        keep: Keep it for a log file, which `RunFolder` begins.
    """
    quieten()
    ours = logging.getLogger("fitbot")
    ours.setLevel(level)
    ours.propagate = False
    for handler in ours.handlers[:]:
        ours.removeHandler(handler)
        handler.close()
    terminal = AboveTheBar()
    terminal.setFormatter(logging.Formatter(f"process {process}: " * (process > 0) + "%(message)s"))
    if process > 0:
        terminal.setLevel(logging.WARNING)
    ours.addHandler(terminal)
    if keep:
        ours.addHandler(logging.handlers.MemoryHandler(_KEPT, flushOnClose=False))


def _write_log(path: Path) -> None:
    """Write what was kept, and what follows, to a file."""
    ours = logging.getLogger("fitbot")
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(_WithoutColours("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for kept in [one for one in ours.handlers if type(one) is logging.handlers.MemoryHandler]:
        kept.setTarget(file)
        kept.flush()
        ours.removeHandler(kept)
        kept.close()
    ours.addHandler(file)


class _WithoutColours(logging.Formatter):
    """Leaves terminal colours out of a log file."""

    def format(self, record: logging.LogRecord) -> str:
        return re.sub(r"\033\[[0-9;]*m", "", super().format(record))


def quieten() -> None:
    """Keep what does not concern the user off the terminal; each line with its reason."""
    # A tip for another product, and "weights_only was not set", which is Lightning's own call.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    # "Seed set to 42" is a setting like any other, and those stand in config.yaml.
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
    # bitsandbytes looks for an optional package of CPU kernels and works without it.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", r"Checkpoint directory .* exists and is not empty")  # ours
    warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated")  # Lightning's use of torch
    # Means over processes are the metrics' own, exact over pairs (dpo/metrics.py).
    warnings.filterwarnings("ignore", r".*sync_dist=True")
    # A run without validation pairs is a run without validation.
    warnings.filterwarnings("ignore", r"Total length of `list` across ranks is zero")
    # It is: the sampler starts where the step count says.
    warnings.filterwarnings("ignore", r".*your dataloader is not resumable")
    # A step that the loss scale skips is one of the schedule's, be it the first.
    warnings.filterwarnings("ignore", r"Detected call of .lr_scheduler\.step\(\). before")
    # It does: every pair once, in order.
    warnings.filterwarnings("ignore", r"You are using a custom batch sampler")
    # Log points are counted over the whole run, and its last step is one.
    warnings.filterwarnings("ignore", r".*is smaller than the logging interval")
    # They are a fit's; what measures its checkpoint does without.
    warnings.filterwarnings("ignore", r"Be aware that when using `ckpt_path`, callbacks")
    # Batches are made in memory in a millisecond; worker processes would slow them down.
    warnings.filterwarnings("ignore", r".*does not have many workers")


def _never_ask_for_a_key() -> None:
    """Log offline when there is no key: wandb would otherwise stop the run to ask for one."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE"):
        return
    named = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for file in (Path(name).expanduser() for name in named):  # the second one is Windows'
        if file.is_file() and netrc(file).authenticators("api.wandb.ai"):
            return
    os.environ["WANDB_MODE"] = "offline"
    logger.info("wandb: no key found, logging offline; `wandb sync` uploads the run later")
