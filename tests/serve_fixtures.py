"""One toy server for all tests that leave it as it was, and a way to start others."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server_process import ServerProcess

Start = Callable[..., ServerProcess]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose clients are all one address, so their common limits are set high."""
    log = tmp_path_factory.mktemp("serve") / "log"
    started = ServerProcess(log, "--rate_per_minute=100000", "--max_in_flight_per_key=64")
    yield started
    started.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers with options of the test's own."""
    started: list[ServerProcess] = []

    def start_one(*options: str, log_file: str | int = "log", **settings: Any) -> ServerProcess:
        log = tmp_path / log_file if isinstance(log_file, str) else log_file
        started.append(ServerProcess(log, *options, **settings))
        return started[-1]

    yield start_one
    for one in started:
        one.stop()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as opened:
        yield opened
