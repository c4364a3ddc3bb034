"""The worker's side: LitServe hands over jobs, the engine answers, chunks go back.

Whatever an engine raises becomes a `Failure` here: nothing but plain data is ever pickled.
"""

import asyncio
import logging
import os
import queue
import signal
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import litserve
from litserve.loops import StreamingLoop
from litserve.specs.base import LitSpec

from fitbot.errors import BusyError, EngineError, FitbotError, RequestError
from fitbot.generation.engine import Engine, Stream
from fitbot.generation.messages import Chunk, Sampling
from fitbot.pairs.formats import Message
from fitbot.serving.adapters import Change, Shelf
from fitbot.serving.http_errors import Failure, Refused
from fitbot.serving.logs import describe, set_up_logging
from fitbot.serving.shared_state import Board, die_with_parent

POLL_SECONDS = 0.25  # a dead worker's last read of the queue can swallow a job for so long
GRACE_SECONDS = 1.0  # an engine may be late by this much in noticing a deadline

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One request, as the worker gets it.

    Args:
        uid: Its name in the response buffer.
        worker: Process id of the worker it is meant for; a successor must not answer it, its
            client has been told that the worker died.
        messages: The conversation.
        sampling: How the answer is drawn.
        model: One of the engine's models; None for the default.
        deadline: On `time.monotonic`'s clock, which all processes of a machine share.
    """

    uid: str
    worker: int
    messages: tuple[Message, ...]
    sampling: Sampling
    model: str | None
    deadline: float


@dataclass(frozen=True)
class Cancel:
    """Nobody waits for this job's answer any more."""

    uid: str


Content = Chunk | Failure  # what comes back of a job


class AnswerAPI(litserve.LitAPI):  # type: ignore[misc]
    """Holds the engine and relays between it and LitServe's queue."""

    def __init__(
        self,
        open_engine: Callable[[], Engine],
        board: Board,
        spec: LitSpec,
        shelf: Shelf | None = None,
    ):
        """Take what the worker will need; nothing is loaded yet.

        Args:
            open_engine: Called once in the worker; must be picklable.
            board: Where the worker says that it is ready, and how it does.
            spec: The routes.
            shelf: Adapters that may be added while serving; None if there are none.
        """
        super().__init__(spec=spec, enable_async=True, loop=AnswerLoop())
        self.board = board
        self._open_engine = open_engine
        self._shelf = shelf

    def setup(self, device: str) -> None:
        """Open the engine. Main alone ends this process, whatever signals its group gets."""
        die_with_parent()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        set_up_logging()
        self._streams: dict[str, Stream] = {}
        self._cancelled: OrderedDict[str, None] = OrderedDict()  # before they had a stream
        self._changing = asyncio.Lock()
        try:
            self.engine = self._open_engine()
        except FitbotError as error:
            log.error("the engine cannot be opened: %s", error)
            raise
        if self._shelf:
            self._shelf.restore(self.engine)
        self.board.models = self.engine.models
        self.board.beat(self.engine.stats())
        self.board.worker = os.getpid()

    def beat(self) -> None:
        """Say that the event loop moves; end the process when the engine is dead."""
        trouble = self.engine.health()
        if trouble is not None:
            log.error("the engine is dead: %s", trouble)
            os._exit(1)
        self.board.beat(self.engine.stats())

    async def decode_request(self, request: Job | Change | Cancel) -> Job | Change | Cancel:
        """Pass on: jobs are made in the API process."""
        return request

    async def predict(self, x: Job | Change | Cancel) -> AsyncIterator[Content]:
        """Answer a job, or end another one, or change what is answered with."""
        if isinstance(x, Cancel):
            self._cancel(x.uid)
        elif x.worker != os.getpid():
            return
        elif isinstance(x, Change):
            yield await self._change(x)
        else:
            try:
                async for content in self._answer(x):
                    yield content
            except Exception as error:
                yield _failure(error)
            finally:
                self._cancel(x.uid)
                self._streams.pop(x.uid, None)

    async def encode_response(self, output: AsyncIterator[Content]) -> AsyncIterator[Content]:
        """Pass on: chunks become HTTP in the API process."""
        async for content in output:
            yield content

    async def _change(self, change: Change) -> Content:
        """Add or remove an adapter; other changes wait here, where they take up no thread."""
        assert self._shelf is not None  # there are no routes that ask for changes otherwise
        shelf, name, folder = self._shelf, change.name, change.folder

        def is_wanted() -> bool:
            return change.uid not in self._cancelled and time.monotonic() < change.deadline

        try:
            async with self._changing:
                if not is_wanted():
                    return Failure(504, "deadline", "other changes took too long")
                if folder is None:
                    await asyncio.to_thread(shelf.remove, self.engine, name)
                else:
                    put = partial(shelf.add, is_wanted=is_wanted)
                    await asyncio.to_thread(put, self.engine, name, folder)
        except Exception as error:
            return _failure(error)
        return Chunk(finish_reason="stop")

    async def _answer(self, job: Job) -> AsyncIterator[Content]:
        # A tokenizer or a lock may take its time, so not on the event loop.
        stream = await asyncio.to_thread(
            self.engine.submit,
            job.messages,
            job.sampling,
            model=job.model,
            deadline=job.deadline,
        )
        self._streams[job.uid] = stream
        if job.uid in self._cancelled:
            stream.cancel()
        try:
            # The loop's clock is `time.monotonic`, as the deadline's.
            async with asyncio.timeout_at(job.deadline + GRACE_SECONDS):
                async for chunk in stream:
                    yield chunk
        except TimeoutError:
            log.error("the engine has not ended an answer at its deadline")
            yield Failure(504, "deadline", "the answer was not complete in time")

    def _cancel(self, uid: str) -> None:
        stream = self._streams.get(uid)
        if stream:
            stream.cancel()
        else:
            self._cancelled[uid] = None
            while len(self._cancelled) > 1000:
                self._cancelled.popitem(last=False)


class AnswerLoop(StreamingLoop):  # type: ignore[misc]
    """LitServe's loop, reading its queue in short turns and ending the engine after the last."""

    def __call__(
        self,
        lit_api: AnswerAPI,
        device: str,
        worker_id: int,
        request_queue: "queue.Queue[Any]",
        *rest: Any,
    ) -> None:
        """Run until the queue says that it is over."""
        super().__call__(lit_api, device, worker_id, _Turns(request_queue, lit_api.beat), *rest)
        lit_api.engine.close()


class _Turns:
    """The queue, whose `get` returns soon.

    LitServe calls `get(1.0)`, which is `block=1.0` and waits for ever: after a worker's death the
    manager would give the next job to the dead reader.
    """

    def __init__(self, jobs: "queue.Queue[Any]", beat: Callable[[], None]):
        self._jobs = jobs
        self._beat = beat

    def get(self, _: float) -> Any:
        self._beat()
        return self._jobs.get(True, POLL_SECONDS)


def _failure(error: Exception) -> Failure:
    match error:
        case Refused():
            return Failure(error.status, error.code, error.message, param=error.param)
        case RequestError():
            return Failure(400, "invalid_request", str(error))
        case BusyError():
            return Failure(429, "overloaded", str(error), error.retry_after)
        case EngineError():
            log.error("the engine failed", extra={"exception": describe(error)})
            return Failure(503, "engine_failed", "the engine failed; try again soon", 5)
    log.error("a request failed in the engine", extra={"exception": describe(error)})
    return Failure(500, "internal_error", "the answer could not be generated")
