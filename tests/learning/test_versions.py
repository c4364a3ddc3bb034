"""The registry of versions: what is written whole, undone, damaged, named and swept."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fitbot.errors import AdapterError, ConfigError
from fitbot.learning.gate import BETTER, NOT_WORSE, PAIRS, REFUSED
from fitbot.learning.versions import UNDONE, Version, Versions


def add(
    versions: Versions,
    parent: int,
    state: str = NOT_WORSE,
    *,
    answers: bool = False,
    **more: object,
) -> Version:
    """Write a version with an adapter that is none but looks like one."""
    number = versions.next_number()
    with versions.writing(number) as adapter:
        adapter.mkdir()
        (adapter / "adapter_config.json").write_text("{}")
        (adapter / "adapter_model.safetensors").write_text(f"weights of {number}")
        version = Version(number, parent, state, "because", **more)  # type: ignore[arg-type]
        return versions.add(version, {PAIRS: {"0": 1.0}}, answers=answers)


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(tmp_path)


def test_versions_are_found_again_as_they_were_written(versions: Versions) -> None:
    added = add(versions, 0, choices=(3, 4), seed=5, better=(PAIRS,), figures={"a": 1})

    assert Versions(versions.folder.parent).all() == [added]
    assert versions.named("fitbot@1") == added
    assert versions.outcomes(1) == {PAIRS: {"0": 1.0}}
    assert versions.current == 0  # until it is made current


def test_the_current_version_is_undone_and_made_current_again(versions: Versions) -> None:
    add(versions, 0)
    add(versions, 1)
    versions.make_current(2)

    assert versions.undo().number == 1
    assert versions.current == 1
    assert versions.get(2).state == UNDONE
    assert versions.make_current(2).state == NOT_WORSE
    assert versions.current == 2
    versions.undo()
    versions.undo()
    with pytest.raises(ConfigError, match="the base answers"):
        versions.undo()


def test_numbers_of_refused_versions_are_not_used_again(versions: Versions) -> None:
    add(versions, 0, REFUSED)

    assert versions.next_number() == 2


def test_the_best_version_is_the_latest_in_the_line_that_was_shown_better(
    versions: Versions,
) -> None:
    add(versions, 0, BETTER, better=(PAIRS,))
    add(versions, 0, BETTER, better=(PAIRS,))  # of another line
    add(versions, 1)

    assert versions.best(3, PAIRS) == 1
    assert versions.best(3, "right answers") == 0


@pytest.mark.parametrize("name", ["fitbot@", "fitbot@x", "other@1", "fitbot", "fitbot@9", "1"])
def test_a_name_of_no_version_is_refused(versions: Versions, name: str) -> None:
    with pytest.raises(ConfigError, match=r"no version"):
        versions.named(name)


def test_damaged_weights_are_refused_and_the_current_version_stays(versions: Versions) -> None:
    add(versions, 0)
    add(versions, 1)
    versions.make_current(1)
    (versions.folder / "2" / "adapter" / "adapter_model.safetensors").write_text("other")

    with pytest.raises(AdapterError, match=r"fitbot@2: .* was changed since it was made"):
        versions.make_current(2)
    assert versions.current == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"number": 3}', '{"number": 1, "state": "x"}'])
def test_a_damaged_record_is_named(versions: Versions, text: str) -> None:
    add(versions, 0)
    file = versions.folder / "1" / "version.json"
    file.write_text(text)

    with pytest.raises(AdapterError, match=rf"{file} is damaged"):
        versions.get(1)


def test_a_damaged_pointer_is_named(versions: Versions) -> None:
    add(versions, 0)
    versions.make_current(1)
    (versions.folder / "current.json").write_text('{"nr": 1}')

    with pytest.raises(AdapterError, match=r"current\.json is damaged"):
        _ = versions.current


def test_a_version_answers_as_soon_as_its_folder_is_there(versions: Versions) -> None:
    add(versions, 0, answers=True)
    pointer = versions.folder / "current.json"
    pointer.write_text('{"number": 1, "next": 2}')  # what a kill before the folder came leaves

    assert versions.current == 1
    add(versions, 1)
    assert versions.current == 2  # and what one after it leaves


def test_a_version_that_was_not_finished_leaves_nothing(versions: Versions) -> None:
    with versions.writing(1) as adapter:
        adapter.mkdir()

    assert versions.all() == []
    assert not list(versions.folder.iterdir())


WRITER = """
import sys
from pathlib import Path
from tests.learning.test_versions import add
from fitbot.learning.versions import Versions
versions = Versions(Path(sys.argv[1]))
versions.sweep()
print("ready", flush=True)
while True:
    add(versions, versions.current, answers=True)
"""


def test_kills_leave_whole_versions_only(tmp_path: Path) -> None:
    for round_ in range(3):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(0.05 + 0.013 * round_)
            os.kill(writer.pid, signal.SIGKILL)
        versions = Versions(tmp_path)
        for version in versions.all():
            versions.adapter(version.number)
        # No version is whole but forgotten: each one answered from the moment it was there.
        assert versions.current == max((one.number for one in versions.all()), default=0)
    versions.sweep()
    assert not list(versions.folder.glob("*.partial"))
    assert versions.current > 3


def test_what_was_learned_on_top_is_taken_back_too(versions: Versions) -> None:
    for parent in range(3):
        add(versions, parent, BETTER)
        versions.make_current(parent + 1)
    add(versions, 3, REFUSED)

    assert versions.take_back(2).number == versions.current == 1

    assert [one.state for one in versions.all()] == [BETTER, UNDONE, UNDONE, REFUSED]
    for number in (0, 4):
        with pytest.raises(ConfigError, match="cannot be taken back"):
            versions.take_back(number)
    versions.make_current(4)  # all the same
    assert versions.take_back(4).number == 3
    assert versions.get(4).state == REFUSED
