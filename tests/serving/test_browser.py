"""The chat page in a real browser (Debian's chromium and chromium-driver), wide and narrow."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.server_process import ServerProcess

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
EVIL = "<img src=x onerror=document.title='owned'>"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="apt-get install chromium chromium-driver"
    ),
]


@pytest.fixture(params=SIZES)
def browser(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for switch in ("headless=new", "no-sandbox", "disable-gpu", f"user-data-dir={tmp_path}"):
        options.add_argument(f"--{switch}")
    width, height = SIZES[request.param]
    # A window is never narrower than 500 pixels; a phone's screen is.
    metrics = {"width": width, "height": height, "pixelRatio": 1.0}
    options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(executable_path=DRIVER))
    yield opened
    opened.quit()


def ask(browser: webdriver.Chrome, question: str, expected: str) -> str:
    """Type a question, send it, wait until the answer has an end, return the last turn."""
    browser.find_element(By.ID, "question").send_keys(question)
    browser.find_element(By.ID, "send").click()

    def answered(_: object) -> bool:
        turns = browser.find_elements(By.CSS_SELECTOR, ".turn:last-child")
        return bool(turns) and expected in turns[0].text

    WebDriverWait(browser, 20).until(answered)
    WebDriverWait(browser, 20).until(lambda _: browser.find_element(By.ID, "send").is_displayed())
    return browser.find_element(By.CSS_SELECTOR, ".turn:last-child").text.rstrip()


def test_a_question_is_answered_on_the_page_and_nothing_overflows(
    browser: webdriver.Chrome, server: ServerProcess
) -> None:
    browser.get(server.url)
    WebDriverWait(browser, 20).until(lambda _: browser.find_element(By.ID, "model").is_displayed())

    assert ask(browser, "say Rest well.", "Rest well.") == "Rest well."
    assert EVIL in ask(browser, f"say {EVIL} so", EVIL)

    users = [turn.text for turn in browser.find_elements(By.CSS_SELECTOR, ".user")]
    assert users == ["say Rest well.", f"say {EVIL} so"]
    assert browser.title == "fitbot"  # what anybody wrote is text
    width = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert width <= 0
    send = browser.find_element(By.ID, "send").rect
    assert send["height"] >= 40  # a finger's width
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_new_chat_forgets_the_old_one(browser: webdriver.Chrome, server: ServerProcess) -> None:
    browser.get(server.url)
    ask(browser, "say Rest well.", "Rest well.")

    browser.find_element(By.ID, "new").click()

    assert browser.find_elements(By.CSS_SELECTOR, ".turn") == []
    assert browser.find_element(By.ID, "hint").is_displayed()
