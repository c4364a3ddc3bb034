"""All that `fitbot doctor` looks at, section by section."""

import time
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fitbot.doctor.block import Fact, draw_section
from fitbot.doctor.software import software

if TYPE_CHECKING:
    from fitbot.doctor.trial import Trial


def examine(base_model: str, show: Callable[[str], None]) -> bool:
    """Look at software and machine, train, answer, and say which engine each command takes.

    Args:
        base_model: What to train, as model.base_model: a hub id, a folder, or "embedded".
        show: Is handed each section as soon as it is done; a crash may be next.

    Returns:
        Whether everything worked that should.
    """
    started = time.perf_counter()
    scratch = TemporaryDirectory(prefix="fitbot-doctor-", ignore_cleanup_errors=True)
    with scratch as folder, warnings.catch_warnings():

        @cache
        def trial() -> "Trial":
            from fitbot.doctor.trial import Trial

            return Trial(base_model, Path(folder))

        sections: dict[str, Callable[[], Iterable[Fact]]] = {
            "software": software,
            "machine": _machine,
            "hub": _hub,
            "training": lambda: trial().train(),
            "answers": lambda: trial().answer(),
            "engines": lambda: trial().engines(),
        }
        broken = []
        for name, find in sections.items():
            text, has_failed = draw_section(name, find)
            show(text)
            broken += [name] if has_failed else []
    verdict = f"FAILED in: {', '.join(broken)}" if broken else "all works"
    show(f"{verdict}, {time.perf_counter() - started:.0f} s")
    return not broken


# Loaded where they are called, so that a broken library breaks no other section.


def _machine() -> Iterable[Fact]:
    from fitbot.doctor.machine import machine

    return machine()


def _hub() -> Iterable[Fact]:
    from fitbot.doctor.machine import hub

    return hub()
