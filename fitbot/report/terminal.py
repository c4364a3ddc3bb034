"""Text for a terminal."""

import shutil
import textwrap
from collections.abc import Sequence

WIDTH = 100


def sparkline(counts: Sequence[int]) -> str:
    """Draw a histogram in one line; a bin that is not empty is never drawn so.

    >>> sparkline([0, 1, 40, 80])
    ' ▁▄█'
    """
    most = max(counts)
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in counts)


def columns() -> int:
    """Return how many characters a line may have: as many as fit, and are still read easily."""
    return min(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns)


def wrap(text: str, first: str, later: str) -> list[str]:
    """Break a text into lines that fit the terminal, the first indented as `first` says."""
    # Spaces inside the text are columns.
    return textwrap.wrap(
        text,
        columns(),
        initial_indent=first,
        subsequent_indent=later,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


def shorten(text: str, room: int) -> str:
    """Cut a text that is longer than so many characters, and end it with an ellipsis.

    >>> shorten("one two", 5), shorten("one", 5)
    ('one …', 'one')
    """
    return text if len(text) <= room else f"{text[: room - 1]}…"


_BARS = " ▁▂▃▄▅▆▇█"
