"""Adapters → the file, or its part, that they were trained on: rules learn from it as they did."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fitbot.base_model.provenance import provenance_of
from fitbot.evaluation.models import Model


class TrainingFile(NamedTuple):
    """Where rules learn from, or why that is not known."""

    path: str | None
    missing: str  # why there is none, and what to do; "" if there is one, or no adapter
    limit: int | None = None  # the first so many records, as data.train_limit; None: all


def find_training_file(adapters: Sequence[Model], given: str | None) -> TrainingFile:
    """Take the file that is given, or else the one that every adapter was trained on.

    Of the latter it is the records that the runs read, `data.train_limit`. Where these differ, the
    longest part: less would be a lower bar for the adapter that saw it.

    Args:
        adapters: All models but the base.
        given: What the user named; all of it is taken.
    """
    if given is not None or not adapters:
        return TrainingFile(given, "")
    found = [_trained_on(adapter) for adapter in adapters]
    path, limits = found[0][0], [limit for _, limit in found]
    if any(other != path for other, _ in found):
        why = "the adapters were trained on different files"
    elif path is None:
        why = "the adapter does not say which file it was trained on"
    elif not Path(path).is_file():
        why = f"{path}, which the adapter was trained on, is no file here"
    else:
        whole = None in limits
        return TrainingFile(path, "", None if whole else max(filter(None, limits)))
    return TrainingFile(
        None, f"{why}: rules learn from the pairs themselves instead; --train names a file"
    )


def _trained_on(adapter: Model) -> tuple[str | None, int | None]:
    """Return the file and how many of its records were read, each None if it is not known."""
    train = provenance_of(adapter.folder).get("data", {}).get("train")
    if not isinstance(train, dict):
        return None, None
    # Older adapters do not have the limit. Their pairs are fewer only if records were left out.
    path, limit = train.get("path"), train.get("limit", train.get("pairs"))
    known = isinstance(limit, int) and limit > 0
    return (path if isinstance(path, str) else None), (limit if known else None)
