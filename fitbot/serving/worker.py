"""The worker process: LitServe hands over jobs, the engine answers, chunks go back.

Whatever an engine raises becomes an `HttpError` here: not every exception can be pickled.
"""

import asyncio
import gc
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import litserve
from litserve.loops import StreamingLoop
from litserve.specs.base import LitSpec

from fitbot.errors import BusyError, ContextLengthError, EngineError, FitbotError, RequestError
from fitbot.generation.engine import Engine, Stream, submit_what_fits
from fitbot.generation.messages import Chunk
from fitbot.pairs.formats import Message
from fitbot.platforms import ENDING_SIGNALS, die_with_parent
from fitbot.serving.adapters import AdapterRegistry
from fitbot.serving.http_errors import HttpError
from fitbot.serving.jobs import GRACE_SECONDS, AdapterChange, Cancel, GenerationTask, Job, Result
from fitbot.serving.logs import describe, set_up_logging
from fitbot.serving.shared_state import SharedState

POLL_SECONDS = 0.25  # a dead worker's last read of the queue can swallow a job for so long
_LONGEST_REASON = 500  # characters

log = logging.getLogger(__name__)


class EngineAPI(litserve.LitAPI):  # type: ignore[misc]
    """Holds the engine and does the jobs of LitServe's queue with it."""

    def __init__(
        self,
        open_engine: Callable[[], Engine],
        shared: SharedState,
        routes: LitSpec,
        registry: AdapterRegistry | None = None,
    ):
        """Take what the worker will need; nothing is loaded yet.

        Args:
            open_engine: Called once in the worker; must be picklable.
            shared: Where the worker says that it is ready, and how busy it is.
            routes: They make the jobs, in the API process.
            registry: Adapters that may be added while serving; None if there are none.
        """
        super().__init__(spec=routes, enable_async=True, loop=EngineLoop())
        self._shared = shared
        self._open_engine = open_engine
        self._registry = registry

    def setup(self, device: str) -> None:
        """Open the engine."""
        die_with_parent(ENDING_SIGNALS)
        set_up_logging()
        self._streams: dict[str, Stream] = {}
        self._cancelled: deque[str] = deque(maxlen=1000)  # before they had a stream
        self._changing = asyncio.Lock()
        try:
            self.engine = self._open_engine()
            if self._registry:
                self._registry.restore(self.engine)
        except Exception as error:
            # Nothing has been asked yet, so this text quotes nobody.
            kind = "" if isinstance(error, FitbotError) else f"{type(error).__name__}: "
            self._shared.failure = " ".join(f"{kind}{error}".split())[:_LONGEST_REASON]
            log.error("the engine cannot be opened: %s", self._shared.failure)
            raise
        gc.freeze()  # see `FitbotServer.lifespan`
        self._shared.models = self.engine.models
        self._shared.beat(self.engine.stats())
        self._shared.worker = os.getpid()

    def beat(self) -> None:
        """Say that the event loop moves; end the process when the engine is dead."""
        reason = self.engine.health()
        if reason is not None:
            log.error("the engine is dead: %s", reason)
            self._shared.failure = reason
            logging.shutdown()
            os._exit(1)
        self._shared.beat(self.engine.stats())

    async def decode_request(self, request: Job | Cancel) -> Job | Cancel:
        """Pass on: jobs are made in the API process."""
        return request

    async def predict(self, x: Job | Cancel) -> AsyncIterator[Result]:
        """Do a job, or end another one."""
        if isinstance(x, Cancel):
            self._cancel(x.uid)
        elif x.worker != os.getpid():
            return
        elif isinstance(x.task, AdapterChange):
            yield await self._change_adapters(x, x.task)
        else:
            try:
                async for result in self._generate(x, x.task):
                    yield result
            except Exception as error:
                talks = any(isinstance(part, Message) for part in x.task.prompt)
                yield _failure(error, "messages" if talks else "prompt")
            finally:
                self._cancel(x.uid)
                self._streams.pop(x.uid, None)

    async def encode_response(self, output: AsyncIterator[Result]) -> AsyncIterator[Result]:
        """Pass on: chunks become HTTP in the API process."""
        async for result in output:
            yield result

    async def _change_adapters(self, job: Job, change: AdapterChange) -> Result:
        """Add or remove an adapter; other changes wait here, where they take up no thread."""
        assert self._registry is not None  # there are no routes that ask for changes otherwise
        registry, name, folder = self._registry, change.name, change.folder

        def is_wanted() -> bool:
            return job.uid not in self._cancelled and time.monotonic() < job.deadline

        try:
            async with self._changing:
                if not is_wanted():
                    return HttpError(504, "deadline", "other changes took too long")
                if folder is None:
                    await asyncio.to_thread(registry.remove, self.engine, name)
                else:
                    add = registry.add
                    await asyncio.to_thread(add, self.engine, name, folder, is_wanted=is_wanted)
        except Exception as error:
            return _failure(error)
        return Chunk(finish_reason="stop")

    async def _generate(self, job: Job, task: GenerationTask) -> AsyncIterator[Result]:
        def submit() -> tuple[Stream, int]:
            engine, (prompt, sampling, model, truncates) = self.engine, task
            if truncates:
                turns = cast("Sequence[Message]", prompt)  # texts and tokens are never truncated
                return submit_what_fits(engine, turns, sampling, model=model, deadline=job.deadline)
            return engine.submit(prompt, sampling, model=model, deadline=job.deadline), 0

        # A tokenizer or a lock may take its time, so not on the event loop.
        stream, left_out = await asyncio.to_thread(submit)
        self._streams[job.uid] = stream
        if job.uid in self._cancelled:
            stream.cancel()
        try:
            # The loop's clock is `time.monotonic`, as the deadline's.
            async with asyncio.timeout_at(job.deadline + GRACE_SECONDS):
                async for chunk in stream:
                    if chunk.usage and left_out:
                        usage = replace(chunk.usage, left_out=left_out)
                        chunk = chunk._replace(usage=usage)
                    yield chunk
        except TimeoutError:
            log.error("the engine has not ended an answer at its deadline")
            yield HttpError(504, "deadline", "the answer was not complete in time")

    def _cancel(self, uid: str) -> None:
        stream = self._streams.get(uid)
        if stream:
            stream.cancel()
        else:
            self._cancelled.append(uid)


class EngineLoop(StreamingLoop):  # type: ignore[misc]
    """LitServe's loop, polling its queue and closing the engine at the end."""

    def __call__(self, lit_api: EngineAPI, device: str, worker: int, jobs: Any, *rest: Any) -> None:
        """Run until the queue says that it is over."""

        # LitServe calls `get(1.0)`, which is `block=1.0` and waits for ever: after a worker's death
        # the manager would give the next job to the dead reader.
        def get(_: float) -> Any:
            lit_api.beat()
            return jobs.get(True, POLL_SECONDS)

        super().__call__(lit_api, device, worker, SimpleNamespace(get=get), *rest)
        lit_api.engine.close()


def _failure(error: Exception, prompt: str | None = None) -> HttpError:
    match error:
        case HttpError():
            return error
        case ContextLengthError():
            return HttpError(400, "context_length_exceeded", str(error), param=prompt)
        case RequestError():
            return HttpError(400, "invalid_request", str(error))
        case BusyError():
            return HttpError(429, "overloaded", str(error), retry_after=error.retry_after)
        case EngineError():
            log.error("the engine failed", extra={"exception": describe(error)})
            message = "the engine failed; try again soon"
            return HttpError(503, "engine_failed", message, retry_after=5)
    log.error("a request failed in the engine", extra={"exception": describe(error)})
    return HttpError(500, "internal_error", "the answer could not be generated")
