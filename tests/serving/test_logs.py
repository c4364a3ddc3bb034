"""One JSON object a line, nothing of what was asked, and nobody else's lines."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from fitbot.serving import logs
from fitbot.serving.logs import JsonFormatter, QueuedHandler
from tests.serve_fixtures import Start
from tests.server_process import until


def test_a_record_is_one_line_whatever_is_in_it() -> None:
    record = logging.makeLogRecord({"msg": "a\r\nb\x1b[31m\u2028", "path": "\n{}"})

    line = JsonFormatter().format(record)

    assert "\n" not in line
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == "a\r\nb\x1b[31m\u2028"


def test_an_exception_is_logged_without_its_text() -> None:
    try:
        raise ValueError("a secret question")
    except ValueError as error:
        record = logging.makeLogRecord({"exc_info": (ValueError, error, error.__traceback__)})

    line = JsonFormatter().format(record)

    assert "secret" not in line
    assert json.loads(line)["exception"]["type"] == "ValueError"


Pipe = tuple[int, Callable[[str], object], QueuedHandler]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe's reading end, what logs a message into it, and the handler."""
    receiver, sender = os.pipe()
    handler = QueuedHandler(sender)
    handler.setFormatter(JsonFormatter())
    yield receiver, lambda text: handler.handle(logging.makeLogRecord({"msg": text})), handler
    handler.close()
    os.close(sender)


def read_until(receiver: int, last: str) -> list[str]:
    """Read a pipe up to the line with this message; return all messages."""
    text = ""
    while f'"{last}"' not in text:
        text += os.read(receiver, 65_536).decode()
    return [json.loads(line)["message"] for line in text.splitlines()]


def test_lines_come_in_order(pipe: Pipe) -> None:
    receiver, log, handler = pipe
    for number in range(100):
        log(str(number))

    assert read_until(receiver, "99") == [str(number) for number in range(100)]
    handler.flush()
    assert not handler.is_stuck


def test_a_pipe_that_nobody_reads_is_not_waited_for(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, log, handler = pipe
    monkeypatch.setattr(logs, "_MOST_WAITING", 10)
    begun = time.monotonic()
    while not handler.dropped:
        log("x" * 1000)
    log("lost")
    assert time.monotonic() - begun < 5
    assert handler.is_stuck

    def is_read() -> bool:
        os.read(receiver, 65_536)
        handler.flush()
        return not handler.is_stuck

    dropped = handler.dropped
    until(is_read, 10)
    log("heard")
    log("last")

    assert read_until(receiver, "last")[-2:] == ["heard", "last"]
    assert handler.dropped == dropped


def test_what_was_dropped_is_counted_in_the_log(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, log, handler = pipe
    monkeypatch.setattr(logs, "_MOST_WAITING", 0)
    for _ in range(3):
        log("lost")
    monkeypatch.undo()
    log("heard")

    handler.flush()
    count, heard = map(json.loads, os.read(receiver, 65_536).splitlines())
    assert (count["message"], count["dropped"]) == ("log lines were dropped", 3)
    assert heard["message"] == "heard"


def test_a_line_that_was_cut_by_a_full_disk_ends_before_the_next(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, log, handler = pipe
    real = os.write
    room = [5, 0]  # bytes of the first two writes

    def write(descriptor: int, data: bytes) -> int:
        if not room:
            return real(descriptor, data)
        if size := room.pop(0):
            return real(descriptor, data[:size])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    log("cut")
    handler.flush()
    assert handler.is_stuck
    log("whole")
    handler.flush()

    torn, *whole = os.read(receiver, 65_536).decode().splitlines()
    assert len(torn) == 5
    assert [json.loads(line)["message"] for line in whole] == ["log lines were dropped", "whole"]
    assert not handler.is_stuck


def test_a_fork_writes_lines_of_its_own(pipe: Pipe) -> None:
    receiver, log, handler = pipe
    log("parent")
    handler.flush()
    child = os.fork()
    if child == 0:
        log("child")
        handler.flush()
        os._exit(0)
    os.waitpid(child, 0)

    assert read_until(receiver, "child") == ["parent", "child"]


def test_a_value_that_cannot_be_written_is_a_line_less(
    pipe: Pipe, capfd: pytest.CaptureFixture[str]
) -> None:
    _, _, handler = pipe
    handler.handle(logging.makeLogRecord({"msg": "%d", "args": ("a secret question",)}))

    assert handler.dropped == 1
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("abc-1.2_3", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("a b", False),
        ('"},{"', False),
        ("\x1b[31m", False),
        ("", False),
    ],
)
def test_a_request_id_is_kept_if_it_is_plain(client: httpx.Client, sent: Any, kept: Any) -> None:
    returned = client.get("/livez", headers={"X-Request-Id": sent}).headers["x-request-id"]

    assert (returned == sent) == kept
    assert returned


def test_every_line_is_an_object_and_no_prompt_is_in_it(start: Start) -> None:
    server = start()
    for text in ("my private illness", "bug", "memory", "unpicklable"):
        server.predict(text)
    server.predict("my private illness", private_field=1)
    url = f"{server.url}/my-private-path%0d%0a?q=private"
    httpx.get(url, headers={"X-Request-Id": "private"})
    server.stop()

    text = server.log_file.read_text()
    assert "illness" not in text
    assert "secret" not in text
    assert "private-path" not in text
    lines = [
        line for line in text.splitlines() if not line.startswith(("fitbot serve", "health layer"))
    ]
    records = [json.loads(line) for line in lines]
    ready = next(i for i, line in enumerate(text.splitlines()) if '"ready"' in line)
    serves = next(i for i, line in enumerate(text.splitlines()) if f"serves {server.url}" in line)
    assert text.splitlines()[0] == "fitbot serve: loading"
    assert serves > ready  # it is said once it answers
    requests = [record for record in records if record["message"] == "request"]
    assert {"/predict/", "other"} <= {record["route"] for record in requests}
    assert all(record["request_id"] for record in requests)
    failures = [record for record in records if "exception" in record]
    assert {f["exception"]["type"] for f in failures} == {
        "ZeroDivisionError",
        "MemoryError",
        "Unpicklable",
    }
