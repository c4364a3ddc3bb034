"""A server that learns, imitated: the page's files and the routes of /v1/learning, in a thread.

A lesson takes as long as the test says, and its verdict is the one that the test has put in
`verdicts`. Nothing is trained: what is tested with it is the page.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import Body, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from fitbot.serving.middleware import SECURITY_HEADERS
from fitbot.serving.page_files import add_page
from fitbot.serving.settings import RequestLimits
from tests.server_process import free_port, until

FIGURES = {
    measure: {"items": 220, "share": 0.61, "low": -0.004, "high": 0.051, "gained": 9, "lost": 4}
    for measure in ("held-out choices", "test pairs", "right answers")
}
REFUSED = ("refused", "shown worse by test pairs: 2 gained and 19 lost of 220")
TAKEN = ("not shown worse", "test pairs: 9 gained and 4 lost of 220")
ANSWERS = ("Rest 2 to 3 minutes.", "Rest **less** than a minute.", "Rest as long as you like.")
QUESTION = [{"role": "user", "content": "Is tofu vegan?"}]


class LearningServer:
    """Serves in a thread; what it was asked is in `asked`, choices by id in `choices`."""

    def __init__(self, *, pace: float = 0.05, answers: tuple[str, ...] = ANSWERS) -> None:
        self.pace, self.answers = pace, answers
        self.verdicts = [TAKEN]  # of the next lessons; the last one stays
        self.asked: list[dict[str, Any]] = []  # bodies of chat completions
        self.choices: dict[str, dict[str, Any]] = {}
        self.texts: dict[str, str] = {}  # by answer's id
        self.versions = [_version(0, None, "better", "where learning began")]
        self.current = 0
        self.doing: dict[str, Any] = {"state": "waiting"}
        self.is_over = False
        self.followers = 0
        self._count = 0
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        settings = uvicorn.Config(
            _app(self), port=port, log_level="error", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until(lambda: self._server.started, 20)

    def stop(self) -> None:
        self.is_over = self._server.should_exit = True
        self._thread.join()

    def state(self) -> dict[str, Any]:
        """What GET /v1/learning answers."""
        names = "state number choices step steps seconds checked items message"
        learner = dict.fromkeys(names.split()) | self.doing
        last = self.versions[-1] if len(self.versions) > 1 else None
        return {
            "current": {"number": self.current, "name": f"fitbot@{self.current}"},
            "learner": learner,
            "counts": {"answers": len(self.texts), "choices": len(self.choices), "outdated": []},
            "author": "local",
            "store": "checkpoints/learning/feedback.sqlite",
            "last": last,
        }

    def answer(self) -> tuple[str, str]:
        """Write the next answer; return its id and text."""
        self._count += 1
        name, text = f"chatcmpl-{self._count}", self.answers[self._count % len(self.answers)]
        self.texts[name] = text
        return name, text

    def take(self, choice: dict[str, Any]) -> dict[str, Any]:
        """Store a choice; return the answer of the route."""
        name = f"c{len(self.choices) + 1}"
        self.choices[name] = choice
        is_pair = not choice["kind"].startswith("thumb")
        reason = None if is_pair else "it waits for its other side"
        return {
            **{"id": name, "stored": True, "usable": True, "held_out": False},
            **{"is_pair": is_pair, "reason": reason},
        }

    async def lesson(self) -> None:
        """Learn, check and decide, in six steps of each."""
        number = len(self.versions)
        for state, done, of in (("learning", "step", "steps"), ("checking", "checked", "items")):
            for step in range(6):
                self.doing = {"state": state, "number": number, "choices": 1, "seconds": 1.2}
                self.doing |= {done: step + 1, of: 6}
                await asyncio.sleep(self.pace)
        verdict = self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]
        self.versions.append(_version(number, self.current, *verdict))
        self.current = self.current if verdict[0] == "refused" else number
        self.doing = {"state": "waiting"}


def _version(number: int, parent: int | None, state: str, reason: str) -> dict[str, Any]:
    return {
        **{"number": number, "name": f"fitbot@{number}", "parent": parent, "state": state},
        **{"reason": reason, "line": reason, "choices": 3, "figures": FIGURES if number else {}},
        **{"drift": 0.0123, "time": 1.8e9 if number else None, "seconds": {}, "outdated": False},
    }


def _app(server: LearningServer) -> FastAPI:
    app = FastAPI()
    add_page(app, RequestLimits())
    _add_answers(app, server)
    _add_state(app, server)
    _add_choices(app, server)
    _add_versions(app, server)

    @app.middleware("http")
    async def secure(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers.update(SECURITY_HEADERS)
        return response

    return app


def _add_answers(app: FastAPI, server: LearningServer) -> None:
    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        about = {"kind": "", "details": "", "questions": ["How long should I rest?"]}
        names = ["fitbot", "base", *(one["name"] for one in server.versions)]
        return {"data": [{"id": name, "about": about} for name in names]}

    @app.post("/v1/chat/completions")
    async def chat(body: dict[str, Any] = Body()) -> Response:  # noqa: B008
        server.asked.append(body)
        name, text = server.answer()
        if "@" in body.get("model", ""):
            text = f"{body['model']} says: {text}"

        async def write() -> AsyncIterator[str]:
            for word in text.split(" "):
                await asyncio.sleep(server.pace / 5)
                yield _event({"id": name, "choices": [{"delta": {"content": f"{word} "}}]})
            choice = {"delta": {}, "finish_reason": "stop"}
            yield _event({"id": name, "choices": [choice]})
            yield "data: [DONE]\n\n"

        return StreamingResponse(write(), media_type="text/event-stream")


def _add_state(app: FastAPI, server: LearningServer) -> None:
    @app.get("/v1/learning")
    async def state() -> dict[str, Any]:
        return server.state()

    @app.get("/v1/learning/events")
    async def events() -> Response:
        async def write() -> AsyncIterator[str]:
            told = None
            server.followers += 1
            try:
                while not server.is_over:
                    if (state := server.state()) != told:
                        yield _event(state)
                    told = state
                    await asyncio.sleep(0.02)
            finally:
                server.followers -= 1

        return StreamingResponse(write(), media_type="text/event-stream")


def _add_choices(app: FastAPI, server: LearningServer) -> None:
    tasks = set()

    @app.post("/v1/learning/choices")
    async def choose(body: dict[str, Any] = Body()) -> Response:  # noqa: B008
        named = [body[side] for side in ("chosen", "rejected", "answer") if side in body]
        if not all(name in server.texts for name in named):
            error = {"error": {"message": "there is no such answer", "code": "answer_not_found"}}
            return JSONResponse(error, 404)
        answer = server.take(body)
        if answer["is_pair"]:
            tasks.add(asyncio.create_task(server.lesson()))
        return JSONResponse(answer)

    @app.delete("/v1/learning/choices/{name}")
    async def take_back(name: str) -> dict[str, Any]:
        del server.choices[name]
        return {"id": name, "deleted": True, "versions": []}

    @app.delete("/v1/learning/authors/{name}")
    async def forget(name: str) -> dict[str, Any]:
        server.choices.clear()
        return {"author": "local", "deleted": True, "versions": ["fitbot@1"]}

    @app.post("/v1/learning/question")
    async def question() -> dict[str, Any]:
        answers = [dict(zip(("id", "text"), server.answer(), strict=True)) for _ in range(2)]
        return {"messages": QUESTION, "answers": answers}


def _add_versions(app: FastAPI, server: LearningServer) -> None:
    @app.get("/v1/learning/versions")
    async def versions() -> dict[str, Any]:
        found = [{**one, "current": one["number"] == server.current} for one in server.versions]
        return {"data": found[::-1]}

    @app.post("/v1/learning/versions/{number}/current")
    async def make_current(number: int) -> dict[str, Any]:
        server.current = number
        return {**server.versions[number], "current": True}

    @app.delete("/v1/learning/versions/{number}")
    async def take_back(number: int) -> dict[str, Any]:
        version = server.versions[number]
        version["state"], server.current = "undone", version["parent"]
        return {"number": number, "deleted": True, "current": {"number": server.current}}


def _event(data: object) -> str:
    return f"data: {json.dumps(data)}\n\n"
