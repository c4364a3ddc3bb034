"""LightningCLI for fit, validate, test and predict: settings → run folder → trainer → summary."""

import json
import logging
import signal
import time
from argparse import ArgumentError
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger

from fitbot.base_model.embedded import absolute_base, absolute_path
from fitbot.base_model.gpu import is_out_of_memory, what_failed
from fitbot.base_model.loading import check_base_files
from fitbot.base_model.settings import AnswerSettings, ServeSettings
from fitbot.cluster import shutdown
from fitbot.cluster.launchers import devices_of, launched_as, placement
from fitbot.cluster.processes import gather, leave
from fitbot.cluster.strategy import register_strategies
from fitbot.commands.explain import explain, in_one_line
from fitbot.commands.fit_parser import FitbotParser, check_contradictions, check_sections
from fitbot.dpo.accelerator import choose_accelerator
from fitbot.dpo.callbacks import LossScale, RandomState, StepLog
from fitbot.dpo.early_end import check_weights, interrupted, kept_before, saved
from fitbot.dpo.module import DPOModule
from fitbot.dpo.out_of_memory import no_memory
from fitbot.dpo.progress_bar import Bar
from fitbot.dpo.report import RunReport, StartReport
from fitbot.dpo.resume import Resume
from fitbot.dpo.run import (
    NOWHERE,
    LastCheckpoint,
    RunFolder,
    RunSettings,
    best_checkpoint,
    folder_of,
    log_traceback,
    new_run_folder,
    quieten,
    remove_if_refused,
    resolve_checkpoint,
    run_loggers,
    start_logging,
)
from fitbot.dpo.run_name import lock_run, refuse_running
from fitbot.dpo.samples import Samples
from fitbot.dpo.saturation import Saturation
from fitbot.dpo.start_checks import precision_for
from fitbot.errors import ConfigError, FitbotError, LostError, NoMemoryError, NotFiniteError
from fitbot.export.adapter import all_or_nothing, export_adapter
from fitbot.pairs.datamodule import PreferenceDataModule
from fitbot.platforms import written_whole

logger = logging.getLogger(__name__)


def main(args: list[str], placed: dict[str, Any] | None = None) -> int:
    """Run one of Lightning's commands.

    Args:
        args: As every command's.
        placed: Arguments of the trainer by which a launcher says where this process runs; None to
            ask torchrun and srun. They belong to no config: the same one runs anywhere.

    Returns:
        0; a command line that is refused exits with 2 by itself, and a process that has lost
        another one of its fit with 1.

    Raises:
        LostError: The same, where a launcher's own process is not ours to end (`placed`).
    """
    try:
        run_command(args, placed)
    except LostError as error:
        if placed is None:
            shutdown.end_lost(error)
        raise
    return 0


class SeveralDevicesError(Exception):
    """Raised where one process is to do what takes one a device; nothing was begun."""


def run_command(
    args: list[str],
    placed: dict[str, Any] | None = None,
    *,
    exits: bool = True,
    alone: bool = False,
) -> Path | None:
    """Parse a command line as `main` does, build what it names, and run it.

    Args:
        args: As `main`'s.
        placed: Likewise.
        exits: Whether a command line that is refused ends the process.
        alone: Whether this process can be none of several that Lightning starts.

    Returns:
        The run's folder; only fit has one.

    Raises:
        ConfigError: The command line is refused, and `exits` is false.
        NoMemoryError: The device is too small for the settings.
        LostError: Another process of the run is gone.
        SeveralDevicesError: It takes several processes, and this one is `alone`.
    """
    # A saturated run's gradients underflow; a CPU takes a hundred times as long for such numbers.
    torch.set_flush_denormal(True)
    register_strategies()
    quieten()  # before Lightning says which seed is set
    folder, why = None, ""
    try:
        folder = FitbotCLI(args, placed, exits=exits, alone=alone).folder
    except ArgumentError as error:
        raise ConfigError(str(error)) from error
    except NoMemoryError as error:
        why = str(error)
    except (RuntimeError, TypeError) as error:
        if shutdown.is_lost(error):
            raise shutdown.lost(error) from error
        if "MPS" in str(error) and not isinstance(error, FitbotError):
            raise ConfigError(
                f"Apple's GPU (MPS) cannot run this: {what_failed(error)}; use "
                "--trainer.accelerator cpu or, if memory ran out, a lower data.max_tokens_per_pass"
            ) from error
        raise
    if why:  # anew: the frames of the old one hold all that was on the device, for a notebook, too
        raise NoMemoryError(why)
    if placed is None:  # or the group is the launcher's own
        leave()
    return folder


class FitTrainer(Trainer):
    """Lightning's trainer with a precision that follows the device.

    Its limits are declared anew: read as Lightning's `Union[int, float]`, which `typing` may hold
    in the other order, 1 batch became 1.0, which is all of them.

    Args:
        precision: auto, 32-true, bf16-mixed or 16-mixed. auto is bf16-mixed where the device itself
            computes in bfloat16, else 16-mixed on a GPU and 32-true elsewhere.
        limit_train_batches: Batches of an epoch, or a share of them if a fraction.
        limit_val_batches: Likewise of a validation.
        limit_test_batches: Likewise of a test.
        limit_predict_batches: Likewise of a prediction.
        overfit_batches: Train on so many batches again and again, or on a share of them.
    """

    def __init__(
        self,
        *,
        precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] | None = None,
        limit_train_batches: int | float | None = None,
        limit_val_batches: int | float | None = None,
        limit_test_batches: int | float | None = None,
        limit_predict_batches: int | float | None = None,
        overfit_batches: int | float = 0.0,
        **settings: Any,
    ):
        """Take settings; `auto` was resolved before, so that the saved config says what it was."""
        assert precision != "auto"
        super().__init__(
            precision=precision,
            limit_train_batches=limit_train_batches,
            limit_val_batches=limit_val_batches,
            limit_test_batches=limit_test_batches,
            limit_predict_batches=limit_predict_batches,
            overfit_batches=overfit_batches,
            **settings,
        )


class FitbotCLI(LightningCLI):
    """Ties module, data and trainer to one run folder."""

    def __init__(
        self,
        args: list[str],
        placed: dict[str, Any] | None = None,
        *,
        exits: bool = True,
        alone: bool = False,
    ):
        """Parse, build, run."""
        self.placed, self.alone = placed, alone
        self.started = time.perf_counter()
        self.folder: Path | None = None  # of the run; only fit has one
        self.root = Path()  # that the folder lies in
        self.locks = ExitStack()  # held while this process writes the run
        self.settings = ""  # content of its config.yaml
        self.checkpoint: Path | None = None  # to go on from
        self.step_log = StepLog(LossScale())
        try:
            with shutdown.interruptible(self._end_others):
                self._run(args, exits)
        except (KeyboardInterrupt, SystemExit) as stop:
            if (number := shutdown.interrupted_by(stop)) is None:
                raise
            text = self._say_interrupted(args, number)
            if number == signal.SIGINT:
                raise KeyboardInterrupt(text) from None
            raise
        except Exception as error:
            log_traceback(self.folder, error)
            if (told := self._explained(error)) is not None:
                raise told from error
            raise
        finally:
            self.locks.close()
            remove_if_refused(self.folder or NOWHERE, self.root)

    def _run(self, args: list[str], exits: bool) -> None:
        of_commands = {
            name: {"usage": f"fitbot {name} --config CONFIG [options]", "exit_on_error": exits}
            for name in ("fit", "validate", "test", "predict")
        }
        super().__init__(
            DPOModule,
            PreferenceDataModule,
            args=args,
            trainer_class=FitTrainer,
            parser_class=FitbotParser,
            save_config_callback=None,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            seed_everything_default=42,
            trainer_defaults={
                # The data module's own order is exact on resume and in validation; Lightning would
                # wrap it in a sampler of its own that pads.
                "use_distributed_sampler": False,
                "enable_model_summary": False,
                "num_sanity_val_steps": 0,
                "log_every_n_steps": 50,
            },
            parser_kwargs={"prog": "fitbot", "exit_on_error": exits, **of_commands},
        )

    def _explained(self, error: Exception) -> FitbotError | None:
        """Say what another library's error means, and what is saved; None if it says all itself."""
        if isinstance(error, NoMemoryError):
            return NoMemoryError(f"{error}{saved(self.folder)}")
        if isinstance(error, NotFiniteError):
            kept = kept_before(self.folder) if launched_as() == 0 else ""
            return NotFiniteError(f"{error}{kept}")
        if isinstance(error, FitbotError) or shutdown.is_lost(error):
            return None
        if is_out_of_memory(error) and getattr(self, "trainer", None) is not None:
            return NoMemoryError(f"{self._no_memory()}{saved(self.folder)}")
        why = explain(error)
        return ConfigError(f"{why}{saved(self.folder)}") if why else None

    def _end_others(self, number: int) -> None:
        """Pass a signal on to the processes that Lightning has started."""
        trainer = getattr(self, "trainer", None)
        if trainer is not None and trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(number)

    def _say_interrupted(self, args: list[str], number: int) -> str:
        """Say once, in the log too, what is saved and how to go on; return it."""
        text = "interrupted" if number == signal.SIGINT else "told to end (SIGTERM)"
        if args[0] == "fit":
            trainer = getattr(self, "trainer", None)
            text += interrupted(args, self.folder, trainer.global_step if trainer else 0)
        if launched_as() == 0:
            logger.error("%s", text)  # whatever run.log_level is
        return text

    def _no_memory(self) -> NoMemoryError:
        """Say where it ran out; PassRunner says by itself where it was in a pass."""
        module, trainer = self.model, self.trainer
        assert isinstance(module, DPOModule)
        doing = f"after step {trainer.global_step:,}"
        if module.policy is None:
            doing = f"while {'the base was loaded' if self.datamodule.pairs else 'pairs were read'}"
        elif trainer.global_step == 0:
            doing = "before the first step was done"
        device = trainer.strategy.root_device
        return no_memory(doing, module.base, self.datamodule, module.policy, device=device)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse what was typed; Lightning would warn that it is a list."""
        self.config = parser.parse_args(args)
        seed = self.config[self.config.subcommand].seed_everything
        if not 0 <= seed < 2**32:  # NumPy takes no other
            raise ConfigError(f"seed_everything must be in [0, {2**32 - 1}], got {seed}")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what belongs to the run, and let every shared value be said once."""
        parser.add_class_arguments(RunSettings, "run")
        parser.add_class_arguments(AnswerSettings, "answers")
        parser.add_class_arguments(ServeSettings, "serve")
        # Of a folder the path that the module makes of it, too.
        parser.link_arguments("model.base_model", "data.base_model", compute_fn=absolute_base)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def _parse_ckpt_path(self) -> None:
        """Let config and command line win over a checkpoint's own settings, not the reverse."""

    def before_instantiate_classes(self) -> None:
        """Refuse what can be refused at once, settle what is left to the device, start to log."""
        config = self.config[self.subcommand]
        check_sections(config)
        # In config.yaml, too, so that it means the same in another working folder.
        config.model.base_model = absolute_base(config.model.base_model)
        config.model.adapter = config.model.adapter and absolute_path(config.model.adapter)
        run = RunSettings(**config.run)
        asked, self.checkpoint = config.ckpt_path, resolve_checkpoint(run, config.ckpt_path)
        check_contradictions(config)
        devices = devices_of(config.trainer)
        if self.alone and len(devices) > 1 and not placement(config.trainer):
            raise SeveralDevicesError
        if config.trainer.precision == "auto":
            config.trainer.precision = precision_for(devices[0])
        config.ckpt_path = self.checkpoint and str(self.checkpoint)
        is_fit, process = self.subcommand == "fit", launched_as()
        if is_fit and process == 0 and asked == "last":
            refuse_running(Path(run.root), run.name)
        if is_fit:
            self.settings = self._parser("fit").dump(config, skip_unset=False)
        start_logging(run.log_level, process, keep=is_fit and process == 0)
        if self.checkpoint:
            logger.info("from checkpoint %s", self.checkpoint)
        elif asked:
            logger.info("--ckpt_path last: run %r has no checkpoint yet, starting it", run.name)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Find or make the run's folder; add its loggers and callbacks to those of the config."""
        config = self._get(self.config_init, "trainer")
        model: DPOModule = self._get(self.config_init, "model")
        check_base_files(model.base.base_model)
        self._get(self.config_init, "data").check_files(self.subcommand)
        placed = placement(config) if self.placed is None else self.placed
        if "strategy" in placed and config["strategy"] not in ("auto", "ddp"):
            raise ConfigError(
                f"trainer.strategy is {config['strategy']}, but the launcher has one of its own; "
                "leave it out"
            )
        kwargs = {**placed, **kwargs}
        kwargs["accelerator"] = choose_accelerator({**config, **kwargs}, model.hparams)
        kwargs["logger"], kwargs["callbacks"] = self._loggers_and_callbacks(config)
        if not any(isinstance(callback, Checkpoint) for callback in kwargs["callbacks"]):
            # Lightning would save every epoch's end into the folder of a logger.
            kwargs.setdefault("enable_checkpointing", config.get("enable_checkpointing") or False)
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except FitbotError:
            raise
        except Exception as error:  # more GPUs than there are; Lightning raises many kinds
            why = in_one_line(error)
            raise ConfigError(f"the trainer's settings cannot be used here: {why}") from error
        if config["precision"] not in (None, trainer.precision):
            raise ConfigError(
                f"trainer.precision {config['precision']} is not for this device, where Lightning "
                f"takes {trainer.precision} instead; set it to auto or to that"
            )
        shutdown.keep_sigterm(trainer)
        return trainer

    def _loggers_and_callbacks(self, config: Any) -> tuple[list[Logger], list[Callback]]:
        run: RunSettings = self._get(self.config_init, "run")
        named = config.get("callbacks") or []
        callbacks: list[Callback] = [*named] if isinstance(named, list) else [named]
        named = config.get("logger")
        named = named if isinstance(named, list) else [named]
        loggers: list[Logger] = [one for one in named if isinstance(one, Logger)]
        if self.subcommand == "fit":
            self.folder, self.root = NOWHERE, Path(run.root)
            if launched_as() == 0:
                own = self.checkpoint and folder_of(self.checkpoint, run)
                folder = own or new_run_folder(run)
                self.locks.enter_context(lock_run(folder, run.name))
                self.folder = folder
            logger.info("run folder %s", self.folder)
            validates = self._get(self.config_init, "data").paths["val"] is not None
            loggers = [*run_loggers(self.folder, run), *loggers]
            self.saturation = Saturation(self.step_log, stop=run.stop_when_saturated)
            callbacks.append(RunFolder(self.folder, self.settings))
            callbacks += [self.step_log.loss_scale, self.step_log, self.saturation]
            callbacks += [StartReport(), RandomState(), Resume()]
            if run.sample_every_n_steps:
                callbacks.append(Samples(self.folder, run.sample_every_n_steps))
            callbacks += [best_checkpoint(self.folder)] if validates else []
            callbacks.append(LastCheckpoint(self.folder, run.save_every_n_steps))
        if config.get("enable_progress_bar") is not False:
            callbacks.append(Bar(self.step_log))  # last: it draws below what the others say
        return loggers, callbacks

    def before_fit(self) -> None:
        """Have the checkpoints carry how the adapter is to be asked and served."""
        config = self.config_init[self.subcommand]
        self.model.run_settings = {name: asdict(config[name]) for name in ("answers", "serve")}

    def after_fit(self) -> None:
        """Export the adapter, draw the curves, and say what came of it."""
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        assert self.folder is not None
        assert isinstance(self.model, DPOModule)
        if self.model.first_loss is None:
            raise ConfigError(
                "no step was made, so nothing was learned, and nothing is exported: raise "
                "trainer.max_time and trainer.max_epochs"
            )
        check_weights(self.model)
        # A limit of steps may end the fit between two validations.
        if self.datamodule.pairs.get("val") and self.model.validated_at != self.trainer.global_step:
            self.trainer.validate(self.model, self.datamodule, verbose=False, weights_only=True)
        if not self.trainer.is_global_zero:
            return
        report = RunReport(self.folder, self.trainer, self.model, self.step_log, self.saturation)
        summary = report.summary(runtime_seconds=time.perf_counter() - self.started)
        with written_whole(self.folder / "summary.json") as file:
            file.write((json.dumps(summary, indent=2) + "\n").encode())
        report.draw()
        data = self.datamodule.provenance()
        training = {"metrics": summary, "data": data, **self.model.run_settings}
        training |= {**self.model.hashes, "trained": datetime.now(UTC).date().isoformat()}
        weights, settings = self.model.state_dict(), dict(self.model.hparams)
        with all_or_nothing(adapter := self.folder / "adapter") as folder:
            export_adapter(folder, weights, settings, training=training)
        logger.info("%s", report.text(summary, adapter))

    def predict(self, **kwargs: Any) -> None:
        """Write one line of JSON a test pair: predictions.jsonl beside the checkpoint."""
        batches: Any = self.trainer.predict(**kwargs)
        rows = [row for share in gather(batches) for batch in share for row in batch]
        if not self.trainer.is_global_zero:
            return
        rows.sort(key=lambda row: row["pair"])
        checkpoint = self.config[self.subcommand].ckpt_path
        path = (Path(checkpoint).parent if checkpoint else Path()) / "predictions.jsonl"
        lines = [json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        logger.info("wrote %s: %d pairs", path, len(lines))
