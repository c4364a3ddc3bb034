"""Which version answers by which name, and which ones leave the engine for others."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fitbot.learning.gate import NOT_WORSE
from fitbot.learning.live import LiveVersions
from fitbot.learning.versions import Version, Versions
from fitbot.serving.http_errors import HttpError
from fitbot.serving.jobs import AdapterChange
from fitbot.serving.shared_state import SharedState

ROOM = 2


class Engine:
    """Dispatcher and worker in one: there is room for two versions."""

    def __init__(self, shared: SharedState) -> None:
        self.shared, self.held = shared, list[str]()
        self.changes: list[AdapterChange] = []

    def send(self, change: AdapterChange, seconds: float, cleanup: ExitStack) -> "Engine":
        self.changes.append(change)
        return self

    async def next(self, seconds: float) -> Any:
        name, folder = self.changes[-1]
        if folder is None:
            self.held.remove(name)
        elif len(self.held) == ROOM:
            raise HttpError(409, "no_room", "full")
        else:
            self.held.append(name)
        self.shared.models = ["base", *self.held]
        return "done"


@pytest.fixture
def live(tmp_path: Path) -> LiveVersions:
    versions = Versions(tmp_path)
    for number in range(1, 5):
        with versions.writing(number) as adapter:
            adapter.mkdir()
            (adapter / "adapter_model.safetensors").write_bytes(b"x")
            versions.add(Version(number, number - 1, NOT_WORSE, "", (number,)), {}, answers=True)
    one = LiveVersions(versions, "base")
    shared = SharedState()
    one.connect(Engine(shared), shared)  # type: ignore[arg-type]
    return one


async def ask(live: LiveVersions, name: str | None, cleanup: ExitStack) -> tuple[str, str | None]:
    model = live.model(name, cleanup)
    await live.load(model.key)
    return model


def test_names_lead_to_versions(live: LiveVersions) -> None:
    with ExitStack() as cleanup:
        found = [
            asyncio.run(ask(live, name, cleanup)) for name in (None, "fitbot@0", "base", "fitbot@2")
        ]

    assert found == [
        ("fitbot@4", "fitbot@4"),
        ("fitbot@0", "base"),
        ("base", "base"),
        ("fitbot@2", "fitbot@2"),
    ]
    for name in ("fitbot@5", "fitbot@", "other", "fitbot@04x"):
        with pytest.raises(HttpError, match="no such model"):
            live.number_of(name)


def test_the_version_that_nobody_waits_for_and_nobody_asked_for_lately_goes(
    live: LiveVersions,
) -> None:
    engine: Any = live._dispatcher
    with ExitStack() as request:
        asyncio.run(ask(live, None, request))  # 4, the current one
        asyncio.run(ask(live, "fitbot@1", request))
        with pytest.raises(HttpError) as refused, ExitStack() as other:
            asyncio.run(ask(live, "fitbot@2", other))
        assert refused.value.status == 503  # 1 is still being answered with
        assert engine.held == ["fitbot@4", "fitbot@1"]

    with ExitStack() as other:
        asyncio.run(ask(live, "fitbot@2", other))
    assert engine.held == ["fitbot@4", "fitbot@2"]


def test_files_that_were_changed_are_not_loaded(live: LiveVersions) -> None:
    (live.versions.folder / "2/adapter/adapter_model.safetensors").write_bytes(b"y")

    with ExitStack() as cleanup, pytest.raises(HttpError, match="files of fitbot@2 are damaged"):
        asyncio.run(ask(live, "fitbot@2", cleanup))
    engine: Any = live._dispatcher
    assert not engine.changes
