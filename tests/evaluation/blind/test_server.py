"""The page: what it is sent, and who may have it."""

import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from fitbot.errors import ConfigError, EngineError
from fitbot.evaluation.blind.log import Side
from fitbot.evaluation.blind.server import PageApp, compare_on_page
from fitbot.evaluation.blind.session import ComparisonSession
from fitbot.serving.middleware import PAGE_POLICY
from tests.evaluation.blind.answerers import Answerer, session_of

NAMES: dict[Side, str] = {"a": "tuned", "b": "base"}


@pytest.fixture
def session(tmp_path: Path) -> ComparisonSession:
    return session_of(tmp_path, most=3)


@pytest.fixture
def page(session: ComparisonSession) -> PageApp:
    return PageApp(session, NAMES, "secret")


@pytest.fixture
def client(page: PageApp) -> Iterator[TestClient]:
    with TestClient(page.asgi(), base_url="http://127.0.0.1:8000/secret/") as client:
        yield client


def press(client: TestClient, number: int, key: str) -> Any:
    return client.post("choice", json={"number": number, "key": key}).json()


def test_an_item_says_nothing_of_whose_answer_is_whose(
    client: TestClient, session: ComparisonSession
) -> None:
    found = client.get("item").json()

    item = session.current()
    assert item is not None
    assert found == {
        "state": "item",
        "number": 0,
        "turns": [{"speaker": "Question", "text": f"Is {item.question} too much?"}],
        "answers": list(item.shown),
        "can_undo": False,
        "compared": 0,
        "most": 3,
    }


def test_keys_choose_undo_and_end_as_at_the_terminal(
    client: TestClient, session: ComparisonSession, page: PageApp
) -> None:
    ended: list[bool] = []
    page.on_quit = lambda: ended.append(True)
    before = client.get("item").json()

    after = press(client, 0, "1")
    assert after["number"] == 1
    assert after["can_undo"]
    assert press(client, 0, "1") == after  # a second click is none for the next item
    assert press(client, 1, "u") == before
    for number, key in enumerate("2=s="):
        press(client, number, key)
    assert client.get("item").json()["state"] == "over"
    assert not ended
    closed = press(client, 4, "q")

    assert ended
    assert closed["lines"][0].startswith("Not decided between tuned and base")
    assert [choice.choice for choice in session.choices][1:] == ["tie", "skip", "tie"]


@pytest.mark.parametrize("body", ["{", "[]", '{"key": "1"}', "x" * 2000, '"key"'])
def test_what_is_no_choice_is_refused(
    body: str, client: TestClient, session: ComparisonSession
) -> None:
    assert client.post("choice", content=body).status_code == 400
    assert client.post("choice", json={"number": 0, "key": "5"}).json()["number"] == 0
    assert session.choices == []


def test_only_the_token_leads_to_the_page_and_only_by_this_machines_name(page: PageApp) -> None:
    with TestClient(page.asgi(), base_url="http://127.0.0.1") as client:
        for path in ("/", "/item", "/wrong/", "/wrong/item", "/choice"):
            assert client.get(path).status_code == 404
        assert client.get("/secret/").status_code == 200
        assert client.get("/secret/item", headers={"Host": "evil.example"}).status_code == 400
        assert client.get("/secret/item", headers={"Host": "localhost:80"}).status_code == 200


def test_the_page_takes_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("")

    assert page.headers["content-security-policy"] == PAGE_POLICY
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    for path in ("compare.js", "compare.css", "/page.css", "/markdown.js", "/marked.js"):
        found = client.get(path if path[0] != "/" else f"http://127.0.0.1{path}")
        assert found.status_code == 200
        assert found.headers["x-content-type-options"] == "nosniff"
        assert "://" not in found.text or path == "/marked.js" or path == "/markdown.js"
    assert "style=" not in page.text
    assert "onclick=" not in page.text


def test_what_goes_wrong_is_said_on_the_page_and_ends_the_command(
    client: TestClient, page: PageApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise EngineError("an answer failed: no memory")

    monkeypatch.setattr(Answerer, "answers", fail)

    found = client.get("item")

    assert found.status_code == 500
    assert found.json() == {"state": "closed", "lines": ["an answer failed: no memory"]}
    assert isinstance(page.failure, EngineError)


def test_the_server_listens_here_only_and_ends_when_the_person_quits(
    session: ComparisonSession,
) -> None:
    said: list[str] = []
    arguments = {"port": 0, "announce": said.append}
    thread = threading.Thread(target=compare_on_page, args=(session, NAMES), kwargs=arguments)
    thread.start()
    while not said:
        time.sleep(0.01)
    address = said[0].split()[1]
    assert address.startswith("http://127.0.0.1:")
    assert len(address.split("/")[3]) >= 32

    quit_it = urllib.request.Request(
        f"{address}choice", data=b'{"number": 0, "key": "q"}', method="POST"
    )
    with urllib.request.urlopen(quit_it, timeout=20) as answer:
        assert b"No comparison was made" in answer.read()

    thread.join(20)
    assert not thread.is_alive()


def test_a_port_that_is_taken_is_named(session: ComparisonSession) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port}: cannot be listened on"):
            compare_on_page(session, NAMES, port=port, announce=lambda _: None)
