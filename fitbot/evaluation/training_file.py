"""Adapters → the file that they were trained on, which rules learn from as they did."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fitbot.base_model.provenance import provenance_of
from fitbot.evaluation.models import Model


class TrainingFile(NamedTuple):
    """Where rules learn from, or why that is not known."""

    path: str | None
    missing: str  # why there is none, and what to do; "" if there is one, or no adapter


def find_training_file(adapters: Sequence[Model], given: str | None) -> TrainingFile:
    """Take the file that is given, or else the one that every adapter was trained on.

    Args:
        adapters: All models but the base.
        given: What the user named; it is taken as it is.
    """
    if given is not None or not adapters:
        return TrainingFile(given, "")
    paths = {_trained_on(adapter) for adapter in adapters}
    path = next(iter(paths))
    if len(paths) > 1:
        why = "the adapters were trained on different files"
    elif path is None:
        why = "the adapter does not say which file it was trained on"
    elif not Path(path).is_file():
        why = f"{path}, which the adapter was trained on, is no file here"
    else:
        return TrainingFile(path, "")
    return TrainingFile(
        None, f"{why}: rules learn from the pairs themselves instead; --train names a file"
    )


def _trained_on(adapter: Model) -> str | None:
    train = provenance_of(adapter.folder).get("data", {}).get("train")
    path = train.get("path") if isinstance(train, dict) else None
    return path if isinstance(path, str) else None
