"""The page in headless Chromium: keys and buttons, phones, dark and light."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fitbot.evaluation.blind.log import Side
from fitbot.evaluation.blind.server import compare_on_page
from fitbot.evaluation.blind.session import ComparisonSession
from tests.evaluation.blind.answerers import Answerer, session_of
from tests.serving.page.conftest import browser

__all__ = ["browser"]  # the fixture

NAMES: dict[Side, str] = {"a": "tuned", "b": "base"}
LONG = "word " * 300 + "w" * 300
SIZES = {"desktop": (1100, 800), "phone": (400, 800)}


@pytest.fixture
def session(tmp_path: Path) -> ComparisonSession:
    return session_of(tmp_path, most=4)


@pytest.fixture
def address(session: ComparisonSession) -> str:
    """Where the page is served until the person quits."""
    said: list[str] = []
    arguments = {"port": 0, "announce": said.append}
    thread = threading.Thread(
        target=compare_on_page, args=(session, NAMES), kwargs=arguments, daemon=True
    )
    thread.start()
    while not said:
        time.sleep(0.01)
    return said[0].split()[1]


def open_page(browser: Any, address: str, size: str = "desktop", scheme: str = "light") -> Any:
    width, height = SIZES[size]
    viewport = {"width": width, "height": height}
    page = browser.new_context(viewport=viewport, color_scheme=scheme).new_page()
    page.complaints = []
    page.on("console", lambda said: page.complaints.append(said.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#item[aria-busy=false]")
    return page


def press(page: Any, key: str, count: str) -> None:
    page.keyboard.press(key)
    wait_for_count(page, count)


def wait_for_count(page: Any, count: str) -> None:
    """Wait for the next item; a text of JavaScript the page's policy would refuse."""
    page.wait_for_selector(f"#count:text-matches('^{count} ')")
    page.wait_for_selector("#item[aria-busy=false]")


@pytest.mark.slow
def test_a_comparison_by_keyboard_from_the_first_key_to_the_winner(
    browser: Any, address: str, session: ComparisonSession
) -> None:
    page = open_page(browser, address)
    assert page.is_disabled("#undo")
    press(page, "1", "2")
    press(page, "u", "1")
    press(page, "2", "2")
    press(page, "s", "2")
    press(page, "=", "3")
    page.keyboard.press("x")
    page.click("text=Equal")
    wait_for_count(page, "4")
    page.keyboard.press("=")
    page.wait_for_selector("text=The comparison is over.")
    assert page.is_hidden("#item")
    assert "tuned" not in page.content()
    page.keyboard.press("q")
    page.wait_for_selector("text=Not decided between tuned and base")

    kinds = [choice.choice for choice in session.choices]
    assert kinds[1:] == ["skip", "tie", "tie", "tie"]
    assert page.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_long_answers_fit_and_choices_stay_in_reach(
    size: str, scheme: str, browser: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answerer, "answers", lambda *_: {"a": LONG, "b": "short"})

    page = open_page(browser, address, size, scheme)

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for box in (page.locator("nav button").nth(i).bounding_box() for i in range(6)):
        assert box["y"] + box["height"] <= SIZES[size][1]
        assert box["height"] >= 44
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    page.keyboard.press("q")
    page.wait_for_selector("text=No comparison was made")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.slow
def test_people_who_hear_or_type_can_use_it(browser: Any, address: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page(browser, address)

    found = axe.Axe().run(page)

    assert found.violations_count == 0, found.generate_report()
    page.keyboard.press("q")
    page.wait_for_selector("text=No comparison was made")
