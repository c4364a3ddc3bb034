"""The worker's side: LitServe hands over jobs, the engine answers, chunks go back in bundles.

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
from typing import Any

import litserve
from litserve.loops import StreamingLoop
from litserve.specs.base import LitSpec

from fitbot.answers.engine import Chunk, Engine, Sampling, Stream
from fitbot.errors import BusyError, EngineError, FitbotError, RequestError
from fitbot.pairs.preferences import Message
from fitbot.serve.board import Board, die_with_parent
from fitbot.serve.logs import describe, set_up_logging
from fitbot.serve.refusals import Failure

POLL_SECONDS = 0.25  # a dead worker's last read of the queue can swallow a job for so long
BUNDLE_SECONDS = 0.025
BUNDLE_CHUNKS = 8
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


Bundle = list[Chunk] | Failure


class AnswerAPI(litserve.LitAPI):  # type: ignore[misc]
    """Holds the engine and relays between it and LitServe's queue."""

    def __init__(self, open_engine: Callable[[], Engine], board: Board, spec: LitSpec):
        """Take what the worker will need; nothing is loaded yet.

        Args:
            open_engine: Called once in the worker; must be picklable.
            board: Where the worker says that it is ready, and how it does.
            spec: The routes.
        """
        super().__init__(spec=spec, enable_async=True, loop=AnswerLoop())
        self.board = board
        self._open_engine = open_engine

    def setup(self, device: str) -> None:
        """Open the engine. Main alone ends this process, whatever signals its group gets."""
        die_with_parent()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        set_up_logging()
        self._streams: dict[str, Stream] = {}
        self._cancelled: OrderedDict[str, None] = OrderedDict()  # before they had a stream
        try:
            self.engine = self._open_engine()
        except FitbotError as error:
            log.error("the engine cannot be opened: %s", error)
            raise
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

    async def decode_request(self, request: Job | Cancel) -> Job | Cancel:
        """Pass on: jobs are made in the API process."""
        return request

    async def predict(self, x: Job | Cancel) -> AsyncIterator[Bundle]:
        """Answer a job, or end another one."""
        if isinstance(x, Cancel):
            self._cancel(x.uid)
        elif x.worker == os.getpid():
            try:
                async for bundle in self._answer(x):
                    yield bundle
            except Exception as error:
                yield _failure(error)
            finally:
                self._cancel(x.uid)
                self._streams.pop(x.uid, None)

    async def encode_response(self, output: AsyncIterator[Bundle]) -> AsyncIterator[Bundle]:
        """Pass on: chunks become HTTP in the API process."""
        async for bundle in output:
            yield bundle

    async def _answer(self, job: Job) -> AsyncIterator[Bundle]:
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
        async for bundle in bundled(stream, until=job.deadline + GRACE_SECONDS):
            yield bundle
            if bundle[-1].finish_reason:
                return
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


async def bundled(stream: Stream, *, until: float) -> AsyncIterator[list[Chunk]]:
    """Put chunks that come close together into one list; the first is not held up.

    Args:
        stream: Of one answer.
        until: When to give up, on `time.monotonic`'s clock.
    """
    chunks = aiter(stream)
    held: list[Chunk] = []
    sent = 0.0  # when a bundle went out last
    coming = asyncio.ensure_future(anext(chunks))
    try:
        while (now := time.monotonic()) < until:
            wake = min(sent + BUNDLE_SECONDS, until) if held else until
            await asyncio.wait({coming}, timeout=max(0, wake - now))
            last = False
            if coming.done():
                held.append(coming.result())
                last = held[-1].finish_reason is not None
            full = len(held) >= BUNDLE_CHUNKS or time.monotonic() >= sent + BUNDLE_SECONDS
            if held and (full or last):
                yield held
                held, sent = [], time.monotonic()
            if last:
                return
            if coming.done():
                coming = asyncio.ensure_future(anext(chunks))
    finally:
        coming.cancel()


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
        case RequestError():
            return Failure(400, "invalid_request", str(error))
        case BusyError():
            return Failure(429, "overloaded", str(error), error.retry_after)
        case EngineError():
            log.error("the engine failed", extra={"exception": describe(error)})
            return Failure(503, "engine_failed", "the engine failed; try again soon", 5)
    log.error("a request failed in the engine", extra={"exception": describe(error)})
    return Failure(500, "internal_error", "the answer could not be generated")
