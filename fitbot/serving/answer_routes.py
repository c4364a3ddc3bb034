"""The routes that ask the engine: for answers, or to answer with one adapter more or less.

An answer on its way to the client is filtered by the health layer, counted and timed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import asdict, replace
from typing import Any

from litserve.specs.base import LitSpec
from starlette.datastructures import State
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fitbot.errors import RequestError
from fitbot.generation.messages import Chunk, Record, Usage
from fitbot.health.layer import DISCLAIMER
from fitbot.pairs.formats import Message
from fitbot.serving.bodies import AnyBody, parse_body
from fitbot.serving.chunk_filter import ChunkFilter, aside
from fitbot.serving.completion_format import Piece, TextCompletion
from fitbot.serving.completion_request import CompletionRequest
from fitbot.serving.http_errors import HttpError, JsonResponse
from fitbot.serving.jobs import (
    AdapterChange,
    Dispatcher,
    GenerationTask,
    PendingJob,
    out_of_time,
)
from fitbot.serving.learning_side import Given, Learning, Model
from fitbot.serving.limits import Admission, RateLimiter, Turn
from fitbot.serving.metrics import Metrics
from fitbot.serving.openai_format import Completion
from fitbot.serving.request_schemas import (
    ChatRequest,
    LoadRequest,
    PredictRequest,
    UnloadRequest,
)
from fitbot.serving.routes import ModelEntry
from fitbot.serving.settings import ServerSettings
from fitbot.serving.shared_state import SharedState

PING_SECONDS = 15.0  # a stream that is silent for longer shows that it is alive
CLAMP_HEADER = "X-Max-Tokens"  # only where a request asked for more than it may have
VERDICT_HEADER = "X-Health-Verdict"  # only where the health layer has something to say
# What it has found so far; a client that leaves out old messages sends it back in their place.
FINDING_HEADER = "X-Health-Finding"
_REFUSALS_PER_MINUTE = 60  # of one client that are answered at once


class AnswerRoutes(LitSpec):  # type: ignore[misc]
    """What a client may ask, and in which shape it gets its answer."""

    stream = True  # LitServe is told that answers come in pieces

    def __init__(
        self,
        settings: ServerSettings,
        dispatcher: Dispatcher,
        shared: SharedState,
        metrics: Metrics,
        learning: Learning | None = None,
    ):
        """Register the routes.

        Args:
            settings: Limits, the default sampling, the health layer, and whether adapters may be
                added.
            dispatcher: Where jobs go.
            shared: Has the names of the models.
            metrics: Where requests are counted.
            learning: Keeps answers and says which model answers; None: the engine's names do.
        """
        super().__init__()
        self.api_path = "/v1/chat/completions"
        self._dispatcher = dispatcher
        self._shared = shared
        self._metrics = metrics
        self._limits = settings.limits
        self.sampling = settings.sampling
        self._health = settings.health
        self._learning = learning
        self._rates = RateLimiter(settings.limits.rate_per_minute)
        self._refusals = RateLimiter(_REFUSALS_PER_MINUTE)
        self._admission = Admission(settings.limits, shared)
        self.by_path = dict.fromkeys(("/predict/", "/predict"), self.predict)
        self.by_path["/v1/chat/completions"] = self.chat
        self.by_path["/v1/completions"] = self.complete
        if settings.admin:
            self.by_path["/v1/load_lora_adapter"] = self.load_adapter
            self.by_path["/v1/unload_lora_adapter"] = self.unload_adapter

    def __getstate__(self) -> dict[str, Any]:
        """Leave out all but what LitServe's worker looks at."""
        return {"api_path": self.api_path, "_endpoints": [], "_server": None}

    async def predict(self, request: HttpRequest) -> Response:
        """Answer one question."""
        asked = await self.read(request, PredictRequest)
        asked.check(self._limits)
        sampling = self.sampling
        if asked.max_new_tokens is not None:
            sampling = replace(sampling, max_new_tokens=asked.max_new_tokens)
        question = (Message("user", asked.user_query),)
        model = self._model(None, request.state.cleanup)
        task = GenerationTask(question, sampling, model.key)
        answer, headers = await self._open(request, task, question)
        response = "".join([chunk.text async for chunk in answer if chunk])
        return JsonResponse({"response": response, "disclaimer": DISCLAIMER}, headers=headers)

    async def chat(self, request: HttpRequest) -> Response:
        """Go on with a conversation, as OpenAI's chat completions do."""
        asked = await self.read(request, ChatRequest)
        asked.check(self._limits)
        model = self._model(asked.model, request.state.cleanup)
        completion = Completion(
            request.state.request_id,
            model.name,
            with_logprobs=bool(asked.logprobs),
            with_reasoning=bool(asked.include_reasoning),
        )
        sampling = asked.sampling(self.sampling, self._limits)
        truncates = asked.truncation == "auto"
        task = GenerationTask(asked.conversation, sampling, model.key, truncates)
        if self._learning:
            task = self._learning.recorded(task)
        answer, headers = await self._open(request, task, asked.conversation)
        if self._learning:
            is_touched = VERDICT_HEADER in headers
            wanted = Given(completion.id, model.name, task, request.state.client, is_touched)
            answer = self._learning.keep(answer, wanted)
        if (asked.tokens or 0) > sampling.max_new_tokens:
            headers[CLAMP_HEADER] = str(sampling.max_new_tokens)
        if not asked.stream:
            chunks = [chunk async for chunk in answer if chunk]
            return JsonResponse(completion.whole(chunks), headers=headers)
        # Headers go out after the first chunk, so that a failure until then keeps its status.
        while (first := await anext(answer)) is None:
            pass
        include_usage = bool(asked.stream_options and asked.stream_options.include_usage)
        events = completion.events(first, answer, include_usage=include_usage)
        return EventStream(events, headers=headers)

    async def complete(self, request: HttpRequest) -> Response:
        """Go on with texts as they are, or score them, as OpenAI's completions do."""
        asked = await self.read(request, CompletionRequest)
        asked.check(self._limits)
        model = self._model(asked.model, request.state.cleanup)
        completion = TextCompletion(
            request.state.request_id,
            model.name,
            with_logprobs=asked.logprobs is not None,
            with_answer=asked.max_tokens != 0,
        )
        headers: dict[str, str] = {}
        if (asked.max_tokens or 0) > self._limits.max_new_tokens:
            headers[CLAMP_HEADER] = str(self._limits.max_new_tokens)
        turn = await self._admit(request.state)
        answers = self._continue(request, asked, model.key, turn, headers)
        if not asked.stream:
            whole = completion.whole([piece async for piece in answers])
            request.state.cleanup.close()  # see `measured_answer`
            return JsonResponse(whole, headers=headers)
        while (first := await anext(answers))[1] is None:
            pass
        include_usage = bool(asked.stream_options and asked.stream_options.include_usage)
        events = completion.events(first, answers, include_usage=include_usage)
        return EventStream(events, headers=headers)

    async def load_adapter(self, request: HttpRequest) -> Response:
        """Answer with an adapter from now on; its folder lies in the directory of adapters."""
        asked = await self.read(request, LoadRequest)
        await self._change(request, asked.lora_name, asked.lora_path or asked.lora_name)
        return JsonResponse(asdict(ModelEntry(asked.lora_name)))

    async def unload_adapter(self, request: HttpRequest) -> Response:
        """Answer with an adapter no more; answers that have begun go on."""
        asked = await self.read(request, UnloadRequest)
        await self._change(request, asked.lora_name, None)
        return JsonResponse({"id": asked.lora_name, "object": "model", "deleted": True})

    async def _change(self, request: HttpRequest, name: str, folder: str | None) -> None:
        state = request.state
        await self._admit(state)
        self._dispatcher.check_ready()
        change = AdapterChange(name, folder)
        job = self._dispatcher.send(change, self._limits.request_seconds, state.cleanup)
        while await job.next(PING_SECONDS) is None:
            pass

    def limit_rate(self, request: HttpRequest) -> None:
        """Count a request; refuse it where a client's are too many.

        Raises:
            HttpError: 429.
        """
        self._rates.acquire(request.state.client)

    async def read(self, request: HttpRequest, kind: type[AnyBody]) -> AnyBody:
        """Read a request's body, within its client's rate."""
        self.limit_rate(request)
        content_type = request.headers.get("content-type", "").partition(";")[0]
        # A web page's form, which a browser sends to other hosts unasked, cannot be JSON.
        if content_type.strip().lower() != "application/json":
            raise HttpError(415, "not_json", "send Content-Type: application/json")
        # A small body could become gigabytes.
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise HttpError(415, "encoded", "send the body as it is, without Content-Encoding")
        return parse_body(await request.body(), kind)

    async def draw(
        self, request: HttpRequest, tasks: Sequence[GenerationTask]
    ) -> list[tuple[str, Record] | None]:
        """Draw several answers at once; None of those in which the health layer had a say."""
        end = time.monotonic() + self._limits.request_seconds
        turn = await self._admit(request.state)
        answers: list[AsyncIterator[Chunk | None] | None] = []
        for task in tasks:
            own = request.state.cleanup.enter_context(ExitStack())
            question: Sequence[Message] = task.prompt  # type: ignore[assignment]
            answer, headers = await self._ask(request, task, question, turn, end, own)
            answers.append(None if VERDICT_HEADER in headers else answer)
        found: list[tuple[str, Record] | None] = []
        for one in answers:
            chunks = [chunk async for chunk in one if chunk] if one else []
            record = chunks[-1].record if chunks else None
            found.append(("".join(chunk.text for chunk in chunks), record) if record else None)
        return found

    def _model(self, name: str | None, cleanup: ExitStack) -> Model:
        if self._learning:
            return self._learning.model(name, cleanup)
        models = self._shared.models
        if name is not None and models and name not in models:
            raise HttpError(404, "model_not_found", "there is no such model", param="model")
        return Model(name or (models[0] if models else "none"), name)

    async def _open(
        self, request: HttpRequest, task: GenerationTask, messages: Sequence[Message]
    ) -> tuple[AsyncIterator[Chunk | None], dict[str, str]]:
        """Admit a request and ask; return its answer, and headers for it."""
        end = time.monotonic() + self._limits.request_seconds
        turn = await self._admit(request.state)
        return await self._ask(request, task, messages, turn, end, request.state.cleanup)

    async def _continue(
        self,
        request: HttpRequest,
        asked: CompletionRequest,
        model: str | None,
        turn: Turn,
        headers: dict[str, str],
    ) -> AsyncIterator[Piece]:
        """Answer prompts one after the other; what is to be said in headers is added to them."""
        sampling = asked.sampling(self.sampling, self._limits)
        end = time.monotonic() + self._limits.request_seconds
        for index, prompt in enumerate(asked.prompts):
            task = GenerationTask(prompt, sampling, model)
            is_read = isinstance(prompt, str) and not asked.only_scores
            question = [Message("user", prompt)] if is_read else []  # type: ignore[arg-type]
            own = request.state.cleanup.enter_context(ExitStack())
            answer, more = await self._ask(request, task, question, turn, end, own)
            headers.update(more)
            async for chunk in answer:
                yield index, chunk

    async def _ask(
        self,
        request: HttpRequest,
        task: GenerationTask,
        question: Sequence[Message],
        turn: Turn,
        end: float,
        cleanup: ExitStack,
    ) -> tuple[AsyncIterator[Chunk | None], dict[str, str]]:
        """Check a question, send its task; return its answer, and headers for it.

        Args:
            request: Of a client that has been admitted.
            task: What the engine is to do.
            question: What the health layer reads; empty where nothing is answered.
            turn: The request's; it waits for a place in the engine unless it has one.
            end: The deadline, on `time.monotonic`'s clock.
            cleanup: Ends the task, see `Dispatcher.send`.
        """
        begun = time.monotonic()
        headers: dict[str, str] = {}
        health = None
        if self._health and question:
            earlier = request.headers.get(FINDING_HEADER)
            try:
                verdict = await aside(self._health.check, question, earlier)
            except RequestError as error:
                problem = f"{FINDING_HEADER}: {error}"
                raise HttpError(422, "invalid_header", problem, param=FINDING_HEADER) from error
            if verdict.kind != "ok":
                self._metrics.interventions[verdict.kind, verdict.by or ""] += 1
                headers[VERDICT_HEADER] = verdict.kind
            if verdict.finding:
                headers[FINDING_HEADER] = verdict.finding
            if not verdict.model_answers:
                return fixed_answer(verdict.message), headers
            health = ChunkFilter(self._health, verdict)
        self._dispatcher.check_ready()
        if self._learning:
            await self._learning.load(task.model)
        if not turn.has_place:
            await self._wait(turn, end, request.state)
        job = self._dispatcher.send(task, end - time.monotonic(), cleanup)
        fields = request.state.log_fields
        answer = measured_answer(job, health, self._metrics, fields, cleanup, begun=begun)
        return answer, headers

    async def _admit(self, state: State) -> Turn:
        """Admit a request; until it is answered, its connection is not closed for others.

        Of a client that does not wait as long as it is told to, refusals come late: else those
        who come back at once take the processor from those who are answered.
        """
        try:
            turn: Turn = state.cleanup.enter_context(self._admission.admit(state.client))
        except HttpError:
            try:
                self._refusals.acquire(state.client)
            except HttpError as too_many:
                await asyncio.sleep(float(too_many.headers["Retry-After"]))
            raise
        state.has_place = True
        state.cleanup.callback(setattr, state, "has_place", False)
        return turn

    async def _wait(self, turn: Turn, end: float, state: State) -> None:
        """Wait for a place in the engine."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout_at(end):
                await self._admission.wait(turn)
        except TimeoutError as error:
            raise out_of_time() from error
        waited = time.monotonic() - begun
        self._metrics.queue.observe(waited)
        state.log_fields["waited"] = round(waited, 4)


class EventStream(StreamingResponse):
    """Server-sent events. `BodyLimit` cancels them when the client leaves."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], headers: dict[str, str]):
        """Take the events; nginx is asked to pass on every piece as it comes."""
        super().__init__(events, headers={**headers, "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything, and close the source whatever happens."""
        async with aclosing(self.body_iterator):  # type: ignore[type-var]
            await self.stream_response(send)


async def fixed_answer(text: str) -> AsyncIterator[Chunk | None]:
    """Yield a text of the health layer's that is the whole answer; no engine is asked."""
    yield Chunk(text, finish_reason="stop", usage=Usage(0, 0, 0))


async def measured_answer(
    job: PendingJob,
    health: ChunkFilter | None,
    metrics: Metrics,
    log_fields: dict[str, Any],
    cleanup: ExitStack,
    *,
    begun: float,
) -> AsyncIterator[Chunk | None]:
    """Yield an answer's chunks as they may be shown, and None after every 15 seconds of silence.

    Args:
        job: Whose chunks these are.
        health: The filter; None to show everything.
        metrics: Where they are counted and timed.
        log_fields: Are given the number of tokens.
        cleanup: Gives the request's place back and ends the job; closed before the last chunk.
        begun: When the request was admitted, on `time.monotonic`'s clock.

    Raises:
        HttpError: The answer failed, or its deadline has passed.
    """
    last, histogram = begun, metrics.first_chunk
    chunk: Chunk | None = None
    while not (chunk and chunk.finish_reason):
        chunk = await job.next(PING_SECONDS)
        if chunk:
            chunk = await health.read(chunk) if health else chunk
            if health and chunk.finish_reason and not chunk.usage:  # cut; the engine still writes
                chunk = chunk._replace(usage=await job.stop())
            now = time.monotonic()
            histogram.observe(now - last)
            last, histogram = now, metrics.between_chunks
            if chunk.usage:
                metrics.tokens_in += chunk.usage.prompt
                metrics.tokens_out += chunk.usage.completion
                for name in ("prompt", "completion"):  # of all prompts of a request
                    tokens, spent = f"{name}_tokens", getattr(chunk.usage, name)
                    log_fields[tokens] = log_fields.get(tokens, 0) + spent
            if chunk.finish_reason:
                metrics.interventions.update(health.interventions if health else ())
                cleanup.close()  # who reads the end may ask at once, and its place is free
        yield chunk
