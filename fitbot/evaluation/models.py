"""Folders of adapters → the models that are compared: their base, and each adapter on it.

All of them stand on one base and are asked and scored in the same way, or they could not be
compared. Everything that can be wrong with a folder is found here, before any model is loaded.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fitbot.base_model.adapter_files import lora_settings_of, read_adapter
from fitbot.base_model.embedded import EMBEDDED, EMBEDDED_SYSTEM_PROMPT, resolve_base_model
from fitbot.base_model.provenance import PROVENANCE_FILE, provenance_of
from fitbot.dpo.losses import Objective
from fitbot.errors import AdapterError, ConfigError
from fitbot.generation.messages import BASE
from fitbot.pairs.chat import LengthLimits

_LIMITS = LengthLimits(
    max_prompt_length=256, max_length=1024
)  # of a base that no run has set any for
_NEEDED = {
    "settings": ("base_model", "load_in_4bit", "adapter", "beta", "label_smoothing"),
    "data": ("system_prompt", *LengthLimits._fields),
}


@dataclass(frozen=True)
class Model:
    """One model that is evaluated: the base, or an adapter on it."""

    name: str
    adapter: str | None  # its folder; None for the base
    reference: str | None  # folder of the adapter it was trained from; None for the base
    objective: Objective | None  # of its run; None for the base

    @property
    def folder(self) -> Path | None:
        """Where the adapter lies."""
        return None if self.adapter is None else Path(self.adapter)


@dataclass(frozen=True)
class Lineup:
    """The base and the adapters on it, and how all of them are scored and asked."""

    base_model: str
    load_in_4bit: bool
    system_prompt: str | None
    max_prompt_length: int  # tokens
    max_length: int  # tokens
    models: list[Model]  # the base first

    @property
    def adapters(self) -> list[Model]:
        """All models but the base."""
        return self.models[1:]


@dataclass(frozen=True)
class Wanted:
    """What the user insists on; None where the adapters decide, or a default."""

    base_model: str | None = None
    load_in_4bit: bool | None = None
    system_prompt: str | None = None
    max_prompt_length: int | None = None
    max_length: int | None = None


def line_up(folders: Sequence[str], wanted: Wanted) -> Lineup:
    """Find out which models are to be compared.

    Args:
        folders: Of adapters that fit or export wrote, or of runs whose adapter is meant; with none,
            the base alone is evaluated.
        wanted: What the user insists on.

    Raises:
        AdapterError: A folder holds no adapter, a damaged one, or one of another base.
        ConfigError: The adapters were trained to be asked in different ways, or the limits
            contradict each other.
    """
    found = [_adapter_folder(folder) for folder in folders]
    told = [_told(folder) for folder in found]
    base_model, load_in_4bit = _base_of(found, told, wanted)
    alone = {"system_prompt": EMBEDDED_SYSTEM_PROMPT if base_model == EMBEDDED else None}
    rendering = {
        name: _rendering(name, [entry["data"][name] for entry in told] or [default], wanted)
        for name, default in (alone | _LIMITS._asdict()).items()
    }
    if rendering["max_length"] <= rendering["max_prompt_length"]:
        raise ConfigError(
            f"max_length {rendering['max_length']} must exceed max_prompt_length "
            f"{rendering['max_prompt_length']}: it counts the prompt and its answer; set "
            "--max_length and --max_prompt_length"
        )
    models = [Model(BASE, None, None, None)]
    models += [_model(*entry) for entry in zip(_names(found), found, told, strict=True)]
    return Lineup(base_model, load_in_4bit, **rendering, models=models)


def _adapter_folder(folder: str) -> Path:
    """Take a run's folder for the adapter in it."""
    path = Path(folder)
    inside = path / "adapter"
    if not (path / PROVENANCE_FILE).is_file() and (inside / PROVENANCE_FILE).is_file():
        return inside
    if not path.is_dir():
        raise AdapterError(
            f"{folder}: no such folder; give one that fit exported, as checkpoints/NAME/adapter"
        )
    return path


def _told(folder: Path) -> dict[str, Any]:
    """Read what an export says of its training, and make sure that it is whole."""
    told = provenance_of(folder)
    read_adapter(folder)
    lora_settings_of(str(folder))
    for section, keys in _NEEDED.items():
        missing = [key for key in keys if key not in told.get(section, {})]
        if missing:
            raise AdapterError(
                f"{folder}/{PROVENANCE_FILE}: {section} lacks {', '.join(missing)}; export the "
                "adapter anew"
            )
    return told


def _base_of(
    folders: Sequence[Path], told: Sequence[dict[str, Any]], wanted: Wanted
) -> tuple[str, bool]:
    """Return the base that all adapters share, and whether it is held in 4 bits."""
    if not told:
        held = True if wanted.load_in_4bit is None else wanted.load_in_4bit
        return wanted.base_model or EMBEDDED, held
    bases = [(entry["settings"]["base_model"], entry["settings"]["load_in_4bit"]) for entry in told]
    first = bases[0]
    asked = (wanted.base_model or first[0], _either(wanted.load_in_4bit, first[1]))
    for folder, base in zip(folders, bases, strict=True):
        for other, where in ((first, str(folders[0])), (asked, "the command line")):
            if _identity(base) != _identity(other):
                raise AdapterError(
                    f"{folder} was trained on {_words(base)}, {where} says {_words(other)}; only "
                    "models of one base can be compared, evaluate the others by themselves"
                )
    return first


def _identity(base: tuple[str, bool]) -> tuple[str, bool]:
    return resolve_base_model(base[0]), base[1]


def _either(wanted: bool | None, default: bool) -> bool:
    return default if wanted is None else wanted


def _words(base: tuple[str, bool]) -> str:
    return f"{base[0]}{' in 4 bits' if base[1] else ', not in 4 bits'}"


def _rendering(name: str, values: Sequence[Any], wanted: Wanted) -> Any:
    """Return a setting that all adapters share, unless the user says otherwise."""
    asked = getattr(wanted, name)
    if asked is not None:
        return asked
    if any(value != values[0] for value in values):
        different = " and ".join(map(repr, dict.fromkeys(values)))
        raise ConfigError(
            f"the adapters were trained with {name} {different}; say by --{name} what all of them "
            "are to be evaluated with"
        )
    return values[0]


def _names(folders: Sequence[Path]) -> list[str]:
    """Call adapters by their run where that tells them apart."""
    short = [folder.parent.name if folder.name == "adapter" else folder.name for folder in folders]
    shared = Counter([BASE, *short])
    if any(folders.count(folder) > 1 for folder in folders):
        raise ConfigError("the same adapter is named twice; name each once")
    return [
        name if name and shared[name] == 1 else str(folder)
        for name, folder in zip(short, folders, strict=True)
    ]


def _model(name: str, folder: Path, told: dict[str, Any]) -> Model:
    settings = told["settings"]
    reference = settings["adapter"]
    if reference is not None:
        try:
            lora_settings_of(reference)
        except AdapterError as error:
            raise AdapterError(
                f"{folder} was trained from another adapter, its reference, which is not there any "
                f"more: {error}"
            ) from error
    # Runs of before there was a choice had this loss.
    loss, nll_weight = settings.get("loss", "sigmoid"), settings.get("nll_weight", 0.0)
    objective = Objective(settings["beta"], settings["label_smoothing"], loss, nll_weight)
    return Model(name, str(folder), reference, objective)
