"""A blind comparison at the terminal: question and answers as text, then one key."""

import sys
import unicodedata

from fitbot.evaluation.blind.questions import Question
from fitbot.evaluation.blind.session import KEYS, ComparisonSession, Item
from fitbot.platforms import read_key
from fitbot.report.terminal import columns, wrap

SPEAKERS = {"user": "Question", "assistant": "Answer", "system": "Instructions"}
OVER = "The comparison is over."
_OF_ITEM = "1, 2: better   =: equal   s: skip   u: undo   q: quit > "
_AT_END = "Enter: see who is preferred   u: undo the last choice > "
_WAITING = "The next answers are being written."
_CLEAR = "\x1b[H\x1b[2J"


def compare_at_terminal(session: ComparisonSession) -> None:
    """Show items and take keys until the comparison is over, or the person quits.

    Where the input is no terminal, each of its lines is a key, and its end quits.

    Raises:
        ConfigError: The choices cannot be written.
        EngineError: An answer failed.
    """
    while True:
        _begin_screen(_WAITING)
        item = session.current()
        _begin_screen(_item_text(session, item) if item else OVER)
        key = _ask(item)
        while key == "u" and not session.undo():
            _write("There is nothing to undo.\n")
            key = _ask(item)
        if key == "u":
            continue
        if item is None or key is None or key == "q":
            return
        session.choose(item.number, next(one for one in KEYS if one == key))


def _ask(item: Item | None) -> str | None:
    """Read until a key is known for an item, or for the end; None: the input has ended."""
    known: tuple[str, ...] = (*KEYS, "u", "q") if item else ("", "u", "q")
    while True:
        _write(_OF_ITEM if item else _AT_END)
        key = _read_line()
        if key is None or (key := key.strip().lower()) in known:
            return key
        if key:
            _write(f"{key[:20]!r} is no key here.\n")


def _read_line() -> str | None:
    """Wait for a key, which the terminal is shown, or for a line; None: there is no more."""
    if not sys.stdin.isatty():
        return sys.stdin.readline() or None
    while (key := read_key()) == "":
        pass  # an arrow, or another key without a character
    _write(f"{key}\n" if key and key.isprintable() else "\n")
    return key


def _item_text(session: ComparisonSession, item: Item) -> str:
    one, two = item.shown
    parts = [
        f"Comparison {session.compared + 1} of at most {session.most}",
        *_conversation(item.prompt),
        _rule("1"),
        _paragraphs(one),
        _rule("2"),
        _paragraphs(two),
        _rule(""),
    ]
    return "\n".join(parts)


def _conversation(prompt: Question) -> list[str]:
    """Write a question, or the conversation that it ends."""
    return [f"\n{SPEAKERS[turn.role]}\n{_paragraphs(turn.content, '  ')}" for turn in prompt]


def _rule(name: str) -> str:
    return f"\n{f'── {name} ' if name else ''}".ljust(columns() + 1, "─")


def _paragraphs(text: str, indent: str = "") -> str:
    """Break a text into lines that fit; what would move the cursor or colour text is left out."""
    plain = "".join(
        character if character == "\n" or unicodedata.category(character) != "Cc" else " "
        for character in text.expandtabs(4)
    )
    lines: list[str] = []
    for line in plain.splitlines():
        inner = indent + " " * (len(line) - len(line.lstrip()))
        lines += wrap(line.strip(), inner, inner) or [""]
    return "\n".join(lines)


def _begin_screen(text: str) -> None:
    """Write a text; on a terminal at its top, where nothing else is seen."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        _write(f"{_CLEAR}{text}\n")
    elif text != _WAITING:
        _write(f"\n{text}\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
