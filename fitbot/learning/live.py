"""Which version answers, by which name; versions are loaded into the engine as they are wanted.

All of it happens in the API process of a server. A request is given a version when it comes, and
keeps it: the engine holds several adapters side by side, and one that an answer is being written
with is not taken out. The engine reads no prompt's cache with an adapter that did not write it.
"""

import asyncio
import logging
import re
import time
from collections import Counter
from contextlib import ExitStack

from fitbot.errors import FitbotError
from fitbot.generation.messages import BASE, TUNED
from fitbot.learning.status import BUSY
from fitbot.learning.versions import Versions
from fitbot.serving.http_errors import HttpError
from fitbot.serving.jobs import AdapterChange, Dispatcher
from fitbot.serving.learning_side import Model
from fitbot.serving.shared_state import SharedState

LOADED = 4  # versions that an engine of fitbot's own holds at once
_NAME = re.compile(r"fitbot@([0-9]{1,9})")
_LOOK_SECONDS = 0.1
_RETRY_SECONDS = 5.0
_LOAD_SECONDS = 60.0

log = logging.getLogger(__name__)


class LiveVersions:
    """The versions of a learning folder, as requests ask for them."""

    def __init__(self, versions: Versions, first: str):
        """Take the versions, and how the engine calls version 0."""
        self.versions = versions
        self.current = versions.current  # that answers; the file may be ahead of it for a moment
        self._first = first
        self._used: Counter[int] = Counter()  # requests under way
        self._asked_at: dict[int, float] = {}
        self._changing: asyncio.Lock | None = None

    def connect(self, dispatcher: Dispatcher, shared: SharedState) -> None:
        """Take who sends changes to the engine, and where its models are named."""
        self._dispatcher, self._shared = dispatcher, shared

    def names(self) -> list[str]:
        """Return what requests may name, the default first."""
        numbers = [*reversed(self.versions.numbers()), 0]
        return [TUNED, BASE, *(f"fitbot@{number}" for number in numbers)]

    def number_of(self, name: str | None) -> int | None:
        """Return a name's version; None for the base.

        Raises:
            HttpError: 404, there is no such model.
        """
        if name in (None, TUNED):
            return self.current
        if name == BASE:
            return None
        found = _NAME.fullmatch(name or "")
        if not found or int(found[1]) not in (0, *self.versions.numbers()):
            raise HttpError(404, "model_not_found", "there is no such model", param="model")
        return int(found[1])

    def model(self, name: str | None, cleanup: ExitStack) -> Model:
        """See `Learning`."""
        number = self.number_of(name)
        if number is None:
            return Model(BASE, BASE)
        self._used[number] += 1
        cleanup.callback(self._used.subtract, [number])
        return Model(f"fitbot@{number}", self._key(number))

    async def load(self, key: str | None) -> None:
        """See `Learning`; what is loaded stays as it is where this fails."""
        found = _NAME.fullmatch(key or "")
        if not found:
            return  # the engine was opened with it
        number = int(found[1])
        self._asked_at[number] = time.monotonic()
        if key not in self._shared.models:
            self._changing = self._changing or asyncio.Lock()
            async with self._changing:
                if key not in self._shared.models:
                    await self._put(number, found[0])

    async def make_current(self, number: int) -> None:
        """Answer with a version from now on, once it is loaded.

        Raises:
            HttpError: It cannot be loaded.
            FitbotError: Its files are damaged.
        """
        await self.load(self._key(number))
        await asyncio.to_thread(self.versions.make_current, number)
        self.current = number

    async def watch(self) -> None:
        """Follow the file that says which version is current, and say when answers are written."""
        failed_at = -_RETRY_SECONDS
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._shared.active:
                await asyncio.to_thread((self.versions.folder.parent / BUSY).touch)
            if time.monotonic() - failed_at < _RETRY_SECONDS or self._shared.why_not_ready():
                continue
            try:
                wanted = self.versions.current
                if wanted != self.current:
                    await self.load(self._key(wanted))
                    log.info("another version answers", extra={"version": wanted})
                    self.current = wanted
            except (FitbotError, HttpError, OSError) as error:
                failed_at = time.monotonic()
                log.error("a version cannot answer: %s", error)

    def _key(self, number: int) -> str:
        return f"fitbot@{number}" if number else self._first

    async def _put(self, number: int, name: str) -> None:
        try:
            await asyncio.to_thread(self.versions.adapter, number)
        except FitbotError as error:
            log.error("a version cannot be loaded: %s", error)
            problem = f"the files of {name} are damaged; make another version current"
            raise HttpError(503, "version_damaged", problem) from error
        while True:
            try:
                return await self._change(AdapterChange(name, str(number)))
            except HttpError as error:
                if error.code != "no_room":
                    raise
                loaded = map(_NAME.fullmatch, self._shared.models)
                idle = {int(found[1]) for found in loaded if found} - {self.current}
                idle -= {one for one, requests in self._used.items() if requests > 0}
                if not idle:
                    problem = "all versions that there is room for are answering"
                    raise HttpError(503, "no_room", problem, retry_after=1) from error
            oldest = min(idle, key=lambda one: self._asked_at.get(one, 0.0))
            await self._change(AdapterChange(f"fitbot@{oldest}", None))

    async def _change(self, change: AdapterChange) -> None:
        with ExitStack() as cleanup:
            job = self._dispatcher.send(change, _LOAD_SECONDS, cleanup)
            while await job.next(_LOAD_SECONDS) is None:
                pass
