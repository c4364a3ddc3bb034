"""The parser of `fitbot fit`: presets, and refusals of what jsonargparse and Lightning let pass."""

import ast
from typing import Any

from jsonargparse import Namespace
from lightning import Callback
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy

from fitbot.base_model.settings import check_ranges
from fitbot.cluster.strategy import check_strategy_name
from fitbot.commands.command_line import SuggestingParser
from fitbot.commands.explain import in_one_line
from fitbot.commands.fit_help import SECTIONS as DECLARED
from fitbot.commands.fit_help import declared_in
from fitbot.commands.presets import PresetOrFile
from fitbot.errors import ConfigError, FitbotError

SECTIONS = ("run", "model", "data", "trainer", "answers", "serve")
_TRAINER_RANGES = {
    "check_val_every_n_epoch": ">= 1",
    "log_every_n_steps": ">= 1",
    "max_epochs": "-1 or >= 1",
    "max_steps": "-1 or >= 1",
    "min_epochs": ">= 0",
    "min_steps": ">= 0",
}


class FitbotParser(SuggestingParser, LightningArgumentParser):
    """Lightning's parser, with suggestions and presets."""

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        """Add an argument; --config takes presets, too."""
        if "--config" in args:
            kwargs["action"] = PresetOrFile
            kwargs["help"] = "preset (see `fitbot presets`) or YAML file of settings; the last wins"
        return super().add_argument(*args, **kwargs)

    def instantiate_classes(self, cfg: Any, **options: Any) -> Any:
        """Build what a config names; Lightning asks for it by a name that is deprecated."""
        builders = [(_build, kind, True) for kind in (Callback, Logger, Profiler, Strategy)]
        return self.instantiate(cfg, instantiators=builders, **options)


def check_sections(config: Any) -> None:
    """Refuse `data: null` and its like, and a setting's null; the parser lets both pass.

    Raises:
        ConfigError: A section is no mapping, or a setting without such a meaning is null.
    """
    for section in SECTIONS:
        if not isinstance(found := config[section], Namespace):
            raise ConfigError(
                f"{section}: {found!r} is no mapping of settings; write them as {section}.NAME: "
                "VALUE, or leave the section out"
            )
    for section, (_, _, hidden) in DECLARED.items():
        found = config[section] or {}  # model.lora may be left to its defaults
        for name, kind, _, _ in declared_in(section):
            takes_null = kind is None or "None" in ast.unparse(kind)
            if name not in hidden and not takes_null and found.get(name, 0) is None:
                raise ConfigError(
                    f"{section}.{name} cannot be null; give a value, or leave it out for its "
                    "default"
                )


def check_contradictions(config: Any) -> None:
    """Refuse settings that contradict each other across the sections of a config.

    Raises:
        ConfigError: With the names of both; or a number of the trainer's is out of range.
    """
    model, data, trainer = config.model, config.data, config.trainer
    if model.backend == "unsloth" and data.layout != "rows":
        raise ConfigError(
            "model.backend unsloth runs its own attention, which cannot express the packed row; "
            "set data.layout: rows"
        )
    if data.max_length > model.max_seq_length:
        raise ConfigError(
            f"data.max_length {data.max_length} exceeds model.max_seq_length "
            f"{model.max_seq_length}; raise the latter or lower the former"
        )
    check_strategy_name(trainer.strategy)
    check_ranges("trainer", trainer, _TRAINER_RANGES)
    if trainer.val_check_interval == 0:  # Lightning would divide by it after the first step
        raise ConfigError(
            "trainer.val_check_interval is 0: give the steps between two validations, or set "
            "data.val_path: null for none"
        )
    if trainer.accumulate_grad_batches != 1 or trainer.gradient_clip_val is not None:
        raise ConfigError(
            "trainer.accumulate_grad_batches and trainer.gradient_clip_val are not used here: set "
            "data.accumulate_batches and model.max_grad_norm"
        )


def _build(kind: type, *args: Any, **settings: Any) -> Any:
    """Build a callback or its like that a config names.

    Raises:
        ConfigError: It cannot be built.
    """
    try:
        return kind(*args, **settings)
    except FitbotError:
        raise
    except Exception as error:  # of whatever kind, it is the class's own
        raise ConfigError(
            f"{kind.__module__}.{kind.__qualname__}, which the settings name, cannot be built: "
            f"{type(error).__name__}: {in_one_line(error)}; mend its init_args, or leave it out"
        ) from error
