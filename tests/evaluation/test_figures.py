"""Figures and times are read with their units, and count as a result or do not."""

import pytest

from fitbot.evaluation.figures import concludes, figures, takes, times


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("82.5 kg", True),
        ("82.5.", True),
        ("Put 31.25 kg on each side of the 20 kg bar: 82.5 kilos.", True),
        ("20 + 2 x 31.25 = 82.5", True),
        ("82.5 lb", False),  # another unit
        ("80 or 82.5 kg", False),  # two results
        ("80, or 82.5 kg", False),
        ("82.5 to 90 kg", False),
        ("82.5-85 kg", False),
        ("It is 85 kg. Well, 82.5 kg.", False),  # the trap beside it
        ("80 kg", False),
        (", ".join(map(str, range(60, 84))) + ", 82.5", False),  # everything
        ("", False),
    ],
)
def test_a_figure_is_the_result_where_it_alone_is_given(answer: str, right: bool) -> None:
    assert concludes(answer, 82.5, unit="kg", within=0.002, traps=[85]) is right


def test_a_figure_without_a_unit_or_in_words_counts_and_a_clock_does_not() -> None:
    assert [value for value, _, _ in figures("the 25s, two plates, 3 reps at 5:10", "kg")] == [
        25,
        2,
    ]


@pytest.mark.parametrize(
    "answer", ["52:07", "52 min 7 s", "52 minutes and 7 seconds", "0:52:07", "3127 s", "52:07/km"]
)
def test_times_are_read_as_people_write_them(answer: str) -> None:
    assert takes(answer, 3127, within=0)
    assert not takes(answer, 3100, within=0.004)
    assert not takes(f"{answer} or 50:00", 3127, within=0, traps=[3000])


def test_hours_are_read_too() -> None:
    assert times("3 h 24 min") == [12240]
    assert times("1.5 hours") == [5400]
    assert times("1:44:10") == [6250]
    assert set(times("3:45")) == {225, 13500}  # either
