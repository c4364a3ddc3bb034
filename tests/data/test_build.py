"""What the pairs are built from: triage after the table of signs, frames, loads, levels, foods."""

import csv
import json
import re
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from fitbot.health.layer import open_layer
from fitbot.pairs.formats import Message

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "data" / "build"
sys.path[:0] = [str(BUILD)]

from arithmetic import WEIGHTS, loadable  # noqa: E402
from caution import CHECKS  # noqa: E402
from extract import MOST_APART, value  # noqa: E402
from frames import FRAMES, fits, framed  # noqa: E402
from myths import CLAIMS  # noqa: E402
from scenes import SCENES, URGENT_AND_LESS, Scene  # noqa: E402

SIGNS = {
    sign["sign"]: sign
    for sign in json.loads((ROOT / "data" / "health" / "signs.json").read_text(encoding="utf-8"))
}
# Not in the table, which holds emergencies of the whole body; after the NHS.
ELSEWHERE = {"sprain", "tendon"}


def test_every_scene_is_as_urgent_as_the_table_of_signs_says() -> None:
    urgency = {"sure": "now", "unsure": "today"}
    for scene in SCENES:
        if scene.name in ELSEWHERE:
            assert (scene.sign, scene.level) == ("", "today")
            continue
        assert SIGNS[scene.sign]["kind"] == "emergency", scene.name
        assert scene.level == urgency[SIGNS[scene.sign]["level"]], scene.name


@pytest.mark.parametrize(
    ("report", "level"),
    [
        ("My shoulder slipped out of its joint and I cannot lift the arm.", "now"),
        ("A cut from the gym swells and throbs, and I have a fever.", "now"),
        ("After a hard class my legs are swollen and my urine is brown.", "now"),
    ],
)
def test_what_was_under_triaged_is_an_emergency(report: str, level: str) -> None:
    assert [scene.level for scene in SCENES if report in scene.alarm] == [level]


def test_the_health_layer_tells_the_signs_from_the_harmless_reports() -> None:
    layer = open_layer(encoder="none")

    def kind(report: str) -> str:
        return layer.check([Message("user", report)]).kind

    harmless = [fine.report for scene in SCENES for fine in scene.fine]
    alarms = [report for scene in SCENES if scene.level == "now" for report in scene.alarm]
    # Words alone, without the encoder, raise a false alarm now and then; see docs/health.md.
    assert sum(kind(report) == "emergency" for report in harmless) <= 0.1 * len(harmless)
    assert sum(kind(report) != "ok" for report in alarms) >= 0.9 * len(alarms)


def test_every_harmless_report_has_an_explanation_of_its_own() -> None:
    for scene in SCENES:
        own = [*scene.fine, scene.has_fine]
        assert len({fine.report for fine in own}) == len({fine.tip for fine in own}) == len(own)
        assert len({fine.why for fine in own}) == len(own), scene.name
    (dry,) = (f for s in SCENES for f in s.fine if f.report.startswith("My eyes are dry"))
    assert "sweat" not in dry.why


def test_an_urgent_scene_is_paired_with_one_that_can_wait() -> None:
    level: dict[str, str] = {scene.name: scene.level for scene in SCENES}
    assert {(level[urgent], level[less]) for urgent, less in URGENT_AND_LESS} == {("now", "today")}
    assert set(CHECKS) == {"now", "today", "fine"}
    assert all(isinstance(scene, Scene) for scene in SCENES)


@pytest.mark.parametrize(
    ("frame", "core"),
    [
        ("I am new to this. {q}", "I am far advanced. What is a demanding exercise for the {p}?"),
        ("{q} I have trained for about a year.", "As a complete beginner, what should I do?"),
        ("My friends disagree about it. {q}", "I only have {t}. Which exercise is there?"),
        ("My friends disagree about it. {q}", "Suggest a {m}-minute circuit."),
        ("{q} I am in my thirties and otherwise well.", "How does my grandmother stretch?"),
        ("{q} I am in my thirties and otherwise well.", "Jumping hurts my knees. What now?"),
        ("I have this on my list for today. {q}", "What do I eat after lifting tomorrow?"),
    ],
)
def test_a_frame_does_not_contradict_its_core(frame: str, core: str) -> None:
    (claims,) = (claims for claims, text in FRAMES if text == frame)

    assert not fits(claims, core)
    assert frame.format(q=core) not in framed((core,))
    assert framed((core,))  # others fit


def test_every_load_is_one_that_plates_make() -> None:
    for unit in WEIGHTS:
        assert all(loadable(load, unit.name) for load in unit.loads)
        assert all(loadable(step, unit.name) for step in unit.steps)
    assert not loadable(66.5, "kg")
    assert not loadable(67.5, "lb")


def test_figures_that_differ_by_much_give_their_median() -> None:
    rows = [{"Potassium": figure} for figure in ("89", "153", "161", "")]
    assert value(rows, "Potassium") == "153"
    assert value([{"Iron": "1.0"}, {"Iron": "1.2"}], "Iron") == "1"
    assert value([{"Iron": ""}, {"Iron": "1.2"}], "Iron") == ""

    with (BUILD / "foods.csv").open(encoding="utf-8", newline="") as file:
        foods = {row["food"]: row for row in csv.DictReader(file)}
    assert float(foods["strawberries"]["potassium"]) == median([89, 153, 161])
    assert MOST_APART == 1.3


def test_no_exercise_of_a_doubtful_level_has_one() -> None:
    with (BUILD / "exercises.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    levels: dict[str, Any] = {row["exercise"]: row["level"] for row in rows}

    assert {"beginner", "expert", ""} == set(levels.values())
    hard = r"Snatch|Jerk|Deadlift|Good Morning|Jump|Handstand|Pistol|Clean"
    assert not [e for e, level in levels.items() if level == "beginner" and re.search(hard, e)]
    assert levels["Kettlebell Pistol Squat"] == "expert"


def test_every_claim_has_its_own_reason() -> None:
    reasons = [reason for claim in CLAIMS for reason in claim.reasons]
    assert len(set(reasons)) == len(reasons)
    assert 0.4 < sum(claim.right for claim in CLAIMS) / len(CLAIMS) < 0.6
