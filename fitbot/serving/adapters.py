"""Adapters that come and go while the server answers; all of it happens in the worker.

What was added is recorded in shared memory, which outlives the worker: its successor answers by
the same names. Names come from clients, folders are looked for below one directory only.
"""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fitbot.base_model.provenance import PROVENANCE_FILE
from fitbot.errors import AdapterError, FitbotError, RoomError
from fitbot.serving.http_errors import HttpError
from fitbot.serving.settings import AddAdapter
from fitbot.serving.shared_state import SharedState

# An absolute path, or one that begins with a drive; not the rest of an address or of a hub's id.
_PATH = re.compile(r"(?<![\w./:\\-])(?:[A-Za-z]:)?(?:[/\\][^\s/\\:;,'\"()]+)+[/\\]?")

log = logging.getLogger(__name__)


class AdapterRegistry:
    """The adapters of one directory, put into an engine and taken out; one change at a time."""

    def __init__(self, directory: Path, add_adapter: AddAdapter, shared: SharedState):
        """Take the directory whose folders are adapters, and where the record is kept."""
        self._directory = directory
        self._add_adapter = add_adapter
        self._shared = shared

    def add(self, engine: Any, name: str, folder: str, *, is_wanted: Callable[[], bool]) -> None:
        """Have the engine answer by one name more, or leave it as it was.

        Args:
            engine: Who is to answer; it has a method `remove` as well, which takes a name.
            name: What requests are going to call the adapter.
            folder: Its folder's name, or that of a run that holds it as `adapter`.
            is_wanted: Asked when it is done: whether somebody still waits for it.

        Raises:
            HttpError: 400, it cannot be served; 403, it lies elsewhere; 404, there is none; 409,
                the name or the last room is taken; 504, nobody waits any more.
        """
        if name in engine.models:
            raise HttpError(409, "name_taken", "there is a model of that name", param="lora_name")
        self._load(engine, name, folder)
        if not is_wanted():
            engine.remove(name)
            raise HttpError(504, "deadline", "the adapter was not added in time")
        self._record(engine, name, folder)
        log.info("an adapter was added", extra={"adapter": name, "folder": folder})

    def remove(self, engine: Any, name: str) -> None:
        """Have the engine take no more requests for an adapter that was added.

        Raises:
            HttpError: 403, the server was started with it; 404, there is none of that name.
        """
        if name not in engine.models:
            raise HttpError(404, "model_not_found", "there is no such model", param="lora_name")
        if name not in self._shared.added_adapters:
            raise HttpError(403, "not_added", "the server was started with it", param="lora_name")
        engine.remove(name)
        self._record(engine, name, None)
        log.info("an adapter was removed", extra={"adapter": name})

    def restore(self, engine: Any) -> None:
        """Add to a new worker's engine what its predecessor had; log what is gone."""
        for name, folder in self._shared.added_adapters.items():
            # Whatever should kill this worker now will not be tried by the next one.
            self._record(engine, name, None)
            try:
                self._load(engine, name, folder)
            except (FitbotError, HttpError) as error:
                log.error("an adapter is gone: %s", error, extra={"adapter": name})
            else:
                self._record(engine, name, folder)

    def _load(self, engine: Any, name: str, folder: str) -> None:
        path = self._find(folder)
        try:
            self._add_adapter(engine, name, path)
        except AdapterError as error:
            message = _without_paths(str(error).replace(str(path), folder))
            if isinstance(error, RoomError):
                raise HttpError(
                    409, "no_room", f"{message}; unload one, and wait for its last answers"
                ) from error
            raise HttpError(400, "invalid_adapter", message, param="lora_path") from error

    def _find(self, name: str) -> Path:
        root = self._directory.resolve()
        folders = (root / name, root / name / "adapter")  # an adapter's, or a run's
        folder = next((one for one in folders if (one / PROVENANCE_FILE).is_file()), None)
        if folder is None:
            raise HttpError(404, "adapter_not_found", "no adapter lies there", param="lora_path")
        for path in (folder, *folder.iterdir()):
            if not path.resolve().is_relative_to(root):
                raise HttpError(403, "outside", "a link leads elsewhere", param="lora_path")
        return folder

    def _record(self, engine: Any, name: str, folder: str | None) -> None:
        """Keep for a successor where an adapter lies, None if it is gone, and tell the models."""
        kept = self._shared.added_adapters.items()
        others = {other: where for other, where in kept if other != name}
        self._shared.added_adapters = {**others, name: folder} if folder else others
        self._shared.models = engine.models


def _without_paths(message: str) -> str:
    """Leave the last name of each path: where files are on the server is not a client's affair."""
    return _PATH.sub(lambda match: re.split(r"[/\\]", match[0].rstrip("/\\"))[-1], message)
