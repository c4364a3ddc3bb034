"""Who may ask, and what is said about keys: nothing."""

import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from fitbot.errors import ConfigError
from fitbot.serving import keys
from fitbot.serving.keys import KeyRing, load_keys
from tests.serve_fixtures import Start
from tests.server_process import ServerProcess, until

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


def test_a_file_as_kubernetes_mounts_it_is_read(tmp_path: Path) -> None:
    mounted = tmp_path / "..2026_11_30" / "keys"
    mounted.parent.mkdir()
    mounted.write_text(KEY)
    (tmp_path / "keys").symlink_to(mounted)
    mounted.chmod(0o440)

    assert load_keys(tmp_path / "keys") == [KEY]

    for mode in (0o444, 0o460, 0o640, 0o644):
        mounted.chmod(mode)
        with pytest.raises(ConfigError, match=f"mode 0{mode:o}\\); chmod 600 it, or 440"):
            load_keys(tmp_path / "keys")


@pytest.mark.slow
def test_no_process_shows_a_key_in_its_environment(start: Start) -> None:
    behind = start(FITBOT_API_KEYS=f"{KEY},{OTHER}", OTHER_VARIABLE="kept")
    front = start(
        f"--remote={behind.url}/v1",
        "--health_encoder=none",
        program=("-m", "fitbot", "serve"),
        FITBOT_REMOTE_KEY=OTHER,
    )

    assert front.predict("say hello").json()["response"] == "hello "
    for process in (*behind.processes(), *front.processes()):
        shown = Path(f"/proc/{process.pid}/environ").read_text()
        assert KEY not in shown
        assert OTHER not in shown
    variables = Path(f"/proc/{behind.process.pid}/environ").read_text().split("\0")
    assert "OTHER_VARIABLE=kept" in variables
    assert f"FITBOT_API_KEYS={'*' * len(f'{KEY},{OTHER}')}" in variables


def write_keys(file: Path, *keys: str) -> None:
    """Replace a file of keys in one step, as an operator or Kubernetes would."""
    new = file.with_suffix(".new")
    new.write_text("\n".join(keys))
    new.chmod(0o600)
    new.replace(file)


def test_a_ring_follows_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keys, "_LOOK_SECONDS", 0)
    file, of_environment = tmp_path / "keys", "set-in-the-environment"
    write_keys(file, KEY, OTHER)
    ring = KeyRing([of_environment, KEY, OTHER], keys_file=file)
    assert ring.name_of(OTHER) == "key3"

    write_keys(file, "a-third-and-new-key", OTHER)
    assert ring.name_of("a-third-and-new-key") == "key4"  # no name is given twice
    assert ring.name_of(OTHER) == "key3"
    assert ring.name_of(KEY) is None
    assert ring.name_of(of_environment) == "key1"

    for mend in (lambda: write_keys(file, "short"), lambda: write_keys(file), file.unlink):
        caplog.clear()
        mend()
        assert ring.name_of(OTHER) == "key3"
        assert ring.name_of("short") is None
        assert ring.name_of(KEY) is None
        assert [record.levelname for record in caplog.records] == ["ERROR"]  # only once
    write_keys(file, KEY)
    file.chmod(0o644)
    assert ring.name_of(KEY) is None
    file.chmod(0o600)
    assert ring.name_of(KEY) == "key2"
    assert ring.name_of(OTHER) is None


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


def test_keys_change_without_a_restart(start: Start, tmp_path: Path) -> None:
    file, admin_file = tmp_path / "keys", tmp_path / "admin_keys"
    write_keys(file, KEY)
    write_keys(admin_file, ADMIN := "only-for-the-admin")
    options = (f"--keys_file={file}", f"--admin_keys_file={admin_file}", f"--adapters={tmp_path}")
    server = start(*options)

    def status(key: str, path: str = "/v1/models") -> int:
        method = "GET" if path == "/v1/models" else "POST"
        return httpx.request(method, server.url + path, headers={"X-API-Key": key}).status_code

    assert (status(KEY), status(OTHER)) == (200, 401)
    write_keys(file, OTHER)
    until(lambda: (status(KEY), status(OTHER)) == (401, 200), 20)
    change = "/v1/unload_lora_adapter"
    assert (status(ADMIN, change), status(OTHER, change)) == (415, 403)
    write_keys(admin_file, ADMIN, OTHER)  # by mistake
    until(lambda: status(OTHER, change) == 403 and "admin_key2" in server.log_file.read_text(), 20)
    assert status(ADMIN, change) == 415


def test_wrong_keys_are_logged_and_slowed_down_and_right_ones_are_not(start: Start) -> None:
    server = start(FITBOT_API_KEYS=KEY)
    waits = []
    with httpx.Client(base_url=server.url, timeout=20) as client:
        for number in range(11):
            begun = time.monotonic()
            headers = {"X-API-Key": f"wrong-wrong-wrong-{number}"}
            assert client.get("/v1/models", headers=headers).status_code == 401
            waits.append(time.monotonic() - begun)
        begun = time.monotonic()
        assert client.get("/v1/models", headers={"X-API-Key": KEY}).status_code == 200
        assert client.get("/v1/models").status_code == 401
        waits.append(time.monotonic() - begun)

    assert sum(waits[:10]) + waits[11] < waits[10]  # 6 s

    def logged() -> list[Any]:
        return [line.get("wrong_key_from") for line in server.log() if line.get("status") == 401]

    until(lambda: len(logged()) == 12, 20)  # a line is written after its answer is sent
    assert logged() == ["127.0.0.1"] * 11 + [None]
    assert "wrong-wrong" not in server.log_file.read_text()


def test_rates_are_counted_by_key(start: Start) -> None:
    server = start("--rate_per_minute=1", FITBOT_API_KEYS=f"{KEY},{OTHER}")

    statuses = [
        httpx.post(f"{server.url}/predict/", json=ASK, headers={"X-API-Key": key}).status_code
        for key in (KEY, KEY, OTHER)
    ]

    assert statuses == [200, 429, 200]


def test_a_server_that_others_can_reach_makes_a_key_and_asks_for_it(start: Start) -> None:
    server = start(host="0.0.0.0")
    made = re.findall(r"API key, shown only once: (\S+)", server.log_file.read_text())

    assert len(made) == 1
    assert server.predict("say hi").status_code == 401
    headers = {"Authorization": f"Bearer {made[0]}"}
    assert httpx.post(f"{server.url}/predict/", json=ASK, headers=headers).status_code == 200
    assert server.log_file.read_text().count(made[0]) == 1


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
