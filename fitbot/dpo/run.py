"""A run's folder: where it is, what is logged there, which checkpoint `last` and `best` mean."""

import errno
import itertools
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
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from fitbot.base_model.checkpoint_file import (
    is_of_fitbot,
    is_whole,
    save_with_checksum,
    whole_one_beside,
)
from fitbot.base_model.settings import check_ranges
from fitbot.dpo.run_name import CONFIG_FILE, LOCK_FILE, check_name, folders_of, name_of
from fitbot.errors import AdapterError, ConfigError
from fitbot.platforms import written_whole
from fitbot.report.progress import AboveTheBar

logger = logging.getLogger(__name__)

_LOGS = ("metrics", "wandb", "tensorboard")  # folders of loggers
# The run folder of all processes but the first, which alone writes: it is never made.
NOWHERE = Path("/nonexistent")
_KEPT = 10_000  # log lines before a run has a file for them
_WANDB_PROJECT = re.compile(r"([^/\\#?%:]+/)?[^/\\#?%:]{1,128}")


@dataclass
class RunSettings:
    """Where a run keeps what it writes, and where its metrics go.

    Args:
        name: Name of the run and of its folder; team/exp1 lies in a folder team. A second run of
            the name gets a number.
        root: Folder that holds the runs.
        save_every_n_steps: Optimizer steps between two writings of last.ckpt.
        wandb_project: Also log to this wandb project, or entity/project; null for none.
        tensorboard: Log to TensorBoard as well (needs `pip install 'fitbot[tensorboard]'`).
        log_level: How much is said on the terminal and in the log file.
        stop_when_saturated: End the fit where the pairs have nothing left to teach.
        sample_every_n_steps: Optimizer steps between answers to a few fixed questions, into
            samples.txt and to the loggers; null for never.

    Raises:
        ConfigError: A number is out of range, or a name is one that no folder or wandb takes.
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
        """Check the name and the numbers."""
        check_name(self.name)
        counts = ("save_every_n_steps", "sample_every_n_steps")
        check_ranges("run", vars(self), dict.fromkeys(counts, ">= 1"))
        if self.wandb_project and not _WANDB_PROJECT.fullmatch(self.wandb_project):
            raise ConfigError(
                f"run.wandb_project {self.wandb_project!r}: must be project or entity/project, "
                "with at most 128 characters and none of \\ # ? % :"
            )


def new_run_folder(run: RunSettings) -> Path:
    """Make the next free folder of the run's name: name, name-2, name-3 …

    Raises:
        ConfigError: It cannot be made, or would lie in the folder of another run.
    """
    root = Path(run.root)
    first = root / run.name
    for parent in _up_to(root, first)[1:-1]:
        if name_of(parent) is not None:
            raise ConfigError(f"run.name {run.name}: {parent} is a run itself; take another name")
    try:
        first.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
            with suppress(FileExistsError):
                folder.mkdir()
                break
    except OSError as error:
        what = "a file or a dead link is there" if error.errno == errno.EEXIST else error.strerror
        raise ConfigError(
            f"run.root {root}: {first} cannot be made: {what}; name another"
        ) from error
    return folder


def _up_to(root: Path, folder: Path) -> list[Path]:
    """List a folder and those around it, as far as the root."""
    return [path for path in (folder, *folder.parents) if path.is_relative_to(root)]


def remove_if_refused(folder: Path, root: Path) -> None:
    """Remove the folder of a run that was refused before it began, and its root if it is empty."""
    if not (folder / CONFIG_FILE).exists():
        if (folder / "wandb").exists():  # or the run that wandb has open is not this one
            import wandb

            wandb.finish(exit_code=1)
        for logs in _LOGS:
            shutil.rmtree(folder / logs, ignore_errors=True)
        (folder / LOCK_FILE).unlink(missing_ok=True)
    for path in [*sorted(folder.rglob("*"), reverse=True), *_up_to(root, folder)]:
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
        AdapterError: There is no such file, or it is damaged, or not fitbot's.
        ConfigError: The runs of the name cannot be told from others.
    """
    if ckpt_path is None:
        return None
    path = Path(ckpt_path)
    if ckpt_path in ("last", "best"):
        files = [folder / f"{ckpt_path}.ckpt" for folder in folders_of(Path(run.root), run.name)]
        own = [file for file in files if file.is_file()]
        if not own and ckpt_path == "last":
            return None
        if not own:
            raise AdapterError(
                f"--ckpt_path best: no run {run.name!r} in {run.root} has a best.ckpt"
            )
        path = max(own, key=lambda file: file.stat().st_mtime)
    if not path.is_file():
        raise AdapterError(f"--ckpt_path {ckpt_path}: no such file; give a .ckpt, last or best")
    if not is_whole(path):
        other = whole_one_beside(path)
        instead = f"go on from {other.name}: --ckpt_path {other}" if other else "start a new run"
        raise AdapterError(
            f"{path} is damaged, or no checkpoint: its checksum does not fit; {instead}"
        )
    if not is_of_fitbot(path):
        raise AdapterError(f"{path} is not a checkpoint of fitbot; give one that a fit has written")
    return path


def folder_of(checkpoint: Path, run: RunSettings) -> Path | None:
    """Return the folder of this run that a checkpoint lies in; None if it lies elsewhere."""
    return checkpoint.parent if name_of(checkpoint.parent) == run.name else None


def run_loggers(folder: Path, run: RunSettings) -> list[Logger]:
    """CSV always; wandb and TensorBoard as the settings say.

    A resumed run gets another CSV version: the logger empties a folder that it finds. Every row is
    in the file at once, for a process that is killed.
    """
    loggers: list[Logger] = [CSVLogger(folder, name="metrics", flush_logs_every_n_steps=1)]
    if run.wandb_project:
        _never_ask_for_a_key()
        import wandb

        silent = wandb.Settings(silent=True)
        wandb.setup(silent)  # or it warns of a setting that Lightning makes
        entity, _, project = run.wandb_project.rpartition("/")
        loggers.append(
            WandbLogger(
                project=project,
                entity=entity or None,
                name=run.name,
                save_dir=folder,
                settings=silent,
            )
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
            for partial in self.folder.glob("*.partial"):  # of a process that was killed
                partial.unlink()
            with written_whole(self.folder / CONFIG_FILE) as file:
                file.write(self.settings.encode())
            _write_log(self.folder / "fit.log")
        self._has_begun = True


class _InOneStep(TorchCheckpointIO):
    """Puts a checkpoint in the old one's place once it is whole.

    Lightning copies it from /tmp, which may be another disk: a process that dies meanwhile would
    leave half a checkpoint and no whole one.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with written_whole(Path(path)) as file:
            save_with_checksum(checkpoint, file)


class LastCheckpoint(Checkpoint):
    """Writes last.ckpt every so many optimizer steps, after the last one and after validations.

    Not when training ends: by then Lightning has counted an epoch that a limit of steps cut short
    as complete, and a run resumed from there would skip the rest of it. Nor before a validation: a
    run resumed from there would skip that.

    A `Checkpoint` comes after all other callbacks, whose state it saves; give it after
    `best_checkpoint`, or a resumed run would not know the latest best loss.
    """

    def __init__(self, folder: Path, every_n_steps: int):
        self.path, self.every_n_steps = folder / "last.ckpt", every_n_steps

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Have all checkpoints of this trainer written in one step."""
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = _InOneStep()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        step = trainer.global_step
        is_last = step == trainer.estimated_stepping_batches or trainer.should_stop
        if (step % self.every_n_steps == 0 or is_last) and not _validates_next(trainer):
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.path, weights_only=False)


def _validates_next(trainer: Trainer) -> bool:
    """Say whether a validation follows this step; not where the clock decides, of each process."""
    loop = trainer.fit_loop
    if trainer.val_check_batch is None or not sum(trainer.num_val_batches):
        return False
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)  # type: ignore[arg-type]


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


def log_traceback(folder: Path | None, error: Exception) -> None:
    """Write into a run's log, once it has begun, where in the code an error was raised."""
    if folder is None:  # a log that is open now is that of the run before
        return
    raised = (type(error), error, error.__traceback__)
    for file in logging.getLogger("fitbot").handlers:
        if isinstance(file, _LogFile):
            text = "this ended the run:"
            file.handle(logger.makeRecord(__name__, logging.ERROR, "", 0, text, (), raised))


class _LogFile(logging.FileHandler):
    """A log file that is no reason to stop where it cannot be written any more."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: Python's own answer is a traceback on the terminal for every line."""

    def close(self) -> None:
        """Close; what could not be written is lost."""
        with suppress(OSError):
            super().close()


def _write_log(path: Path) -> None:
    """Write what was kept, and what follows, to a file."""
    ours = logging.getLogger("fitbot")
    file = _LogFile(path, encoding="utf-8")
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
    # A run that goes on from another run's checkpoint chooses a best.ckpt of its own.
    warnings.filterwarnings("ignore", r"The dirpath has changed")
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
