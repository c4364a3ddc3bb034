"""Processes that hang or never become ready are replaced, or the server ends and says why."""

import os
import signal
from pathlib import Path

import pytest

from tests.serve_fixtures import Start
from tests.server_process import alive, until


def test_an_engine_that_hangs_while_starting_ends_the_server(start: Start) -> None:
    server = start("--start_seconds=2", wait=False, FITBOT_TOY="hangs")
    until(lambda: len(server.processes()) > 2, 20)
    processes = server.processes()

    assert server.process.wait(30) == 1
    said = server.log_file.read_text().splitlines()[-1]
    assert said.startswith("fitbot: the engine did not start: it was not ready within 2 s")
    until(lambda: not alive(processes), 2)


def test_why_an_engine_does_not_start_is_the_last_line(start: Start) -> None:
    server = start(wait=False, FITBOT_TOY="0,01")

    assert server.process.wait(30) == 1
    said = server.log_file.read_text().splitlines()[-1]
    assert said == (
        "fitbot: the engine did not start: ValueError: could not convert string to float: '0,01'"
    )


@pytest.mark.parametrize(
    ("how", "why"),
    [
        pytest.param("hangs", "it was not ready within 8 s", marks=pytest.mark.slow),
        ("dies", "its process was ended by signal 9"),
        pytest.param("broken", "the toy is broken", marks=pytest.mark.slow),
    ],
)
def test_workers_that_never_become_ready_end_the_server(
    start: Start, tmp_path: Path, how: str, why: str
) -> None:
    does = tmp_path / "does"
    does.write_text("0.01")
    server = start("--start_seconds=8", FITBOT_TOY=str(does))
    processes = server.processes()

    does.write_text(how)
    os.kill(server.worker, signal.SIGKILL)

    assert server.process.wait(60) == 1
    said = server.log_file.read_text().splitlines()[-1]
    assert said.startswith(f"fitbot: the engine did not start 3 times in a row; the last: {why}")
    until(lambda: not alive(processes), 2)


@pytest.mark.slow
def test_a_worker_that_hangs_while_starting_is_replaced(start: Start, tmp_path: Path) -> None:
    does = tmp_path / "does"
    does.write_text("0.01")
    server = start("--start_seconds=8", FITBOT_TOY=str(does))

    does.write_text("hangs")
    os.kill(server.worker, signal.SIGKILL)
    until(lambda: "not ready within 8 s" in server.log_file.read_text(), 30)
    does.write_text("0.01")

    server.wait_ready()
    assert server.predict("say yes").json()["response"] == "yes "


def test_an_api_process_that_is_stopped_ends_the_server(start: Start) -> None:
    server = start(FITBOT_HUNG="3")
    processes = server.processes()

    os.kill(server.api, signal.SIGSTOP)

    assert server.process.wait(30) == 1
    said = server.log_file.read_text().splitlines()[-1]
    assert said == "fitbot: the API process has not moved for 3 s"
    until(lambda: not alive(processes), 2)


@pytest.mark.slow
def test_a_worker_that_is_stopped_is_replaced(start: Start) -> None:
    server = start(FITBOT_HUNG="3")
    worker = server.worker

    os.kill(worker, signal.SIGSTOP)

    until(lambda: server.metric("fitbot_worker_restarts_total") == 1, 20)
    server.wait_ready()
    assert server.predict("say yes").json()["response"] == "yes "


def test_a_folder_that_is_too_deep_for_a_socket_is_named(start: Start, tmp_path: Path) -> None:
    temporary = tmp_path / ("deep" * 20)
    temporary.mkdir()
    server = start(wait=False, TMPDIR=str(temporary))

    assert server.process.wait(30) == 1
    said = server.log_file.read_text().splitlines()[-1]
    assert said == (
        f"fitbot: TMPDIR {temporary}: too long a path for a socket; name a folder with a "
        "path of at most 70 bytes"
    )


@pytest.mark.parametrize(
    "victim",
    ["main", *(pytest.param(n, marks=pytest.mark.slow) for n in ("api", "manager", "worker"))],
)
def test_sigkill_leaves_no_file_behind(
    start: Start, tmp_path_factory: pytest.TempPathFactory, victim: str
) -> None:
    temporary = tmp_path_factory.mktemp("t")  # a socket's path must be short
    server = start(TMPDIR=str(temporary))
    processes = server.processes()
    assert list(temporary.iterdir()), "it has a socket there while it runs"

    os.kill(server.process.pid if victim == "main" else getattr(server, victim), signal.SIGKILL)
    if victim == "worker":
        server.stop()

    until(lambda: not alive(processes), 12)
    assert not list(temporary.iterdir())
