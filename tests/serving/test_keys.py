"""Who may ask, and what is said about keys: nothing."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from fitbot.errors import ConfigError
from fitbot.serving.keys import KeyRing, load_keys
from tests.serve_fixtures import Start
from tests.server_process import ServerProcess

KEY, OTHER = "correct-horse-battery", "staple-staple-staple"
ASK = {"user_query": "say hello"}
GUARDED = ["/v1/models", "/metrics", "/docs", "/openapi.json", "/nothing"]
OPEN = ["/", "/page.js", "/page.css", "/icon.svg", "/livez", "/readyz"]


def test_a_ring_knows_its_keys_by_name() -> None:
    ring = KeyRing([KEY, OTHER])

    assert ring.name_of(OTHER) == "key2"
    assert ring.name_of(KEY + "x") is None
    assert KEY not in repr(vars(ring))


def test_a_short_key_is_refused_without_being_quoted() -> None:
    with pytest.raises(ConfigError, match="16 or more") as raised:
        KeyRing(["hunter2"])

    assert "hunter2" not in str(raised.value)


def test_keys_leave_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FITBOT_API_KEYS", f" {KEY}, {OTHER},")

    assert load_keys(None) == [KEY, OTHER]
    assert load_keys(None) == []


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n\n{OTHER}\n")
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_keys(file)

    file.chmod(0o600)
    assert load_keys(file) == [KEY, OTHER]


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe"])
def test_a_file_without_keys_is_refused(tmp_path: Path, content: Any) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    file.chmod(0o600)

    with pytest.raises(ConfigError, match="--keys_file"):
        load_keys(file)


def test_keys_over_http(start: Start) -> None:
    server = start(FITBOT_API_KEYS=f"{KEY},{OTHER}")
    with httpx.Client(base_url=server.url) as client:
        for path in OPEN:
            assert client.get(path).status_code == 200
        for path in GUARDED:
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"X-API-Key": KEY}).status_code in (200, 404)
        for headers, status in [
            ({}, 401),
            ({"Authorization": f"Bearer {KEY}"}, 200),
            ({"Authorization": f"bearer {OTHER}"}, 200),
            ({"X-API-Key": OTHER}, 200),
            ({"Authorization": "Bearer wrong-wrong-wrong"}, 401),
            ({"Authorization": f"Basic {KEY}"}, 401),
            ({"Authorization": "Bearer"}, 401),
            ({"X-API-Key": KEY.upper()}, 401),
            ({"X-API-Key": "\xe9" * 20}, 401),
        ]:
            encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            response = client.post("/predict/", json=ASK, headers=encoded)
            assert response.status_code == status, headers
            assert (response.headers.get("www-authenticate") == "Bearer") == (status == 401)
    log = server.log_file.read_text()
    assert KEY not in log
    assert OTHER not in log
    assert '"key": "key2"' in log


def test_rates_are_counted_by_key(start: Start) -> None:
    server = start("--rate_per_minute=1", FITBOT_API_KEYS=f"{KEY},{OTHER}")

    statuses = [
        httpx.post(f"{server.url}/predict/", json=ASK, headers={"X-API-Key": key}).status_code
        for key in (KEY, KEY, OTHER)
    ]

    assert statuses == [200, 429, 200]


def test_a_server_that_others_can_reach_makes_a_key_and_asks_for_it(start: Start) -> None:
    server = start(host="0.0.0.0")
    keys = re.findall(r"API key, shown only once: (\S+)", server.log_file.read_text())

    assert len(keys) == 1
    assert server.predict("say hi").status_code == 401
    headers = {"Authorization": f"Bearer {keys[0]}"}
    assert httpx.post(f"{server.url}/predict/", json=ASK, headers=headers).status_code == 200
    assert server.log_file.read_text().count(keys[0]) == 1


def test_insecure_asks_for_no_key(start: Start) -> None:
    server = start("--insecure", host="0.0.0.0")

    assert server.predict("say hi").status_code == 200
    assert "API key" not in server.log_file.read_text()


def test_a_local_server_without_keys_answers_to_local_names_only(server: ServerProcess) -> None:
    for host, status in [("localhost", 200), ("127.0.0.1:80", 200), ("evil.example", 421)]:
        assert httpx.get(f"{server.url}/livez", headers={"Host": host}).status_code == status


def test_other_origins_get_no_permission(client: httpx.Client) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}

    response = client.options("/v1/chat/completions", headers=headers)

    assert response.status_code == 405
    assert not any(name.startswith("access-control") for name in response.headers)
