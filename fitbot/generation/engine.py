"""The contract of every engine that answers: a conversation goes in, a stream of chunks comes out.

`Engine` is the protocol and `Stream` carries the chunks of one answer; `messages` has the data that
they pass. `scheduler.LocalEngine` computes on this machine, `remote.RemoteEngine` asks a server.
Nothing here knows of models, devices or HTTP.
"""

import asyncio
import queue
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol

from fitbot.errors import RequestError
from fitbot.generation.messages import Chunk, Sampling, Stats
from fitbot.pairs.formats import Message

Prompt = Sequence[Message] | Sequence[int] | str
_ROOM = 512  # tokens that old turns leave to the answer


class Engine(Protocol):
    """Anything that answers. All methods may be called from any thread."""

    @property
    def models(self) -> tuple[str, ...]:
        """Names that `submit` takes, the default one first."""

    def submit(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        model: str | None = None,
        deadline: float | None = None,
    ) -> "Stream":
        """Accept a request; its chunks come through the stream that is returned.

        Args:
            prompt: A conversation, rendered as in training; or a text or token ids to go on with,
                as they are.
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


def submit_what_fits(
    engine: Engine,
    messages: Sequence[Message],
    sampling: Sampling,
    *,
    model: str | None = None,
    deadline: float | None = None,
) -> tuple["Stream", int]:
    """Submit a conversation, and leave out its oldest turns as long as it is refused.

    A system message and the last turn always stay. As long as there are older turns, they leave 512
    tokens for the answer, or a quarter of the context if that is less.

    Returns:
        The stream, and the number of messages that were left out.

    Raises:
        RequestError, BusyError, EngineError: As `Engine.submit`; the last turn alone is too long.
    """
    kept = list(messages)
    while True:
        shorter = _without_oldest_turn(kept)
        wanted = replace(sampling, room=_ROOM if shorter else 1)
        try:
            stream = engine.submit(kept, wanted, model=model, deadline=deadline)
        except RequestError:
            if not shorter:
                raise
            kept = shorter
        else:
            return stream, len(messages) - len(kept)


def _without_oldest_turn(messages: list[Message]) -> list[Message]:
    """Drop the first question and its answer; [] if the first question is the last one."""
    asked = [place for place, message in enumerate(messages) if message.role == "user"]
    return [*messages[: asked[0]], *messages[asked[1] :]] if len(asked) > 1 else []


@dataclass(eq=False)
class Stream:
    """The chunks of one answer, as they come; iterate over it once, with `for` or `async for`.

    Leaving the loop early does not end the answer: call `cancel`. The engine's thread puts chunks
    in, any other thread or event loop takes them out.
    """

    _chunks: "queue.SimpleQueue[Chunk]" = field(default_factory=queue.SimpleQueue)
    _waker: "_LoopWaker | None" = None
    _arrival: "asyncio.Future[None] | None" = None  # what a coroutine waits for
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
        loop = asyncio.get_running_loop()
        self._waker = _waker_of(loop)
        while True:
            while self._chunks.empty():
                self._arrival = loop.create_future()
                if self._chunks.empty():  # or one came before it could wake this coroutine
                    await self._arrival
            chunk = self._chunks.get_nowait()
            yield chunk
            if chunk.finish_reason:
                return

    def arrive(self) -> None:
        """Wake the coroutine that waits for a chunk; on its event loop."""
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


class _LoopWaker:
    """Wakes the coroutines of one event loop that wait for chunks.

    However many chunks come in the meantime, the loop is woken once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self._arrived: deque[Stream] = deque()
        self._is_woken = False

    def wake(self, stream: Stream) -> None:
        """Wake the coroutine that waits for a stream's next chunk; from any thread."""
        self._arrived.append(stream)
        if self._is_woken:
            return  # the loop has not looked yet
        self._is_woken = True
        with suppress(RuntimeError):  # the loop is closed: nothing waits there any more
            self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        self._is_woken = False  # first: what arrives from here on wakes the loop again
        while self._arrived:
            self._arrived.popleft().arrive()


_waker_of = lru_cache(maxsize=8)(_LoopWaker)
