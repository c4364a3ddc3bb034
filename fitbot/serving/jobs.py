"""One job on its way through the worker and back, seen from the API process."""

import asyncio
import math
import time
import uuid
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from litserve.utils import LitAPIStatus, ResponseBufferItem

from fitbot.generation.messages import Chunk, Sampling, TokenLogprob, Usage
from fitbot.pairs.formats import Message
from fitbot.serving.adapters import Change
from fitbot.serving.http_errors import Failure, Refused
from fitbot.serving.metrics import Metrics
from fitbot.serving.safety import Filter
from fitbot.serving.shared_state import CLOSING, Board
from fitbot.serving.transport import joined
from fitbot.serving.worker import GRACE_SECONDS, Cancel, Job

_LATE_SECONDS = GRACE_SECONDS + 0.5  # the worker says first that a deadline has passed
_WORKER_DIED = Failure(503, "worker_died", "the engine stopped; try again soon", 5)
_CLOSING = Failure(503, "shutting_down", "the server is shutting down", 5)
_NO_END = Failure(500, "internal_error", "the answer has no end")


class Request(NamedTuple):
    """What the engine is asked."""

    messages: Sequence[Message]
    sampling: Sampling
    model: str | None
    seconds: float

    def to(self, worker: int, uid: str) -> Job:
        """Address it to a worker."""
        deadline = time.monotonic() + self.seconds
        return Job(uid, worker, tuple(self.messages), self.sampling, self.model, deadline)


class Wish(NamedTuple):
    """An adapter that the engine is to be given, or to give up; see `Change`."""

    name: str
    folder: str | None
    seconds: float

    def to(self, worker: int, uid: str) -> Change:
        """Address it to a worker."""
        return Change(uid, worker, self.name, self.folder, time.monotonic() + self.seconds)


class Piece(NamedTuple):
    """A part of an answer as it may be shown; the last one alone has a finish reason."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    reasoning: str = ""


@dataclass
class Relay:
    """The chunks of one job, as they come."""

    job: Job | Change
    item: ResponseBufferItem
    finished: bool = False
    wake_at: float = math.inf  # whoever waits for a chunk hears then that there is none

    def fail(self, failure: Failure) -> None:
        """Answer in the worker's place."""
        self.item.response_queue.append((failure, LitAPIStatus.OK))
        self.item.event.set()

    async def next(self, patience: float) -> Chunk | None:
        """Wait for what comes next, all of it as one chunk; None if nothing does for some seconds.

        Raises:
            Refused: The answer failed, or its time is up.
        """
        coming = self.item.response_queue
        if not coming:
            end = self.job.deadline + _LATE_SECONDS
            self.wake_at = min(time.monotonic() + patience, end)
            self.item.event.clear()
            await self.item.event.wait()
            if not coming:
                if time.monotonic() >= end:
                    raise _out_of_time()
                return None
        chunks = []
        while coming and isinstance(coming[0][0], Chunk):
            chunks.append(coming.popleft()[0])
        if chunks:
            return self._checked(joined(chunks))
        failure, status = coming.popleft()
        self.finished = True
        # Errors of LitServe's own are pickled; what they hold is in the worker's log.
        raise Refused.of(failure if status == LitAPIStatus.OK else _NO_END)

    def _checked(self, chunk: Chunk) -> Chunk:
        match chunk.finish_reason:
            case None:
                return chunk
            case "deadline":
                self.finished = True
                raise _out_of_time()
            case "error":
                self.finished = True
                raise Refused(500, "engine_error", "the answer could not be generated")
            case "cancelled":  # nobody here has asked for that
                self.finished = True
                raise Refused.of(_WORKER_DIED)
        self.finished = True
        return chunk


class Switchboard:
    """Sends jobs to the worker and keeps account of those under way."""

    def __init__(self, board: Board, metrics: Metrics):
        """Start with none; `connect` comes when LitServe has made its queues."""
        self._board = board
        self._metrics = metrics
        self._relays: dict[str, Relay] = {}

    def connect(self, jobs: Any, buffer: dict[str, ResponseBufferItem], consumer: int) -> None:
        """Take LitServe's queue of requests, its buffer of responses and this process's number."""
        self._jobs = jobs
        self._buffer = buffer
        self._consumer = consumer

    def send(self, request: Request | Wish, exits: ExitStack) -> Relay:
        """Send a request to the worker.

        Args:
            request: What it is asked, or to do: then one chunk without text says that it is done.
            exits: Closed when the client has its answer, or has gone.

        Raises:
            Refused: 503; there is no worker that could answer.
        """
        trouble = self._board.trouble()
        if trouble:
            raise Refused(503, "unavailable", trouble, retry_after=5)
        job = request.to(self._board.worker, uuid.uuid4().hex)
        relay = Relay(job, ResponseBufferItem(asyncio.Event(), deque()))
        self._buffer[job.uid] = relay.item
        self._relays[job.uid] = relay
        self._board.active = len(self._relays)
        exits.callback(self._end, relay)
        self._put(job.uid, job)
        return relay

    async def watch(self) -> None:
        """Answer in the worker's place when it has died or the server must close; never ends.

        Wakes whoever has waited long enough, too: a timer for every wait would cost far more.
        """
        while True:
            await asyncio.sleep(0.05)
            closing, worker = self._board.state == CLOSING, self._board.worker
            now = time.monotonic()
            for relay in list(self._relays.values()):
                if closing or relay.job.worker != worker:
                    relay.fail(_CLOSING if closing else _WORKER_DIED)
                elif relay.wake_at <= now:
                    relay.item.event.set()

    def stop(self, relay: Relay) -> None:
        """Have the worker end an answer that nobody needs any more."""
        if not relay.finished:
            relay.finished = True
            self._metrics.cancelled += 1
            self._put("", Cancel(relay.job.uid))

    def _end(self, relay: Relay) -> None:
        self._buffer.pop(relay.job.uid, None)
        self._relays.pop(relay.job.uid, None)
        self._board.active = len(self._relays)
        self.stop(relay)

    def _put(self, uid: str, message: Job | Change | Cancel) -> None:
        self._jobs.put((self._consumer, uid, time.monotonic(), message))


class Answer:
    """A relay's chunks, through the health layer's filters."""

    def __init__(
        self,
        relay: Relay,
        screen: Filter | None,
        reasoning_screen: Filter | None,
        switchboard: Switchboard,
    ):
        """Begin; without filters everything is shown."""
        self._relay = relay
        self._screen = screen
        self._reasoning_screen = reasoning_screen
        self._is_thinking = False
        self._switchboard = switchboard
        self._held: list[TokenLogprob] = []  # their tokens may yet turn out not to be shown

    @property
    def intervened(self) -> str | None:
        """Why the answer was cut, if it was."""
        return self._screen.intervened if self._screen else None

    @property
    def withheld(self) -> str | None:
        """Why the rest of its thoughts was withheld, if it was."""
        return self._reasoning_screen.intervened if self._reasoning_screen else None

    async def next(self, patience: float) -> Piece | None:
        """Wait for the next piece; None if there is none for so many seconds.

        Raises:
            Refused: The answer failed, or its time is up.
        """
        chunk = await self._relay.next(patience)
        if chunk is None:
            return None
        if self._screen is None:
            return Piece(
                chunk.text, chunk.logprobs, chunk.finish_reason, chunk.usage, chunk.reasoning
            )
        self._held += chunk.logprobs
        shown = self._screen.feed(chunk.text)
        if chunk.finish_reason:
            shown += self._screen.finish()
        if self._screen.intervened:
            self._switchboard.stop(self._relay)
            return Piece(shown, (), "content_filter", chunk.usage)
        released = tuple(self._held) if chunk.finish_reason else ()
        return Piece(shown, released, chunk.finish_reason, chunk.usage, self._thought_of(chunk))

    def _thought_of(self, chunk: Chunk) -> str:
        """Return what of a thought may be shown; its last sentence before the answer begins."""
        if self._reasoning_screen is None:
            return chunk.reasoning
        shown = self._reasoning_screen.feed(chunk.reasoning) if chunk.reasoning else ""
        self._is_thinking = self._is_thinking or bool(chunk.reasoning)
        if self._is_thinking and (chunk.text or chunk.finish_reason):
            self._is_thinking = False
            shown += self._reasoning_screen.finish()
        return shown


class FixedAnswer:
    """A text that stands instead of an answer; no engine is asked."""

    intervened: str | None = None

    def __init__(self, text: str):
        """Take the text."""
        self._text = text

    async def next(self, patience: float) -> Piece:
        """Return the whole of it."""
        return Piece(self._text, (), "stop", Usage(prompt=0, completion=0, budget=0))


def _out_of_time() -> Refused:
    return Refused(504, "deadline", "the answer was not complete in time")
