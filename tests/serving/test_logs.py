"""One JSON object a line, nothing of what was asked, and nobody else's lines."""

import json
import logging
from typing import Any

import httpx
import pytest

from fitbot.serving.logs import JsonFormatter
from tests.serve_fixtures import Start


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
