"""The contract of every engine that answers: a conversation goes in, a stream of chunks comes out.

`Engine` is the protocol and `Stream` carries the chunks of one answer; `messages` has the data that
they pass. `scheduler.LocalEngine` computes on this machine, `remote.RemoteEngine` asks a server.
Nothing here knows of models, devices or HTTP.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakKeyDictionary

from fitbot.errors import RequestError
from fitbot.generation.messages import Chunk, Sampling, Stats
from fitbot.pairs.formats import Message


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
    ) -> "Stream":
        """Accept a request; its chunks come through the stream that is returned.

        Args:
            prompt: A conversation, rendered as in training, or token ids as they are.
            sampling: How the answer is drawn.
            model: One of `models`; the first by default.
            deadline: On `time.monotonic`'s clock; after it the answer ends with "deadline".

        Raises:
            RequestError: It can never be answered: no such model, a prompt that leaves no room.
            BusyError: It cannot be answered now; too many requests are waiting.
            EngineError: Nothing can be answered any more; the engine has failed or is closed.
        """

    def stats(self) -> Stats:
        """Return how busy the engine is; never waits."""

    def health(self) -> str | None:
        """Return why the engine cannot answer any more, or None if it can; never waits."""

    def close(self) -> None:
        """Stop the engine; active and waiting requests end with "cancelled"."""


def choose_model(models: Sequence[str], model: str | None) -> str:
    """Return the model that a request names; if it names none, the first one.

    Raises:
        RequestError: The engine has no such model.
    """
    if model is None:
        return models[0]
    if model not in models:
        raise RequestError(f"no model {model!r}; there are {', '.join(models)}")
    return model


@dataclass(eq=False)
class Stream:
    """The chunks of one answer, as they come; iterate over it once, with `for` or `async for`.

    Leaving the loop early does not end the answer: call `cancel`. The engine's thread puts chunks
    in, any other thread or event loop takes them out.
    """

    _chunks: "queue.SimpleQueue[Chunk]" = field(default_factory=queue.SimpleQueue)
    _waker: "_LoopWaker | None" = None
    cancelled: bool = False

    def put(self, chunk: Chunk) -> None:
        """Add a chunk; for engines."""
        self._chunks.put(chunk)
        if self._waker is not None:
            self._waker.wake(self)

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
        """Wait for each chunk without blocking the event loop."""
        self._waker = waker = _LoopWaker.of(asyncio.get_running_loop())
        while True:
            # Before the queue is read: a chunk that comes in between must wake this coroutine too.
            arrival = waker.next_chunk_of(self)
            try:
                chunk = self._chunks.get_nowait()
            except queue.Empty:
                await arrival
                continue
            yield chunk
            if chunk.finish_reason:
                return


class _LoopWaker:
    """Wakes the coroutines of one event loop that wait for chunks.

    However many chunks come in the meantime, the loop is woken once.
    """

    _of_loops: "WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopWaker]" = WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self._lock = threading.Lock()
        self._arrived: list[Stream] = []
        self._waiting: dict[Stream, asyncio.Future[None]] = {}

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> "_LoopWaker":
        return cls._of_loops.setdefault(loop, cls(loop))

    def next_chunk_of(self, stream: Stream) -> "asyncio.Future[None]":
        """Return a future that is done once the stream has a new chunk."""
        future = self._waiting.get(stream)
        if future is None or future.done():
            future = self._waiting[stream] = self._loop.create_future()
        return future

    def wake(self, stream: Stream) -> None:
        """Wake the coroutine that waits for a stream; from any thread."""
        with self._lock:
            self._arrived.append(stream)
            if len(self._arrived) > 1:
                return  # the loop has been woken and has not looked yet
        with suppress(RuntimeError):  # the loop is closed: nothing waits there any more
            self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        with self._lock:
            arrived, self._arrived = self._arrived, []
        for stream in arrived:
            future = self._waiting.pop(stream, None)
            if future is not None and not future.done():
                future.set_result(None)
