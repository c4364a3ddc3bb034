"""Keeps the learner alive beside a server: started, looked after, started again within limits.

It is looked after from the server's main process, and the server needs nothing of it: whatever
happens to the learner, answers go on. Nothing here imports torch in that process.
"""

import logging
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

from fitbot.learning.origin import Origin
from fitbot.learning.status import BEAT, say, status
from fitbot.learning.store import Store
from fitbot.platforms import choose_device, die_with_parent

_BEAT_SECONDS = 0.5
_STOPPED_TICKS = 600  # a minute without a beat, and it is killed
_STARTING_TICKS = 3000  # without a first one
_DEATHS, _DEATHS_SECONDS = 5, 600.0  # so many within so long, and it is not started again
_END_SECONDS = 2.0
_PAUSE = 1.0  # before it is started again; twice as long after each death

log = logging.getLogger(__name__)


class Supervisor:
    """Looks after one learner; a tick is a tenth of a second."""

    def __init__(self, folder: Path, run: Callable[[], None]):
        """Take the learning folder, and what a learner's process does: a picklable function."""
        self._folder, self._run = folder, run
        self._process: BaseProcess | None = None
        self._deaths: list[float] = []
        self._start_at, self._has_given_up = 0.0, False
        self._beat, self._silent, self._has_beaten = 0, 0, False

    def tick(self) -> None:
        """Start it, see whether it lives, kill it if it does not move."""
        try:
            self._look()
        except OSError as error:  # a full disk, no room for a process: answers go on
            log.error("the learner cannot be looked after: %s", error.strerror)
            self._start_at = time.monotonic() + _PAUSE

    def _look(self) -> None:
        process = self._process
        if process is None:
            if not self._has_given_up and time.monotonic() >= self._start_at:
                self._start()
        elif not process.is_alive():
            self._bury(process)
        else:
            beat = _time_of(self._folder / BEAT)
            self._has_beaten = self._has_beaten or beat != self._beat
            # Ticks are counted, not seconds: this process may have been stopped, too.
            self._silent = self._silent + 1 if beat == self._beat else 0
            self._beat = beat
            if self._silent > (_STOPPED_TICKS if self._has_beaten else _STARTING_TICKS):
                process.kill()

    def close(self) -> None:
        """End it; it leaves nothing half done wherever it is."""
        self._has_given_up = True
        if self._process is not None:
            self._process.terminate()
            self._process.join(_END_SECONDS)
            self._process.kill()

    def _start(self) -> None:
        self._beat, self._silent, self._has_beaten = _time_of(self._folder / BEAT), 0, False
        say(self._folder, "loading", begun=time.time())
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_live, args=(self._folder, self._run), daemon=True)
        process.name = "learner"
        process.start()
        self._process = process
        log.info("the learner was started", extra={"learner": process.pid})

    def _bury(self, process: BaseProcess) -> None:
        self._process = None
        code, now = process.exitcode or 0, time.monotonic()
        why = f"its process ended with status {code}; the log says why"
        if code < 0:
            why = f"its process was ended by signal {-code} (9: often for want of memory)"
        said = status(self._folder)
        why = said.get("reason", why) if said.get("stage") == "failed" else why
        self._deaths = [one for one in self._deaths if one > now - _DEATHS_SECONDS] + [now]
        self._has_given_up = len(self._deaths) >= _DEATHS
        self._start_at = now + _PAUSE * 2 ** (len(self._deaths) - 1)
        after = "restart the server to try again" if self._has_given_up else "it is started again"
        say(self._folder, "failed", message=f"The learner died: {why}; {after}.")
        log.error("the learner died: %s; %s", why, after)


def _live(folder: Path, run: Callable[[], None]) -> None:
    """Run in the learner's process, with a thread that says that it lives."""
    die_with_parent([signal.SIGINT])  # which comes to the whole group
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(0)
    )  # what it holds of the system is given back
    from fitbot.serving.logs import set_up_logging

    set_up_logging()

    def beat() -> None:
        while True:
            (folder / BEAT).touch()
            time.sleep(_BEAT_SECONDS)

    threading.Thread(target=beat, name="beat", daemon=True).start()
    run()


def learn(folder: Path, store: Path, origin: Origin) -> None:
    """Learn from what is chosen, for ever; all that is heavy is loaded here."""
    from fitbot.learning.learner import LearnerSettings, work
    from fitbot.learning.lesson import LessonSettings

    lesson = LessonSettings(
        base_model=origin.base_model,
        adapter=origin.adapter,
        load_in_4bit=origin.load_in_4bit,
        system_prompt=origin.system_prompt,
    )
    device = "cuda" if choose_device().type == "cuda" else "cpu"
    work(LearnerSettings(folder, lesson, device=device), partial(Store, store))


def _time_of(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
