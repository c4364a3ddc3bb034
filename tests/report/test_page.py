"""Templates: values are escaped, a missing name stops them, and a wheel holds all of them."""

import re
import tomllib
from pathlib import Path
from typing import Any

import jinja2
import pytest
from markupsafe import Markup

from fitbot.report.page import render, sentence
from fitbot.report.plots import BLUE, GREEN, GREY, ORANGE, as_svg, new_figure
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
    with pytest.raises(jinja2.UndefinedError, match="'headline' is undefined"):
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


def test_the_contents_list_leads_to_every_heading(write: Any) -> None:
    source = (
        '{% extends "report/page.html.j2" %}{% from "report/parts.html.j2" import heading %}'
        "{% block head %}<h1>A</h1>{% endblock %}"
        "{% block body %}{{ heading('What they say: ' ~ t) }}{{ heading('Costs') }}"
        "{% for row in rows %}<p>{{ row }}{% endfor %}{% endblock %}"
    )

    html = write(source, t=EVIL, rows=iter("xy"))  # what can be read once only is shown, too

    linked = re.findall('<li><a href="#([^"]*)">(.*?)</a>', html)
    assert linked == re.findall('<h2 id="([^"]*)">(.*?)</h2>', html)
    assert [anchor for anchor, _ in linked] == ["what-they-say-script-alert-script-b", "costs"]
    assert "<script" not in html
    assert html.index("<h1>") < html.index("<nav") < html.index("<h2")
    assert re.findall("<p>(.)", html) == ["x", "y"]


def test_a_severity_is_a_sign_and_a_word_not_only_a_colour(write: Any) -> None:
    source = '{% from "report/parts.html.j2" import marked %}{{ marked(s, "leak") }}'

    assert "✗ leak" in write(source, s="error")
    assert "▲ leak" in write(source, s="warning")
    assert "✓ leak" in write(source, s="good")


def luminance(colour: str) -> float:
    """WCAG's relative luminance, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_have_the_contrast_that_wcag_asks_for(scheme: int) -> None:
    style = (ROOT / "fitbot" / "report" / "page.html.j2").read_text(encoding="utf-8")
    colours = dict(
        re.findall(r"--(\w+): (#\w{6})", re.findall(r"(?s):root \{(.*?)\}", style)[scheme])
    )

    for ground in (colours["page"], colours["card"]):
        for name in ("ink", "soft", "error", "warning", "good", "link"):
            assert contrast(colours[name], ground) >= 4.5, name  # AA, text
    for drawn in (BLUE, GREEN, GREY, ORANGE):
        assert contrast(drawn, colours["page"]) >= 3, drawn  # AA, graphics
