"""Faults that answers have whatever was asked."""

import pytest

from fitbot.evaluation.answer_rates import ANSWER_ERRORS, find_errors

GOOD = "About 120 g a day: tofu, beans and 2 eggs. Eat, rest, lift, and eat again."


@pytest.mark.parametrize(
    ("text", "thought", "finished", "faults"),
    [
        (GOOD, "", True, ()),
        ("- Squat\n- Lunge\n- Hop\n- Run", "", True, ()),
        ("Yes.", "", True, ()),
        ("no no no", "", True, ()),
        (" \n.", "", True, ("empty",)),
        ("Rest.", "Hm.", True, ("thinking",)),
        ("Hm.</think> Rest.", "", True, ("thinking",)),
        (GOOD, "", False, ("unfinished",)),
        ("Eat beans and rice. " * 4, "", True, ("looping",)),
        ("So: " + "very " * 9 + "good", "", True, ("looping",)),
        ("ha" * 12, "", True, ("looping",)),
        ("", "Hm", False, ("empty", "thinking", "unfinished")),
    ],
)
def test_faults_are_found_where_they_are(
    text: str, thought: str, finished: bool, faults: tuple[str, ...]
) -> None:
    assert find_errors(text, thought, finished=finished) == faults
    assert set(faults) <= set(ANSWER_ERRORS)
