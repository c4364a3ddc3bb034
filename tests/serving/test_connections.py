"""Connections that are slow, too many, or speak HTTP that two servers could read in two ways."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from fitbot.errors import ConfigError
from fitbot.serving import connections
from fitbot.serving.connections import allow_connections, network_of
from fitbot.serving.settings import RequestLimits
from tests.conftest import ROOT
from tests.serve_fixtures import Start
from tests.server_process import ServerProcess, until

KEY = "correct-horse-battery"
HEAD = b"POST /predict/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"user_query": "say yes"}'
PROBE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
SECRET = b"I-have-a-rash"


def raw(server: ServerProcess, data: bytes) -> bytes:
    """Send bytes, and return all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=8) as connection:
        connection.sendall(data)
        received = b""
        while part := connection.recv(65_536):
            received += part
    return received


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(65_536))
    except BlockingIOError:
        return True
    except OSError:
        return False


def probe(server: ServerProcess) -> float:
    """Ask /livez on a connection of its own; return the seconds that it took."""
    begun = time.monotonic()
    assert raw(server, PROBE + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    return time.monotonic() - begun


@pytest.mark.parametrize("size", [17_000, 40_000, 100_000, 300_000])
@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["unfinished", "finished"])
def test_headers_that_are_too_large(server: ServerProcess, size: Any, end: Any) -> None:
    answer = raw(server, PROBE + b"X-Long: " + b"a" * size + end)

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"code": "headers_too_large"' in answer


def test_headers_within_the_limit(server: ServerProcess) -> None:
    data = PROBE + b"X-Long: " + b"a" * 16_000 + b"\r\nConnection: close\r\n\r\n"

    assert raw(server, data).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("padding", [b"X-Long: " + b" " * 20_000 + b"a", b"X: y\r\n" * 3000])
def test_what_counts_is_what_was_sent(server: ServerProcess, padding: Any) -> None:
    assert raw(server, PROBE + padding.strip() + b"\r\n\r\n").startswith(b"HTTP/1.1 431 ")


CHUNKED = b"Transfer-Encoding: chunked\r\n"
SIZED = b"Content-Length: %d\r\n" % len(BODY)
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
HIDDEN = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        HEAD + SIZED + CHUNKED + b"\r\n" + CHUNKS,
        HEAD + CHUNKED + SIZED + b"\r\n" + CHUNKS,
        HEAD + CHUNKED.upper() + b"content-length: 0\r\n\r\n" + CHUNKS,
        HEAD.replace(b"/1.1", b"/1.0") + CHUNKED + b"\r\n" + CHUNKS,
        HEAD + CHUNKED + CHUNKED + b"\r\n" + CHUNKS,
        HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKS,
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS,
        HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNKS,
        HEAD + b"Content-Length: 0x19\r\n\r\n" + BODY,
        HEAD + b"Content-Length: +25\r\n\r\n" + BODY,
        HEAD + b"Content-Length: 25, 26\r\n\r\n" + BODY,
        HEAD + SIZED + b"Content-Length: 0\r\n\r\n" + BODY,
        HEAD + b"X-Folded: a\r\n b\r\n" + SIZED + b"\r\n" + BODY,
        HEAD + b"Content-Length:\r\n 25\r\n\r\n" + BODY,
        HEAD + b"X-Folded: a\n\tb\r\n" + SIZED + b"\r\n" + BODY,
        HEAD + b"Host: other\r\n" + SIZED + b"\r\n" + BODY,
        HEAD + b"X-Split: a\rb\r\n" + SIZED + b"\r\n" + BODY,
        HEAD + CHUNKED + b"\r\n19;x\ny\r\n" + BODY + b"\r\n0\r\n\r\n",
        HEAD + CHUNKED + b"\r\n-19\r\n" + BODY + b"\r\n0\r\n\r\n",
        HEAD + CHUNKED + b"\r\n19\r\n" + BODY + b"xx0\r\n\r\n",
    ],
)
def test_a_body_of_two_lengths_is_refused_and_nothing_behind_it_is_read(
    server: ServerProcess, data: Any
) -> None:
    answer = raw(server, data + HIDDEN)

    assert re.match(rb"HTTP/1\.1 (400|501) ", answer)
    assert len(re.findall(rb"HTTP/1\.1 \d", answer)) == 1
    assert b"connection: close" in answer.lower()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"]


def test_plain_chunks_are_read(server: ServerProcess) -> None:
    answer = raw(server, HEAD + CHUNKED + b"Connection: close\r\n\r\n" + CHUNKS)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"yes "' in answer


def test_what_is_refused_is_not_quoted(server: ServerProcess) -> None:
    for data in (SECRET, PROBE + SECRET + b"\r\n\r\n", HEAD + b"Content-Length: " + SECRET):
        assert SECRET not in raw(server, data + b"\r\n\r\n")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    started = ServerProcess(tmp_path_factory.mktemp("serve") / "log", FITBOT_API_KEYS=KEY)
    yield started
    started.stop()


def test_a_refused_body_is_not_waited_for(guarded: ServerProcess) -> None:
    for length in (b"Content-Length: 1000\r\n", CHUNKED):
        with socket.create_connection(("127.0.0.1", guarded.port), timeout=8) as connection:
            connection.sendall(HEAD + length + b"\r\n")
            begun = time.monotonic()
            answer = connection.recv(4096)
            assert answer.startswith(b"HTTP/1.1 401 ")
            assert b"connection: close" in answer.lower()
            while is_open(connection):
                with suppress(OSError):
                    connection.sendall(b"1")  # and more, every now and then
                time.sleep(0.1)
        assert time.monotonic() - begun < 6


def test_a_body_that_was_read_leaves_the_connection_open(guarded: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=8) as connection:
        for request in [PROBE, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"] * 2:
            connection.sendall(request + b"\r\n")
            received = b""
            while not received.endswith((b"ok", b"}")):
                received += connection.recv(4096)
            assert received.startswith(b"HTTP/1.1 200 " if request == PROBE else b"HTTP/1.1 401 ")


def test_a_client_is_an_address_or_a_network_of_ipv6() -> None:
    assert network_of("192.0.2.7") == network_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2%eth0")
    assert network_of("2001:db8::1") != network_of("2001:db8:0:1::1")
    assert network_of("unknown") == "unknown"


def test_answers_may_not_take_up_every_connection() -> None:
    with pytest.raises(ConfigError, match="--max_connections 64: must be above max_in_flight, 64"):
        RequestLimits(max_connections=64)


def test_a_machine_without_so_many_files_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "allow_open_files", lambda wanted: 1024)

    with pytest.raises(ConfigError, match="this process may have 1024; raise `ulimit -Hn`"):
        allow_connections(RequestLimits())


@pytest.mark.parametrize(
    "options",
    [
        ("--max_connections=65",),
        pytest.param(("--max_connections_per_address=65",), marks=pytest.mark.slow),
    ],
    ids=["of all", "of one address"],
)
def test_idle_connections_make_room(start: Start, options: Any) -> None:
    server = start(*options, FITBOT_API_KEYS=KEY, FITBOT_TOY="0.1")
    with ExitStack() as stack:
        answering = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        body = b'{"user_query": "long", "max_new_tokens": 40}'
        length = b"X-API-Key: %s\r\nContent-Length: %d\r\n\r\n" % (KEY.encode(), len(body))
        answering.sendall(HEAD + length + body)
        idle = []
        for _ in range(100):
            idle.append(stack.enter_context(socket.create_connection(("127.0.0.1", server.port))))
            idle[-1].sendall(PROBE)  # whose end does not come
        probe(server)
        until(lambda: sum(map(is_open, idle)) <= 65, 5)

        assert all(map(is_open, idle[-60:]))  # the longest idle have gone first
        logged = [line for line in server.log() if "too many connections" in line["message"]]
        assert [line["most_from"] for line in logged] == ["127.0.0.1"]  # once in ten seconds
        answering.settimeout(20)
        assert answering.recv(4096).startswith(b"HTTP/1.1 200 ")


@contextmanager
def attack(server: ServerProcess, number: int, pause: float) -> Iterator[None]:
    program = [sys.executable, "-m", "tests.serving.attacks", str(server.port), str(number)]
    attacker = subprocess.Popen([*program, str(pause)], cwd=ROOT)
    try:
        yield
    finally:
        attacker.kill()
        attacker.wait()


def test_slow_strangers_do_not_silence_the_probes(start: Start) -> None:
    server = start("--max_connections=80", FITBOT_API_KEYS=KEY)
    with attack(server, 200, 0.5):
        until(lambda: '"status": 401' in server.log_file.read_text(), 20)
        for _ in range(20):
            probe(server)
            time.sleep(0.1)


@pytest.mark.slow
def test_a_thousand_slow_strangers(start: Start) -> None:
    server = start(FITBOT_API_KEYS=KEY)
    with attack(server, 1100, 3.0):
        time.sleep(5)
        waits = []
        for _ in range(200):
            waits.append(probe(server))
            time.sleep(0.1)

    assert sorted(waits)[197] < 0.25
