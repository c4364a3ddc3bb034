"""A jinja2 template and plain data → HTML that needs nothing else: style inside, no script.

A template lies beside the code whose page it is. Every value is escaped, wherever it comes from;
only a `markupsafe.Markup`, such as a plot, is taken for HTML.
"""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


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
    return environment
