"""The chat page: nothing runs but its own script, and nobody's text is markup."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from fitbot.serving.middleware import PAGE_POLICY
from tests.serve_fixtures import Start

LEARNING = ("learning", "learner", "judge", "pair", "teach", "versions")
PAGE = Path(__file__).parents[2] / "fitbot" / "serving" / "page"


def test_the_policy_is_exact(client: httpx.Client) -> None:
    policy = client.get("/").headers["content-security-policy"]

    assert policy == PAGE_POLICY
    assert policy == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@pytest.mark.parametrize("path", ["/", "/page.js", "/livez", "/v1/models", "/nothing"])
def test_every_response_has_the_security_headers(client: httpx.Client, path: Any) -> None:
    headers = client.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_a_proxy_passes_every_piece_of_a_stream_on(client: httpx.Client) -> None:
    body = {"messages": [{"role": "user", "content": "say hi"}], "stream": True}

    headers = client.post("/v1/chat/completions", json=body).headers

    assert headers["x-accel-buffering"] == "no"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/page.js", "text/javascript"),
        ("/server.js", "text/javascript"),
        ("/markdown.js", "text/javascript"),
        ("/marked.js", "text/javascript"),
        ("/history.js", "text/javascript"),
        ("/elements.js", "text/javascript"),
        *((f"/{name}.js", "text/javascript") for name in LEARNING),
        ("/page.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
        ("/favicon.ico", "image/svg+xml"),
    ],
)
def test_the_files_are_served(client: httpx.Client, path: Any, kind: Any) -> None:
    assert client.get(path).headers["content-type"].startswith(kind)


def test_no_script_ever_makes_markup_of_a_text() -> None:
    scripts = {path.name: path.read_text() for path in PAGE.glob("*.js")}

    assert len(scripts) == 12
    for name, script in scripts.items():
        for danger in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert danger not in script, name
        assert "DOMParser" not in script, name


def test_whose_work_the_markdown_parser_is_stands_beside_it() -> None:
    assert "MIT License" in (PAGE / "marked.js").read_text()[:300]
    licence = (PAGE / "marked.LICENSE").read_text()
    assert "Copyright (c) 2018+, MarkedJS" in licence
    assert "The above copyright notice and this permission notice shall be included" in licence


def test_the_page_knows_the_limits(start: Start) -> None:
    html = httpx.get(start("--max_messages=7", "--max_message_length=99").url).text

    assert 'data-messages="7"' in html
    assert 'data-characters="32768"' in html
    assert 'maxlength="99"' in html
    assert "{{" not in html


def test_there_is_no_inline_script_or_style() -> None:
    html = (PAGE / "index.html").read_text()

    assert (
        html.count("<script") == html.count('<script src="/page.js" type="module"></script>') == 1
    )
    assert "<style" not in html
    assert " style=" not in html
    assert " on" not in html.replace(" only", "")


def test_the_disclaimer_is_visible() -> None:
    assert "General fitness information, not medical advice" in (PAGE / "index.html").read_text()


def test_the_page_claims_no_licence() -> None:
    html = (PAGE / "index.html").read_text().lower()

    for claim in ("doctor", "physio", "dietitian", "licensed", "clinician"):
        assert claim not in html
