"""The routes that answer: /predict/ and /v1/chat/completions, over one queue and one engine."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from litserve.specs.base import LitSpec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fitbot.answers.engine import Sampling
from fitbot.answers.health.layer import DISCLAIMER
from fitbot.pairs.preferences import Message
from fitbot.serve.board import Board
from fitbot.serve.chat import PING_SECONDS, Completion, Pieces
from fitbot.serve.limits import Admission, Limits, RateLimiter
from fitbot.serve.metrics import Metrics
from fitbot.serve.refusals import Json, Refused
from fitbot.serve.relay import Answer, FixedAnswer, Piece, Request, Switchboard
from fitbot.serve.requests import (
    AnyBody,
    ChatRequest,
    PredictRequest,
    check_chat,
    check_predict,
    parse_body,
)
from fitbot.serve.safety import Safety

VERDICT_HEADER = "X-Health-Verdict"  # only where the health layer has something to say


class AnswerSpec(LitSpec):  # type: ignore[misc]
    """What a client may ask, and in which shape it gets its answer."""

    def __init__(
        self,
        board: Board,
        limits: Limits,
        metrics: Metrics,
        sampling: Sampling,
        safety: Safety | None,
    ):
        """Register the routes.

        Args:
            board: Says whether there is a worker, and its models.
            limits: Of requests.
            metrics: Where requests are counted.
            sampling: How answers are drawn unless a request says otherwise.
            safety: The health layer, if any.
        """
        super().__init__()
        self.api_path = "/v1/chat/completions"
        self.switchboard = Switchboard(board, metrics)
        self._board = board
        self._limits = limits
        self._metrics = metrics
        self._sampling = sampling
        self._safety = safety
        self._rates = RateLimiter(limits.rate_per_minute)
        self._admission = Admission(limits)
        self.add_endpoint("/predict/", self.predict, ["POST"])
        self.add_endpoint("/predict", self.predict, ["POST"])
        self.add_endpoint("/v1/chat/completions", self.chat, ["POST"])

    def __getstate__(self) -> dict[str, Any]:
        """Leave out all but what LitServe's worker looks at."""
        return {"api_path": self.api_path, "_endpoints": [], "_server": None}

    @property
    def stream(self) -> bool:
        """Tell LitServe that answers come in pieces."""
        return True

    async def predict(self, request: HttpRequest) -> Response:
        """Answer one question."""
        asked = await self._read(request, PredictRequest)
        check_predict(asked, self._limits)
        sampling = self._sampling
        if asked.max_new_tokens is not None:
            sampling = replace(sampling, max_new_tokens=asked.max_new_tokens)
        question = Message("user", asked.user_query)
        answer, headers = await self._open(request, [question], sampling, None)
        response = "".join(piece.text for piece in await _all(answer))
        return Json({"response": response, "disclaimer": DISCLAIMER}, headers=headers)

    async def chat(self, request: HttpRequest) -> Response:
        """Go on with a conversation, as OpenAI's chat completions do."""
        asked = await self._read(request, ChatRequest)
        check_chat(asked, self._limits)
        completion = Completion(
            request.state.request_id,
            self._model(asked.model),
            with_logprobs=bool(asked.logprobs),
        )
        sampling = asked.sampling(self._sampling)
        answer, headers = await self._open(request, asked.conversation, sampling, asked.model)
        if not asked.stream:
            return Json(completion.whole(await _all(answer)), headers=headers)
        # Headers go out after the first piece, so that a failure until then keeps its status.
        first = await _first(answer)
        include_usage = bool(asked.stream_options and asked.stream_options.include_usage)
        events = completion.events(first, answer, include_usage=include_usage)
        return EventStream(events, headers={**headers, "Cache-Control": "no-store"})

    async def _read(self, request: HttpRequest, kind: type[AnyBody]) -> AnyBody:
        self._rates.take(request.state.client)
        content_type = request.headers.get("content-type", "").partition(";")[0]
        # A web page's form, which a browser sends to other hosts unasked, cannot be JSON.
        if content_type.strip().lower() != "application/json":
            raise Refused(415, "not_json", "send Content-Type: application/json")
        return parse_body(await request.body(), kind)

    def _model(self, name: str | None) -> str:
        models = self._board.models
        if name is None:
            return models[0] if models else "none"
        if models and name not in models:
            raise Refused(404, "model_not_found", "there is no such model", param="model")
        return name

    async def _open(
        self,
        request: HttpRequest,
        messages: Sequence[Message],
        sampling: Sampling,
        model: str | None,
    ) -> tuple[Pieces, dict[str, str]]:
        """Admit a request; return its answer to be, and headers that go with it."""
        state = request.state
        state.exits.enter_context(self._admission.admit(state.client))
        headers: dict[str, str] = {}
        screen = None
        if self._safety:
            verdict = await asyncio.to_thread(self._safety.judge, messages)
            if verdict.kind != "ok":
                self._metrics.interventions[verdict.kind] += 1
                headers[VERDICT_HEADER] = verdict.kind
            if not verdict.model_answers:
                return FixedAnswer(verdict.message), headers
            screen = self._safety.filter(verdict)
        job = Request(messages, sampling, model, self._limits.request_seconds)
        relay = self.switchboard.send(job, state.exits)
        answer = Answer(relay, screen, self.switchboard)
        return Observed(answer, self._metrics, state.facts), headers


class Observed:
    """An answer whose pieces are counted and timed on their way."""

    def __init__(self, answer: Answer, metrics: Metrics, facts: dict[str, Any]):
        """Take the answer, where to count it, and what is to be logged of the request."""
        self._answer = answer
        self._metrics = metrics
        self._facts = facts
        self._last = time.monotonic()
        self._begun = False

    async def next(self, patience: float) -> Piece | None:
        """Wait for the next piece, for so many seconds."""
        piece = await self._answer.next(patience)
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
            self._facts["prompt_tokens"] = piece.usage.prompt
            self._facts["completion_tokens"] = piece.usage.completion
        if self._answer.intervened:
            metrics.interventions["answer"] += 1
        return piece


class EventStream(StreamingResponse):
    """Server-sent events. The gate watches for the client's leaving and cancels them then."""

    media_type = "text/event-stream"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything, and close the source whatever happens."""
        async with aclosing(self.body_iterator):  # type: ignore[type-var]
            await self.stream_response(send)


async def _first(answer: Pieces) -> Piece:
    while True:
        piece = await answer.next(PING_SECONDS)
        if piece:
            return piece


async def _all(answer: Pieces) -> list[Piece]:
    pieces = [await _first(answer)]
    while not pieces[-1].finish_reason:
        pieces.append(await _first(answer))
    return pieces
