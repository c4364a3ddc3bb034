"""Choosing between answers on the page, and what comes of it: stored, learned, checked, undone."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.server_process import until
from tests.serving.page.asking import ask, texts
from tests.serving.page.conftest import SIZES, OpenPage
from tests.serving.page.learning_server import QUESTION, REFUSED, LearningServer
from tests.serving.page.test_access import focused, needs_axe, tab_to, violations

pytestmark = pytest.mark.slow

OpenLearning = Callable[..., Any]


@pytest.fixture
def learning() -> Iterator[LearningServer]:
    started = LearningServer()
    yield started
    started.stop()


@pytest.fixture
def open_learning(open_page: OpenPage, learning: LearningServer) -> OpenLearning:
    def open_one(**options: Any) -> Any:
        page = open_page(learning.url, **options)
        page.wait_for_selector("#learning:visible")
        return page

    return open_one


def another(page: Any) -> list[str]:
    """Ask for another answer; return both, in the order shown."""
    page.get_by_role("button", name="Another answer").click()
    page.wait_for_selector(".pair")
    return [text.strip() for text in page.locator(".side > .text").all_inner_texts()]


def says(page: Any, text: str) -> None:
    """Wait until the line of what is learned says something."""
    page.locator("#learner").get_by_text(text).wait_for()


def test_a_server_that_does_not_learn_shows_nothing_of_it(open_page: OpenPage) -> None:
    page = open_page()
    asked = list[str]()
    page.on("request", lambda request: asked.append(request.url))

    turn = ask(page, "say Rest well.")

    assert turn.locator("button").all_inner_texts() == ["Copy", "Retry"]
    assert not page.locator("#learning").is_visible()
    page.reload()
    page.wait_for_selector("#model:visible")
    assert not [url for url in asked if url.endswith(("/learning.js", "/judge.js", "/events"))]


@pytest.mark.parametrize("way", ["button", "card", "key"])
def test_a_chosen_answer_takes_the_place_and_a_version_follows(
    open_learning: OpenLearning, learning: LearningServer, way: Any
) -> None:
    page = open_learning()
    turn = ask(page, "How long should I rest?")
    first = texts(page)[-1]
    assert "feedback.sqlite" in page.locator("#told-text").inner_text()

    shown = another(page)
    assert first in shown
    assert len(set(shown)) == 2
    if way == "button":
        page.get_by_role("button", name="Answer 2 is better").click()
    elif way == "card":
        page.locator(".side > .text").nth(1).click()
    else:
        page.keyboard.press("2")
    page.wait_for_selector("#progress:visible")
    says(page, "Learning from 1 choice: step ")
    says(page, "Checking version 1: question ")
    says(page, "Version 1 answers now (not shown worse). Test pairs: 9 gained and 4 lost of 220.")

    assert texts(page) == ["How long should I rest?", shown[1]]
    (choice,) = learning.choices.values()
    sides = [learning.texts[choice[side]].replace("*", "") for side in ("chosen", "rejected")]
    assert choice["kind"] == "pair"
    assert sides == shown[::-1]
    assert not page.locator("#told-text").is_visible()  # it was read before the first choice
    assert turn.locator("button").count() == 5
    page.click("#undo")
    says(page, "Version 1 was taken back. Version 0 answers now.")
    assert learning.current == 0
    assert not page.locator("#undo").is_visible()


def test_the_order_gives_nothing_away(
    open_learning: OpenLearning, learning: LearningServer
) -> None:
    learning.answers = tuple(f"Rest {minutes} minutes." for minutes in range(1, 50))
    page = open_learning()
    ask(page, "How long should I rest?")
    first, places, looks = texts(page)[-1], set[int](), set[str]()

    for _ in range(30):
        places.add(another(page).index(first))
        for side in page.locator(".side").all():
            text = side.locator(".text").inner_html()
            looks.add(side.evaluate("one => one.outerHTML").replace(text, ""))
        page.keyboard.press("Escape")
        if places == {0, 1}:
            break

    assert places == {0, 1}
    assert len(looks) == 2  # they differ by the number of their place alone
    assert len({look.replace("Answer 2", "Answer 1") for look in looks}) == 1


def test_neither_leaves_all_as_it_was(
    open_learning: OpenLearning, learning: LearningServer
) -> None:
    page = open_learning()
    ask(page, "How long should I rest?")
    before = texts(page)

    another(page)
    page.get_by_role("button", name="Neither").click()

    assert texts(page) == before
    assert learning.choices == {}
    assert not page.locator(".pair").count()


def test_who_types_the_next_question_does_not_choose_by_it(
    open_learning: OpenLearning, learning: LearningServer
) -> None:
    learning.pace = 1.0
    page = open_learning()
    ask(page, "How long should I rest?")

    page.get_by_role("button", name="Another answer").click()
    page.click("#question")
    page.keyboard.type("And after ")
    page.wait_for_selector(".pair")
    page.keyboard.type("12 of them?")

    assert page.input_value("#question") == "And after 12 of them?"
    assert learning.choices == {}


def test_the_same_answer_again_is_no_choice(
    open_learning: OpenLearning, learning: LearningServer
) -> None:
    learning.answers = ("Rest.",)
    page = open_learning()
    ask(page, "How long should I rest?")

    page.get_by_role("button", name="Another answer").click()
    page.get_by_text("The other answer is the same, word for word.").wait_for()

    assert not page.locator(".pair").count()
    assert texts(page)[-1] == "Rest."


def test_an_edit_is_the_chosen_answer_and_can_be_taken_back(
    open_learning: OpenLearning, learning: LearningServer
) -> None:
    learning.verdicts = [REFUSED]
    page = open_learning()
    turn = ask(page, "How long should I rest?")
    before = texts(page)

    turn.get_by_role("button", name="Edit this answer").click()
    assert focused(page) == "The answer in your words"
    page.keyboard.press("Control+a")
    page.keyboard.type("Rest 2 to 5 minutes.")
    page.keyboard.press("Control+Enter")
    says(page, "Version 1 was refused: shown worse by test pairs: 2 gained and 19 lost of 220.")

    assert texts(page)[-1] == "Rest 2 to 5 minutes."
    assert [one["text"] for one in learning.choices.values()] == ["Rest 2 to 5 minutes."]
    assert not page.locator("#undo").is_visible()
    ask(page, "And then?")
    assert learning.asked[-1]["messages"][1]["content"] == "Rest 2 to 5 minutes."
    page.click("#take-back")
    page.get_by_text("Taken back.").wait_for()
    assert learning.choices == {}
    assert texts(page)[:2] == before


def test_a_thumb_is_kept_turned_and_taken_back(
    open_learning: OpenLearning, learning: LearningServer
) -> None:
    page = open_learning()
    ask(page, "How long should I rest?")

    def press(name: str) -> list[str | None]:
        page.get_by_role("button", name=name).click()
        page.wait_for_timeout(300)
        assert focused(page) == name
        return [one.get_attribute("aria-pressed") for one in page.locator(".thumb").all()]

    assert press("Good answer") == ["true", "false"]
    assert "Stored. It waits for its other side." in page.locator("#choice").inner_text()
    assert press("Bad answer") == ["false", "true"]
    assert [one["kind"] for one in learning.choices.values()] == ["thumb_up", "thumb_down"]
    page.reload()
    page.wait_for_selector(".thumb_down[aria-pressed=true]")
    assert press("Bad answer") == ["false", "false"]
    assert [one["kind"] for one in learning.choices.values()] == ["thumb_up"]


def test_what_the_server_does_not_take_is_said(
    open_learning: OpenLearning, learning: LearningServer
) -> None:
    page = open_learning()
    ask(page, "How long should I rest?")
    learning.texts.clear()  # as a server does that has forgotten

    page.get_by_role("button", name="Good answer").click()

    page.get_by_text("Not stored: there is no such answer.").wait_for()
    assert page.locator(".thumb[aria-pressed=true]").count() == 0


def test_one_teaches_pair_after_pair_by_keys(
    open_learning: OpenLearning, learning: LearningServer
) -> None:
    page = open_learning()
    page.click("#show-teach")
    page.wait_for_selector("#teach .pair:focus")
    assert QUESTION[0]["content"] in page.locator("#teach").inner_text()

    page.keyboard.press("1")
    page.get_by_text("1 choice so far.").wait_for()
    page.wait_for_selector("#teach .pair:focus")
    page.keyboard.press("s")
    page.wait_for_selector("#teach .note[role=status]", state="detached")
    page.wait_for_selector("#teach .pair:focus")
    page.keyboard.press("2")
    page.get_by_text("2 choices so far.").wait_for()
    page.keyboard.press("Escape")

    assert [one["kind"] for one in learning.choices.values()] == ["teach", "teach"]
    assert focused(page) == "show-teach"
    assert page.locator("#log").is_visible()
    assert page.locator("#ask").is_visible()


def test_versions_are_shown_tried_and_changed(
    open_learning: OpenLearning, learning: LearningServer
) -> None:
    page = open_learning()
    ask(page, "How long should I rest?")
    another(page)
    page.keyboard.press("1")
    says(page, "Version 1 answers now")

    page.click("#show-versions")
    page.wait_for_selector(".version")
    shown = page.locator(".version").first.inner_text()
    for part in ("Version 1", "answers now", "3 choices", "61.0 %", "+2.3 (−0.4 to +5.1)"):
        assert part in shown
    assert "Drift: 0.012 nats a token" in shown

    page.fill(".trial input", "How long?")
    page.keyboard.press("Enter")
    page.get_by_text("fitbot@1 says:").wait_for()
    page.get_by_text("fitbot@0 says:").wait_for()
    assert page.locator("#versions .side h3").all_inner_texts() == ["Version 1", "Version 0"]
    assert {body["temperature"] for body in learning.asked[-2:]} == {0}

    page.fill(".trial input", "What if")
    page.get_by_role("button", name="Make current: Version 0").click()
    says(page, "Version 0 answers.")
    assert page.input_value(".trial input") == "What if"
    assert learning.current == 0
    page.get_by_role("button", name="Take back: Version 1").click()
    page.locator(".version .badge").get_by_text("taken back").wait_for()
    page.keyboard.press("Escape")
    assert focused(page) == "show-versions"


def test_forgetting_is_asked_for_and_names_what_learned_from_it(
    open_learning: OpenLearning, learning: LearningServer
) -> None:
    page = open_learning()
    ask(page, "How long should I rest?")
    page.get_by_role("button", name="Good answer").click()
    page.get_by_text("Stored. It waits").wait_for()
    page.get_by_text("What is stored, and where").click()

    page.once("dialog", lambda dialog: dialog.dismiss())
    page.click("#forget")
    assert len(learning.choices) == 1
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("#forget")
    page.get_by_text("Forgotten. fitbot@1 learned from it").wait_for()

    assert learning.choices == {}


def test_what_is_taken_back_later_is_taken_back_in_its_own_chat(
    open_learning: OpenLearning, learning: LearningServer
) -> None:
    page = open_learning()
    ask(page, "How long should I rest?")
    first = texts(page)[-1]
    other = another(page).index(first) == 0
    page.keyboard.press("2" if other else "1")
    page.wait_for_selector("#take-back:visible")

    page.click("#show-versions")
    page.click("#new")
    page.wait_for_selector("#log:visible")
    assert not page.locator("#versions").is_visible()
    page.click("#take-back")
    page.get_by_text("Taken back.").wait_for()
    page.click("#chats")
    page.locator("#list li button").first.click()

    assert texts(page)[-1] == first


def test_a_hidden_tab_holds_no_connection(
    open_learning: OpenLearning, learning: LearningServer
) -> None:
    page = open_learning()
    until(lambda: learning.followers == 1, 10)

    def turn(hidden: str) -> None:
        page.evaluate(
            f"Object.defineProperty(document, 'hidden', {{value: {hidden}, configurable: true}});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )

    turn("true")
    until(lambda: learning.followers == 0, 10)
    turn("false")
    until(lambda: learning.followers == 1, 10)


def test_keyboard_alone_suffices_to_teach_and_undo(
    open_learning: OpenLearning, learning: LearningServer
) -> None:
    page = open_learning()
    ask(page, "How long should I rest?")
    tab_to(page, "Another answer", "Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".pair:focus")
    tab_to(page, "Answer 2 is better")
    page.keyboard.press("Enter")
    says(page, "Version 1 answers now")
    assert page.locator("#news").inner_text().startswith("Version 1 answers now")
    tab_to(page, "undo", "Shift+Tab")
    page.keyboard.press("Enter")
    says(page, "Version 0 answers now.")
    assert learning.current == 0


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [*SIZES, "small"])
def test_axe_finds_nothing_and_nothing_overflows(
    open_learning: OpenLearning, size: Any, scheme: Any
) -> None:
    page = open_learning(size="phone" if size == "small" else size, scheme=scheme)
    if size == "small":
        page.set_viewport_size({"width": 360, "height": 640})
    found = dict[str, Any]()

    def look(name: str) -> None:
        wide, high = page.evaluate(
            "[document.documentElement.scrollWidth - innerWidth,"
            " document.documentElement.scrollHeight - innerHeight]"
        )
        found[name] = violations(page) + [(wide, high)] * (wide > 0 or high > 0)

    look("start")
    ask(page, "How long should I rest?")
    another(page)
    look("pair")
    page.keyboard.press("1")
    page.wait_for_selector("#progress:visible")
    look("learning")
    says(page, "Version 1 answers now")
    page.get_by_role("button", name="Edit this answer").click()
    look("edit")
    page.click("#show-teach")
    page.wait_for_selector("#teach .pair")
    look("teach")
    page.click("#show-versions")
    page.wait_for_selector(".version")
    page.fill(".trial input", "How long?")
    page.keyboard.press("Enter")
    page.get_by_text("fitbot@0 says:").wait_for()
    look("versions")

    assert found == dict.fromkeys(found, [])
