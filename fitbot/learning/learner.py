"""The process that learns: it waits for choices, takes lessons, asks the gate, keeps versions.

It shares nothing with the processes that answer but files: the store of choices, the versions and
its status. It may be killed, stopped or run out of memory at any time; the next one goes on from
the last whole version. It gives way: while the file `busy` is fresh, whose time a server renews
while it answers, the learner pauses before its next step or pass, for a while.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from fitbot.errors import ConfigError, FitbotError
from fitbot.health.layer import open_layer
from fitbot.learning.examiner import Examiner, GateSettings
from fitbot.learning.gate import REFUSED, Verdict, figures_of
from fitbot.learning.lesson import LearnPair, LessonSettings, Teacher
from fitbot.learning.status import BUSY, say
from fitbot.learning.versions import Version, Versions
from fitbot.platforms import die_with_parent, lower_priority

_LOCK = "learner.lock"
_FRESH = 0.5  # seconds for which `busy` counts
_PATIENCE = 10.0  # seconds that one pass waits at most: learning slows down, it does not stop
_PAUSE = 0.02
_POLL = 0.2  # seconds between two looks into the store


class Choices(Protocol):
    """What the learner needs of the store."""

    def pairs(self, held_out: bool | None = None) -> Sequence[LearnPair]:
        """Return usable pairs, oldest first."""

    def learned(self, version: str, choice_ids: Sequence[int]) -> Sequence[int]:
        """Note what a version learned from; return the ids that were forgotten meanwhile."""

    def data_version(self) -> int:
        """Return a number that changes when others have written."""


@dataclass(frozen=True)
class LearnerSettings:
    """Where the learner works, and how."""

    folder: Path
    lesson: LessonSettings = field(default_factory=LessonSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    device: str = "cpu"
    threads: int | None = None  # of PyTorch; None: its own choice


class Learner:
    """Takes lessons one after the other; of a learning folder there is one at a time."""

    def __init__(self, settings: LearnerSettings, choices: Choices):
        """Load what lessons need; sweep what a killed learner has left."""
        self.folder, self.choices = settings.folder, choices
        self.versions = Versions(settings.folder)
        self.swept = self.versions.sweep()
        self._begun = time.time()  # loading, or the lesson
        self._say("loading")
        self.teacher = Teacher(settings.lesson, device=settings.device)
        self.teacher.before_pass = self.give_way  # type: ignore[method-assign]
        self.examiner = Examiner(self.teacher, self.versions, settings.gate, open_layer())
        self._say("waiting")

    def learn_once(self) -> Version | None:
        """Take one lesson from all choices that no lesson was taken from; None if there are none.

        A lesson goes on from the current version, or from what was learned since and refused for
        want of evidence; the gate compares it with the current one.
        """
        number, parent = self.versions.next_number(), self.versions.current
        pairs, ids = self._unproven(parent)
        if not ids:
            return None
        start = self._start(parent, ids)
        known = {i for one in (start, *self.versions.line(parent)) for i in one.choices}
        new = [one for one in pairs if one.id not in known]
        old = [one for one in pairs if one.id in known]
        held_out = self.choices.pairs(held_out=True)
        clock, self._begun = _Clock(), time.time()
        self._say("learning", number=number, choices=len(new))

        def after_step(step: int, steps: int) -> None:
            self._say("learning", number=number, choices=len(new), step=step, steps=steps)
            self.give_way()

        with clock.stage("learning"):
            self.teacher.be(self.versions.adapter(start.number))
            steps = self.teacher.learn(new, old, number=number, after_step=after_step)

        def checking(items: int, most: int) -> None:
            self._say("checking", number=number, items=items, most=most)

        with clock.stage("checking"):
            verdict, evidence, outcomes = self.examiner.examine(
                number, parent, start.number, held_out, checking
            )
        with self.versions.writing(number) as folder:
            with clock.stage("writing"):
                self.teacher.export(folder, steps)
            verdict = self._still_wanted(verdict, number, parent, ids)
            version = Version(
                number,
                parent,
                verdict.state,
                verdict.reason,
                ids,
                self.teacher.settings.seed,
                steps,
                evidence.drift,
                {name: asdict(own) for name, own in figures_of(evidence).items()},
                verdict.better,
                verdict.unsettled,
                start.number,
                clock.seconds,
            )
            version = self.versions.add(version, outcomes, answers=verdict.is_taken)
        stage = "taken" if verdict.is_taken else "refused"
        self._say(
            stage, number=number, state=version.state, reason=version.reason, seconds=clock.seconds
        )
        return version

    def _still_wanted(
        self, verdict: Verdict, number: int, parent: int, ids: tuple[int, ...]
    ) -> Verdict:
        """Refuse a version whose parent or choices were taken back while it was made."""
        # Who forgets a choice while it is learned from must not find it in a version.
        if forgotten := self.choices.learned(f"fitbot@{number}", ids):
            return Verdict(
                REFUSED, f"{len(forgotten)} of its choices were taken back while it learned"
            )
        if self.versions.current != parent:
            return Verdict(
                REFUSED, f"fitbot@{parent}, from which it learned, was taken back meanwhile"
            )
        return verdict

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Take lessons as choices come, until told to end."""
        seen = None
        while not until():
            found = self.choices.data_version(), self.versions.current
            if found == seen or self.learn_once() is None:
                seen = found
                if not self.examiner.prepare(self.versions.current, self.versions.next_number()):
                    time.sleep(_POLL)

    def give_way(self) -> None:
        """Wait while a server is answering, but not for ever."""
        file, start = self.folder / BUSY, time.monotonic()
        while time.monotonic() - start < _PATIENCE:
            try:
                if time.time() - file.stat().st_mtime > _FRESH:
                    return
            except OSError:
                return
            time.sleep(_PAUSE)

    def _unproven(self, parent: int) -> tuple[Sequence[LearnPair], tuple[int, ...]]:
        """Return all pairs, and the ids of those that the current version has not learned from.

        No ids where a version was made of just these: it was refused or undone, so a lesson waits
        for one more.
        """
        known = {i for one in self.versions.line(parent) for i in one.choices}
        pairs = self.choices.pairs(held_out=False)
        ids = tuple(sorted(one.id for one in pairs if one.id not in known))
        return pairs, () if ids in {one.choices for one in self.versions.all()} else ids

    def _start(self, parent: int, ids: Sequence[int]) -> Version:
        """Return the version whose weights a lesson begins with.

        A few choices change too little to be shown. What they taught is kept, so that lessons add
        up until it can be; not if it was shown worse, or if a choice was taken back.
        """
        for last in self.versions.all()[-1:]:
            if last.unsettled and last.parent == parent and set(last.choices) <= set(ids):
                return last
        return self.versions.get(parent)

    def _say(self, stage: str, **more: Any) -> None:
        say(self.folder, stage, begun=self._begun, **more)


def start(
    settings: LearnerSettings, open_choices: Callable[[], Choices]
) -> multiprocessing.process.BaseProcess:
    """Start the process; it ends with this one.

    Args:
        settings: Where it works, and how.
        open_choices: Opens the store, in the new process: a function that can be pickled.
    """
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_run, args=(settings, open_choices), name="learner")
    process.start()
    return process


def _run(settings: LearnerSettings, open_choices: Callable[[], Choices]) -> None:
    die_with_parent()
    work(settings, open_choices)


def work(settings: LearnerSettings, open_choices: Callable[[], Choices]) -> None:
    """Learn in this process, until it is killed; what cannot be mended here is said and ends it."""
    import torch

    lower_priority()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    try:
        with alone(settings.folder):
            Learner(settings, open_choices()).run()
    except FitbotError as error:
        say(settings.folder, "failed", reason=str(error))
        raise SystemExit(1) from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the learning folder; a process that is killed lets go of it.

    Raises:
        ConfigError: Another learner holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / _LOCK, timeout=0):
            yield
    except Timeout as error:
        raise ConfigError(
            f"{folder}: another learner is at work there; end it first, or name another folder"
        ) from error


class _Clock:
    """Counts seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
