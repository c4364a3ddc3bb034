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

SERVING, DRAINING, CLOSING = range(3)  # phases; DRAINING lets answers finish, CLOSING does not

_FRESH_SECONDS = 5.0  # a worker that has not moved for longer is not ready
_JSON_BYTES = 65_536
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG in <linux/prctl.h>


class _SharedInt:
    """An attribute of `SharedState` that is a number in shared memory."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, shared: "SharedState", owner: type) -> int:
        return int(getattr(shared, self._name).value)

    def __set__(self, shared: "SharedState", number: int) -> None:
        getattr(shared, self._name).value = number


class SharedState:
    """What all processes of a server read; picklable into a process that is being spawned.

    Attributes:
        phase: SERVING, DRAINING or CLOSING; written by main.
        restarts: How many workers have been replaced; written by main.
        worker: Process id of the worker, 0 while there is none that could answer. Written by the
            worker when it is ready, by main at its death.
        active: Requests being answered; written by the API process.
    """

    phase = _SharedInt()
    restarts = _SharedInt()
    worker = _SharedInt()
    active = _SharedInt()

    def __init__(self) -> None:
        """Start as serving, without a worker."""
        self._phase = RawValue("i", SERVING)
        self._restarts = RawValue("i", 0)
        self._worker = RawValue("i", 0)
        self._active = RawValue("i", 0)
        # The worker writes all that follows.
        self._heartbeat = RawValue("d", 0.0)  # when its event loop moved last
        self._stats = RawArray("d", 6)
        self._models = SharedJson([])
        self._added_adapters = SharedJson({})

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the engine's models, the default one first."""
        return tuple(self._models.read())

    @models.setter
    def models(self, models: tuple[str, ...]) -> None:
        self._models.write(models)

    @property
    def added_adapters(self) -> dict[str, str]:
        """Adapters that were added while serving: name → folder; a worker's successor needs it."""
        return dict(self._added_adapters.read())

    @added_adapters.setter
    def added_adapters(self, added: dict[str, str]) -> None:
        self._added_adapters.write(added)

    @property
    def stats(self) -> Stats:
        """How busy the engine was at the last heartbeat."""
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
        self._heartbeat.value = time.monotonic()

    def seconds_since_beat(self) -> float:
        """Return for how many seconds the worker's event loop has not moved."""
        return time.monotonic() - float(self._heartbeat.value)

    def why_not_ready(self) -> str | None:
        """Say why no request can be answered now; None when it can."""
        if self.phase != SERVING:
            return "the server is shutting down"
        if not self.worker:
            return "the engine is starting"
        if self.seconds_since_beat() > _FRESH_SECONDS:
            return "the engine does not move"
        return None


class SharedJson:
    """A value that one process writes and others read, whole wherever the writer is killed.

    The writer never touches the page that is being read: it fills the other one, then flips.
    """

    def __init__(self, value: Any):
        """Take the first value; anything that JSON can hold in 65,535 bytes."""
        self._pages = [RawArray("c", _JSON_BYTES) for _ in range(2)]
        self._flips = RawValue("L", 0)
        self.write(value)

    def write(self, value: Any) -> None:
        """Replace the value."""
        flips = int(self._flips.value) + 1
        self._pages[flips % 2].value = json.dumps(value).encode()
        self._flips.value = flips

    def read(self) -> Any:
        """Return the value."""
        while True:
            flips = int(self._flips.value)
            text = self._pages[flips % 2].value
            if flips == int(self._flips.value):  # or it may have been written twice meanwhile
                return json.loads(text)


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():
        os._exit(1)  # it had ended already
