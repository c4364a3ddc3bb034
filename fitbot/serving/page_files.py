"""The chat page's files, which are open to everybody; the page knows the server's limits."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from fitbot.serving.settings import RequestLimits

_PAGE = Path(__file__).parent / "page"
_SCRIPTS = ("page.js", "elements.js", "server.js", "markdown.js", "marked.js", "history.js")
# Loaded where the server learns.
_LEARNING = ("learning.js", "learner.js", "judge.js", "pair.js", "teach.js", "versions.js")

# path → file, and what it is
PAGE_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/favicon.ico": ("icon.svg", "image/svg+xml"),  # where no page names an icon
    **{f"/{name}": (name, "text/javascript") for name in _SCRIPTS + _LEARNING},
}


def add_page(app: FastAPI, limits: RequestLimits) -> None:
    """Register the page's files."""
    for path in PAGE_FILES:
        content, media_type = read_page_file(path)
        if path == "/":
            for limit, number in asdict(limits).items():
                content = content.replace(f"{{{{{limit}}}}}", str(number))
        app.add_route(path, send_file(content, media_type), ["GET"], include_in_schema=False)


def read_page_file(path: str) -> tuple[str, str]:
    """Return the text of one of the page's files, and what it is."""
    name, media_type = PAGE_FILES[path]
    return (_PAGE / name).read_text(encoding="utf-8"), media_type


def send_file(content: str, media_type: str) -> Callable[[Request], Any]:
    """Return a route that sends a text."""

    async def send(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return send
