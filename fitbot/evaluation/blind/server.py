"""A blind comparison on a web page, for this machine only, under an address nobody can guess."""

import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fitbot.errors import ConfigError, FitbotError
from fitbot.evaluation.blind.log import Side
from fitbot.evaluation.blind.outcome import outcome_of
from fitbot.evaluation.blind.session import KEYS, ComparisonSession
from fitbot.evaluation.blind.terminal import SPEAKERS
from fitbot.serving.middleware import SECURITY_HEADERS
from fitbot.serving.page_files import read_page_file, send_file

HOST = "127.0.0.1"
_PAGE = Path(__file__).parent / "page"
_OWN = {"": ("index.html", "text/html"), "compare.js": ("compare.js", "text/javascript")}
_OWN |= {"compare.css": ("compare.css", "text/css")}
# Of the chat page: its colours and buttons, and how it draws what models write.
_SHARED = ("/page.css", "/markdown.js", "/marked.js", "/icon.svg")
_MOST_BYTES = 1000  # of a choice
_LAST_SECONDS = 2  # that requests have when the server ends


def compare_on_page(
    session: ComparisonSession,
    names: dict[Side, str],
    *,
    port: int,
    announce: Callable[[str], None],
) -> None:
    """Serve the page until the comparison is over and seen, or the person quits.

    Args:
        session: What is compared.
        names: Of both sides' models; they are told at the end.
        port: TCP port; 0 for a free one.
        announce: Is given the page's address.

    Raises:
        ConfigError: The port is taken, or choices cannot be written.
        EngineError: An answer failed.
    """
    token = secrets.token_urlsafe(24)
    with _listen(port) as listening:
        app = PageApp(session, names, token)
        config = uvicorn.Config(
            app.asgi(),
            log_level="warning",
            ws="none",
            access_log=False,  # it would write the token
            timeout_graceful_shutdown=_LAST_SECONDS,
        )
        server = uvicorn.Server(config)
        app.on_quit = lambda: setattr(server, "should_exit", True)
        address = f"http://{HOST}:{listening.getsockname()[1]}/{token}/"
        announce(f"Open {address}\nCtrl-C here ends the comparison; every choice is kept.")
        server.run(sockets=[listening])
    if app.failure is not None:
        raise app.failure


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen()  # so that a browser that is quicker than the server waits
    except (OSError, OverflowError) as error:
        listening.close()
        raise ConfigError(
            f"--port {port}: cannot be listened on: {error}; name another, or leave it out"
        ) from error
    return listening


class PageApp:
    """The page's routes, all below the token."""

    def __init__(self, session: ComparisonSession, names: dict[Side, str], token: str):
        """Take the session that the page shows, and the secret part of its address."""
        self.session, self.names = session, names
        self.token = token
        self.on_quit: Callable[[], Any] = lambda: None
        self.failure: FitbotError | None = None

    def asgi(self) -> Starlette:
        """Return the application."""
        own = [
            Route(f"/{path}", send_file((_PAGE / name).read_text(encoding="utf-8"), kind))
            for path, (name, kind) in _OWN.items()
        ]
        shared = [Route(path, send_file(*read_page_file(path))) for path in _SHARED]
        asked = [Route("/item", self._item), Route("/choice", self._choose, methods=["POST"])]
        hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
        return Starlette(
            routes=[*shared, Mount(f"/{self.token}", routes=[*own, *asked])],
            middleware=[Middleware(_Headers), hosts],
        )

    async def _item(self, _: Request) -> JSONResponse:
        return await self._answer(self._state)

    async def _choose(self, request: Request) -> JSONResponse:
        """Take {"number": 3, "key": "1"}; return what is to be shown then."""
        try:
            body = await _read_choice(request)
            number, key = body["number"], body["key"]
        except (KeyError, TypeError, ValueError):
            return JSONResponse({"error": "a choice is a number and a key"}, 400)

        def apply() -> dict[str, Any]:
            if key == "u":
                self.session.undo()
            elif key in KEYS:
                self.session.choose(number, key)
            return self._state()

        if key == "q":
            self.on_quit()
            lines = outcome_of(self.session.choices, self.names).lines()
            return JSONResponse({"state": "closed", "lines": lines})
        return await self._answer(apply)

    async def _answer(self, work: Callable[[], dict[str, Any]]) -> JSONResponse:
        """Answer with what work returns; where it cannot go on, the server ends and says why."""
        try:
            return JSONResponse(await run_in_threadpool(work))
        except FitbotError as error:
            self.failure = error
            self.on_quit()
            return JSONResponse({"state": "closed", "lines": [str(error)]}, 500)

    def _state(self) -> dict[str, Any]:
        """Return what the page shows; whose answer is whose is not among it."""
        item = self.session.current()
        state = {
            "can_undo": self.session.can_undo,
            "compared": self.session.compared,
            "most": self.session.most,
        }
        if item is None:
            return {"state": "over", **state}
        turns = [{"speaker": SPEAKERS[turn.role], "text": turn.content} for turn in item.prompt]
        return {
            "state": "item",
            "number": item.number,
            "turns": turns,
            "answers": item.shown,
            **state,
        }


async def _read_choice(request: Request) -> Any:
    if int(request.headers.get("content-length", _MOST_BYTES + 1)) > _MOST_BYTES:
        raise ValueError
    return await request.json()


class _Headers:
    """Gives every response the headers of the chat page."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, and its response with the headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(raw=message["headers"]).update(SECURITY_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)
