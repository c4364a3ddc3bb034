"""The learner on a tiny model: lessons, what is taken and refused, kills, stops, and giving way."""

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from fitbot.base_model.settings import LoraSettings
from fitbot.dpo.module import DPOModule
from fitbot.errors import ConfigError
from fitbot.learning.examiner import GateSettings
from fitbot.learning.gate import BETTER, NOT_WORSE, REFUSED, Limits
from fitbot.learning.learner import Learner, LearnerSettings, alone, start
from fitbot.learning.lesson import LessonModule, LessonSettings, Teacher
from fitbot.learning.status import BUSY, status
from fitbot.learning.store import Store
from fitbot.learning.versions import Version, Versions
from fitbot.pairs.formats import Message
from tests.learning.given import add

TAKES_ALL = Limits(worse=0.9, in_all=0.95, drift=100.0)


@dataclass
class Click:
    id: int
    conversation: tuple[Message, ...]
    chosen: str
    rejected: str


def click(number: int, held_out: bool = False) -> Click:
    question = f"{'Held' if held_out else 'Asked'} {number}: rest or run?"
    return Click(number, (Message("user", question),), "Rest today.", "Run today.")


@dataclass
class Memory:
    """The store's reading side, in memory."""

    clicks: list[Click] = field(default_factory=list)
    held_out: list[Click] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)

    def pairs(self, held_out: bool | None = None) -> list[Click]:
        return self.held_out if held_out else self.clicks

    def learned(self, version: str, choice_ids: Sequence[int]) -> list[int]:
        return [one for one in choice_ids if one in self.forgotten]

    def data_version(self) -> int:
        return 1


@pytest.fixture
def settings(base: str, tmp_path: Path) -> LearnerSettings:
    pairs = [
        {
            "question": f"What is {n} and {n}?",
            "chosen": f"It is {2 * n}.",
            "rejected": "No idea.",
            "check": {"number": 2 * n},
            "category": "caution" if n < 4 else "facts",
        }
        for n in range(1, 13)
    ]
    file = tmp_path / "gate.json"
    file.write_text(json.dumps(pairs))
    lesson = LessonSettings(
        base, load_in_4bit=False, lora=LoraSettings(r=2, alpha=4, dropout=0.0), shipped=None,
        steps=2, pairs_per_step=4,
    )  # fmt: skip
    gate = GateSettings((str(file),), TAKES_ALL, max_new_tokens=6)
    return LearnerSettings(tmp_path / "learning", lesson, gate, threads=1)


@pytest.mark.slow
def test_lessons_make_versions_and_the_gate_decides(settings: LearnerSettings) -> None:
    memory = Memory([click(1), click(2)], [click(50, held_out=True)])
    learner = Learner(settings, memory)

    first = learner.learn_once()

    assert first is not None
    assert first.state in (NOT_WORSE, BETTER)
    assert (first.choices, first.parent, first.steps) == ((1, 2), 0, 2)
    assert set(first.seconds or ()) == {"learning", "checking", "writing"}
    assert learner.versions.current == 1
    assert learner.versions.outcomes(1).keys() >= {"held-out choices", "test pairs"}
    assert status(settings.folder)["stage"] == "taken"
    assert learner.learn_once() is None  # nothing is new

    memory.clicks.append(click(3))
    memory.forgotten = [3]
    second = learner.learn_once()

    assert second is not None
    assert (second.state, second.parent, second.choices) == (REFUSED, 1, (3,))
    assert "taken back" in second.reason
    assert learner.versions.current == 1
    assert learner.learn_once() is None  # a refused lesson is not taken again

    # Another process goes on from there, and a few items cannot show two points.
    memory.clicks.append(click(4))
    memory.forgotten = []
    strict = GateSettings(settings.gate.pairs, Limits(drift=100.0), max_new_tokens=6)
    other = LearnerSettings(settings.folder, settings.lesson, strict)
    learner = Learner(other, memory)
    third = learner.learn_once()

    assert third is not None
    assert (third.state, third.parent, third.choices) == (REFUSED, 1, (3, 4))
    assert "does not exclude that it is 2 points worse" in third.reason
    assert (third.unsettled, third.start) == (True, 1)

    # What it learned is gone on from, but not once a choice behind it was taken back.
    memory.clicks.append(click(5))
    fourth = learner.learn_once()
    memory.clicks.remove(click(4))
    fifth = learner.learn_once()

    assert fourth is not None
    assert (fourth.parent, fourth.start, fourth.choices) == (1, 3, (3, 4, 5))
    assert fifth is not None
    assert (fifth.parent, fifth.start, fifth.choices) == (1, 1, (3, 5))


@pytest.mark.slow
def test_it_learns_from_a_store_when_choices_come(settings: LearnerSettings) -> None:
    file = settings.folder / "feedback.sqlite"
    done: list[int] = []
    with Store(file, held_out=0.0) as person, Store(file) as store:
        learner = Learner(settings, store)
        while learner.examiner.prepare(0, 1):
            pass
        assert learner.versions.outcomes(0)["texts"]
        learn_once = learner.learn_once
        looks = []

        def counted() -> Version | None:
            looks.append(version := learn_once())
            done.extend([version.number] if version else [])
            return version

        def choose() -> bool:
            if len(done) == len(person.choices()) < 2:
                one, other = add(person, f"Rest {len(done)}.", "Run.")
                person.add_choice(author="anna", kind="pair", chosen=one, rejected=other)
            return len(done) == 2

        learner.learn_once = counted  # type: ignore[method-assign]
        learner.run(choose)

        assert [version.choices for version in learner.versions.all()] == [(1,), (2,)]
        assert person.learned_ids("fitbot@2") == [2]
        assert len(looks) <= 5  # the store is looked into when it has changed
        assert person.forget("anna") == ["fitbot@1", "fitbot@2"]
        assert learner.learn_once() is None


def test_a_lesson_has_the_gradient_of_a_fit(settings: LearnerSettings) -> None:
    # The step and what it computes are DPOModule's own; only the checks before a run are left out.
    own = set(vars(LessonModule)) - {"__module__", "__doc__", "__firstlineno__"}
    own -= {"__static_attributes__", "__abstractmethods__", "_abc_impl", "__annotations__"}

    assert own == {"on_fit_start"}
    assert issubclass(LessonModule, DPOModule)


def test_a_lesson_moves_towards_what_was_chosen_and_keeps_to_its_drift(
    settings: LearnerSettings,
) -> None:
    teacher = Teacher(settings.lesson)
    pairs = teacher.encode_choices([click(1)])
    before = teacher.margins(pairs)

    teacher.learn([click(1)], [], number=1)

    assert teacher.margins(pairs) > before
    moved = teacher.drift()
    assert moved > 0
    teacher.be(None)
    assert teacher.drift() == pytest.approx(0, abs=1e-6)
    teacher.max_drift = moved / 3
    teacher.learn([click(1)], [], number=1)
    assert 0 < teacher.drift() <= moved / 3


def test_a_learner_gives_way_while_a_server_is_busy(settings: LearnerSettings) -> None:
    learner = Learner(settings, Memory())
    busy = settings.folder / BUSY

    def seconds() -> float:
        start = time.perf_counter()
        learner.give_way()
        return time.perf_counter() - start

    assert seconds() < 0.4
    busy.touch()
    assert 0.4 < seconds() < 5  # until the file is old: a server that died holds up nobody


def test_there_is_one_learner_of_a_folder(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(ConfigError, match="another learner"), alone(tmp_path):
        pass


def wait_for(folder: Path, stages: set[str], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while status(folder).get("stage") not in stages:
        assert time.monotonic() < end, status(folder)
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_or_stopped_learner_harms_nobody(settings: LearnerSettings) -> None:
    versions = Versions(settings.folder)
    for kill in (True, False):
        learner = start(settings, partial(Memory, [click(1), click(2)]))
        assert learner.pid is not None
        wait_for(settings.folder, {"learning", "checking"})
        os.kill(learner.pid, signal.SIGSTOP)  # whoever reads does not wait for it
        assert status(settings.folder)["stage"] in ("learning", "checking", "taken")
        assert versions.current in (0, 1)
        if kill:
            os.kill(learner.pid, signal.SIGKILL)
            learner.join()
            assert all(versions.adapter(one.number) for one in versions.all())
            continue
        os.kill(learner.pid, signal.SIGCONT)
        wait_for(settings.folder, {"taken"})
        learner.terminate()
        learner.join()
    assert versions.current == 1
    assert not list(versions.folder.glob("*.partial"))
