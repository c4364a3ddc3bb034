"""`fitbot serve --learn`: what learns, beside a server. See `fitbot.serving.learning_side`.

Of its three parts one is in the main process, the `Supervisor` of the learner. The other two are in
the API process: `LiveVersions`, which version answers, and `Records`, what is kept. With the
learner they share files, and nothing else.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from fitbot.base_model.introduction import Introduction
from fitbot.generation.messages import BASE, TUNED, Chunk
from fitbot.health.layer import HealthLayer
from fitbot.learning.live import LiveVersions
from fitbot.learning.origin import Origin, keep_origin
from fitbot.learning.records import Drawn, Records, answer_of, kept, recorded
from fitbot.learning.routes import LearningRoutes
from fitbot.learning.store import Store
from fitbot.learning.supervisor import Supervisor, learn
from fitbot.learning.versions import Versions
from fitbot.serving.jobs import Dispatcher, GenerationTask
from fitbot.serving.learning_side import Answers, Given, Route
from fitbot.serving.settings import AddAdapter
from fitbot.serving.shared_state import SharedState

STORE = "feedback.sqlite"  # in the learning folder


@dataclass(frozen=True)
class SideSettings:
    """What a server learns from, and how.

    Args:
        folder: Of the store, the versions and the learner's files.
        origin: What learning begins from, as the engine holds it.
        introductions: Of the models that the engine has without learning, by name.
        add_adapter: How the engine takes a version.
        has_keys: Whether persons are told apart by keys; else all are one.
        health: The layer that reads what a person writes in an answer's place; None: nothing does.
        learn: What the learner's process does; by default, learn.
    """

    folder: Path
    origin: Origin
    introductions: dict[str, Introduction]
    add_adapter: AddAdapter
    has_keys: bool
    health: HealthLayer | None
    learn: Callable[[], None] | None = None


class LearningSide:
    """Implements `fitbot.serving.learning_side.Learning`."""

    def __init__(self, settings: SideSettings):
        """Make the folder and the store, if they are new.

        Raises:
            ConfigError, BusyError: It is another base's, or cannot be used.
            AdapterError: The version that is to answer is damaged.
        """
        self._settings, folder = settings, settings.folder
        self.health = settings.health
        keep_origin(folder, settings.origin)
        Store(folder / STORE).close()
        versions = Versions(folder)
        versions.folder.mkdir(exist_ok=True)
        versions.adapter(versions.current)
        first = TUNED if settings.origin.adapter else BASE
        self.live, self.records = LiveVersions(versions, first), Records(folder / STORE)
        run = settings.learn or partial(learn, folder, folder / STORE, settings.origin)
        self._supervisor = Supervisor(folder, run)
        self.directory, self.add_adapter = versions.folder, settings.add_adapter
        self.model, self.load = self.live.model, self.live.load
        self.names, self.watch = self.live.names, self.live.watch
        self.tick, self.close = self._supervisor.tick, self._supervisor.close

    def routes(self, answers: Answers, dispatcher: Dispatcher, shared: SharedState) -> list[Route]:
        """See `Learning`."""
        self.live.connect(dispatcher, shared)
        routes = LearningRoutes(self, answers, shared)
        return routes.all()

    def introduction(self, name: str) -> Introduction:
        """See `Learning`."""
        known = self._settings.introductions
        number = self.live.number_of(name)
        if not number:
            return known[TUNED if number == 0 and self._settings.origin.adapter else BASE]
        version = self.live.versions.get(number)
        line = [one for one in self.live.versions.line(number) if one.number]
        choices = sum(len(one.choices) for one in line)
        details = f"Version {number}, learned here from {choices} choices: {version.state}."
        return replace(known[BASE], details=details)

    def recorded(self, task: GenerationTask) -> GenerationTask:
        """See `Learning`."""
        return recorded(task)

    def keep(
        self, answer: AsyncIterator[Chunk | None], given: Given
    ) -> AsyncIterator[Chunk | None]:
        """See `Learning`."""

        return kept(answer, given, self.store)

    async def store(self, given: Given, drawn: Drawn) -> None:
        """Store an answer by what its client calls it."""
        number = self.live.number_of(given.model)
        policy, version = "base", None if number is None else f"fitbot@{number}"
        if number is not None:
            hashes = self.live.versions.get(number).sha256 or {}
            first = self._settings.origin.sha256 or policy
            policy = hashes["adapter_model.safetensors"] if number else first

        def write(store: Store) -> None:
            author = store.pseudonym(self.author(given.client))
            answer = answer_of(given, drawn, author=author, policy=policy, version=version)
            store.add_answer(answer)

        await self.records.write(write)

    def author(self, client: str) -> str:
        """Name who asks; the store gives them a pseudonym."""
        return client if self._settings.has_keys else "me"
