"""Files of the learner and of its versions → what a page shows of them."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fitbot.learning.events import Counts
from fitbot.learning.gate import ANSWERS, CHOICES, PAIRS, REFUSED
from fitbot.learning.http_models import (
    LastVersion,
    LearnerState,
    LearningState,
    StateCounts,
    VersionEntry,
    VersionName,
)
from fitbot.learning.status import BEAT, status
from fitbot.learning.versions import UNDONE, Version, Versions

_STATES = {"loading": "starting", "taken": "waiting", "refused": "waiting"}
_SILENT_SECONDS = 5.0  # of a learner that has been stopped


def name_of(number: int) -> VersionName:
    """Name a version."""
    return VersionName(number=number, name=f"fitbot@{number}")


def learner_state(folder: Path) -> LearnerState:
    """Say what the learner does now."""
    said = status(folder)
    stage = said.get("stage", "loading")
    state = _STATES.get(stage, stage)
    if state in ("waiting", "learning", "checking") and _is_silent(folder / BEAT):
        said["message"] = "The learner does not move; it is ended and started again after a minute."
        state = "stopped"
    works = state in ("learning", "checking", "stopped")
    found = {name: said.get(name) for name in ("number", "choices", "step", "steps")}
    return LearnerState(
        state=state,
        **found if works else {},
        checked=said.get("items") if state == "checking" else None,
        items=said.get("most") if state == "checking" else None,
        seconds=round(time.time() - said["begun"], 1) if works and "begun" in said else None,
        message=said.get("message") or (said.get("reason") if state == "failed" else None),
    )


def line_of(version: Version) -> str:
    """Say in one sentence what a version changed."""
    if version.number == 0:
        return "Where learning began."
    learned = f"{len(version.choices)} new choice{'s' * (len(version.choices) != 1)}"
    changes = [
        f"of {figures['items']:,} {measure} {figures['gained']} turned right and "
        f"{figures['lost']} wrong"
        for measure in (CHOICES, PAIRS, ANSWERS)
        if (figures := (version.figures or {}).get(measure)) and figures["items"]
    ]
    more = f": {'; '.join(changes)}" if changes else ""
    if version.state in (REFUSED, UNDONE):
        word = "Refused" if version.state == REFUSED else "Taken back"
        return f"{word}, after {learned}{more}."
    return f"Learned from {learned}{more}."


def entry_of(version: Version, current: int, outdated: list[str]) -> VersionEntry:
    """Describe a version."""
    return VersionEntry(
        number=version.number,
        name=version.name,
        parent=version.parent,
        time=version.time or None,
        state=version.state,
        reason=version.reason,
        line=line_of(version),
        choices=len(version.choices),
        figures=version.figures or {},
        drift=version.drift,
        seconds=version.seconds or {},
        current=version.number == current,
        outdated=version.name in outdated,
    )


def state_of(
    versions: Versions, current: int, counts: Counts, *, store: Path, author: str
) -> LearningState:
    """Put together what a page shows."""
    last, numbers = None, versions.numbers()
    if numbers:
        newest = versions.get(numbers[-1])
        last = LastVersion(
            number=newest.number,
            name=newest.name,
            state=newest.state,
            reason=newest.reason,
            line=line_of(newest),
            seconds=round(sum((newest.seconds or {}).values()), 1),
            choices=len(newest.choices),
        )
    known: dict[str, Any] = asdict(counts)
    return LearningState(
        current=name_of(current),
        learner=learner_state(versions.folder.parent),
        counts=StateCounts(**{name: known[name] for name in StateCounts.model_fields}),
        store=str(store),
        author=author,
        last=last,
    )


def _is_silent(file: Path) -> bool:
    try:
        return time.time() - file.stat().st_mtime > _SILENT_SECONDS
    except OSError:
        return False
