"""What can break breaks; every waiting client gets an answer, and nothing is left behind."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.serve_fixtures import Start
from tests.server_process import ServerProcess, alive, until


@contextlib.contextmanager
def asking(
    server: ServerProcess, number: int = 3, *, tokens: int = 400
) -> Iterator[list[Future[httpx.Response]]]:
    """Have so many clients wait for an answer; the block begins when all are under way."""
    with ThreadPoolExecutor(number) as pool:
        futures = [
            pool.submit(server.predict, f"question {n}", max_new_tokens=tokens)
            for n in range(number)
        ]
        until(lambda: server.metric("fitbot_in_flight") == number, 10)
        yield futures


def assert_serves(server: ServerProcess) -> None:
    assert server.predict("say yes").json()["response"] == "yes "


def assert_refused_within(
    futures: list[Future[httpx.Response]], seconds: float, status: int = 503
) -> None:
    begun = time.monotonic()
    for future in futures:
        response = future.result(timeout=seconds)
        assert response.status_code == status
        assert "error" in response.json()
        assert int(response.headers["retry-after"]) >= 1
    assert time.monotonic() - begun < seconds


# The worker


@pytest.mark.slow
def test_worker_killed_while_idle(start: Start) -> None:
    server = start()

    os.kill(server.worker, signal.SIGKILL)

    until(lambda: server.status("/readyz") == 503, 2)
    assert server.status("/livez") == 200
    server.wait_ready()
    assert_serves(server)
    assert server.metric("fitbot_worker_restarts_total") == 1


def test_worker_killed_under_load(start: Start) -> None:
    server = start()
    with asking(server, 4) as futures:
        os.kill(server.worker, signal.SIGKILL)
        assert_refused_within(futures, 2)
    server.wait_ready()
    assert_serves(server)


@pytest.mark.slow
def test_a_request_right_after_a_death_is_answered(start: Start) -> None:
    server = start()
    with asking(server, 1) as futures:
        os.kill(server.worker, signal.SIGKILL)
        late = server.predict("say yes", timeout=5)
        assert_refused_within(futures, 2)

    assert late.status_code == 503
    server.wait_ready()
    for _ in range(3):
        assert_serves(server)


def test_worker_killed_in_a_stream(start: Start) -> None:
    server = start()
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        os.kill(server.worker, signal.SIGKILL)
        begun = time.monotonic()
        rest = list(lines)

    assert time.monotonic() - begun < 2
    assert any('"code": "worker_died"' in line for line in rest)
    assert rest[-2:] == ["data: [DONE]", ""]


def test_a_request_that_kills_the_worker_gets_an_answer_and_so_do_the_others(start: Start) -> None:
    server = start()
    with asking(server) as futures:
        assert_refused_within([*futures, _now(server.predict("die"))], 2)
    server.wait_ready()
    assert_serves(server)


@pytest.mark.slow
def test_worker_stopped_for_a_while(start: Start) -> None:
    server = start("--request_seconds=2")
    worker = server.worker
    os.kill(worker, signal.SIGSTOP)
    try:
        assert server.predict("hello", timeout=6).status_code == 504
        until(lambda: server.status("/readyz") == 503, 6)
        assert server.status("/livez") == 200
    finally:
        os.kill(worker, signal.SIGCONT)

    until(lambda: server.status("/readyz") == 200, 3)
    assert_serves(server)
    assert server.metric("fitbot_worker_restarts_total") == 0


@pytest.mark.slow
def test_a_worker_that_dies_again_and_again_ends_the_server(start: Start) -> None:
    server = start()
    processes = server.processes()

    def kill() -> None:
        while server.process.poll() is None:
            with contextlib.suppress(Exception):
                server.predict("die", timeout=2)
            time.sleep(0.05)

    killing = threading.Thread(target=kill)
    killing.start()

    assert server.process.wait(60) == 1
    killing.join()
    until(lambda: not alive(processes), 2)


# The engine


def test_an_exception_in_the_engine_is_one_clients_affair(start: Start) -> None:
    server = start()
    with asking(server, 2, tokens=100) as futures:
        worker = server.worker
        for text in ("unpicklable", "memory", "bug"):
            assert server.predict(text).status_code == 500
        assert [future.result().status_code for future in futures] == [200, 200]

    assert server.worker == worker


def test_an_engine_that_dies_is_replaced(start: Start) -> None:
    server = start()
    with asking(server) as futures:
        assert server.predict("engine dies").status_code == 503
        assert_refused_within(futures, 2)
    server.wait_ready()
    assert_serves(server)


def test_an_engine_that_blocks_one_request_answers_others(start: Start) -> None:
    server = start("--request_seconds=1")
    with ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(server.predict, "block")
        assert_serves(server)

        assert blocked.result(6).status_code == 504
    assert server.status("/readyz") == 200


@pytest.mark.parametrize("how", ["broken", "dies"])
def test_an_engine_that_does_not_start_ends_the_server(start: Start, how: Any) -> None:
    server = start(wait=False, FITBOT_TOY=how)

    assert server.process.wait(20) == 1
    assert "fitbot: the engine did not start" in server.log_file.read_text()


# Signals


@pytest.mark.slow
def test_sigterm_while_idle(start: Start) -> None:
    server = start()
    processes = server.processes()

    server.signal(signal.SIGTERM)

    assert server.process.wait(6) == 0
    until(lambda: not alive(processes), 2)


def test_sigterm_under_load_finishes_answers_and_refuses_new_ones(start: Start) -> None:
    server = start()
    processes = server.processes()
    with asking(server, tokens=200) as futures:
        server.signal(signal.SIGTERM)
        until(lambda: server.status("/readyz") == 503, 1)
        refused = server.predict("too late")
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert [future.result().status_code for future in futures] == [200] * 3

    assert server.process.wait(6) == 0
    until(lambda: not alive(processes), 2)


@pytest.mark.slow
def test_a_second_sigterm_ends_answers_with_a_refusal(start: Start) -> None:
    server = start(FITBOT_TOY="0.1")
    processes = server.processes()
    with asking(server) as futures:
        server.signal(signal.SIGTERM)
        until(lambda: server.status("/readyz") == 503, 1)
        server.signal(signal.SIGTERM)
        assert_refused_within(futures, 2)

    assert server.process.wait(6) == 0
    until(lambda: not alive(processes), 2)


@pytest.mark.slow
def test_answers_that_take_too_long_to_drain_are_refused(start: Start) -> None:
    server = start("--drain_seconds=1", FITBOT_TOY="0.1")
    with asking(server) as futures:
        server.signal(signal.SIGTERM)
        assert_refused_within(futures, 3)

    assert server.process.wait(6) == 0


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_a_signal_to_the_whole_group_lets_answers_finish(start: Start, number: Any) -> None:
    server = start()
    processes = server.processes()
    with asking(server, tokens=150) as futures:
        os.killpg(server.process.pid, number)
        assert [future.result().status_code for future in futures] == [200] * 3

    assert server.process.wait(6) == 0
    until(lambda: not alive(processes), 2)


def test_sigterm_while_the_engine_starts(start: Start) -> None:
    server = start(wait=False)
    until(lambda: len(server.processes()) > 2, 10)
    processes = server.processes()

    server.signal(signal.SIGTERM)

    assert server.process.wait(10) in (0, 1)
    until(lambda: not alive(processes), 2)


@pytest.mark.parametrize(
    "victim", ["api", *(pytest.param(one, marks=pytest.mark.slow) for one in ("main", "manager"))]
)
def test_sigkill_leaves_nothing_behind_and_the_port_is_free(start: Start, victim: Any) -> None:
    server = start()
    processes = server.processes()
    pid = server.process.pid if victim == "main" else getattr(server, victim)

    os.kill(pid, signal.SIGKILL)

    until(lambda: not alive(processes), 12)
    server.process.wait(1)
    again = start(port=server.port)
    assert_serves(again)


@pytest.mark.slow
def test_restart_on_the_same_port_with_connections_open(start: Start) -> None:
    server = start()
    with httpx.Client(base_url=server.url) as client:
        client.get("/livez")
        assert server.stop() == 0
        again = start(port=server.port)
    assert_serves(again)


def test_a_port_that_is_taken_is_an_error(start: Start) -> None:
    server = start()

    other = start(port=server.port, wait=False)

    assert other.process.wait(15) == 1
    assert f"fitbot: --port {server.port}: cannot listen" in other.log_file.read_text()
    assert_serves(server)


# Clients


def test_a_client_that_leaves_has_its_answer_cancelled_within_a_second(start: Start) -> None:
    server = start("--max_new_tokens=100000")
    with contextlib.suppress(httpx.ReadTimeout):
        server.predict("hi", max_new_tokens=100_000, timeout=0.5)
    until(lambda: server.metric("fitbot_engine_active") == 0, 1)

    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 100_000}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body) as response:
        next(response.iter_lines())
    until(lambda: server.metric("fitbot_in_flight") == 0, 1)
    until(lambda: server.metric("fitbot_engine_active") == 0, 1)
    assert server.metric("fitbot_cancelled_total") == 2


@pytest.mark.slow
def test_a_client_that_leaves_before_the_first_token(start: Start) -> None:
    server = start()
    with contextlib.suppress(httpx.ReadTimeout):
        server.predict("hang", timeout=0.5)

    until(lambda: server.metric("fitbot_in_flight") == 0, 1)
    until(lambda: server.metric("fitbot_engine_active") == 0, 1)


def test_a_client_that_leaves_within_its_body(start: Start) -> None:
    server = start()
    head = b"POST /predict/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n"
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head + b"Content-Type: application/json\r\n\r\n{")

    assert_serves(server)
    assert server.metric('fitbot_requests_total{route="/predict/",code="500"') == 0


@pytest.mark.slow
def test_a_burst_leaves_no_request_behind(start: Start) -> None:
    server = start("--rate_per_minute=100000", "--max_in_flight_per_key=64")
    with ThreadPoolExecutor(80) as pool:
        asked = pool.map(lambda n: server.predict(f"say {n}"), range(160))
        statuses = {response.status_code for response in asked}

    assert statuses <= {200, 429}
    until(lambda: server.metric("fitbot_in_flight") == 0, 2)
    until(lambda: server.metric("fitbot_engine_active") == 0, 2)


@pytest.mark.slow
def test_an_idle_server_is_idle(start: Start) -> None:
    server = start()
    processes = server.processes()
    time.sleep(0.5)

    before = sum(sum(process.cpu_times()[:2]) for process in processes)
    time.sleep(2)
    spent = sum(sum(process.cpu_times()[:2]) for process in processes) - before

    assert spent / 2 < 0.25  # of a core; the toy's own engine sleeps


def _now(response: httpx.Response) -> Future[httpx.Response]:
    future: Future[httpx.Response] = Future()
    future.set_result(response)
    return future
