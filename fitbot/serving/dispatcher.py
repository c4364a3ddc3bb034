"""The API process's side of a job: sending it to the worker, waiting for its chunks, ending it."""

import asyncio
import math
import time
import uuid
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from litserve.utils import LitAPIStatus, ResponseBufferItem

from fitbot.generation.messages import Chunk
from fitbot.serving.http_errors import Failure, HttpError
from fitbot.serving.jobs import GRACE_SECONDS, AdapterChange, Cancel, GenerationTask, Job
from fitbot.serving.metrics import Metrics
from fitbot.serving.shared_state import CLOSING, SharedState
from fitbot.serving.transport import join_chunks

_LATE_SECONDS = GRACE_SECONDS + 0.5  # the worker is the first to say that a deadline has passed
_WORKER_DIED = Failure(503, "worker_died", "the engine stopped; try again soon", 5)
_CLOSING = Failure(503, "shutting_down", "the server is shutting down", 5)
_NO_END = Failure(500, "internal_error", "the answer has no end")
_OUT_OF_TIME = Failure(504, "deadline", "the answer was not complete in time")
_ENGINE_ERROR = Failure(500, "engine_error", "the answer could not be generated")


@dataclass
class PendingJob:
    """A job that was sent, and its chunks as they come."""

    job: Job
    item: ResponseBufferItem
    finished: bool = False
    wake_at: float = math.inf  # `next` is woken then although no chunk has come

    def fail(self, failure: Failure) -> None:
        """Answer in the worker's place."""
        self.item.response_queue.append((failure, LitAPIStatus.OK))
        self.item.event.set()

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
                    raise HttpError.of(_OUT_OF_TIME)
                return None
        chunks = []
        while arrived and isinstance(arrived[0][0], Chunk):
            chunks.append(arrived.popleft()[0])
        if chunks:
            return self._checked(join_chunks(chunks))
        failure, status = arrived.popleft()
        self.finished = True
        # Errors of LitServe's own are pickled; what they hold is in the worker's log.
        raise HttpError.of(failure if status == LitAPIStatus.OK else _NO_END)

    def _checked(self, chunk: Chunk) -> Chunk:
        self.finished = self.finished or chunk.finish_reason is not None
        match chunk.finish_reason:
            case "deadline":
                raise HttpError.of(_OUT_OF_TIME)
            case "error":
                raise HttpError.of(_ENGINE_ERROR)
            case "cancelled":  # nobody here has asked for that
                raise HttpError.of(_WORKER_DIED)
        return chunk


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

    def send(
        self, task: GenerationTask | AdapterChange, seconds: float, cleanup: ExitStack
    ) -> PendingJob:
        """Send a task to the worker.

        Args:
            task: What is to be done.
            seconds: Until its deadline.
            cleanup: Closed when the client has its answer, or has gone; it ends the job.

        Raises:
            HttpError: 503; there is no worker that could answer.
        """
        if reason := self._shared.why_not_ready():
            raise HttpError(503, "unavailable", reason, retry_after=5)
        deadline = time.monotonic() + seconds
        job = Job(uuid.uuid4().hex, self._shared.worker, deadline, task)
        pending = PendingJob(job, ResponseBufferItem(asyncio.Event(), deque()))
        self._buffer[job.uid] = pending.item
        self._pending[job.uid] = pending
        self._shared.active = len(self._pending)
        cleanup.callback(self._end, pending)
        self._put(job.uid, job)
        return pending

    async def watch(self) -> None:
        """Answer in the worker's place when it has died or the server must close; never ends.

        Wakes whoever has waited long enough, too: a timer for every wait would cost far more.
        """
        while True:
            await asyncio.sleep(0.05)
            closing, worker = self._shared.phase == CLOSING, self._shared.worker
            now = time.monotonic()
            for pending in list(self._pending.values()):
                if closing or pending.job.worker != worker:
                    pending.fail(_CLOSING if closing else _WORKER_DIED)
                elif pending.wake_at <= now:
                    pending.item.event.set()

    def cancel(self, pending: PendingJob) -> None:
        """Have the worker end a job whose result nobody needs any more."""
        if not pending.finished:
            pending.finished = True
            self._metrics.cancelled += 1
            self._put("", Cancel(pending.job.uid))

    def _end(self, pending: PendingJob) -> None:
        self._buffer.pop(pending.job.uid, None)
        self._pending.pop(pending.job.uid, None)
        self._shared.active = len(self._pending)
        self.cancel(pending)

    def _put(self, uid: str, message: Job | Cancel) -> None:
        self._jobs.put((self._consumer, uid, time.monotonic(), message))
