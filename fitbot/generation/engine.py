"""What every engine that answers promises: a conversation goes in, chunks of text come out.

These are the terms; nothing here computes. `local.py` is the embedded engine.
Token ids, models and devices are the engine's own affair; HTTP is nobody's here.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakKeyDictionary

from fitbot.generation.messages import Chunk, Sampling, Stats
from fitbot.pairs.formats import Message


@dataclass(eq=False)
class Stream:
    """The chunks of one answer, as they come; iterate over it once, with `for` or `async for`.

    Leaving the loop early does not end the answer: call `cancel`. The engine's thread puts chunks
    in, any other thread or event loop takes them out.
    """

    _chunks: "queue.SimpleQueue[Chunk]" = field(default_factory=queue.SimpleQueue)
    _alarm: "_Alarm | None" = None
    cancelled: bool = False

    def put(self, chunk: Chunk) -> None:
        """Add a chunk; for engines."""
        self._chunks.put(chunk)
        if self._alarm is not None:
            self._alarm.ring(self)

    def cancel(self) -> None:
        """Ask the engine to stop within a step; the last chunk then says "cancelled"."""
        self.cancelled = True

    def __iter__(self) -> Iterator[Chunk]:
        """Wait for each chunk."""
        while True:
            chunk = self._chunks.get()
            yield chunk
            if chunk.finish_reason:
                return

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        """Wait for each chunk without holding up the event loop."""
        self._alarm = alarm = _Alarm.of(asyncio.get_running_loop())
        while True:
            # Before looking, or a chunk that comes in between would wake nobody.
            rung = alarm.set_for(self)
            try:
                chunk = self._chunks.get_nowait()
            except queue.Empty:
                await rung
                continue
            yield chunk
            if chunk.finish_reason:
                return


class _Alarm:
    """Wakes those who wait in one event loop: however many chunks came, the loop is woken once."""

    _of_loops: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Alarm]" = WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self._lock = threading.Lock()
        self._rung: list[Stream] = []
        self._waiting: dict[Stream, asyncio.Future[None]] = {}

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> "_Alarm":
        return cls._of_loops.setdefault(loop, cls(loop))

    def set_for(self, stream: Stream) -> "asyncio.Future[None]":
        """Return what is done once a chunk has come."""
        future = self._waiting.get(stream)
        if future is None or future.done():
            future = self._waiting[stream] = self._loop.create_future()
        return future

    def ring(self, stream: Stream) -> None:
        """Wake whoever waits for a stream; from any thread."""
        with self._lock:
            self._rung.append(stream)
            if len(self._rung) > 1:
                return  # it has been woken, and has not looked yet
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        with self._lock:
            rung, self._rung = self._rung, []
        for stream in rung:
            future = self._waiting.pop(stream, None)
            if future is not None and not future.done():
                future.set_result(None)


class Engine(Protocol):
    """Anything that answers. All methods may be called from any thread."""

    @property
    def models(self) -> tuple[str, ...]:
        """Names that `submit` takes, the default one first."""

    def submit(
        self,
        prompt: Sequence[Message] | Sequence[int],
        sampling: Sampling,
        *,
        model: str | None = None,
        deadline: float | None = None,
    ) -> Stream:
        """Accept a request; its chunks come through the stream that is returned.

        Args:
            prompt: A conversation, rendered as in training, or token ids as they are.
            sampling: How the answer is drawn.
            model: One of `models`; the first by default.
            deadline: On `time.monotonic`'s clock; after it the answer ends with "deadline".

        Raises:
            RequestError: It can never be answered: no such model, a prompt that leaves no room.
            BusyError: Not now; too many are waiting.
            EngineError: Never again; the engine is dead.
        """

    def stats(self) -> Stats:
        """Say how busy it is; never waits."""

    def health(self) -> str | None:
        """Say why it cannot answer any more, or None when all is well; never waits."""

    def close(self) -> None:
        """End: what is active or waiting is cancelled."""
