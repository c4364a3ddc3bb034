"""Pictures and HTML as a notebook shows them; nothing here needs a notebook.

A notebook's page may be light or dark and does not say which. So pictures have a white background,
and HTML takes the page's text colour and only tints the background.
"""

import io
from dataclasses import dataclass
from typing import Any

_DPI = 120


class Picture:
    """A figure as PNG."""

    def __init__(self, figure: Any, label: str):
        """Draw a matplotlib figure; `label` describes it to those who cannot see it."""
        file = io.BytesIO()
        # The same figure gives the same bytes, whatever draws it.
        figure.savefig(file, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
        self.png, self.label = file.getvalue(), label

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        """Return the label, which a notebook keeps beside the picture."""
        return self.label


@dataclass(frozen=True)
class Fragment:
    """A piece of HTML, which is shown as it is, and the same in plain text."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        """Return the plain text."""
        return self.text
