"""An answer on its way to the client: filtered by the health layer, counted and timed."""

import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from fitbot.generation.messages import Chunk, TokenLogprob, Usage
from fitbot.health.layer import AnswerFilter, HealthVerdict
from fitbot.serving.dispatcher import PendingJob
from fitbot.serving.metrics import Metrics

PING_SECONDS = 15.0  # a stream that is silent for longer shows that it is alive


async def fixed_answer(text: str) -> AsyncIterator[Chunk | None]:
    """Yield a text of the health layer's that is the whole answer; no engine is asked."""
    yield Chunk(text, finish_reason="stop", usage=Usage(0, 0, 0))


class ChunkFilter:
    """The health layer's filters of an answer's chunks: one for its text, one for thoughts."""

    def __init__(self, verdict: HealthVerdict):
        """Begin an answer to a question with this verdict."""
        self.text = AnswerFilter(verdict)
        # What a verdict puts in front of an answer does not belong in front of a thought.
        self.reasoning = AnswerFilter(HealthVerdict("ok"))
        self._is_thinking = False
        self._held: list[TokenLogprob] = []  # their tokens may yet turn out not to be shown

    def feed(self, chunk: Chunk) -> Chunk:
        """Take the next chunk; return what may be shown by now."""
        self._held += chunk.logprobs
        shown = self.text.feed(chunk.text)
        if chunk.finish_reason:
            shown += self.text.finish()
        if self.text.intervened:
            return Chunk(shown, finish_reason="content_filter", usage=chunk.usage)
        released = tuple(self._held) if chunk.finish_reason else ()
        return replace(chunk, text=shown, logprobs=released, reasoning=self._reasoning_of(chunk))

    @property
    def interventions(self) -> list[str]:
        """What was cut: the "answer", its "reasoning"."""
        filters = {"answer": self.text, "reasoning": self.reasoning}
        return [kind for kind, one in filters.items() if one.intervened]

    def _reasoning_of(self, chunk: Chunk) -> str:
        """Return what of a thought may be shown; its last sentence before the answer begins."""
        shown = self.reasoning.feed(chunk.reasoning) if chunk.reasoning else ""
        self._is_thinking = self._is_thinking or bool(chunk.reasoning)
        if self._is_thinking and (chunk.text or chunk.finish_reason):
            self._is_thinking = False
            shown += self.reasoning.finish()
        return shown


async def measured_answer(
    job: PendingJob,
    health: ChunkFilter | None,
    metrics: Metrics,
    log_fields: dict[str, Any],
    cleanup: ExitStack,
) -> AsyncIterator[Chunk | None]:
    """Yield an answer's chunks as they may be shown, and None after every 15 seconds of silence.

    Args:
        job: Whose chunks these are.
        health: The filter; None to show everything.
        metrics: Where they are counted and timed.
        log_fields: Are given the number of tokens.
        cleanup: Gives the request's place back and ends the job; closed before the last chunk.

    Raises:
        HttpError: The answer failed, or its deadline has passed.
    """
    last, histogram = time.monotonic(), metrics.first_chunk
    while True:
        chunk = await job.next(PING_SECONDS)
        if chunk is None:
            yield None
            continue
        if health:
            chunk = health.feed(chunk)
        now = time.monotonic()
        histogram.observe(now - last)
        last, histogram = now, metrics.between_chunks
        if chunk.usage:
            metrics.tokens_in += chunk.usage.prompt
            metrics.tokens_out += chunk.usage.completion
            log_fields["prompt_tokens"] = chunk.usage.prompt
            log_fields["completion_tokens"] = chunk.usage.completion
        if chunk.finish_reason:
            metrics.interventions.update(health.interventions if health else ())
            cleanup.close()  # who reads the end may ask at once, and its place is free
            yield chunk
            return
        yield chunk
