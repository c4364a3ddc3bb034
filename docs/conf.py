"""Sphinx: Markdown pages by MyST, API pages from docstrings; nothing is fetched."""

import re
import sys
from pathlib import Path
from typing import Any

from fitbot.version import __version__

sys.path.insert(0, str(Path(__file__).parent))
import reference_pages

reference_pages.write_pages()

project, release = "fitbot", __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4  # links to headings
html_theme = "furo"
html_title = f"fitbot {__version__}"
html_show_sphinx = html_show_copyright = False
default_role = "code"  # docstrings write `code` so
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
nitpicky = False
suppress_warnings = ["misc.highlighting_failure"]  # shells that show a prompt or an ellipsis


def offer_files(app: Any, name: str, source: list[str]) -> None:
    """Let links to the Markdown files beside docs/ offer the file; here they are no pages."""
    here = Path(app.srcdir, name).parent

    def offered(link: re.Match[str]) -> str:
        target = (here / link[1]).resolve()
        return link[0] if target.is_relative_to(app.srcdir) else f"](path:{link[1]})"

    source[0] = re.sub(r"\]\(([\w./-]+\.md)(#[\w-]+)?\)", offered, source[0])


def setup(app: Any) -> None:
    """Have Sphinx call it for every page."""
    app.connect("source-read", offer_files)
