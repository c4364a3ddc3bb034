"""The page beside fitbot's own server with --learn: what one asks for is what the other has."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.learning.test_server import Person
from tests.serving.page.asking import ask, texts
from tests.serving.page.conftest import OpenPage

pytestmark = pytest.mark.slow


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    one = Person(tmp_path / "learning")
    yield one
    one.stop()


def choose(page: Any) -> bool:
    """Ask something new for two answers and choose the first; whether it is learned from."""
    page.click("#new")
    ask(page, f"draw {page.evaluate('Math.random()')}")
    page.get_by_role("button", name="Another answer").click()
    page.wait_for_selector(".pair")
    with page.expect_response("**/v1/learning/choices") as stored:
        page.keyboard.press("1")
    return not stored.value.json()["held_out"]


def test_the_page_and_the_server_understand_each_other(open_page: OpenPage, person: Person) -> None:
    page = open_page(person.server.url)
    page.wait_for_selector("#learning:visible")
    told = page.locator("#told-text").inner_text()
    assert str(person.folder / "feedback.sqlite") in told
    assert person.state()["author"] in told

    while not choose(page):
        pass
    page.get_by_text("Version 1 answers now (not shown worse). Learned from").first.wait_for()
    assert person.version() == 1

    turn = page.locator(".assistant").last
    turn.get_by_role("button", name="Good answer").click()
    page.get_by_text("It is kept until the other thumb").wait_for()
    page.click("#take-back")
    page.get_by_text("Taken back.").wait_for()
    turn.get_by_role("button", name="Edit this answer").click()
    page.keyboard.press("Control+a")
    page.keyboard.type("In my words")
    page.keyboard.press("Control+Enter")
    page.locator("#learner").get_by_text("Version 2 answers now").wait_for()
    assert texts(page)[-1] == "In my words"

    page.click("#undo")
    page.locator("#learner").get_by_text("Version 2 was taken back. Version 1 answers").wait_for()
    page.click("#show-versions")
    page.wait_for_selector("#versions article:nth-of-type(3)")
    page.fill(".trial input", "say Rest.")
    page.keyboard.press("Enter")
    page.wait_for_selector("#versions .sides[aria-busy=false]")
    assert page.locator("#versions .side .text").all_inner_texts() == ["Rest."] * 2
    page.get_by_role("button", name="Make current: Version 2").click()
    page.locator("#learner").get_by_text("Version 2 answers now").wait_for()

    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_text("What is stored, and where").click()
    page.click("#forget")
    page.get_by_text("Forgotten. fitbot@").wait_for()
    assert person.state()["counts"]["choices"] == 0


def test_one_teaches_from_the_servers_pairs(open_page: OpenPage, person: Person) -> None:
    for place in range(4):  # what was asked before is what the toy has two answers to
        person.ask(f"draw {place}")
    page = open_page(person.server.url)
    page.wait_for_selector("#learning:visible")

    page.click("#show-teach")
    page.wait_for_selector("#teach .pair:focus")
    page.keyboard.press("2")
    page.get_by_text("1 choice so far.").wait_for()

    assert person.state()["counts"]["kinds"] == {"teach": 1}
