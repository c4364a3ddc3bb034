"""An answer on its way to the client: filtered by the health layer, counted and timed."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple, Protocol

from fitbot.generation.messages import Chunk, TokenLogprob, Usage
from fitbot.health.layer import AnswerFilter, HealthVerdict
from fitbot.serving.dispatcher import PendingJob
from fitbot.serving.metrics import Metrics

PING_SECONDS = 15.0  # a stream that is silent for longer shows that it is alive


class Piece(NamedTuple):
    """A part of an answer as it may be shown; the last one alone has a finish reason."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    reasoning: str = ""


class PieceStream(Protocol):
    """An answer that comes piece by piece."""

    async def next(self, seconds: float) -> Piece | None:
        """Wait for the next piece; None if none comes in so many seconds.

        Raises:
            HttpError: The answer failed, or its deadline has passed.
        """


class FixedAnswer:
    """A text of the health layer's that is the whole answer; no engine is asked."""

    def __init__(self, text: str):
        """Take the text."""
        self._text = text

    async def next(self, seconds: float) -> Piece:
        """Return the whole of it."""
        return Piece(self._text, (), "stop", Usage(0, 0, 0))


class FilteredAnswer:
    """A job's chunks, through the health layer's filters: one for the answer, one for thoughts."""

    def __init__(
        self, job: PendingJob, verdict: HealthVerdict | None, cancel: Callable[[PendingJob], None]
    ):
        """Begin an answer.

        Args:
            job: Whose chunks these are.
            verdict: Of the question; None to show everything.
            cancel: Ends the job, once its answer is cut.
        """
        self._job = job
        self._cancel = cancel
        self._filter = self._reasoning_filter = None
        if verdict is not None:
            self._filter = AnswerFilter(verdict)
            # What a verdict puts in front of an answer does not belong in front of a thought.
            self._reasoning_filter = AnswerFilter(HealthVerdict("ok"))
        self._is_thinking = False
        self._held: list[TokenLogprob] = []  # their tokens may yet turn out not to be shown

    @property
    def intervened(self) -> str | None:
        """Why the answer was cut, if it was."""
        return self._filter.intervened if self._filter else None

    @property
    def reasoning_intervened(self) -> str | None:
        """Why the rest of its thoughts was withheld, if it was."""
        return self._reasoning_filter.intervened if self._reasoning_filter else None

    async def next(self, seconds: float) -> Piece | None:
        """Wait for the next piece, see `PieceStream`."""
        chunk = await self._job.next(seconds)
        if chunk is None:
            return None
        if self._filter is None:
            return Piece(
                chunk.text, chunk.logprobs, chunk.finish_reason, chunk.usage, chunk.reasoning
            )
        self._held += chunk.logprobs
        shown = self._filter.feed(chunk.text)
        if chunk.finish_reason:
            shown += self._filter.finish()
        if self._filter.intervened:
            self._cancel(self._job)
            return Piece(shown, (), "content_filter", chunk.usage)
        released = tuple(self._held) if chunk.finish_reason else ()
        return Piece(shown, released, chunk.finish_reason, chunk.usage, self._reasoning_of(chunk))

    def _reasoning_of(self, chunk: Chunk) -> str:
        """Return what of a thought may be shown; its last sentence before the answer begins."""
        if self._reasoning_filter is None:
            return chunk.reasoning
        shown = self._reasoning_filter.feed(chunk.reasoning) if chunk.reasoning else ""
        self._is_thinking = self._is_thinking or bool(chunk.reasoning)
        if self._is_thinking and (chunk.text or chunk.finish_reason):
            self._is_thinking = False
            shown += self._reasoning_filter.finish()
        return shown


class MeasuredAnswer:
    """An answer whose pieces are counted and timed on their way."""

    def __init__(
        self,
        answer: FilteredAnswer,
        metrics: Metrics,
        log_fields: dict[str, Any],
        cleanup: ExitStack,
    ):
        """Take the answer, where to count it, what is to be logged, and the request's place."""
        self._answer = answer
        self._metrics = metrics
        self._log_fields = log_fields
        self._cleanup = cleanup
        self._last = time.monotonic()
        self._begun = False

    async def next(self, seconds: float) -> Piece | None:
        """Wait for the next piece, see `PieceStream`."""
        piece = await self._answer.next(seconds)
        if piece is None:
            return None
        now = time.monotonic()
        metrics = self._metrics
        histogram = metrics.between_chunks if self._begun else metrics.first_chunk
        histogram.observe(now - self._last)
        self._last, self._begun = now, True
        if piece.usage:
            metrics.tokens_in += piece.usage.prompt
            metrics.tokens_out += piece.usage.completion
            self._log_fields["prompt_tokens"] = piece.usage.prompt
            self._log_fields["completion_tokens"] = piece.usage.completion
        if self._answer.intervened:
            metrics.interventions["answer"] += 1
        if self._answer.reasoning_intervened and piece.finish_reason:
            metrics.interventions["reasoning"] += 1
        if piece.finish_reason:
            self._cleanup.close()  # who reads the end may ask at once, and its place is free
        return piece


async def next_piece(answer: PieceStream) -> Piece:
    """Wait for the next piece, however long it takes."""
    while True:
        piece = await answer.next(PING_SECONDS)
        if piece:
            return piece


async def all_pieces(answer: PieceStream) -> list[Piece]:
    """Wait for all pieces."""
    pieces = [await next_piece(answer)]
    while not pieces[-1].finish_reason:
        pieces.append(await next_piece(answer))
    return pieces
