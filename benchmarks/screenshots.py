"""Take the pictures of chat page and terminal for docs/pictures, in headless Chromium.

    python benchmarks/screenshots.py [--adapter ADAPTER] [--out docs/pictures] [--learning]

    page.png        the chat page, 1,100 pixels wide, two of its own questions asked
    page-phone.png  the same, 400 pixels wide
    start.png       the page before anything is asked
    terminal.png    `fitbot chat`: what it says first, and two of its own questions

With --learning, instead of these, one lesson of `fitbot serve --learn`, in an empty folder, so
that without --adapter the embedded model answers:

    learning-1-question.png   an answer, and what can be done with it
    learning-2-answers.png    two answers, one of which is about to be chosen
    learning-3-learning.png   a version learns from the choice
    learning-4-checked.png    what came of it: another version answers, or it was refused
    learning-5-versions.png   the page of versions, two of which answer the same question

Needs playwright and Chromium (on Debian: apt-get install chromium). Answers are the likeliest ones,
temperature 0, so that the same adapter gives the same pictures. Without --adapter the latest run in
checkpoints/ answers.
"""

import argparse
import html
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

ROOT = Path(__file__).parent.parent
TAKEN = ("page", "page-phone", "start", "terminal")
SIZES = {"page": (1100, 720), "page-phone": (400, 800), "start": (1100, 720)}
LESSON = ("question", "answers", "learning", "checked", "versions")
# A question of the embedded model's world, and what only its right answers hold.
TAUGHT = {
    "How long should I rest between heavy sets?": "[2-5] to [3-5] min",
    "How much protein is there in 100 g of almonds?": "21 g",
    "I want to build strength. How many repetitions a set?": r"\b[1-6] to [3-6]\b",
    "Which muscle does the Barbell Squat train?": "(?i)^[^,]*quadriceps",
}
_LESSON_SIZE = (900, 640)
ASKED = (0, 3)  # places of the questions in the page's own list
_READY_SECONDS = 600.0
_DRAWS = 8  # of another answer, until one differs
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
_TERMINAL = """<!doctype html><meta charset="utf-8"><style>
  pre { display: inline-block; margin: 0; padding: 16px 20px; width: 80ch; white-space: pre-wrap;
        font: 15px/1.4 "DejaVu Sans Mono", monospace; color: #e8eaed; background: #16181b; }
</style><pre>{text}</pre>"""


def command(word: str, adapter: Path | None, *options: str) -> list[str]:
    """Return the argv of a command of this checkout's fitbot.

    Without the health layer's encoder, which takes long to load and changes no picture.
    """
    named = ["--adapter", str(adapter)] if adapter else []
    return [sys.executable, "-m", "fitbot", word, "--health_encoder=none", *named, *options]


def environment() -> dict[str, str]:
    """Return what the commands run in: this checkout, an empty terminal of 80 columns."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "TERM": "dumb", "COLUMNS": "80"}


@contextmanager
def serving(adapter: Path | None, *more: str, cwd: str | None = None) -> Iterator[str]:
    """Serve on a free port, with options besides, in a folder; gives the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ("--host=127.0.0.1", f"--port={port}")
    argv = command("serve", adapter, *options, *more)
    process = subprocess.Popen(argv, env=environment(), cwd=cwd)
    url, last = f"http://127.0.0.1:{port}/", time.monotonic() + _READY_SECONDS
    try:
        while True:
            with suppress(OSError), urllib.request.urlopen(f"{url}readyz"):
                break
            if process.poll() is not None or time.monotonic() > last:
                sys.exit("the server did not start; see above")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def greedy(route: "Route") -> None:
    """Send a question on, to be answered by the likeliest tokens."""
    body = json.loads(route.request.post_data or "{}")
    route.continue_(post_data=json.dumps({**body, "temperature": 0}))


def greedy_once(route: "Route") -> None:
    """Send a question on; where the page asks it again, to be answered by another draw."""
    is_another = route.request.frame.locator("p:text('fitbot writes another answer')").count()
    route.continue_() if is_another else greedy(route)


def open_page(
    browser: "Browser", url: str, size: tuple[int, int], send: "Callable[[Route], None]" = greedy
) -> "Page":
    """Open the chat page, at twice the pixels, and wait until it offers questions."""
    viewport: Any = {"width": size[0], "height": size[1]}
    page = browser.new_page(viewport=viewport, device_scale_factor=2)
    page.route("**/v1/chat/completions", send)
    page.goto(url)
    page.wait_for_selector("#questions button")
    return page


def ask_offered(page: "Page", places: Sequence[int]) -> None:
    """Click on the first of these questions and type the others, as the list is gone by then."""
    offered = page.locator("#questions button").all_inner_texts()
    page.get_by_role("button", name=offered[places[0]], exact=True).click()
    for place in places[1:]:
        page.wait_for_selector("#log[aria-busy=false] .assistant:last-child")
        page.fill("#question", offered[place])
        page.press("#question", "Enter")
    page.wait_for_selector("#log[aria-busy=false] .assistant:last-child")
    page.evaluate("document.activeElement.blur()")


def chat(adapter: Path | None, typed: Sequence[str]) -> str:
    """Have a conversation with `fitbot chat` in a terminal; returns what that shows."""
    import pty  # Windows has none

    ours, theirs = pty.openpty()
    options = command("chat", adapter, "--temperature=0")
    process = subprocess.Popen(
        options, stdin=theirs, stdout=theirs, stderr=theirs, env=environment()
    )
    os.close(theirs)
    shown, lines = "", [*typed, ""]
    with suppress(OSError):  # the terminal is closed
        while piece := os.read(ours, 4096):
            shown += piece.decode(errors="replace")
            if lines and shown.endswith("> "):
                os.write(ours, f"{lines.pop(0)}\n".encode())
    os.close(ours)
    if process.wait():
        sys.exit(f"fitbot chat ended with status {process.returncode}:\n{shown}")
    text = _ESCAPES.sub("", shown).replace("\r\n", "\n").rstrip().removesuffix(">").rstrip()
    return f"$ fitbot chat\n{text}"


@contextmanager
def chromium() -> Iterator["Browser"]:
    """Open a browser."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        sys.exit("there is no Chromium here; on Debian: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


def choose(page: "Page", shoot: Callable[[str], None]) -> bool:
    """Ask until of two answers one is right, and choose it; False if nothing was learned from that.

    A fifth of all questions is kept aside, to check versions with; then the next one is asked.
    """
    for question, right in TAUGHT.items():
        page.click("#new")
        page.fill("#question", question)
        page.press("#question", "Enter")
        page.wait_for_selector("#log[aria-busy=false] .assistant:last-child")
        shoot("question")
        place = _right_side(page, right)
        if place is None:
            continue
        page.locator(".side").nth(place).hover()
        shoot("answers")
        with page.expect_response("**/v1/learning/choices") as stored:
            page.keyboard.press(str(place + 1))
        if not stored.value.json()["held_out"]:
            return True
    return False


def _right_side(page: "Page", right: str) -> int | None:
    """Have other answers drawn until one of the two is right; return its place."""
    for _ in range(_DRAWS):
        page.get_by_role("button", name="Another answer").click()
        page.wait_for_selector(".pair, .actions button:text('Another answer')")
        shown = page.locator(".side > .text").all_inner_texts()
        fits = [bool(re.search(right, text)) for text in shown]
        if sum(fits) == 1:
            return fits.index(True)
        if shown:
            page.keyboard.press("Escape")
    return None


def lesson(browser: "Browser", url: str, out: Path) -> None:
    """Take the pictures of one lesson of a server that learns."""
    page = open_page(browser, url, _LESSON_SIZE, greedy_once)

    def shoot(name: str) -> None:
        place = LESSON.index(name) + 1
        page.screenshot(path=out / f"learning-{place}-{name}.png")

    page.wait_for_selector("#learning:visible")
    if not choose(page, shoot):
        sys.exit("to no question the model gave a right answer and a wrong one; try it again")
    page.set_default_timeout(1000 * _READY_SECONDS)
    page.wait_for_selector("#learner:has-text('step')")
    shoot("learning")
    page.wait_for_selector("#learner:text-matches('answers (now|on)')")
    shoot("checked")
    question = page.locator(".user > .text").first.inner_text()
    page.set_viewport_size({"width": _LESSON_SIZE[0], "height": 900})
    page.click("#show-versions")
    page.wait_for_selector(".version table")
    page.fill(".trial input", question)
    page.press(".trial input", "Enter")
    page.wait_for_selector("#versions .sides[aria-busy=false]")
    shoot("versions")


def take_lesson(adapter: Path | None, out: Path) -> None:
    """Take them of fitbot's own server."""
    out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        chromium() as browser,
        serving(adapter and adapter.resolve(), "--learn", cwd=folder) as url,
    ):
        lesson(browser, url, out)


def take(adapter: Path | None, out: Path) -> None:
    """Take all pictures but those of a lesson."""
    out.mkdir(parents=True, exist_ok=True)
    text = chat(adapter, [str(place + 1) for place in ASKED])
    with chromium() as browser:
        with serving(adapter) as url:
            for name, size in SIZES.items():
                page = open_page(browser, url, size)
                if name != "start":
                    ask_offered(page, ASKED)
                page.screenshot(path=out / f"{name}.png")
        page = browser.new_page(device_scale_factor=2)
        page.set_content(_TERMINAL.replace("{text}", html.escape(text)))
        page.locator("pre").screenshot(path=out / "terminal.png")


def main() -> None:
    """Take them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    parser.add_argument("--learning", action="store_true")
    options = parser.parse_args()
    (take_lesson if options.learning else take)(options.adapter, options.out)


if __name__ == "__main__":
    main()
