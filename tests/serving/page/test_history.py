"""Chats that the browser keeps, and long ones of which the server reads only the end."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.server_process import ServerProcess
from tests.serving.page.asking import ask, begin, ended, kept, shows, texts
from tests.serving.page.conftest import OpenPage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that takes no more than five messages, and gives short answers."""
    log = tmp_path_factory.mktemp("strict") / "log"
    limits = ("--max_messages=5", "--max_new_tokens=50", "--rate_per_minute=100000")
    started = ServerProcess(log, *limits)
    yield started
    started.stop()


def test_a_chat_outlives_its_tab(open_page: OpenPage) -> None:
    page = open_page()
    ask(page, "say one")
    begin(page, "hello")
    shows(page, "toy2.")
    page.keyboard.press("Escape")
    ended(page)
    page.wait_for_url("**/#*")
    before = texts(page)

    page.reload()
    page.wait_for_selector(".turn")

    assert texts(page) == before
    assert page.locator(".note").inner_text() == "Stopped here."
    assert ask(page, "say two").locator(".text").inner_text().strip() == "two"


def test_an_answer_that_was_lost_with_its_tab_can_be_asked_for_again(open_page: OpenPage) -> None:
    page = open_page()
    begin(page, "hello")
    page.wait_for_url("**/#*")

    page.reload()

    note = page.locator(".note")
    assert note.inner_text() == "No answer: the page was closed."
    page.get_by_role("button", name="Retry").click()
    shows(page, "toy2.")


def test_chats_are_listed_opened_and_deleted(open_page: OpenPage) -> None:
    page = open_page()
    ask(page, "say one")
    page.click("#new")
    assert page.locator(".turn").count() == 0
    assert page.locator("#hint").is_visible()
    ask(page, "say two")

    assert kept(page) == ["say two", "say one"]
    page.click("#chats")
    page.get_by_role("button", name="say one", exact=True).click()
    assert texts(page) == ["say one", "one"]
    page.click("#chats")
    page.get_by_role("button", name="Delete: say one").click()
    page.locator("#list li").nth(1).wait_for(state="detached")
    page.click("#close")
    assert page.locator(".turn").count() == 0
    assert kept(page) == ["say two"]


def test_one_button_deletes_everything_in_all_tabs(open_page: OpenPage) -> None:
    page = open_page()
    ask(page, "say one")
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector(".turn")

    page.click("#chats")
    page.click("#clear")
    other.wait_for_selector("#hint:visible")

    assert kept(page) == kept(other) == []
    assert other.locator(".turn").count() == page.locator(".turn").count() == 0
    page.reload()
    assert kept(page) == []


def test_two_tabs_with_one_chat_lose_nothing(open_page: OpenPage) -> None:
    page = open_page()
    ask(page, "say one")
    page.wait_for_url("**/#*")
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector(".turn")

    ask(page, "say two")
    ask(other, "say three")
    page.wait_for_timeout(300)

    assert page.url != other.url
    page.reload()
    other.reload()
    page.wait_for_selector(".turn")
    other.wait_for_selector(".turn")
    assert texts(page) == ["say one", "one", "say two", "two"]
    assert texts(other) == ["say one", "one", "say three", "three"]


def test_two_tabs_are_answered_at_once(open_page: OpenPage) -> None:
    page = open_page()
    other = page.context.new_page()
    other.goto(page.url)

    begin(page, "hello")
    begin(other, "say other")

    assert "other" in ended(other).inner_text()
    shows(page, "toy9.")
    page.keyboard.press("Escape")


def test_without_storage_the_page_says_so_and_answers(open_page: OpenPage) -> None:
    page = open_page()
    page.evaluate("() => { IDBObjectStore.prototype.put = () => { throw new Error('full'); }; }")

    turn = ask(page, "say hello")

    assert "hello" in turn.inner_text()
    assert "not kept" in page.locator("#status").inner_text()


def test_beyond_the_servers_limits_old_messages_are_left_out_and_it_is_said(
    open_page: OpenPage, strict: ServerProcess
) -> None:
    page = open_page(strict.url)
    for number in range(3):
        ask(page, f"say {number}")
    assert page.locator(".note").count() == 0

    with page.expect_request("**/v1/chat/completions") as sent:
        turn = ask(page, "say last")

    asked = [message["content"].strip() for message in sent.value.post_data_json["messages"]]
    assert asked == ["say 1", "1", "say 2", "2", "say last"]
    note = "The 2 oldest messages were left out: they no longer fit."
    assert turn.locator(".note").inner_text() == note
    assert texts(page)[0] == "say 0"  # people still see them


def test_what_does_not_fit_the_model_is_left_out_by_the_server(
    open_page: OpenPage, strict: ServerProcess
) -> None:
    page = open_page(strict.url)
    ask(page, "say " + "w " * 4060)

    turn = ask(page, "say last")

    assert turn.locator(".note").inner_text() == (
        "The 2 oldest messages were left out: they no longer fit."
    )
    assert "last" in turn.inner_text()


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("I'm 20 weeks pregnant. Hi", "midwife"),
        ("I have crushing chest pain and pain in my left arm right now", "emergency"),
    ],
)
def test_a_health_finding_outlives_its_message(
    open_page: OpenPage, strict: ServerProcess, first: Any, then: Any
) -> None:
    page = open_page(strict.url)
    ask(page, first)

    for number in range(4):
        with page.expect_request("**/v1/chat/completions") as sent:
            turn = ask(page, f"say {number}")

    assert first not in sent.value.post_data
    assert then in turn.inner_text().lower()
    page.reload()  # it is kept with the chat
    page.wait_for_selector(".turn")
    assert then in ask(page, "say more").inner_text().lower()
