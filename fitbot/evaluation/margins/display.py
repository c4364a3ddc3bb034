"""Pictures and markup as a notebook shows them; nothing here needs a notebook.

A notebook's page may be light or dark and does not say which: pictures have a ground of their own,
markup takes the page's ink and only tints the ground.
"""

import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

_DPI = 120

_CELL = "padding:.3em .7em .3em 0;text-align:left;vertical-align:top;white-space:normal"


class Picture:
    """A figure as PNG."""

    def __init__(self, figure: Any, label: str):
        """Draw a matplotlib figure; `label` says what it shows to who cannot see it."""
        file = io.BytesIO()
        # The same figure gives the same bytes, whatever draws it.
        figure.savefig(file, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
        self.png, self.label = file.getvalue(), label

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        """Return the label, which a notebook keeps beside the picture."""
        return self.label


class Markup:
    """A piece of HTML, with the same in plain text."""

    def __init__(self, html: str, text: str):
        """Keep both; whoever writes the HTML has passed all texts through `html.escape`."""
        self.html, self.text = html, text

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        """Return the plain text."""
        return self.text


def table_markup(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; the headings are plain text, the cells HTML."""
    titles = "".join(f'<th style="{_CELL}">{escape(title)}</th>' for title in head)
    lines = ("".join(f'<td style="{_CELL}">{cell}</td>' for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><tr>{titles}</tr>{body}</table>"
