"""Text for a terminal."""

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


def wrap(text: str, first: str, later: str) -> list[str]:
    """Break a text into lines of the terminal's width, the first indented as `first` says."""
    # Spaces inside the text are columns.
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=later,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


_BARS = " ▁▂▃▄▅▆▇█"
