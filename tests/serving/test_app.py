"""The application as a whole, and the way to start it from the top of a checkout."""

import tomllib

import httpx
import pytest

from fitbot.generation.messages import Sampling
from fitbot.health.layer import open_layer
from fitbot.serving.app import make_server
from fitbot.serving.keys import KeyRing
from fitbot.serving.settings import RequestLimits, ServerSettings
from tests.serve_fixtures import Start
from tests.server_process import ROOT, ServerProcess
from tests.serving.toy_engine import open_toy

APP = ROOT / "serve" / "app.py"


def test_every_request_is_logged_then_authorised_then_read() -> None:
    settings = ServerSettings(
        open_toy,
        RequestLimits(),
        KeyRing([]),
        sampling=Sampling(),
        health=open_layer(),
        admin=None,
        only_local_names=True,
    )

    app = make_server(settings).app

    names = [middleware.cls.__name__ for middleware in app.user_middleware]
    assert names == ["RequestContext", "Auth", "BodyLimit"]
    paths = {route.path for route in app.routes}
    assert {"/", "/predict/", "/v1/chat/completions", "/v1/models", "/livez"} <= paths
    assert "/v1/load_lora_adapter" not in paths  # nobody has an admin key


@pytest.mark.slow
def test_the_file_at_the_top_is_the_command(server: ServerProcess, start: Start) -> None:
    front = start(f"--remote={server.url}/v1", program=(str(APP),))

    models, behind = (httpx.get(f"{one.url}/v1/models").json() for one in (front, server))

    assert [model["id"] for model in models["data"]] == [model["id"] for model in behind["data"]]
    assert front.predict("Is rice ok?").json() == server.predict("Is rice ok?").json()
    assert len(APP.read_text(encoding="utf-8").splitlines()) <= 15


def test_the_image_holds_what_the_wheel_is_made_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {"fitbot", *project["tool"]["setuptools"]["package-dir"].values()}
    lines = (ROOT / "serve" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    assert folders <= {word.removesuffix("/*.json") for word in copied}
    assert {f"!{word}" for word in copied} <= {*kept, "!./"}
