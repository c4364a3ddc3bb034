"""Pages name files, headings, commands and options that there are; their commands are run.

A block of commands says behind its language what becomes of it: `bash run` and `python run` are run
here, in a folder with the project's data; `bash needs gpu` cannot be, and says why. All that a page
runs is one session, from top to bottom.
"""

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from fitbot.__main__ import COMMANDS
from fitbot.commands import fit_help
from tests.conftest import ROOT

sys.path.append(str(ROOT / "docs"))
import reference_pages

DOCS = ROOT / "docs"
GENERATED = {reference_pages.REFERENCE / f"{name}.md" for name in reference_pages.PAGES}
SITE = sorted({ROOT / "README.md", *DOCS.rglob("*.md")} - GENERATED)
PAGES = sorted(
    page
    for page in {*SITE, *ROOT.glob("*.md"), *ROOT.glob("*/README.md")}
    if page.name != "CHANGELOG.md"  # it speaks of what was
)
NEEDS = {
    *("gpu", "gpus", "hub", "network", "cluster"),
    *("a server", "a model", "vllm", "llama-server", "ollama"),
    "minutes",  # more than one, on two cores
}
OTHER_OPTIONS = {"--config", "--ckpt_path", "--print_config", "--help"}  # of fit, beside settings


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    mark: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    found = re.findall(r"^```(\w+)(.*)\n([\s\S]*?)^```$", page.read_text(encoding="utf-8"), re.M)
    return [Block(language, mark.strip(), text) for language, mark, text in found]


def prose_of(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```[\s\S]*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
each_of_the_site = pytest.mark.parametrize("page", SITE, ids=name_of)


@functools.cache
def headings_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts and the site make them."""
    titles = re.findall(r"^#+ (.*)$", prose_of(page), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@each_page
def test_links_and_pictures_lead_to_files_and_headings(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    here = [link.partition("#") for link in links if not re.match(r"[a-z]+:", link)]

    for file, _, anchor in here:
        target = (page.parent / file).resolve() if file else page
        assert target in GENERATED or target.exists(), file
        assert not anchor or target.suffix != ".md" or anchor in headings_of(target), (file, anchor)


@each_page
def test_paths_in_code_are_files_of_the_project(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(
        r"`((?:fitbot|configs|data|docs|serve|tests|benchmarks|notebooks)/[\w./-]+)`", text
    )
    tests = re.findall(r"pytest (tests/[\w./]+)", text)

    assert [path for path in [*named, *tests] if not (ROOT / path).exists()] == []


@each_page
def test_commands_are_those_of_fitbot(page: Path) -> None:
    fenced = [block.text for block in blocks_of(page) if block.language == "bash"]
    code = "\n".join([*fenced, *re.findall(r"^ {4}.*$|`[^`\n]+`", prose_of(page), re.M)])

    named = re.findall(r"(?:^|[\s`])fitbot ([a-z]+)\b", code, re.M)
    assert set(named) <= {*COMMANDS, "eager"}  # `fitbot eager` is a contender of the benchmarks


# -- blocks of commands ----------------------------------------------------------------------------


@each_of_the_site
def test_every_block_of_commands_is_run_or_says_what_it_needs(page: Path) -> None:
    blocks = [block for block in blocks_of(page) if block.language in ("bash", "python")]
    unmarked = re.findall(r"^ {4,}(?:fitbot|make|python|pip|curl) .*$", prose_of(page), re.M)

    known = {"run", *(f"needs {what}" for what in NEEDS)}
    assert [block for block in blocks if block.mark not in known] == []
    assert unmarked == []


@functools.cache
def options_of(command: str) -> set[str]:
    named = re.findall(r"(?<![\w-])--[\w.-]+", reference_pages.help_of(command))
    if command not in (*reference_pages.FITS, "ray"):
        return set(named)
    settings = {
        f"--{setting.name}"
        for group in fit_help.SECTIONS
        for setting in reference_pages.settings_of(group)
    }
    return {*named, *settings, *OTHER_OPTIONS}


def fitbot_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every call of fitbot in a block, from the command on."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if "fitbot" in words:
            yield words[words.index("fitbot") + 1 :]


@each_of_the_site
def test_options_are_those_of_the_command(page: Path) -> None:
    texts = [block.text for block in blocks_of(page) if block.language == "bash"]

    for command, *words in (words for text in texts for words in fitbot_commands(text)):
        if command.startswith("-"):
            continue
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        free = {word for word in options if word.startswith("--trainer.")}
        assert options - free <= options_of(command), (command, words)


def test_settings_of_the_reference_are_those_of_fit() -> None:
    sources = [path.read_text(encoding="utf-8") for path in ROOT.glob("fitbot/commands/*.py")]
    groups = re.findall(r'add_class_arguments\((\w+), "(\w+)"', "".join(sources))

    assert set(groups) == {
        (name, group)
        for group, (_, name, _) in fit_help.SECTIONS.items()
        if group not in ("model", "model.lora", "data")  # Lightning's own
    }
    for group in fit_help.SECTIONS:
        assert all(setting.meaning for setting in reference_pages.settings_of(group))


# -- what takes a minute ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with the project's data and a short run, and the environment of its shell."""
    folder = tmp_path_factory.mktemp("session")
    (folder / "bin").mkdir()
    for name, words in (("fitbot", "-m fitbot "), ("python", "")):
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {words}"$@"\n')
        script.chmod(0o755)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    page = folder / "page"
    page.mkdir()
    for name in ("data", "configs"):
        (page / name).symlink_to(ROOT / name)
    for file in DOCS.glob("how-to/*.csv"):
        shutil.copy(file, page)
    command = "fitbot fit --config configs/quickstart.yaml --trainer.max_steps 4"
    command += " --data.train_limit 64 --data.val_limit 40"
    subprocess.run(command.split(), cwd=page, env=environment, check=True)
    return page, environment


def runs_something(page: Path) -> bool:
    return any(block.mark == "run" for block in blocks_of(page))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in SITE if runs_something(page)], ids=name_of)
def test_what_a_page_says_can_be_run_is_run(
    page: Path, session: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    prepared, environment = session
    folder = tmp_path / "page"
    shutil.copytree(prepared, folder, symlinks=True)
    blocks = [block for block in blocks_of(page) if block.mark == "run"]
    (folder / "page.py").write_text(
        "\n".join(block.text for block in blocks if block.language == "python"), encoding="utf-8"
    )

    for block in [*blocks, Block("bash", "run", "python page.py")]:
        if block.language == "bash":
            done = subprocess.run(
                ["bash", "-euc", block.text],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr[-3000:]}"


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(tmp_path)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr[-5000:]
    assert (tmp_path / "reference" / "commands.html").is_file()
