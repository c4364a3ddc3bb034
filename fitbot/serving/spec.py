"""The routes that ask the engine: for answers, or to answer with one adapter more or less."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack, aclosing
from dataclasses import replace
from typing import Any

from litserve.specs.base import LitSpec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fitbot.generation.messages import Sampling
from fitbot.health.layer import DISCLAIMER
from fitbot.pairs.formats import Message
from fitbot.serving.http_errors import Json, Refused
from fitbot.serving.jobs import Answer, FixedAnswer, Piece, Request, Switchboard, Wish
from fitbot.serving.limits import Admission, Limits, RateLimiter
from fitbot.serving.metrics import Metrics
from fitbot.serving.openai_format import PING_SECONDS, Completion, Pieces
from fitbot.serving.request_schemas import (
    AnyBody,
    ChatRequest,
    LoadRequest,
    PredictRequest,
    UnloadRequest,
    check_chat,
    check_predict,
    parse_body,
)
from fitbot.serving.routes import model_entry
from fitbot.serving.safety import Safety
from fitbot.serving.shared_state import Board

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
        *,
        takes_adapters: bool,
    ):
        """Register the routes.

        Args:
            board: Says whether there is a worker, and its models.
            limits: Of requests.
            metrics: Where requests are counted.
            sampling: How answers are drawn unless a request says otherwise.
            safety: The health layer, if any.
            takes_adapters: Whether adapters may be added and removed.
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
        if takes_adapters:
            self.add_endpoint("/v1/load_lora_adapter", self.load_adapter, ["POST"])
            self.add_endpoint("/v1/unload_lora_adapter", self.unload_adapter, ["POST"])

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
            with_reasoning=bool(asked.include_reasoning),
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

    async def load_adapter(self, request: HttpRequest) -> Response:
        """Answer with an adapter from now on; its folder lies in the directory of adapters."""
        asked = await self._read(request, LoadRequest)
        await self._change(request, asked.lora_name, asked.lora_path or asked.lora_name)
        return Json(model_entry(asked.lora_name))

    async def unload_adapter(self, request: HttpRequest) -> Response:
        """Answer with an adapter no more; answers that have begun go on."""
        asked = await self._read(request, UnloadRequest)
        await self._change(request, asked.lora_name, None)
        return Json({"id": asked.lora_name, "object": "model", "deleted": True})

    async def _change(self, request: HttpRequest, name: str, folder: str | None) -> None:
        state = request.state
        state.exits.enter_context(self._admission.admit(state.client))
        wish = Wish(name, folder, self._limits.request_seconds)
        relay = self.switchboard.send(wish, state.exits)
        while await relay.next(PING_SECONDS) is None:
            pass

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
        screen = reasoning_screen = None
        if self._safety:
            verdict = await asyncio.to_thread(self._safety.judge, messages)
            if verdict.kind != "ok":
                self._metrics.interventions[verdict.kind] += 1
                headers[VERDICT_HEADER] = verdict.kind
            if not verdict.model_answers:
                return FixedAnswer(verdict.message), headers
            screen = self._safety.filter(verdict)
            reasoning_screen = self._safety.filter_reasoning()
        job = Request(messages, sampling, model, self._limits.request_seconds)
        relay = self.switchboard.send(job, state.exits)
        answer = Answer(relay, screen, reasoning_screen, self.switchboard)
        return Observed(answer, self._metrics, state.facts, state.exits), headers


class Observed:
    """An answer whose pieces are counted and timed on their way."""

    def __init__(self, answer: Answer, metrics: Metrics, facts: dict[str, Any], exits: ExitStack):
        """Take the answer, where to count it, what is to be logged, and the request's place."""
        self._answer = answer
        self._metrics = metrics
        self._facts = facts
        self._exits = exits
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
        if self._answer.withheld and piece.finish_reason:
            metrics.interventions["reasoning"] += 1
        if piece.finish_reason:
            self._exits.close()  # who reads the end may ask at once, and its place is free
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
