"""How far a loop is: a bar in a terminal, a changing line in a notebook, elsewhere lines.

It is drawn on stderr, and anew by time, not by steps.
"""

import logging
import os
import sys
import time
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any

from tqdm import tqdm

logger = logging.getLogger(__name__)

_BAR = "{desc} {n_fmt}/{total_fmt} |{bar}| {remaining} left{postfix}"
_BAR_SECONDS, _NOTEBOOK_SECONDS = 0.2, 1.0  # between two drawings
_LINE_SECONDS, _LINE_SHARE = 10.0, 0.05  # between two lines; at least this share of the time so far


class Progress(AbstractContextManager["Progress"]):
    """Shows how far a loop is; a context that ends the display."""

    def __init__(self, what: str, total: int, *, done: int = 0, shown: bool = True):
        """Start to count.

        Args:
            what: Named in front, such as "fit".
            total: Units that there are.
            done: Units that were done before.
            shown: False draws nothing, as in all processes but the first.
        """
        self._what, self._total, self._done, self._before = what, total, done, done
        self._figures = ""
        self._started = time.monotonic()
        self._bar: Any = None
        self._cell: Any = None  # IPython's handle of what is displayed
        self._in_notebook, self._shown = _in_notebook(), shown
        self._wait = _NOTEBOOK_SECONDS if self._in_notebook else _LINE_SECONDS
        self._due = self._started + self._wait
        if shown and not self._in_notebook and _is_terminal():
            self._bar = tqdm(
                desc=what,
                total=total,
                initial=done,
                bar_format=_BAR,
                dynamic_ncols=True,
                leave=False,
                miniters=1,
                mininterval=_BAR_SECONDS,
            )

    def update(self, count: int = 1, figures: str = "") -> None:
        """Count units that are done.

        Args:
            count: How many; of the last ones no more than there are.
            figures: Shown behind, such as "loss 0.612"; "" leaves the last ones.
        """
        count = min(count, self._total - self._done)
        self._done += count
        self._figures = figures or self._figures
        if self._bar is not None:
            self._bar.set_postfix_str(self._figures, refresh=False)
            self._bar.update(count)
        elif self._shown and time.monotonic() >= self._due:
            self._show()

    def close(self) -> None:
        """End the display; in a notebook the last state stays."""
        if self._bar is not None:
            self._bar.close()
        elif self._cell is not None:
            self._show()
        self._shown = False

    def __exit__(self, *_: object) -> None:
        self.close()

    def _show(self) -> None:
        if self._in_notebook:
            self._show_cell({"text/plain": str(self)})
        else:
            logger.info("%s", str(self))
            self._wait = max(_LINE_SECONDS, _LINE_SHARE * (time.monotonic() - self._started))
        self._due = time.monotonic() + self._wait

    def _show_cell(self, content: dict[str, str]) -> None:
        # One output that is replaced; a bar of characters would leave a line for every drawing.
        if self._cell is not None:
            self._cell.update(content, raw=True)
            return
        from IPython.display import display

        show: Any = display  # IPython leaves it without types
        self._cell = show(content, raw=True, display_id=True)

    def __str__(self) -> str:
        """Return it as one line.

        >>> str(Progress("fit", 3500, done=120))
        'fit: 120 of 3,500'
        """
        taken, done = time.monotonic() - self._started, self._done - self._before
        parts = [f"{self._what}: {self._done:,} of {self._total:,}"]
        if done and self._done < self._total:
            left = taken / done * (self._total - self._done)
            parts.append(f"{tqdm.format_interval(left)} left")
        elif done:
            parts.append(f"in {tqdm.format_interval(taken)}")
        return ", ".join([*parts, self._figures] if self._figures else parts)


class AboveTheBar(logging.Handler):
    """Writes to the terminal without breaking a progress bar in two."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, above the bar if there is one."""
        tqdm.write(self.format(record), file=sys.stderr)


def can_draw() -> bool:
    """Say whether tqdm's bars are drawn in one place: in a terminal, or as a notebook's widgets."""
    return _is_terminal() or (_in_notebook() and find_spec("ipywidgets") is not None)


def _in_notebook() -> bool:
    """Say whether this is a notebook's kernel."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython

    return get_ipython() is not None


def _is_terminal() -> bool:
    # What a notebook runs by `!` has a terminal that cannot go back to the beginning of a line.
    return sys.stderr.isatty() and "JPY_PARENT_PID" not in os.environ
