"""A jinja2 template and plain data → HTML that needs nothing else: style inside, no script.

A template lies beside the code whose page it is. Every value is escaped, wherever it comes from;
only a `markupsafe.Markup`, such as a plot, is taken for HTML.
"""

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_HEADING = re.compile(r'<h2 id="([^"]*)">(.*?)</h2>')


def render(template: str, **values: Any) -> str:
    """Fill in a template.

    Args:
        template: Its path from the package down, as in "audit/page.html.j2".
        values: What the template uses, by name.

    Raises:
        jinja2.UndefinedError: The template uses a name that is not among them.
    """
    return _environment().get_template(template).render(**values)


def sentence(text: str) -> str:
    """Begin with a capital and end with a full stop.

    >>> sentence("no rule gets there")
    'No rule gets there.'
    """
    return f"{text[0].upper()}{text[1:]}."


def anchor(title: str) -> str:
    """Return what a heading is linked by: its words, with hyphens between them.

    >>> anchor("What they say")
    'what-they-say'
    """
    return "-".join(re.findall(r"\w+", title.lower()))


def headings(body: str) -> list[tuple[str, Markup]]:
    """List the second-level headings of a page that have an anchor: anchor, title.

    >>> headings('<h1>A</h1><h2 id="b-c">B &amp; c</h2>')
    [('b-c', Markup('B &amp; c'))]
    """
    return [(at, Markup(title)) for at, title in _HEADING.findall(body)]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("fitbot", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # {{ 0.25 | fmt(".1%") }} is format(0.25, ".1%"): jinja2's own `format` is printf's.
    environment.filters |= {"fmt": format, "sentence": sentence}
    environment.filters |= {"anchor": anchor, "headings": headings}
    return environment
