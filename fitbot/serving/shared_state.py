"""What the processes of a server know of each other: numbers and names in shared memory.

Each has one writer, so there are no locks that a killed process could leave locked.
"""

import ctypes
import json
import multiprocessing
import os
import signal
import time
from multiprocessing.sharedctypes import RawArray, RawValue
from typing import Any

from fitbot.generation.messages import Stats

SERVING, DRAINING, CLOSING = range(3)  # states; DRAINING lets answers finish, CLOSING does not

_FRESH_SECONDS = 5.0  # a worker that has not moved for longer is not ready
_NOTE_BYTES = 65_536
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
        self._models = Note([])  # the worker
        self._added = Note({})  # the worker
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
        return tuple(self._models.read())

    @models.setter
    def models(self, models: tuple[str, ...]) -> None:
        self._models.write(models)

    @property
    def added(self) -> dict[str, str]:
        """Adapters that were added while serving: name → folder; a worker's successor needs it."""
        return dict(self._added.read())

    @added.setter
    def added(self, added: dict[str, str]) -> None:
        self._added.write(added)

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


class Note:
    """What one process writes and others read, whole at any moment, wherever the writer is killed.

    The writer never touches the page that is being read: it fills the other one, then turns over.
    """

    def __init__(self, value: Any):
        """Take what it says at first; anything that JSON can hold in 65,535 bytes."""
        self._pages = [RawArray("c", _NOTE_BYTES) for _ in range(2)]
        self._turns = RawValue("L", 0)
        self.write(value)

    def write(self, value: Any) -> None:
        """Say something else from now on."""
        turns = int(self._turns.value) + 1
        self._pages[turns % 2].value = json.dumps(value).encode()
        self._turns.value = turns

    def read(self) -> Any:
        """Return what it says."""
        while True:
            turns = int(self._turns.value)
            text = self._pages[turns % 2].value
            if turns == int(self._turns.value):  # or it may have been written twice meanwhile
                return json.loads(text)


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():
        os._exit(1)  # it had ended already
