"""The pictures of docs/pictures: each can be drawn, each is shown, and says what a table says."""

import re
import sys

import pytest

from tests.conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import pictures
from screenshots import TAKEN


@pytest.mark.parametrize("name", pictures.DRAWN)
def test_a_picture_can_be_drawn(name: str) -> None:
    figure = pictures.DRAWN[name]()

    figure.draw_without_rendering()
    assert all(axes.has_data() for axes in figure.axes)


def test_every_picture_is_drawn_by_the_script_and_shown_on_a_page() -> None:
    files = {path.stem for path in pictures.PICTURES.iterdir()}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    shown = {
        name
        for page in pages
        for name in re.findall(r"!\[[^\]]+\]\([^)]*pictures/([\w-]+)\.png\)", page.read_text())
    }

    # Those of the page and the terminal are taken by another script.
    assert files - set(TAKEN) == set(pictures.DRAWN)
    assert shown == files


def test_ratios_of_the_speed_picture_are_those_of_the_readme() -> None:
    found = pictures.step_ms(pictures.load("train_h200_published_2026-11-23_all.json"))
    ratio = round(found["trl tuned"] / found["fitbot"])

    assert f"{ratio} times" in (ROOT / "README.md").read_text()
