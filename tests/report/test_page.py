"""Templates: values are escaped, a missing name stops them, and a wheel holds all of them."""

import tomllib
from pathlib import Path
from typing import Any

import jinja2
import pytest
from markupsafe import Markup

from fitbot.report.page import render, sentence
from fitbot.report.plots import as_svg, new_figure
from tests.conftest import ROOT

EVIL = "<script>alert('&')</script> \"<b>"
TEMPLATES = sorted((ROOT / "fitbot").rglob("*.j2"))


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a template where `render` finds it."""

    def written(source: str, **values: Any) -> str:
        from fitbot.report import page

        environment = page._environment().overlay(
            loader=jinja2.ChoiceLoader(
                [jinja2.DictLoader({"it": source}), jinja2.PackageLoader("fitbot", "")]
            )
        )
        monkeypatch.setattr(page, "_environment", lambda: environment)
        return render("it", **values)

    return written


def test_every_value_is_escaped_but_markup(write: Any) -> None:
    source = '<p title="{{ text }}">{{ text }}{{ plot }}{{ object }}</p>'

    html = write(source, text=EVIL, plot=Markup("<svg>"), object=[EVIL])

    assert html.count("<svg>") == 1
    assert "<script" not in html
    assert "<b" not in html
    assert html.count('"') == 2  # ours, around the title
    assert "'" not in html


def test_texts_are_escaped_in_shared_parts_too(write: Any) -> None:
    imported = '{% from "report/parts.html.j2" import figures, table, unmeasured %}'
    parts = "{% call table([t, '#' ~ t]) %}<tr>{{ figures(t, t) }}</tr>{% endcall %}"

    html = write(f"{imported}{parts}{{{{ unmeasured({{t: t}}) }}}}", t=EVIL)

    assert html.count("&lt;script&gt;") == 6
    assert "<script" not in html
    assert '<th class="n">&lt;script' in html  # the mark is off


def test_a_name_that_is_missing_stops_it() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'audit' is undefined"):
        render("audit/page.html.j2", train="", against="")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_wheel_holds_every_template(path: Path) -> None:
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    package = ".".join(path.parent.relative_to(ROOT).parts)

    assert any(path.match(pattern) for pattern in packaged["package-data"][package])


def test_a_plot_is_one_element_and_its_label_is_escaped() -> None:
    figure, axes = new_figure(height=1)
    axes.set_xlabel(EVIL)

    svg = as_svg(figure, EVIL)

    assert svg.startswith('<svg role="img" aria-label="&lt;script&gt;')
    assert "<script" not in svg
    assert Markup("{}").format(svg) == svg  # a template takes it as it is


def test_a_sentence_keeps_what_it_says() -> None:
    assert sentence("no rule of KL's") == "No rule of KL's."
