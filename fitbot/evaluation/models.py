"""Folders of adapters → the models that are compared: their base, and each adapter on it.

All models share one base and are asked and scored in the same way; otherwise they could not be
compared. Whatever is wrong with a folder is found here, before any model is loaded.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fitbot.base_model.adapter_files import adapter_hash, lora_settings_of, read_adapter
from fitbot.base_model.base_files import check_base
from fitbot.base_model.embedded import EMBEDDED, EMBEDDED_SYSTEM_PROMPT, resolve_base_model
from fitbot.base_model.provenance import PROVENANCE_FILE, provenance_of
from fitbot.dpo.losses import Objective
from fitbot.errors import AdapterError, ConfigError
from fitbot.generation.messages import BASE
from fitbot.pairs.chat import LengthLimits

_LIMITS = LengthLimits(max_prompt_length=256, max_length=1024)  # of a base without an adapter
_REQUIRED = {  # keys of fitbot.json, by section
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
        """The adapter's folder; None for the base."""
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
    date: str | None = None  # day that a template which writes one is given

    @property
    def adapters(self) -> list[Model]:
        """All models but the base."""
        return self.models[1:]


@dataclass(frozen=True)
class Overrides:
    """What the user sets; None: as the adapters' runs had it, or the default."""

    base_model: str | None = None
    load_in_4bit: bool | None = None
    system_prompt: str | None = None
    max_prompt_length: int | None = None
    max_length: int | None = None


def resolve_models(folders: Sequence[str], overrides: Overrides) -> Lineup:
    """Read which models are to be compared.

    Args:
        folders: Adapters that fit or export wrote, or runs, whose adapter is taken; with none, the
            base alone is evaluated.
        overrides: What the user sets.

    Raises:
        AdapterError: A folder holds no adapter, a damaged one, or one of another base.
        ConfigError: The adapters were trained to be asked in different ways, or the limits
            contradict each other.
    """
    found = [_adapter_folder(folder) for folder in folders]
    metadata = [_read_metadata(folder) for folder in found]
    base_model, load_in_4bit = _shared_base(found, metadata, overrides)
    alone = {"system_prompt": EMBEDDED_SYSTEM_PROMPT if base_model == EMBEDDED else None}
    rendering = {
        name: _shared(name, [entry["data"][name] for entry in metadata] or [default], overrides)
        for name, default in (alone | _LIMITS._asdict()).items()
    }
    if rendering["max_length"] <= rendering["max_prompt_length"]:
        raise ConfigError(
            f"max_length {rendering['max_length']} must exceed max_prompt_length "
            f"{rendering['max_prompt_length']}: it counts the prompt and its answer; set "
            "--max_length and --max_prompt_length"
        )
    models = [Model(BASE, None, None, None)]
    models += [_model(*entry) for entry in zip(_names(found), found, metadata, strict=True)]
    # Adapters of different days are asked on one, or they could not be compared.
    dates = [entry["data"].get("date") or "" for entry in metadata]
    date = max(dates, default="") or None
    return Lineup(base_model, load_in_4bit, **rendering, models=models, date=date)


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


def _read_metadata(folder: Path) -> dict[str, Any]:
    """Read what an export says of its training, and check that the export is complete."""
    metadata = provenance_of(folder)
    read_adapter(folder)
    for section, keys in _REQUIRED.items():
        missing = [key for key in keys if key not in metadata.get(section, {})]
        if missing:
            raise AdapterError(
                f"{folder}/{PROVENANCE_FILE}: {section} lacks {', '.join(missing)}; export the "
                "adapter anew"
            )
    base_model = metadata["settings"]["base_model"]
    check_base(base_model, metadata.get("base_sha256"), str(folder))
    return metadata


def _shared_base(
    folders: Sequence[Path], metadata: Sequence[dict[str, Any]], overrides: Overrides
) -> tuple[str, bool]:
    """Return the base that all adapters share, and whether it is held in 4 bits."""
    bases = [
        (entry["settings"]["base_model"], entry["settings"]["load_in_4bit"]) for entry in metadata
    ]
    first = bases[0] if bases else (EMBEDDED, True)
    in_4bit = first[1] if overrides.load_in_4bit is None else overrides.load_in_4bit
    asked = (overrides.base_model or first[0], in_4bit)
    for folder, base in zip(folders, bases, strict=True):
        for other, where in ((first, str(folders[0])), (asked, "the command line")):
            if (resolve_base_model(base[0]), base[1]) != (resolve_base_model(other[0]), other[1]):
                trained, says = (
                    f"{name}{' in 4 bits' if in_4bit else ', not in 4 bits'}"
                    for name, in_4bit in (base, other)
                )
                raise AdapterError(
                    f"{folder} was trained on {trained}, {where} says {says}; "
                    "only models of one base can be compared, evaluate the others by themselves"
                )
    return first if bases else asked


def _shared(name: str, values: Sequence[Any], overrides: Overrides) -> Any:
    """Return a setting that all adapters share, unless the user says otherwise."""
    asked = getattr(overrides, name)
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
    """Name adapters by their run, or by their folder where runs share a name."""
    short = [folder.parent.name if folder.name == "adapter" else folder.name for folder in folders]
    shared = Counter([BASE, *short])
    if any(folders.count(folder) > 1 for folder in folders):
        raise ConfigError("the same adapter is named twice; name each once")
    return [
        name if name and shared[name] == 1 else str(folder)
        for name, folder in zip(short, folders, strict=True)
    ]


def _model(name: str, folder: Path, metadata: dict[str, Any]) -> Model:
    settings = metadata["settings"]
    reference = settings["adapter"]
    if reference is not None:
        try:
            lora_settings_of(reference)
        except AdapterError as error:
            raise AdapterError(
                f"{folder} was trained from another adapter, its reference, which is not there any "
                f"more: {error}"
            ) from error
        if metadata.get("reference_sha256") not in (None, adapter_hash(reference)):
            raise AdapterError(
                f"{folder} was trained from another adapter, its reference, and {reference} holds "
                "other weights now; put those back"
            )
    return Model(name, str(folder), reference, Objective.of(settings))
