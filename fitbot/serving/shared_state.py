"""What the processes of a server know of each other: numbers and names in shared memory.

Each has one writer, so there are no locks that a killed process could leave locked.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from multiprocessing.sharedctypes import RawArray, RawValue
from typing import Any, Generic, TypeVar

from fitbot.generation.messages import Stats

SERVING, DRAINING, CLOSING = range(3)  # phases; DRAINING lets answers finish, CLOSING does not

_FRESH_SECONDS = 5.0  # a worker that has not moved for longer is not ready
_JSON_BYTES = 65_536

Value = TypeVar("Value")


class _Shared(Generic[Value]):
    """An attribute of `SharedState` whose value lies in shared memory."""

    def __init__(self, first: Value):
        self.first = first

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, shared: "SharedState", owner: type) -> Value:
        value: Value = shared.values[self._name].read()
        return value

    def __set__(self, shared: "SharedState", value: Value) -> None:
        shared.values[self._name].write(value)


class SharedState:
    """What all processes of a server read; picklable into a process that is being spawned.

    Attributes:
        phase: SERVING, DRAINING or CLOSING; written by main.
        restarts: How many workers have been replaced; written by main.
        worker: Process id of the worker, 0 while there is none that could answer. Written by the
            worker when it is ready, by main at its death.
        failure: Why the worker ends, "" if it does not say. Written by the worker, or by main
            while there is none.
        active: Requests being answered, or admitted and waiting; written by the API process.
        models: Names of the engine's models, the default one first; written by the worker.
        added_adapters: Adapters that were added while serving: name → folder. Written by the
            worker; its successor needs it.
    """

    phase = _Shared(SERVING)
    restarts = _Shared(0)
    worker = _Shared(0)
    failure = _Shared("")
    active = _Shared(0)
    models = _Shared[Sequence[str]](())
    added_adapters = _Shared[Mapping[str, str]]({})
    _stats = _Shared[Sequence[int]]((0,) * 6)
    _heartbeat = _Shared(0.0)  # when the worker's event loop moved last
    _api_heartbeat = _Shared(0.0)  # and the API process's

    def __init__(self) -> None:
        """Start as serving, without a worker."""
        own = vars(SharedState).items()
        self.values = {n: SharedJson(one.first) for n, one in own if isinstance(one, _Shared)}

    @property
    def stats(self) -> Stats:
        """How busy the engine was at the last heartbeat."""
        return Stats(*self._stats)

    def beat(self, stats: Stats | None = None) -> None:
        """Say that the worker's event loop moves, and how busy its engine is."""
        if stats:
            self._stats = astuple(stats)
        self._heartbeat = time.monotonic()

    def seconds_since_beat(self) -> float:
        """Return for how many seconds the worker's event loop has not moved."""
        return time.monotonic() - self._heartbeat

    def beat_api(self) -> None:
        """Say that the API process's event loop moves."""
        self._api_heartbeat = time.monotonic()

    def seconds_since_api_beat(self) -> float:
        """Return for how many seconds the API process's event loop has not moved."""
        return time.monotonic() - self._api_heartbeat

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
