"""The chat page: nothing runs but its own script, and nobody's text is markup."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from fitbot.serving.middleware import PAGE_POLICY

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
    assert "server" not in headers


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/page.js", "text/javascript"),
        ("/page.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
    ],
)
def test_the_files_are_served(client: httpx.Client, path: Any, kind: Any) -> None:
    assert client.get(path).headers["content-type"].startswith(kind)


def test_the_script_only_ever_sets_text() -> None:
    script = (PAGE / "page.js").read_text()

    for danger in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert danger not in script
    assert "textContent" in script


def test_there_is_no_inline_script_or_style() -> None:
    html = (PAGE / "index.html").read_text()

    assert html.count("<script") == html.count('<script src="/page.js" defer></script>') == 1
    assert "<style" not in html
    assert " style=" not in html
    assert " on" not in html.replace(" only", "")


def test_the_disclaimer_is_visible() -> None:
    assert "General fitness information, not medical advice" in (PAGE / "index.html").read_text()


def test_the_page_claims_no_licence() -> None:
    html = (PAGE / "index.html").read_text().lower()

    for claim in ("doctor", "physio", "dietitian", "licensed", "clinician"):
        assert claim not in html
