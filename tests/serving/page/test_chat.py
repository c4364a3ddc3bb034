"""Asking on the page: what goes right, what goes wrong, and what it does then."""

import os
import signal
from typing import Any

import pytest

from tests.generation.test_no_template import TEMPLATE
from tests.serve_fixtures import Start
from tests.server_process import ServerProcess
from tests.serving.page.asking import ask, begin, ended, shows, texts
from tests.serving.page.conftest import SIZES, OpenPage

MARKDOWN = """say ## Plan

1. **Squat** three times
2. Rest

| day | sets |
|-----|------|
| Mon | 3 |

`code` [a page](https://example.org/)"""
EVIL = (
    "say <img src=x onerror=document.title='owned'> <script>document.title='owned'</script> "
    "[x](javascript:document.title='owned') ![y](https://example.org/y.png) "
    "<https://example.org/'onmouseover='x>"
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_a_question_is_answered_and_nothing_overflows(
    open_page: OpenPage, size: Any, scheme: Any
) -> None:
    page = open_page(size=size, scheme=scheme)

    ask(page, "say Rest well.")
    ask(page, f"say {'Donaudampfschiff' * 10}")

    assert texts(page)[:2] == ["say Rest well.", "Rest well."]
    width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    height = page.evaluate("document.documentElement.scrollHeight - innerHeight")
    assert width <= 0 >= height
    assert page.locator("#send").bounding_box()["height"] >= 40  # a finger's width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 27)"}[scheme]
    assert page.evaluate("document.activeElement.id") == "question"


def test_an_answer_comes_word_by_word(open_page: OpenPage) -> None:
    page = open_page()

    begin(page, "hello")
    shows(page, "toy3.")
    assert page.locator("#log").get_attribute("aria-busy") == "true"
    page.keyboard.press("Escape")

    ended(page)


def test_an_answer_is_drawn_as_markdown(open_page: OpenPage) -> None:
    turn = ask(open_page(), MARKDOWN).locator(".text")

    assert turn.locator("h3").inner_text() == "Plan"
    assert turn.locator("ol > li").all_inner_texts() == ["Squat three times", "Rest"]
    assert turn.locator("strong").inner_text() == "Squat"
    assert turn.locator("td").all_inner_texts() == ["Mon", "3"]
    assert turn.locator("code").inner_text() == "code"
    link = turn.locator("a")
    assert link.get_attribute("href") == "https://example.org/"
    assert link.get_attribute("rel") == "noopener noreferrer"


def test_nothing_that_anybody_writes_runs_or_loads(open_page: OpenPage) -> None:
    page = open_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))

    turn = ask(page, EVIL)
    turn.hover()

    assert "<img src=x onerror=document.title='owned'>" in turn.inner_text()
    assert page.locator(".text :is(img, script, iframe, style)").count() == 0
    links = turn.locator("a").evaluate_all("found => found.map((one) => one.href)")
    assert all(link.startswith("https://example.org/") for link in links)
    assert turn.locator("[onmouseover], [style]").count() == 0
    assert page.title() == "fitbot"
    assert not [url for url in asked if "example.org" in url or url.endswith("/x")]


def test_an_answer_nested_beyond_measure_is_shown_as_it_is(open_page: OpenPage) -> None:
    turn = ask(open_page(), f"say {'>' * 8000} deep")

    assert "deep" in turn.inner_text()


@pytest.mark.parametrize("way", ["button", "Escape"])
def test_a_stopped_answer_stays_and_says_so(
    open_page: OpenPage, server: ServerProcess, way: Any
) -> None:
    page = open_page()
    before = server.metric("fitbot_cancelled_total")
    begin(page, "hello")
    shows(page, "toy1.")

    page.click("#stop") if way == "button" else page.keyboard.press("Escape")
    turn = ended(page)

    assert turn.locator(".note").inner_text() == "Stopped here."
    assert "toy1." in turn.inner_text()
    assert page.evaluate("document.activeElement.id") == "question"
    page.wait_for_timeout(1500)
    assert server.metric("fitbot_cancelled_total") == before + 1


def test_cut_answers_are_marked(open_page: OpenPage, start: Start) -> None:
    page = open_page(start("--max_new_tokens=12").url)

    for question in ("hello", "advise badly", "say hello"):
        ask(page, question)

    notes = [turn.locator(".note").all_inner_texts() for turn in page.locator(".assistant").all()]
    assert notes == [
        ["Cut here: the answer has reached its greatest length."],
        ["Cut here for safety."],
        [],
    ]


def test_an_answer_that_fails_keeps_its_beginning_and_can_be_asked_again(
    open_page: OpenPage,
) -> None:
    page = open_page()

    turn = ask(page, "fail later")
    note = turn.locator(".note").inner_text()
    turn.get_by_role("button", name="Retry").click()
    page.wait_for_selector("#log[aria-busy=true]")
    again = ended(page)

    assert note == "Cut here: the answer could not be generated"
    assert page.locator(".turn").count() == 2
    assert again.locator(".note").inner_text() == note


def test_a_refused_question_says_why_and_is_no_part_of_the_conversation(
    open_page: OpenPage,
) -> None:
    page = open_page()

    turn = ask(page, "busy")
    assert turn.locator(".note").inner_text() == ("No answer: the engine is full; try again in 7 s")
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "say hello")

    asked = sent.value.post_data_json["messages"]
    assert asked == [{"role": "user", "content": "say hello"}]


def test_the_worker_dies_in_mid_answer_and_the_page_goes_on(
    open_page: OpenPage, start: Start
) -> None:
    server = start()
    page = open_page(server.url)

    begin(page, "hello")
    shows(page, "toy2.")
    os.kill(server.worker, signal.SIGKILL)
    turn = ended(page)

    assert turn.locator(".note").inner_text().startswith("Cut here: the engine stopped")
    server.wait_ready()
    assert "Rest well." in ask(page, "say Rest well.").inner_text()


def test_a_server_that_is_gone_is_said_in_words(open_page: OpenPage, start: Start) -> None:
    server = start()
    page = open_page(server.url)
    server.stop()

    turn = ask(page, "say hello")

    assert turn.locator(".note").inner_text() == "No answer: the server cannot be reached"


def test_a_key_is_asked_for_where_one_is_needed(open_page: OpenPage, start: Start) -> None:
    key = "k" * 20
    server = start(FITBOT_API_KEYS=key)
    page = open_page(server.url)
    page.wait_for_selector("#key-field:visible")

    refused = ask(page, "say hello")
    assert refused.locator(".note").inner_text() == "No answer: an API key is needed"
    page.fill("#key", key)
    refused.get_by_role("button", name="Retry").click()
    shows(page, "hello")


def test_an_earlier_question_is_changed_and_what_followed_it_goes(open_page: OpenPage) -> None:
    page = open_page()
    for word in ("one", "two", "three"):
        ask(page, f"say {word}")

    page.get_by_role("button", name="Edit").nth(1).click()
    assert page.input_value("#question") == "say two"
    page.click("#keep")
    assert page.input_value("#question") == ""
    page.get_by_role("button", name="Edit").nth(1).click()
    ask(page, "say four")

    assert texts(page) == ["say one", "one", "say four", "four"]


def test_an_answer_is_copied_as_it_was_written(open_page: OpenPage) -> None:
    page = open_page()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    ask(page, "say **Rest**").get_by_role("button", name="Copy").click()
    page.get_by_text("Copied.").wait_for()

    assert page.evaluate("navigator.clipboard.readText()").strip() == "**Rest**"


@pytest.mark.parametrize("size", SIZES)
def test_the_page_says_who_answers_and_offers_what_to_ask(open_page: OpenPage, size: Any) -> None:
    page = open_page(size=size)
    page.wait_for_selector("#model:visible")
    assert not page.locator("#kind").is_visible()  # the toy is no model of fitbot's
    assert page.locator("#questions button").count() == 6

    page.select_option("#model", "base")
    offered = page.locator("#questions button").all_inner_texts()
    assert page.locator("#kind").inner_text().startswith("A demonstration: knows ")
    assert page.locator("#details").is_visible()
    boxes = [one.bounding_box() for one in page.locator("#questions button").all()]
    assert min(box["height"] for box in boxes) >= 40  # a finger's width
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0

    page.locator("#questions button").nth(2).press("Enter")
    shows(page, "base1.")
    page.keyboard.press("Escape")
    ended(page)
    assert texts(page)[0] == offered[2]
    assert not page.locator("#questions").is_visible()
    assert page.locator("#kind").is_visible()
    page.click("#new")
    assert page.locator("#questions button").all_inner_texts() == offered


@pytest.mark.slow
def test_the_page_shows_nothing_of_a_template(open_page: OpenPage, start: Start) -> None:
    page = open_page(start(program=("-m", "tests.generation.babble")).url)

    for _ in range(12):
        ask(page, "Hi")

    shown = " ".join(texts(page))
    assert "Squat" in shown
    assert not TEMPLATE.search(shown)
