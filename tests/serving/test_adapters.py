"""Adapters are added and removed over HTTP, by who may; a change that fails changes nothing."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from fitbot.commands.serve import main
from fitbot.errors import AdapterError, ConfigError
from fitbot.serving.adapters import AdapterRegistry
from fitbot.serving.http_errors import HttpError
from fitbot.serving.shared_state import SharedState
from tests.serve_fixtures import Start
from tests.server_process import ServerProcess, until

KEY, ADMIN = "correct-horse-battery", "staple-staple-staple"
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
HELLO = [{"role": "user", "content": "hi"}]


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A directory of adapters, beside one that is none of its business."""
    for name in ("shelf/good", "shelf/run/adapter", "shelf/Other.2", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "fitbot.json").write_text("well")
    return tmp_path / "shelf"


def write(folder: Path, said: str) -> None:
    """Put an adapter there, with which the toy does what is said."""
    folder.mkdir(exist_ok=True)
    (folder / "fitbot.json").write_text(said)


class Admin:
    """Who has the admin key."""

    def __init__(self, server: ServerProcess) -> None:
        self._url = server.url

    def load(self, name: object, folder: object = None) -> httpx.Response:
        body = {"lora_name": name} | ({} if folder is None else {"lora_path": folder})
        return self._post(LOAD, body)

    def unload(self, name: str) -> httpx.Response:
        return self._post(UNLOAD, {"lora_name": name})

    def _post(self, path: str, body: dict[str, object]) -> httpx.Response:
        return httpx.post(self._url + path, json=body, headers={"X-API-Key": ADMIN}, timeout=20)


@pytest.fixture
def served(start: Start, shelf: Path) -> ServerProcess:
    return start(f"--adapters={shelf}", FITBOT_ADMIN_KEYS=ADMIN)


@pytest.fixture
def admin(served: ServerProcess) -> Admin:
    return Admin(served)


def models(server: ServerProcess) -> list[str]:
    return [model["id"] for model in httpx.get(f"{server.url}/v1/models").json()["data"]]


def ask(server: ServerProcess, model: str, **fields: Any) -> httpx.Response:
    body = {"messages": HELLO, "model": model, "max_tokens": 2, **fields}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=30)


def error_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_an_adapter_is_listed_and_answers_at_once_until_it_is_removed(
    served: Any, admin: Any
) -> None:
    loaded = admin.load("strength", "good")
    listed, answer = models(served), ask(served, "strength").json()

    unloaded = admin.unload("strength")

    assert loaded.status_code == 200
    assert loaded.json()["id"] == "strength"
    assert listed == ["toy", "base", "strength"]
    assert answer["choices"][0]["message"]["content"] == "strength0. strength1. "
    assert unloaded.json() == {"id": "strength", "object": "model", "deleted": True}
    assert models(served) == ["toy", "base"]
    assert error_of(ask(served, "strength")) == (404, "model_not_found")
    assert admin.load("run").status_code == 200  # a run's folder holds it as `adapter`
    assert admin.load("2.other", "Other.2").status_code == 200


def test_answers_that_have_begun_outlive_their_adapter(served: Any, admin: Any) -> None:
    admin.load("good")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, served, "good", max_tokens=150)
        until(lambda: served.metric("fitbot_engine_active") == 1, 5)

        assert admin.unload("good").status_code == 200

        assert answer.result().json()["usage"]["completion_tokens"] == 150


def test_what_cannot_be_added_or_removed_is_refused_and_leaves_the_server_as_it_was(
    served: Any, admin: Any, shelf: Path
) -> None:
    write(shelf / "damaged", "damaged")
    (shelf / "empty").mkdir()
    (shelf / "leads_out").symlink_to(shelf.parent / "elsewhere")
    (shelf / "linked").mkdir()
    (shelf / "linked" / "fitbot.json").symlink_to(shelf.parent / "elsewhere" / "fitbot.json")
    admin.load("first", "good")

    refused = {
        name: error_of(admin.load(name, folder))
        for name, folder in [
            ("first", "good"),
            ("toy", "good"),
            ("damaged", None),
            ("empty", None),
            ("nowhere", None),
            ("leads_out", None),
            ("linked", None),
        ]
    }
    told = admin.load("damaged").json()["error"]["message"]
    cannot = [error_of(admin.unload(name)) for name in ("second", "toy", "base")]

    assert refused == {
        "first": (409, "name_taken"),
        "toy": (409, "name_taken"),
        "damaged": (400, "invalid_adapter"),
        "empty": (404, "adapter_not_found"),
        "nowhere": (404, "adapter_not_found"),
        "leads_out": (403, "outside"),
        "linked": (403, "outside"),
    }
    assert told == "damaged: not the file that was exported"  # not where the directory lies
    assert cannot == [(404, "model_not_found"), (403, "not_added"), (403, "not_added")]
    assert models(served) == ["toy", "base", "first"]
    assert admin.load("second", "good").status_code == 200
    assert error_of(admin.load("third", "good")) == (409, "no_room")
    admin.unload("first")
    assert admin.load("third", "good").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"lora_name": "a", "lora_path": "../elsewhere"},
        {"lora_name": "a", "lora_path": ".."},
        {"lora_name": "a", "lora_path": "/etc"},
        {"lora_name": "a", "lora_path": "run/adapter"},
        {"lora_name": "a", "lora_path": "good\n"},
        {"lora_name": "a", "lora_path": "good\x00"},
        {"lora_name": "a", "lora_path": ""},
        {"lora_name": "a" * 65},
        {"lora_name": "A"},
        {"lora_name": ".hidden"},
        {"lora_name": 5},
        {"lora_name": "a", "load_inplace": True},
        {},
    ],
    ids=repr,
)
def test_names_are_names_and_never_paths(shared: ServerProcess, body: Any) -> None:
    response = httpx.post(shared.url + LOAD, json=body, headers={"X-API-Key": ADMIN})

    assert error_of(response) == (422, "invalid_field")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with keys of both kinds, which nobody changes."""
    folder = tmp_path_factory.mktemp("shared")
    server = ServerProcess(
        folder / "log",
        f"--adapters={folder}",
        FITBOT_API_KEYS=KEY,
        FITBOT_ADMIN_KEYS=ADMIN,
    )
    yield server
    server.stop()


@pytest.mark.parametrize("path", [LOAD, UNLOAD])
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (None, (401, "invalid_api_key")),
        ("wrong-wrong-wrong-wrong", (401, "invalid_api_key")),
        (KEY, (403, "not_admin")),
        (ADMIN, (404, None)),
    ],
)
def test_an_admin_key_alone_opens_these_routes(
    shared: ServerProcess, path: Any, key: Any, expected: Any
) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    response = httpx.post(shared.url + path, json={"lora_name": "none"}, headers=headers)

    status, code = expected
    assert response.status_code == status
    assert code in (None, error_of(response)[1])
    assert (response.headers.get("www-authenticate") == "Bearer") == (status == 401)


def test_an_admin_key_opens_no_other_route_and_is_never_logged(shared: ServerProcess) -> None:
    assert httpx.get(f"{shared.url}/v1/models", headers={"X-API-Key": ADMIN}).status_code == 401
    body = {"lora_name": "none"}
    httpx.post(shared.url + UNLOAD, json=body, headers={"X-API-Key": ADMIN})

    until(lambda: '"key": "admin_key1"' in shared.log_file.read_text(), 2)
    assert ADMIN not in shared.log_file.read_text()


def test_without_an_admin_key_nobody_can_change_anything(server: ServerProcess) -> None:
    for path in (LOAD, UNLOAD):
        response = httpx.post(server.url + path, json={"lora_name": "a"})

        assert error_of(response) == (403, "no_admin")
        assert "without an admin key" in response.json()["error"]["message"]
    assert LOAD not in httpx.get(f"{server.url}/openapi.json").json()["paths"]


def test_the_documentation_has_them_where_they_are(shared: ServerProcess) -> None:
    schema = httpx.get(f"{shared.url}/openapi.json", headers={"X-API-Key": KEY}).json()

    assert {"400", "403", "404", "409"} < set(schema["paths"][LOAD]["post"]["responses"])
    assert "lora_path" in schema["components"]["schemas"]["LoadRequest"]["properties"]


def test_a_new_worker_answers_by_the_same_names_and_tells_what_is_gone(
    served: Any, admin: Any, shelf: Path
) -> None:
    admin.load("first", "good")
    admin.load("second", "run")
    write(shelf / "good", "damaged")

    os.kill(served.worker, signal.SIGKILL)
    until(lambda: served.status("/readyz") == 503, 2)
    served.wait_ready()

    assert models(served) == ["toy", "base", "second"]
    assert ask(served, "second").status_code == 200
    assert error_of(ask(served, "first")) == (404, "model_not_found")
    gone = [line for line in served.log() if line["message"].startswith("an adapter is gone")]
    assert [line["adapter"] for line in gone] == ["first"]
    assert admin.unload("second").status_code == 200


@pytest.mark.slow
def test_an_adapter_that_kills_the_worker_is_not_tried_again(
    served: Any, admin: Any, shelf: Path
) -> None:
    write(shelf / "deadly", "die")
    assert error_of(admin.load("deadly")) == (503, "worker_died")
    served.wait_ready()
    admin.load("first", "good")
    admin.load("second", "run")
    write(shelf / "good", "die")  # it does so the next time

    os.kill(served.worker, signal.SIGKILL)
    until(lambda: served.metric("fitbot_worker_restarts_total") == 3, 20)
    served.wait_ready()

    assert models(served) == ["toy", "base", "second"]


@pytest.mark.slow
def test_a_change_nobody_waits_for_is_undone(start: Start, shelf: Path) -> None:
    served = start(f"--adapters={shelf}", "--request_seconds=1", FITBOT_ADMIN_KEYS=ADMIN)
    admin = Admin(served)
    write(shelf / "slow", "slow")
    slow: list[httpx.Response] = []
    loading = threading.Thread(target=lambda: slow.append(admin.load("slow")))
    loading.start()
    until(lambda: served.metric("fitbot_in_flight") == 1, 5)

    assert served.predict("say yes").json()["response"] == "yes "  # answers go on meanwhile
    assert admin.unload("toy").status_code == 504  # it waits its turn
    loading.join()

    assert slow[0].status_code == 504
    until(lambda: admin.load("good").status_code == 200, 5)
    assert models(served) == ["toy", "base", "good"]


@pytest.mark.slow
def test_a_client_that_leaves_leaves_no_adapter_behind(served: Any, shelf: Path) -> None:
    write(shelf / "slow", "slow")
    headers = {"X-API-Key": ADMIN}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(served.url + LOAD, json={"lora_name": "slow"}, headers=headers, timeout=0.5)

    assert Admin(served).load("good").status_code == 200  # its turn comes after the other's end
    assert models(served) == ["toy", "base", "good"]


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        ([], ADMIN, "opens nothing without --adapters"),
        (["--more_adapters=2"], "", "--more_adapters: only with --adapters"),
        (["--adapters=."], "", r"--adapters \.: nobody may add one without"),
        (["--adapters=./none"], ADMIN, "--adapters none: no such directory"),
        (["--adapters=.", "--remote=http://x/v1"], ADMIN, "--adapters: not with --remote"),
        (["--adapters=.", "--more_adapters=0"], ADMIN, "--more_adapters 0: must be from 1"),
        (["--adapters=."], KEY, "is an API key as well"),
        (["--adapters=."], "short", "admin_key 1 has 5 characters"),
        (["--adapters=.", "--admin_keys_file=./none"], "", "--admin_keys_file none: cannot be"),
    ],
)
def test_options_that_contradict_each_other(
    monkeypatch: pytest.MonkeyPatch, options: Any, environment: Any, message: Any
) -> None:
    monkeypatch.setenv("FITBOT_API_KEYS", KEY)
    monkeypatch.setenv("FITBOT_ADMIN_KEYS", environment)

    with pytest.raises(ConfigError, match=message):
        main(["serve", *options])


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("{folder}/a.safetensors is cut", "run/a.safetensors is cut"),
        ("{folder} was trained on /srv/m/q, not '/opt/b'", "run was trained on q, not 'b'"),
        ("base_model '/mnt/data/Qwen3-0.6B': gone", "base_model 'Qwen3-0.6B': gone"),
        (r"cannot open C:\models\base (2)", "cannot open base (2)"),
        ("it is on Qwen/Qwen3-0.6B; layers 1/2", "it is on Qwen/Qwen3-0.6B; layers 1/2"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
    ],
)
def test_an_error_names_no_path_of_the_server(tmp_path: Path, said: str, told: str) -> None:
    write(tmp_path / "run", "")

    def refuse(engine: Any, name: str, folder: Path) -> None:
        raise AdapterError(said.format(folder=folder))

    registry = AdapterRegistry(tmp_path, refuse, SharedState())
    with pytest.raises(HttpError) as raised:
        registry.add(SimpleNamespace(models=()), "name", "run", is_wanted=lambda: True)

    assert raised.value.message == told
