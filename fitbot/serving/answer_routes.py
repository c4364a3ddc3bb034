"""The routes that ask the engine: for answers, or to answer with one adapter more or less."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from litserve.specs.base import LitSpec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fitbot.generation.messages import Chunk, Sampling
from fitbot.health.layer import DISCLAIMER, check_messages
from fitbot.pairs.formats import Message
from fitbot.serving.answers import PING_SECONDS, ChunkFilter, fixed_answer, measured_answer
from fitbot.serving.dispatcher import Dispatcher
from fitbot.serving.http_errors import HttpError, JsonResponse
from fitbot.serving.jobs import AdapterChange, GenerationTask
from fitbot.serving.limits import Admission, RateLimiter
from fitbot.serving.metrics import Metrics
from fitbot.serving.openai_format import Completion
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
from fitbot.serving.settings import ServerSettings
from fitbot.serving.shared_state import SharedState

VERDICT_HEADER = "X-Health-Verdict"  # only where the health layer has something to say


class AnswerRoutes(LitSpec):  # type: ignore[misc]
    """What a client may ask, and in which shape it gets its answer."""

    def __init__(
        self,
        settings: ServerSettings,
        dispatcher: Dispatcher,
        shared: SharedState,
        metrics: Metrics,
    ):
        """Register the routes.

        Args:
            settings: Limits, the default sampling, the health layer, and whether adapters may be
                added.
            dispatcher: Where jobs go.
            shared: Has the names of the models.
            metrics: Where requests are counted.
        """
        super().__init__()
        self.api_path = "/v1/chat/completions"
        self._dispatcher = dispatcher
        self._shared = shared
        self._metrics = metrics
        self._limits = settings.limits
        self._sampling = settings.sampling
        self._health_layer = settings.health_layer
        self._rates = RateLimiter(settings.limits.rate_per_minute)
        self._admission = Admission(settings.limits)
        self.by_path = dict.fromkeys(("/predict/", "/predict"), self.predict)
        self.by_path["/v1/chat/completions"] = self.chat
        if settings.admin:
            self.by_path["/v1/load_lora_adapter"] = self.load_adapter
            self.by_path["/v1/unload_lora_adapter"] = self.unload_adapter

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
        response = "".join([chunk.text async for chunk in answer if chunk])
        return JsonResponse({"response": response, "disclaimer": DISCLAIMER}, headers=headers)

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
            chunks = [chunk async for chunk in answer if chunk]
            return JsonResponse(completion.whole(chunks), headers=headers)
        # Headers go out after the first chunk, so that a failure until then keeps its status.
        while (first := await anext(answer)) is None:
            pass
        include_usage = bool(asked.stream_options and asked.stream_options.include_usage)
        events = completion.events(first, answer, include_usage=include_usage)
        return EventStream(events, headers={**headers, "Cache-Control": "no-store"})

    async def load_adapter(self, request: HttpRequest) -> Response:
        """Answer with an adapter from now on; its folder lies in the directory of adapters."""
        asked = await self._read(request, LoadRequest)
        await self._change(request, asked.lora_name, asked.lora_path or asked.lora_name)
        return JsonResponse(model_entry(asked.lora_name))

    async def unload_adapter(self, request: HttpRequest) -> Response:
        """Answer with an adapter no more; answers that have begun go on."""
        asked = await self._read(request, UnloadRequest)
        await self._change(request, asked.lora_name, None)
        return JsonResponse({"id": asked.lora_name, "object": "model", "deleted": True})

    async def _change(self, request: HttpRequest, name: str, folder: str | None) -> None:
        state = request.state
        state.cleanup.enter_context(self._admission.admit(state.client))
        change = AdapterChange(name, folder)
        job = self._dispatcher.send(change, self._limits.request_seconds, state.cleanup)
        while await job.next(PING_SECONDS) is None:
            pass

    async def _read(self, request: HttpRequest, kind: type[AnyBody]) -> AnyBody:
        self._rates.acquire(request.state.client)
        content_type = request.headers.get("content-type", "").partition(";")[0]
        # A web page's form, which a browser sends to other hosts unasked, cannot be JSON.
        if content_type.strip().lower() != "application/json":
            raise HttpError(415, "not_json", "send Content-Type: application/json")
        return parse_body(await request.body(), kind)

    def _model(self, name: str | None) -> str:
        models = self._shared.models
        if name is None:
            return models[0] if models else "none"
        if models and name not in models:
            raise HttpError(404, "model_not_found", "there is no such model", param="model")
        return name

    async def _open(
        self,
        request: HttpRequest,
        messages: Sequence[Message],
        sampling: Sampling,
        model: str | None,
    ) -> tuple[AsyncIterator[Chunk | None], dict[str, str]]:
        """Admit a request, check its question, send it; return its answer, and headers for it."""
        state = request.state
        state.cleanup.enter_context(self._admission.admit(state.client))
        headers: dict[str, str] = {}
        verdict = None
        if self._health_layer:
            verdict = await asyncio.to_thread(check_messages, messages)
            if verdict.kind != "ok":
                self._metrics.interventions[verdict.kind] += 1
                headers[VERDICT_HEADER] = verdict.kind
            if not verdict.model_answers:
                return fixed_answer(verdict.message), headers
        task = GenerationTask(tuple(messages), sampling, model)
        job = self._dispatcher.send(task, self._limits.request_seconds, state.cleanup)
        health = ChunkFilter(verdict) if verdict else None
        return measured_answer(job, health, self._metrics, state.log_fields, state.cleanup), headers


class EventStream(StreamingResponse):
    """Server-sent events. `BodyLimit` cancels them when the client leaves."""

    media_type = "text/event-stream"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything, and close the source whatever happens."""
        async with aclosing(self.body_iterator):  # type: ignore[type-var]
            await self.stream_response(send)
