"""Everybody can use the page: by keyboard alone, with a screen reader, light and dark."""

import importlib.util
from typing import Any

import pytest

from tests.serving.page.asking import ask, begin, ended, shows
from tests.serving.page.conftest import OpenPage

needs_axe = pytest.mark.skipif(
    importlib.util.find_spec("axe_playwright_python") is None,
    reason="pip install axe-playwright-python",
)


def violations(page: Any) -> list[Any]:
    """Every rule of axe-core's that the page breaks, and where."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_axe_finds_nothing(open_page: OpenPage, size: Any, scheme: Any) -> None:
    page = open_page(size=size, scheme=scheme)
    page.wait_for_selector("#model:visible")
    found = {"empty": violations(page)}

    ask(
        page, "say # Plan\n\n`code` [a](https://example.org/)\n\n```\nx\n```\n\n|a|b|\n|-|-|\n|1|2|"
    )
    ask(page, "fail later")
    found["asked"] = violations(page)
    begin(page, "hello")
    shows(page, "toy1.")
    found["running"] = violations(page)
    page.keyboard.press("Escape")
    ended(page)
    page.get_by_role("button", name="Edit").first.click()
    found["editing"] = violations(page)
    page.click("#chats")
    page.wait_for_selector("#list li")
    found["chats"] = violations(page)

    assert found == {"empty": [], "asked": [], "running": [], "editing": [], "chats": []}


def focused(page: Any) -> str:
    """What has the focus: its id, or its text."""
    name: str = page.evaluate(
        "(document.activeElement.id || document.activeElement.ariaLabel"
        " || document.activeElement.textContent).trim()"
    )
    return name


def tab_to(page: Any, name: str, key: str = "Tab") -> None:
    """Press Tab until something has the focus."""
    for _ in range(20):
        if focused(page) == name:
            return
        page.keyboard.press(key)
    raise AssertionError(f"{name} cannot be reached")


def test_keyboard_alone_suffices(open_page: OpenPage) -> None:
    page = open_page()
    page.wait_for_selector("#model:visible")
    page.keyboard.type("hello")
    page.keyboard.press("Enter")
    shows(page, "toy1.")
    tab_to(page, "stop")
    page.keyboard.press("Enter")
    ended(page)

    tab_to(page, "Edit", "Shift+Tab")
    page.keyboard.press("Enter")
    assert focused(page) == "question"
    page.keyboard.press("Control+a")
    page.keyboard.type("say one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    ended(page)
    assert page.locator(".user .text").inner_text() == "say one\ntwo"

    tab_to(page, "new", "Shift+Tab")
    page.keyboard.press("Enter")
    assert focused(page) == "question"
    tab_to(page, "chats", "Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#list li")
    tab_to(page, "say one\ntwo")
    page.keyboard.press("Enter")
    assert focused(page) == "question"
    assert page.locator(".turn").count() == 2
    tab_to(page, "chats", "Shift+Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert focused(page) == "chats"
