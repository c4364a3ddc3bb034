"""What a server needs of who learns from its answers; `fitbot.learning` is above and implements it.

A server that does not learn has none of it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel
from starlette.requests import Request

from fitbot.base_model.introduction import Introduction
from fitbot.generation.messages import Chunk, Record, Sampling
from fitbot.serving.bodies import AnyBody
from fitbot.serving.jobs import Dispatcher, GenerationTask
from fitbot.serving.settings import AddAdapter
from fitbot.serving.shared_state import SharedState

LEARNING = "/v1/learning"


class Model(NamedTuple):
    """Which model answers."""

    name: str  # as clients read it
    key: str | None  # as the engine calls it; None: its default


class Given(NamedTuple):
    """An answer that is being given."""

    completion: str
    model: str
    task: GenerationTask
    client: str
    is_touched: bool  # by the health layer, before the answer has begun


@dataclass(frozen=True)
class Route:
    """One route more, documented as all others."""

    method: str
    path: str
    endpoint: Callable[..., Awaitable[Any]]
    answer: Any  # its model; a media type where it is no JSON
    body: type[BaseModel] | None = None
    query: Sequence[dict[str, Any]] = ()  # OpenAPI's parameters


class Answers(Protocol):
    """What it may ask of `AnswerRoutes`."""

    sampling: Sampling

    def limit_rate(self, request: Request) -> None:
        """Count a request of a client's."""

    async def read(self, request: Request, kind: type[AnyBody]) -> AnyBody:
        """Read a body, within its client's rate."""

    async def draw(
        self, request: Request, tasks: Sequence[GenerationTask]
    ) -> list[tuple[str, Record] | None]:
        """Draw answers at once; None of those in which the health layer had a say."""


class Learning(Protocol):
    """Keeps answers, has versions, and knows which of them answers; all in the API process."""

    @property
    def directory(self) -> Path:
        """Whose folders are the versions' adapters, by number."""

    @property
    def add_adapter(self) -> AddAdapter:
        """How the engine takes one."""

    def routes(self, answers: Answers, dispatcher: Dispatcher, shared: SharedState) -> list[Route]:
        """Take what it needs of the server, and return its routes."""

    def model(self, name: str | None, cleanup: ExitStack) -> Model:
        """Find the version that answers by a name; once loaded, it stays so until the cleanup.

        Raises:
            HttpError: There is none.
        """

    async def load(self, key: str | None) -> None:
        """Have the engine hold what `model` has found.

        Raises:
            HttpError: It cannot be loaded.
        """

    def names(self) -> list[str]:
        """Return the names that `model` knows, the default first."""

    def introduction(self, name: str) -> Introduction:
        """Introduce a model."""

    def recorded(self, task: GenerationTask) -> GenerationTask:
        """Have what is drawn for an answer come with it."""

    def keep(
        self, answer: AsyncIterator[Chunk | None], given: Given
    ) -> AsyncIterator[Chunk | None]:
        """Pass on an answer, and keep it before its end goes out."""

    async def watch(self) -> None:
        """Follow which version is to answer; never ends."""

    def tick(self) -> None:
        """Look after the process that learns; in the main process, every tenth of a second."""

    def close(self) -> None:
        """End that process."""
