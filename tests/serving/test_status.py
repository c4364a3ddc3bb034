"""The routes that say how the server is, and who may read them: probes, version, models, CORS."""

import httpx
import pytest

from fitbot.commands.serve import main
from fitbot.errors import ConfigError
from fitbot.version import __version__
from tests.serve_fixtures import Start

KEY = "staple-staple-staple"
HEADERS = {"Authorization": f"Bearer {KEY}"}
PAGE = "https://app.example.com"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health"])
def test_probes_may_ask_for_headers_only(client: httpx.Client, path: str) -> None:
    whole, head = client.get(path), client.head(path)

    assert (whole.status_code, whole.text) == (200, "ok")
    assert (head.status_code, head.text) == (200, "")
    assert head.headers["Content-Length"] == whole.headers["Content-Length"]


def test_health_is_open_and_says_503_while_nothing_can_be_answered(start: Start) -> None:
    server = start(FITBOT_API_KEYS=KEY)
    assert server.status("/health") == 200

    httpx.post(f"{server.url}/predict", json={"user_query": "die"}, headers=HEADERS)

    for answer in (httpx.get(f"{server.url}/health"), httpx.head(f"{server.url}/health")):
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"


def test_one_model_and_the_version_are_for_who_has_a_key(start: Start) -> None:
    server = start(FITBOT_API_KEYS=KEY)

    with httpx.Client(base_url=server.url) as client:
        assert [client.get(path).status_code for path in ("/v1/models/toy", "/version")] == [
            401
        ] * 2
        client.headers.update(HEADERS)
        listed = client.get("/v1/models").json()["data"]
        found = [client.get(f"/v1/models/{model['id']}").json() for model in listed]
        missing = client.get("/v1/models/gpt/4")

        assert [{**one, "created": 0} for one in found] == [{**one, "created": 0} for one in listed]
        assert missing.status_code == 404
        assert missing.json()["error"]["code"] == "model_not_found"
        assert client.get("/version").json() == {"version": __version__}


def test_models_say_what_they_are_and_what_to_ask_them(client: httpx.Client) -> None:
    toy, base = (one["about"] for one in client.get("/v1/models").json()["data"])

    assert base["kind"].startswith("A demonstration: knows ")
    assert base["is_demonstration"]
    assert toy["kind"] == toy["details"] == ""  # no model of fitbot's, so nothing is known
    assert len(base["questions"]) == len(toy["questions"]) == 6
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert set(schemas["Introduction"]["properties"]) == set(base)


def test_other_origins_are_not_let_in_unless_named(client: httpx.Client, start: Start) -> None:
    ask = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    ask["Access-Control-Request-Headers"] = "authorization,content-type,x-stainless-os"
    body = {"user_query": "say hi", "max_new_tokens": 1}
    plain = client.options("/predict", headers=ask)
    assert plain.status_code == 405
    assert not [name for name in plain.headers if name.startswith("access-control")]

    server = start(f'--cors_origins=["{PAGE}"]', FITBOT_API_KEYS=KEY)
    with httpx.Client(base_url=server.url) as named:
        preflight = named.options("/predict", headers=ask)
        other = named.options("/predict", headers={**ask, "Origin": "https://evil.example.com"})
        answer = named.post("/predict", json=body, headers={**HEADERS, "Origin": PAGE})
        refused = named.post("/predict", json=body, headers={"Origin": PAGE})
        probe = named.get("/livez")

    assert preflight.status_code == 200  # without a key, which a browser does not send here
    assert preflight.headers["Access-Control-Allow-Origin"] == PAGE
    assert "x-stainless-os" in preflight.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in preflight.headers
    assert other.status_code == 400
    assert "Access-Control-Allow-Origin" not in other.headers
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    shown = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"X-Request-Id", "X-Max-Tokens", "X-Health-Verdict", "X-Health-Finding"} <= {*shown}
    assert refused.status_code == 401  # and the page may read why
    assert refused.headers["Access-Control-Allow-Origin"] == PAGE
    assert "Access-Control-Allow-Origin" not in probe.headers


@pytest.mark.parametrize("origin", ["app.example.com", f"{PAGE}/", "null", "https://*.example.com"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError, match="--cors_origins .*: no origin; write it as browsers do"):
        main(["serve", "--host=127.0.0.1", "--port=18765", f'--cors_origins=["{origin}"]'])


def test_all_origins_are_let_in_only_where_keys_are_asked_for() -> None:
    with pytest.raises(ConfigError, match="every web page could ask; set .FITBOT_API_KEYS"):
        main(["serve", "--host=127.0.0.1", "--port=18765", '--cors_origins=["*"]'])
