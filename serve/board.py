"""What the processes of a server know of each other: a few numbers in shared memory.

Each number has one writer, so there are no locks that a killed process could leave locked.
"""

import ctypes
import json
import multiprocessing
import os
import signal
import time
from multiprocessing.sharedctypes import RawArray, RawValue

from fitbot.answers.engine import Stats

SERVING, DRAINING, CLOSING = range(3)  # states; DRAINING lets answers finish, CLOSING does not

_FRESH_SECONDS = 5.0  # a worker that has not moved for longer is not ready
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG in <linux/prctl.h>


class Board:
    """The numbers; picklable into a process that is being spawned."""

    def __init__(self) -> None:
        """Start as serving, without a worker."""
        self._state = RawValue("i", SERVING)  # written by main
        self._restarts = RawValue("i", 0)  # main
        self._worker = RawValue("i", 0)  # process id; the worker when ready, main at its death
        self._beat = RawValue("d", 0.0)  # the worker, when its event loop moved last
        self._stats = RawArray("d", 6)  # the worker
        self._models = RawArray("c", 4096)  # the worker
        self._active = RawValue("i", 0)  # the API process

    @property
    def state(self) -> int:
        """SERVING, DRAINING or CLOSING."""
        return int(self._state.value)

    @state.setter
    def state(self, state: int) -> None:
        self._state.value = state

    @property
    def restarts(self) -> int:
        """How many workers have been replaced."""
        return int(self._restarts.value)

    @restarts.setter
    def restarts(self, restarts: int) -> None:
        self._restarts.value = restarts

    @property
    def active(self) -> int:
        """Requests being answered."""
        return int(self._active.value)

    @active.setter
    def active(self, active: int) -> None:
        self._active.value = active

    @property
    def worker(self) -> int:
        """Process id of the worker, 0 while there is none that could answer."""
        return int(self._worker.value)

    @worker.setter
    def worker(self, pid: int) -> None:
        self._worker.value = pid

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the engine's models, the default one first."""
        return tuple(json.loads(self._models.value or b"[]"))

    @models.setter
    def models(self, models: tuple[str, ...]) -> None:
        self._models.value = json.dumps(models).encode()

    @property
    def stats(self) -> Stats:
        """How busy the engine was at the last beat."""
        return Stats(*map(int, self._stats))

    def beat(self, stats: Stats | None = None) -> None:
        """Say that the worker's event loop moves, and how busy its engine is."""
        if stats:
            self._stats[:] = [
                stats.active,
                stats.waiting,
                stats.slots,
                stats.kv_tokens_used,
                stats.kv_tokens,
                stats.tokens_out,
            ]
        self._beat.value = time.monotonic()

    def silence(self) -> float:
        """Return for how many seconds the worker has not moved."""
        return time.monotonic() - float(self._beat.value)

    def trouble(self) -> str | None:
        """Say why no request can be answered now, or None."""
        if self.state != SERVING:
            return "the server is shutting down"
        if not self.worker:
            return "the engine is starting"
        if self.silence() > _FRESH_SECONDS:
            return "the engine does not move"
        return None


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():
        os._exit(1)  # it had ended already
