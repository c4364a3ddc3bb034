"""The pictures of page and terminal: taken at the sizes that are said, and of what people see."""

import struct
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.serving.page.conftest import CHROMIUM
from tests.serving.page.learning_server import LearningServer

pytest.importorskip("playwright", reason="pip install playwright")
sys.path.append(str(ROOT / "benchmarks"))
import screenshots


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="apt-get install chromium")
def test_all_pictures_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where no run is
    screenshots.take(None, tmp_path / "pictures")

    found = {file.stem: file.read_bytes() for file in (tmp_path / "pictures").iterdir()}
    assert set(found) == set(screenshots.TAKEN)
    sizes = {name: struct.unpack(">II", png[16:24]) for name, png in found.items()}
    for name, (width, height) in screenshots.SIZES.items():
        assert sizes[name] == (2 * width, 2 * height)
    assert len(set(found.values())) == len(found)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="apt-get install chromium")
def test_a_lesson_is_taken_in_five_pictures(tmp_path: Path) -> None:
    server = LearningServer(pace=0.3)
    try:
        with screenshots.chromium() as browser:
            screenshots.lesson(browser, server.url, tmp_path)
    finally:
        server.stop()

    (choice,) = server.choices.values()
    assert server.texts[choice["chosen"]] == "Rest 2 to 3 minutes."
    names = [f"learning-{place + 1}-{name}.png" for place, name in enumerate(screenshots.LESSON)]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == len(names)


@pytest.mark.slow
def test_the_terminal_is_what_a_person_sees_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    lines = screenshots.chat(None, ["2"]).splitlines()

    assert lines[0] == "$ fitbot chat"
    assert "> 2" in lines
    assert lines[lines.index("> 2") + 2]  # after the question that was meant, its answer
    assert not any("\x1b" in line or "\r" in line for line in lines)
