"""What a person does on the page, and what it then shows."""

from typing import Any


def begin(page: Any, question: str) -> None:
    """Type a question and send it with Enter; line breaks are typed with Shift."""
    page.fill("#question", question)
    page.press("#question", "Enter")


def ask(page: Any, question: str) -> Any:
    """Ask, wait for the end of the answer and return its turn."""
    begin(page, question)
    return ended(page)


def ended(page: Any) -> Any:
    """Wait for the end of the answer that is coming; return its turn."""
    page.wait_for_selector("#log[aria-busy=false] .assistant:last-child")
    return page.locator(".assistant").last


def texts(page: Any) -> list[str]:
    """What question and answers say, without notes and buttons."""
    return [text.strip() for text in page.locator(".turn > .text").all_inner_texts()]


def kept(page: Any) -> list[str]:
    """The titles of the chats that the browser keeps."""
    page.click("#chats")
    page.wait_for_selector("#clear", state="attached")
    page.wait_for_timeout(200)
    titles: list[str] = page.locator("#list li button:first-child").all_inner_texts()
    page.click("#close")
    return titles


def shows(page: Any, text: str) -> None:
    """Wait until the last answer shows a text."""
    page.locator(".assistant").last.get_by_text(text).first.wait_for()
