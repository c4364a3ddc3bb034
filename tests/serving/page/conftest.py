"""The chat page in headless Chromium (apt-get install chromium), driven by playwright."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.server_process import ServerProcess

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}

OpenPage = Callable[..., Any]


# Not for the session: as long as playwright runs, asyncio.run refuses to, in any test.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    if CHROMIUM is None:
        pytest.skip("apt-get install chromium")
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-gpu"]
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: Any, server: ServerProcess) -> Iterator[OpenPage]:
    """Open the page, each time in a browser that knows nothing; what it complains of fails."""
    contexts, complaints = [], list[str]()

    def open_one(url: str = server.url, size: str = "desktop", scheme: str = "light") -> Any:
        width, height = SIZES[size]
        viewport = {"width": width, "height": height}
        contexts.append(browser.new_context(viewport=viewport, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.extend([said.text] * (said.type == "error")))
        page.goto(url)
        page.wait_for_selector("#question:focus, #key:focus")
        return page

    yield open_one
    for context in contexts:
        context.close()
    # A refused request is written to the console whatever a page does.
    assert [one for one in complaints if not one.startswith("Failed to load resource")] == []
