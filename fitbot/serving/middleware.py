"""What every request passes before the routes; plain ASGI, outermost first.

RequestContext   its id, headers of the response, metrics, the log line
Cors             if wanted: which web pages of other origins may ask; answers a browser that asks so
Auth             the key, and who the client is
BodyLimit        its body, within limits of size and time; ends it when the client leaves
"""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fitbot.serving.connections import network_of
from fitbot.serving.http_errors import HttpError
from fitbot.serving.keys import KeyRing
from fitbot.serving.limits import RateLimiter
from fitbot.serving.logs import describe
from fitbot.serving.metrics import Metrics
from fitbot.serving.page_files import PAGE_FILES
from fitbot.serving.settings import RequestLimits, ServerSettings

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",  # what people ask is health data
}
PROBES = frozenset({"/livez", "/readyz", "/health"})
OPEN_PATHS = frozenset(PAGE_FILES) | PROBES
ADMIN_PATHS = frozenset({"/v1/load_lora_adapter", "/v1/unload_lora_adapter"})
_QUIET_PATHS = PROBES | {"/metrics"}  # asked every few seconds
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LOOPBACK_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d*)?", re.IGNORECASE)
_DISCARDED = 64  # times the limit that a too large body is read on, so that its sender can listen
_WRONG_KEYS_PER_MINUTE = 10  # of one address that are answered at once
_CLIENT_LEFT = 499  # as nginx logs it; nobody receives it

log = logging.getLogger(__name__)


class _HttpMiddleware:
    """Passes on what is no request, such as the application's start."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what comes."""
        handle = self._handle if scope["type"] == "http" else self._app
        await handle(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError


class RequestContext(_HttpMiddleware):
    """Gives a request its id and a response its headers; counts, times and logs both."""

    def __init__(
        self, app: ASGIApp, *, limits: RequestLimits, metrics: Metrics, paths: frozenset[str]
    ):
        super().__init__(app)
        self._limits = limits
        self._metrics = metrics
        self._paths = paths  # by which requests are counted

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Headers(scope=scope).get("x-request-id", "")
        identifier = asked if _REQUEST_ID.fullmatch(asked) else secrets.token_hex(16)
        log_fields: dict[str, Any] = {"request_id": identifier}
        scope.setdefault("state", {}).update(request_id=identifier, log_fields=log_fields)
        begun = time.monotonic()
        status = _CLIENT_LEFT

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(raw=message["headers"])
                headers["X-Request-Id"] = identifier
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            async with asyncio.timeout(self._limits.send_seconds):
                await send(message)

        try:
            await self._app(scope, receive, send_on)
        except TimeoutError:
            log_fields["gave_up"] = "the client does not read"
        except Exception as error:
            log.error("a request failed", extra={**log_fields, "exception": describe(error)})
            if status == _CLIENT_LEFT:
                internal = HttpError(500, "internal_error", "the server has made a mistake")
                await internal.response()(scope, receive, send_on)
        finally:
            self._record(scope, status, time.monotonic() - begun, log_fields)

    def _record(self, scope: Scope, status: int, seconds: float, fields: dict[str, Any]) -> None:
        route = scope["path"] if scope["path"] in self._paths else "other"
        self._metrics.requests[route, status] += 1
        if route in _QUIET_PATHS:
            return
        self._metrics.seconds.observe(seconds)
        method = (
            scope["method"] if scope["method"] in ("GET", "POST", "HEAD", "DELETE") else "other"
        )
        fields.update(method=method, route=route, status=status, seconds=round(seconds, 4))
        log.info("request", extra=fields)


class Cors(CORSMiddleware):
    """Lets web pages of some other origins ask, with a key; a browser never adds one itself."""

    def __init__(self, app: ASGIApp, *, origins: Sequence[str]):
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["*"],  # OpenAI's client sends a dozen of its own
            expose_headers=[
                *("Retry-After", "X-Request-Id", "X-Max-Tokens"),
                *("X-Health-Verdict", "X-Health-Finding"),
            ],
        )


class Auth(_HttpMiddleware):
    """Asks for a key, except on the open paths, and says who the client is."""

    def __init__(self, app: ASGIApp, *, settings: ServerSettings):
        super().__init__(app)
        self._keys = settings.keys
        self._admin_keys = settings.admin.keys if settings.admin else KeyRing([])
        self._only_local_names = settings.only_local_names
        self._wrong_keys = RateLimiter(_WRONG_KEYS_PER_MINUTE)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            scope["state"]["client"] = self._identify(scope, headers)
        except HttpError as error:
            if error.code == "invalid_api_key" and _presented(headers):
                await self._slow_down(scope)
            if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
                error.headers["Connection"] = "close"  # the body is not read
            await error.response()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _slow_down(self, scope: Scope) -> None:
        """Take note of a wrong key, and wait when there were many from the same address."""
        address = _address(scope)
        scope["state"]["log_fields"]["wrong_key_from"] = address
        try:
            self._wrong_keys.acquire(network_of(address))
        except HttpError as too_many:
            await asyncio.sleep(float(too_many.headers["Retry-After"]))

    def _identify(self, scope: Scope, headers: Headers) -> str:
        if self._only_local_names and not _LOOPBACK_HOST.fullmatch(headers.get("host", "")):
            raise HttpError(421, "wrong_host", "this server goes by the name of localhost only")
        is_admins = scope["path"] in ADMIN_PATHS
        if is_admins and not self._admin_keys:
            raise HttpError(403, "no_admin", "the server was started without an admin key")
        if scope["path"] in OPEN_PATHS or not (self._keys or is_admins):
            return network_of(_address(scope))
        presented = _presented(headers)
        name = (self._admin_keys if is_admins else self._keys).name_of(presented)
        if is_admins and self._keys.name_of(presented):  # even if a file has made it both
            raise HttpError(403, "not_admin", "an admin key is needed; this is an API key")
        if name is None:
            kind = "admin" if is_admins else "API"
            problem = f"the {kind} key is wrong" if presented else f"an {kind} key is needed"
            raise HttpError(401, "invalid_api_key", problem, headers={"WWW-Authenticate": "Bearer"})
        scope["state"]["log_fields"]["key"] = name
        return name


def _address(scope: Scope) -> str:
    return scope["client"][0] if scope["client"] else "unknown"


def _presented(headers: Headers) -> str:
    """Return the key that a request has, "" for none."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    return (bearer if scheme.lower() == "bearer" else headers.get("x-api-key", "")).strip()


class BodyLimit(_HttpMiddleware):
    """Reads a request's body within its limits, and ends the request when the client leaves."""

    def __init__(self, app: ASGIApp, *, limits: RequestLimits):
        super().__init__(app)
        self._limits = limits

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._read(receive)
        except HttpError as error:
            error.headers["Connection"] = "close"  # what is left of the body is not read
            await error.response()(scope, receive, send)
            return
        if body is None:
            return
        with ExitStack() as cleanup:
            scope["state"]["cleanup"] = cleanup
            await self._answer(scope, body, receive, send)

    async def _answer(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay() -> Message:
            for message in messages:
                return message
            await asyncio.Event().wait()  # whether the client leaves is watched below
            raise AssertionError

        answering = asyncio.ensure_future(self._app(scope, replay, send))
        disconnect = asyncio.ensure_future(_disconnect(receive))
        try:
            await asyncio.wait({answering, disconnect}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                scope["state"]["log_fields"]["left"] = True
                answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
        finally:
            disconnect.cancel()
            answering.cancel()
        if not answering.cancelled():
            answering.result()

    async def _read(self, receive: Receive) -> bytes | None:
        """Return the body, or None if the client left."""
        limit, size, parts, has_more = self._limits.max_body_bytes, 0, [], True
        try:
            async with asyncio.timeout(self._limits.receive_seconds):
                while has_more and size <= limit * _DISCARDED:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    part = message.get("body", b"")
                    size += len(part)
                    if size <= limit:
                        parts.append(part)
                    has_more = message.get("more_body", False)
        except TimeoutError as error:
            raise HttpError(408, "slow_request", "the body did not come in time") from error
        if size > limit:
            raise HttpError(413, "too_large", f"the body is larger than {limit} bytes")
        return b"".join(parts)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
