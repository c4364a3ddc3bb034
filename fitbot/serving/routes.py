"""The routes that ask no engine: page, health, models, metrics; and the documentation of all."""

import html
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from fitbot.base_model.introduction import Introduction
from fitbot.serving.completion_request import CompletionRequest, describe_completion_limits
from fitbot.serving.http_errors import HttpError, JsonResponse
from fitbot.serving.learning_side import LEARNING, Learning, Route
from fitbot.serving.metrics import Metrics
from fitbot.serving.middleware import ADMIN_PATHS, PROBES
from fitbot.serving.page_files import PAGE_FILES, add_page
from fitbot.serving.request_schemas import (
    ChatRequest,
    LoadRequest,
    PredictRequest,
    UnloadRequest,
    describe_limits,
)
from fitbot.serving.settings import RequestLimits, ServerSettings
from fitbot.serving.shared_state import SharedState
from fitbot.version import __version__

_ANSWER_STATUSES = {
    400: "The body is not JSON, or the engine cannot answer it.",
    401: "An API key is needed, or the one that was sent is wrong.",
    404: "There is no such model.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is not called application/json.",
    421: "The server goes by another name.",
    422: "A field is wrong, too large or not known.",
    429: "Too many requests; Retry-After says when to try again.",
    500: "The engine failed on this request.",
    503: "There is no engine now: it is starting, has died, or the server shuts down.",
    504: "The answer was not complete in time.",
}
_CHANGE_STATUSES = _ANSWER_STATUSES | {
    400: "The body is not JSON, or the adapter cannot be served.",
    401: "An admin key is needed, or the one that was sent is wrong.",
    403: "The key is no admin's, the adapter lies elsewhere, or the server was started with it.",
    404: "There is no such adapter.",
    409: "There is a model of that name, or no room for one more adapter.",
    504: "It was not done in time.",
}
_LEARNING_STATUSES = _ANSWER_STATUSES | {
    404: "There is no such answer, choice, version or author.",
    409: "The version has never answered.",
}


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str


class Error(BaseModel):
    """Every answer with a status of 400 or more."""

    error: ErrorDetail


class PredictAnswer(BaseModel):
    """An answer."""

    response: str
    disclaimer: str


@dataclass
class ModelEntry:
    """A model that can be asked now, in OpenAI's shape, and what people are told of it."""

    id: str
    object: Literal["model"] = "model"
    created: int = field(default_factory=lambda: int(time.time()))
    owned_by: str = "fitbot"
    about: Introduction = field(default_factory=Introduction)


@dataclass
class ModelList:
    """The models, the default one first."""

    data: list[ModelEntry]
    object: Literal["list"] = "list"


class UnloadAnswer(BaseModel):
    """A model that can be asked no more."""

    id: str
    object: Literal["model"]
    deleted: bool


# path → its body, and its answer, but for what may be a stream
_SCHEMAS: dict[str, tuple[type[BaseModel], type[Any] | None]] = {
    "/predict/": (PredictRequest, PredictAnswer),
    "/predict": (PredictRequest, PredictAnswer),
    "/v1/chat/completions": (ChatRequest, None),
    "/v1/completions": (CompletionRequest, None),
    "/v1/load_lora_adapter": (LoadRequest, ModelEntry),
    "/v1/unload_lora_adapter": (UnloadRequest, UnloadAnswer),
}
_OTHERS = {"/v1/models", "/version", "/metrics", "/docs", "/openapi.json"}
PATHS = frozenset({*PAGE_FILES, *_SCHEMAS, *_OTHERS, *PROBES})


def add_routes(
    app: FastAPI,
    endpoints: Mapping[str, Callable[..., Any]],
    shared: SharedState,
    metrics: Metrics,
    settings: ServerSettings,
    learning: Learning | None = None,
    more: Sequence[Route] = (),
) -> None:
    """Register all routes and the shape of errors.

    Args:
        app: LitServe's.
        endpoints: Those of `AnswerRoutes`, by path.
        shared: Health and models are read from it.
        metrics: Shown under /metrics.
        settings: Its limits are part of the documentation and of the page.
        learning: Knows the models' names; None: the engine does.
        more: Its routes.
    """
    app.title, app.version = "fitbot", __version__
    app.router.redirect_slashes = False
    add_page(app, settings.limits)
    for path, endpoint in endpoints.items():
        _add_answer_route(app, path, endpoint)
    for route in more:
        _add_route(app, route)
    names: Callable[[], Sequence[str]]
    if learning:
        names, introduce = learning.names, learning.introduction
    else:
        known = settings.introductions
        names, introduce = lambda: shared.models, lambda name: known.get(name, Introduction())
        methods = ["GET", "POST", "DELETE"]
        app.add_route(LEARNING + "{rest:path}", _not_learning, methods, include_in_schema=False)
    _add_status_routes(app, shared, metrics, names, introduce)
    bodies = {body for body, _ in _SCHEMAS.values()} | {route.body for route in more if route.body}
    _add_documentation(app, settings.limits, bodies)

    @app.exception_handler(HttpError)
    async def own_error(request: Request, error: HttpError) -> Response:
        if error.status in (429, 503):
            metrics.rejected[error.code] += 1
        return error.response()

    @app.exception_handler(HTTPException)
    async def starlette_error(request: Request, error: HTTPException) -> Response:
        names = {404: "not_found", 405: "method_not_allowed"}
        code = names.get(error.status_code, "http_error")
        headers = dict(error.headers or {})
        return HttpError(error.status_code, code, str(error.detail), headers=headers).response()


def _add_answer_route(app: FastAPI, path: str, endpoint: Callable[..., Any]) -> None:
    kind, model = _SCHEMAS[path]
    body = {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}
    answer: dict[str, Any] = {"model": model}
    if model is None:
        shape = {"schema": {"type": "object"}}
        answer = {"content": {"application/json": shape, "text/event-stream": {}}}
    statuses = _CHANGE_STATUSES if path in ADMIN_PATHS else _ANSWER_STATUSES
    app.add_api_route(
        path,
        endpoint,
        methods=["POST"],
        response_class=Response,
        responses={200: {"description": "The answer.", **answer}, **_errors(statuses, *statuses)},
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": body}}},
    )


async def _not_learning(request: Request) -> Response:
    """Say what is missing, so that a page knows what it may offer."""
    problem = "this server keeps no choices and learns nothing; start it with fitbot serve --learn"
    raise HttpError(404, "not_learning", problem)


def _add_route(app: FastAPI, route: Route) -> None:
    extra: dict[str, Any] = {"parameters": list(route.query)} if route.query else {}
    if route.body:
        shape = {"schema": {"$ref": f"#/components/schemas/{route.body.__name__}"}}
        extra["requestBody"] = {"required": True, "content": {"application/json": shape}}
    is_media = isinstance(route.answer, str)
    answer = {"content": {route.answer: {}}} if is_media else {"model": route.answer}
    app.add_api_route(
        route.path,
        route.endpoint,
        methods=[route.method],
        response_class=Response,
        responses={
            200: {"description": "The answer.", **answer},
            **_errors(_LEARNING_STATUSES, *_LEARNING_STATUSES),
        },
        openapi_extra=extra,
    )


def _errors(texts: Mapping[int, str], *statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Error, "description": texts[status]} for status in statuses}


def _add_status_routes(
    app: FastAPI,
    shared: SharedState,
    metrics: Metrics,
    names: Callable[[], Sequence[str]],
    introduce: Callable[[str], Introduction],
) -> None:
    def describe(name: str) -> ModelEntry:
        return ModelEntry(name, about=introduce(name))

    wrong_host = _errors(_ANSWER_STATUSES, 421)
    refused = _errors(_ANSWER_STATUSES, 401, 421)
    unready = _errors(_ANSWER_STATUSES, 421, 503)

    @app.head("/livez", include_in_schema=False)
    @app.get("/livez", response_class=PlainTextResponse, responses=wrong_host)
    async def livez() -> Response:
        """Say that the server runs."""
        return PlainTextResponse("ok")

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", response_class=PlainTextResponse, responses=unready)
    @app.head("/health", include_in_schema=False)
    @app.get("/health", response_class=PlainTextResponse, responses=unready)
    async def readyz() -> Response:
        """Say whether questions can be answered now."""
        if reason := shared.why_not_ready():
            raise HttpError(503, "unavailable", reason, retry_after=5)
        return PlainTextResponse("ok")

    @app.get("/v1/models", responses=refused)
    async def models() -> ModelList:
        """List the models, the default one first."""
        return ModelList([describe(name) for name in names()])

    @app.get("/v1/models/{name:path}", responses=refused | _errors(_ANSWER_STATUSES, 404))
    async def model(name: str) -> ModelEntry:
        """Describe one model."""
        if name not in names():
            raise HttpError(404, "model_not_found", "there is no such model", param="model")
        return describe(name)

    @app.get("/version", responses=refused)
    async def version() -> dict[str, str]:
        """Say which fitbot this is."""
        return {"version": __version__}

    @app.get("/metrics", response_class=PlainTextResponse, responses=refused)
    async def prometheus() -> Response:
        """Show the counters, for Prometheus."""
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")


def _add_documentation(
    app: FastAPI, limits: RequestLimits, bodies: Iterable[type[BaseModel]]
) -> None:
    def openapi() -> dict[str, Any]:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        _, definitions = models_json_schema(
            [(body, "validation") for body in bodies],
            ref_template="#/components/schemas/{model}",
        )
        components = schema.setdefault("components", {})
        describe_limits(definitions["$defs"], limits)
        describe_completion_limits(definitions["$defs"], limits)
        components.setdefault("schemas", {}).update(definitions["$defs"])
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{}, {"key": []}]  # keys are an option of the server's
        return schema

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi_json() -> Response:
        return JsonResponse(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(_as_page(app.openapi()))


def _as_page(schema: dict[str, Any]) -> str:
    """Write a schema as a page without scripts: FastAPI's own loads one from another host."""
    rows = [
        f"<dt><code>{method.upper()} {html.escape(path)}</code></dt>"
        f"<dd>{html.escape(operation.get('description', ''))}</dd>"
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>fitbot: API</title>'
        '<link rel="stylesheet" href="/page.css"><main class="docs"><h1>fitbot\'s API</h1>'
        f"<dl>{''.join(rows)}</dl>"
        '<p>In full: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1)</p></main></html>'
    )
