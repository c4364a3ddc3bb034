"""The health layer's filters of an answer on its way to the client, away from the event loop."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fitbot.generation.messages import Chunk, TokenLogprob
from fitbot.health.answer import AnswerFilter
from fitbot.health.layer import HealthLayer, HealthVerdict

_JUDGES = ThreadPoolExecutor(max(1, min(4, (os.cpu_count() or 2) // 2)), "fitbot-health")

Result = TypeVar("Result")


async def aside(judge: Callable[..., Result], *given: Any) -> Result:
    """Have the health layer judge while the event loop goes on: it takes milliseconds.

    By few threads: each that wants Python's lock keeps the loop from it.
    """
    return await asyncio.get_running_loop().run_in_executor(_JUDGES, judge, *given)


class ChunkFilter:
    """The health layer's filters of an answer's chunks: one for its text, one for thoughts."""

    def __init__(self, layer: HealthLayer, verdict: HealthVerdict):
        """Begin an answer to a question with this verdict."""
        self.text = AnswerFilter(layer, verdict)
        # What a verdict puts in front of an answer does not belong in front of a thought.
        self.reasoning = AnswerFilter(layer, HealthVerdict("ok", language=verdict.language))
        self._is_thinking = False
        self._held: list[TokenLogprob] = []  # their tokens may yet turn out not to be shown

    async def read(self, chunk: Chunk) -> Chunk:
        """Take the next chunk; return what may be shown by now."""
        if (
            chunk.finish_reason
            or (chunk.text and self._is_thinking)
            or self.text.would_judge(chunk.text)
            or self.reasoning.would_judge(chunk.reasoning)
        ):
            return await aside(self.feed, chunk)
        return self.feed(chunk)

    def feed(self, chunk: Chunk) -> Chunk:
        """Do as `read`, and keep the caller waiting."""
        self._held += chunk.logprobs
        shown = self.text.feed(chunk.text)
        if chunk.finish_reason:
            shown += self.text.finish()
        if self.text.intervened:
            cut = Chunk(shown, finish_reason="content_filter", usage=chunk.usage)
            return cut._replace(echo=chunk.echo)
        released = tuple(self._held) if chunk.finish_reason else ()
        reasoning = self._reasoning_of(chunk)
        if self.reasoning.intervened:
            chunk = chunk._replace(record=None)  # nobody learns from what a bad thought led to
        return chunk._replace(text=shown, logprobs=released, reasoning=reasoning)

    @property
    def interventions(self) -> list[tuple[str, str]]:
        """What was cut, the "answer" or its "reasoning", and by whom."""
        filters = {"answer": self.text, "reasoning": self.reasoning}
        return [(kind, one.by) for kind, one in filters.items() if one.intervened]

    def _reasoning_of(self, chunk: Chunk) -> str:
        """Return what of a thought may be shown; its last sentence before the answer begins."""
        shown = self.reasoning.feed(chunk.reasoning) if chunk.reasoning else ""
        self._is_thinking = self._is_thinking or bool(chunk.reasoning)
        if self._is_thinking and (chunk.text or chunk.finish_reason):
            self._is_thinking = False
            shown += self.reasoning.finish()
        return shown
