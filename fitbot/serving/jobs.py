"""Jobs: what API process and worker send each other, and the API process's side of it.

A job is sent to the worker, its chunks are waited for, and it is ended. All that is sent can always
be pickled.
"""

import asyncio
import math
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from litserve.utils import LitAPIStatus, ResponseBufferItem

from fitbot.generation.engine import Prompt
from fitbot.generation.messages import Chunk, Sampling, Usage
from fitbot.serving.http_errors import HttpError
from fitbot.serving.metrics import Metrics
from fitbot.serving.shared_state import CLOSING, SharedState
from fitbot.serving.transport import join_chunks

GRACE_SECONDS = 1.0  # an engine may be late by this much in noticing a deadline
_LATE_SECONDS = GRACE_SECONDS + 0.5  # the worker is the first to say that a deadline has passed
_STOP_SECONDS = 5.0  # an engine on a CPU may read a prompt for as long before it looks up
_worker_died = partial(
    HttpError, 503, "worker_died", "the engine stopped; try again soon", retry_after=5
)
_closing = partial(HttpError, 503, "shutting_down", "the server is shutting down", retry_after=5)
out_of_time = partial(HttpError, 504, "deadline", "the answer was not complete in time")


class GenerationTask(NamedTuple):
    """What an engine is to do.

    Args:
        prompt: A conversation to be answered, or a text or tokens to go on with.
        sampling: How the answer is drawn.
        model: One of the engine's; None for the default.
        truncates: Whether a conversation's oldest turns are left out if it is too long; or else it
            is refused.
    """

    prompt: Prompt
    sampling: Sampling
    model: str | None
    truncates: bool = False


class AdapterChange(NamedTuple):
    """An adapter to be added from a folder below the registry's, or removed: folder None."""

    name: str  # what requests call it
    folder: str | None


class Job(NamedTuple):
    """One task on its way to a worker.

    Args:
        uid: Its name in the response buffer.
        worker: Process id of the worker it is meant for. A successor must not answer it: its
            client has been told that the worker died.
        deadline: On `time.monotonic`'s clock, which all processes of a machine share.
        task: What is to be done.
    """

    uid: str
    worker: int
    deadline: float
    task: GenerationTask | AdapterChange


class Cancel(NamedTuple):
    """Nobody waits for the result of the job `uid` any more."""

    uid: str


Result = Chunk | HttpError  # of a job, in pieces; a change that is done is one chunk without text


@dataclass
class PendingJob:
    """A job that was sent, and its chunks as they come."""

    job: Job
    item: ResponseBufferItem
    cancel: Callable[[], None]  # asks the worker to end it
    finished: bool = False
    stopped: bool = False  # `stop` has ended it
    wake_at: float = math.inf  # `next` is woken then although no chunk has come

    async def next(self, seconds: float) -> Chunk | None:
        """Wait for chunks, and return all that have come as one; None if none comes in time.

        Raises:
            HttpError: The job failed, or its deadline has passed.
        """
        arrived = self.item.response_queue
        if not arrived:
            end = self.job.deadline + _LATE_SECONDS
            self.wake_at = min(time.monotonic() + seconds, end)
            self.item.event.clear()
            await self.item.event.wait()
            if not arrived:
                if time.monotonic() >= end:
                    raise out_of_time()
                return None
        chunks = []
        while arrived and isinstance(arrived[0][0], Chunk):
            chunks.append(arrived.popleft()[0])
        if not chunks:
            error, status = arrived.popleft()
            self.finished = True
            if status == LitAPIStatus.OK:
                raise error
            # Errors of LitServe's own are pickled; what they hold is in the worker's log.
            raise HttpError(500, "internal_error", "the answer has no end")
        chunk = join_chunks(chunks)
        self.finished = chunk.finish_reason is not None
        match chunk.finish_reason:
            case "deadline":
                raise out_of_time()
            case "error":
                raise HttpError(500, "engine_error", "the answer could not be generated")
            case "cancelled" if not self.stopped:  # nobody here has asked for that
                raise _worker_died()
        return chunk

    async def stop(self, silence: float = _STOP_SECONDS) -> Usage | None:
        """End an answer of which no more is needed, and return its usage.

        None if the job fails, or nothing comes from the worker for so many seconds: who waits for
        the answer has all of its text already.
        """
        self.stopped = True
        self.cancel()
        usage = None
        try:
            while not self.finished and (chunk := await self.next(silence)):
                usage = chunk.usage
        except HttpError:
            return None
        return usage


class Dispatcher:
    """Sends jobs to the worker and keeps account of those under way."""

    def __init__(self, shared: SharedState, metrics: Metrics):
        """Start with none; `connect` comes when LitServe has made its queues."""
        self._shared = shared
        self._metrics = metrics
        self._pending: dict[str, PendingJob] = {}

    def connect(self, jobs: Any, buffer: dict[str, ResponseBufferItem], consumer: int) -> None:
        """Take LitServe's queue of requests, its buffer of responses and this process's number."""
        self._jobs = jobs
        self._buffer = buffer
        self._consumer = consumer

    def check_ready(self) -> None:
        """Raise HttpError, 503, if no request can be answered now."""
        if reason := self._shared.why_not_ready():
            raise HttpError(503, "unavailable", reason, retry_after=5)

    def send(
        self, task: GenerationTask | AdapterChange, seconds: float, cleanup: ExitStack
    ) -> PendingJob:
        """Send a task to the worker.

        Args:
            task: What is to be done.
            seconds: Until its deadline.
            cleanup: Closed when the client has its answer, or has gone; it ends the job.

        Raises:
            HttpError: 503; the worker has died, or it is too late for who has waited until now.
        """
        if self._shared.phase == CLOSING:
            raise _closing()
        if not self._shared.worker:
            raise _worker_died()
        deadline = time.monotonic() + seconds
        job = Job(uuid.uuid4().hex, self._shared.worker, deadline, task)
        item = ResponseBufferItem(asyncio.Event(), deque())
        pending = PendingJob(job, item, partial(self._put, "", Cancel(job.uid)))
        self._buffer[job.uid] = pending.item
        self._pending[job.uid] = pending
        cleanup.callback(self._end, pending)
        self._put(job.uid, job)
        return pending

    async def watch(self) -> None:
        """Answer in the worker's place when it has died or the server must close; never ends.

        Wakes whoever has waited long enough, too: a timer for every wait would cost far more.
        """
        while True:
            await asyncio.sleep(0.05)
            self._shared.beat_api()
            closing, worker = self._shared.phase == CLOSING, self._shared.worker
            now = time.monotonic()
            for pending in list(self._pending.values()):
                is_lost = closing or pending.job.worker != worker
                if is_lost:
                    error = _closing() if closing else _worker_died()
                    pending.item.response_queue.append((error, LitAPIStatus.OK))
                if is_lost or pending.wake_at <= now:
                    pending.item.event.set()

    def _end(self, pending: PendingJob) -> None:
        self._buffer.pop(pending.job.uid, None)
        self._pending.pop(pending.job.uid, None)
        if not pending.finished:  # nobody needs its result any more
            self._metrics.cancelled += 1
            pending.cancel()

    def _put(self, uid: str, message: Job | Cancel) -> None:
        self._jobs.put((self._consumer, uid, time.monotonic(), message))
