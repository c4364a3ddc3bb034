"""The store as an event loop uses it, and answers on their way into it."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from fitbot.errors import FitbotError
from fitbot.generation.messages import Chunk, Record
from fitbot.learning.events import Answer
from fitbot.learning.store import Store
from fitbot.pairs.formats import Message
from fitbot.serving.jobs import GenerationTask
from fitbot.serving.learning_side import Given

CUT_OFF = "cut_off"  # noted beside the sampling of an answer that has no end
_HOW_DRAWN = (
    *("max_new_tokens", "min_tokens", "temperature", "top_p", "top_k", "min_p", "stop"),
    *("repetition_penalty", "frequency_penalty", "presence_penalty"),
)

Result = TypeVar("Result")
log = logging.getLogger(__name__)


class Drawn(NamedTuple):
    """An answer as it was drawn."""

    text: str
    record: Record | None  # None: the health layer had a say
    is_cut_off: bool


class Records:
    """One Store, opened at its first use, in the process that uses it; on one thread."""

    def __init__(self, path: Path):
        """Take the file."""
        self.path = path
        self.writes = 0  # by this process
        self._store: Store | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def read(self, what: Callable[[Store], Result]) -> Result:
        """Do something with the store."""
        self._thread = self._thread or ThreadPoolExecutor(1, "fitbot-store")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._do, what)

    async def write(self, what: Callable[[Store], Result]) -> Result:
        """Do something that changes it."""
        try:
            return await self.read(what)
        finally:
            self.writes += 1

    def _do(self, what: Callable[[Store], Result]) -> Result:
        self._store = self._store or Store(self.path)
        return what(self._store)


def recorded(task: GenerationTask) -> GenerationTask:
    """Have an answer's tokens and their log-probabilities come with it, drawn by a known seed."""
    sampling = task.sampling
    seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
    logprobs = sampling.logprobs or 0
    return task._replace(sampling=replace(sampling, record=True, seed=seed, logprobs=logprobs))


async def kept(
    answer: AsyncIterator[Chunk | None],
    given: Given,
    store: Callable[[Given, Drawn], Awaitable[None]],
) -> AsyncIterator[Chunk | None]:
    """Pass on an answer, and store it before its last chunk goes out."""
    texts: list[str] = []
    async for chunk in answer:
        if chunk:
            texts.append(chunk.text)
            if chunk.finish_reason in ("stop", "length", "content_filter"):
                record = None if given.is_touched else chunk.record
                if chunk.usage and chunk.usage.left_out:
                    asked = without(given.task.prompt, chunk.usage.left_out)  # type: ignore[arg-type]
                    given = given._replace(task=given.task._replace(prompt=asked))
                drawn = Drawn("".join(texts), record, chunk.finish_reason == "length")
                try:
                    await store(given, drawn)
                except FitbotError as error:  # it is answered all the same; no text into the log
                    log.error("an answer could not be kept: %s", type(error).__name__)
        yield chunk


def without(conversation: Sequence[Message], left_out: int) -> tuple[Message, ...]:
    """Return what was read of a conversation whose oldest turns were left out."""
    first = int(conversation[0].role == "system")
    return (*conversation[:first], *conversation[first + left_out :])


def answer_of(
    given: Given, drawn: Drawn, *, author: str, policy: str, version: str | None
) -> Answer:
    """Return what the store keeps of an answer."""
    sampling = {name: getattr(given.task.sampling, name) for name in _HOW_DRAWN}
    return Answer(
        conversation=given.task.prompt,  # type: ignore[arg-type]
        text=drawn.text,
        author=author,
        policy=policy,
        version=version,
        token_ids=drawn.record.token_ids if drawn.record else (),
        logprobs=drawn.record.logprobs if drawn.record else None,
        sampling={**sampling, CUT_OFF: True} if drawn.is_cut_off else sampling,
        seed=given.task.sampling.seed,
        health_touched=drawn.record is None,
        completion=given.completion,
    )
