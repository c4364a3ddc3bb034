"""README and the documents name files and commands that there are."""

import re
from pathlib import Path

import pytest

from fitbot.__main__ import COMMANDS
from tests.conftest import ROOT

PAGES = sorted(
    page
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]
    if page.name != "CHANGELOG.md"  # it speaks of what was
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    here = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:", link)]

    assert [link for link in here if link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_in_code_are_files_of_the_project(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(
        r"`((?:fitbot|configs|data|docs|serve|tests|benchmarks|notebooks)/[\w./-]+)`", text
    )
    tests = re.findall(r"pytest (tests/[\w./]+)", text)

    assert [path for path in [*named, *tests] if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_those_of_fitbot(page: Path) -> None:
    named = re.findall(r"(?:`|^ {4})fitbot ([a-z]+)\b", page.read_text(encoding="utf-8"), re.M)

    assert set(named) <= {*COMMANDS, "eager"}  # `fitbot eager` is a contender of the benchmarks
