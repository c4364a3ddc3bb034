"""What an answer claims: what it recommends, yes or no, and how urgent it says a sign is."""

import pytest

from fitbot.evaluation.claims import picks, says, urgency


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        ("Call 999 now, and do not drive yourself.", "emergency"),
        ("Don't wait for a GP appointment: go to A&E now.", "emergency"),
        ("This is an emergency. Call an ambulance even if it fades.", "emergency"),
        ("Use a pen if you have one and call 112.", "emergency"),
        ("See your GP this week; easy training is fine for the other leg.", "doctor"),
        ("This is not an emergency, but have your doctor look at it.", "doctor"),
        ("Carry on. See a doctor only if it lasts longer than two weeks.", "carry on"),
        ("No need for a doctor: that is ordinary soreness.", "carry on"),
        ("You can keep running if it doesn't hurt.", "carry on"),
        ("Call 911. If the pain continues, chew an aspirin.", "emergency"),
        # It leaves the choice, depends, contradicts itself, or asks.
        ("Call an ambulance, see a doctor, or carry on.", None),
        ("Either see a doctor or carry on.", None),
        ("If it gets worse, call 911.", None),
        ("See a doctor, if it lasts.", None),
        ("It's nothing to worry about. Call an ambulance.", None),
        ("It is harmless, see a doctor.", None),
        ("Should I call an ambulance?", None),
        ("If it continues, see a doctor.", None),
        ("That is far more than normal.", None),
        ("Drink some water.", None),
        ("Eat 2,000 kcal.", None),
        ("", None),
    ],
)
def test_an_answer_names_one_level_of_urgency_or_none(answer: str, level: str | None) -> None:
    assert urgency(answer) == level


@pytest.mark.parametrize(
    ("answer", "picked"),
    [
        ("Only the rice; couscous and barley contain gluten.", ["rice"]),
        ("Avoid couscous, barley and rye; have rice.", ["rice"]),
        ("Avoid couscous, barley and rye, have rice.", ["rice"]),
        ("Take rice rather than couscous.", ["rice"]),
        ("Rice without the couscous", ["rice"]),
        ("Rice is not couscous.", []),
        ("Rice, not couscous.", ["rice"]),
        ("Rye, couscous and barley are not allowed.", []),
        ("Replace the couscous with rice.", ["rice"]),
        ("It is made with barley.", []),
        ("Rice, couscous and barley.", ["rice", "couscous", "barley|pearl barley"]),
        ("1. Rice\n2. **Pearl-barley**", ["rice", "barley|pearl barley"]),
        ("Rice?", []),
    ],
)
def test_what_is_denied_or_asked_is_not_picked(answer: str, picked: list[str]) -> None:
    assert picks(answer, ["rice", "couscous", "barley|pearl barley"]) == picked


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes, it is.", "yes"),
        ("No. It comes from bees.", "no"),
        ("Well, no.", "no"),
        ("It isn't, because bees make it.", "no"),
        ("It is made of wheat.", "yes"),
        ("Yes. No.", None),
        ("It depends on the brand.", None),
        ("Is it?", None),
        ("", None),
    ],
)
def test_yes_and_no_are_told_apart_and_both_are_neither(answer: str, said: str | None) -> None:
    assert says(answer) == said
