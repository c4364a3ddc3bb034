"""One-rep maxima and percentages of them."""

from collections.abc import Iterator

from formulas import brzycki, epley, lombardi
from question import Question, figure, verdict

_EPLEY = "Epley 1985: weight (1 + reps / 30)"
_BRZYCKI = "Brzycki 1993: 36 weight / (37 - reps)"
_LOMBARDI = "Lombardi 1989: weight reps^0.10"
_SHARE = "percentages"
_RIR = "Zourdos et al. 2016: RPE 10 less the repetitions in reserve"


def questions() -> Iterator[Question]:
    """Yield them all."""
    yield from _from_templates()
    yield from _by_hand()
    yield from _shares()


def _from_templates() -> Iterator[Question]:
    for lift, weight, reps, unit in (
        ("bench", 80, 6, "kg"),
        ("squat", 120, 5, "kg"),
        ("deadlift", 150, 3, "kg"),
        ("overhead press", 45, 8, "kg"),
        ("squat", 225, 8, "lb"),
    ):
        found = epley(weight, reps)
        yield figure(
            f"{reps} reps with {weight} {unit} on {lift}. Estimated 1RM by Epley?",
            found,
            unit,
            f"Epley puts you at about {found:.1f} {unit}.",
            f"About {found * 1.12:.0f} {unit}.",
            _EPLEY,
            within=0.01,
            template=True,
        )
    for lift, weight, reps, unit in (
        ("bench press", 70, 5, "kg"),
        ("squat", 110, 7, "kg"),
        ("row", 60, 10, "kg"),
        ("deadlift", 315, 4, "lb"),
    ):
        found = brzycki(weight, reps)
        yield figure(
            f"Use Brzycki: {lift}, {weight} {unit} for {reps}. What's my one-rep max?",
            found,
            unit,
            f"That works out at roughly {found:.1f} {unit}.",
            f"{weight + 2 * reps + 9:.0f} {unit}",
            _BRZYCKI,
            within=0.01,
            template=True,
        )
    for most, share in ((140, 85), (95, 60), (180, 72.5), (62.5, 80)):
        yield figure(
            f"What is {share:g}% of a {most:g} kg max?",
            most * share / 100,
            "kg",
            f"{most * share / 100:g} kg",
            f"{most * (share + 6) / 100:g} kg",
            _SHARE,
            template=True,
        )


def _by_hand() -> Iterator[Question]:
    yield figure(
        "100 for 10 on the leg press of all things lol. epley 1rm? in kg",
        epley(100, 10),
        "kg",
        "133 kg give or take",
        "110 kg",
        _EPLEY,
        within=0.01,
    )
    yield figure(
        "Brzycki for the same thing, 100 kg x 10: what does it give?",
        brzycki(100, 10),
        "kg",
        "Brzycki is 133.3 kg here as well.",
        "It gives 127 kg.",
        _BRZYCKI,
        within=0.005,
    )
    yield figure(
        "There's a formula by Lombardi, weight times reps to the power 0.1. For 90 kg and 5 reps?",
        lombardi(90, 5),
        "kg",
        "5^0.1 is 1.175, so 105.7 kg.",
        "It's 99 kg.",
        _LOMBARDI,
        within=0.006,
    )
    yield figure(
        "my max bench is 120. going backwards through epley what should i manage for 6 reps, kilos",
        120 / 1.2,
        "kg",
        "120 / 1.2, so about 100 kg for six.",
        "You should get 108 kg.",
        _EPLEY,
        within=0.01,
    )
    yield figure(
        "Turn Brzycki round: max 150 kg, which weight should go for exactly 7 reps?",
        150 * 30 / 36,
        "kg",
        "150 x 30/36 is 125 kg.",
        "130 kg",
        _BRZYCKI,
        within=0.005,
    )
    yield figure(
        "I squatted 130 x 4 in January and 135 x 4 now. By how many kilos has the Epley estimate "
        "risen? Round to half a kilo.",
        epley(135, 4) - epley(130, 4),
        "kg",
        "From 147.3 to 153: 5.5 kg or a bit more, 5.67 to be exact.",
        "By 4.5 kg.",
        _EPLEY,
        within=0.04,
    )
    yield verdict(
        "Which is the better performance by Epley, is 100 kg x 8 better than 110 kg x 4? Yes or no, "
        "and both estimates.",
        "yes",
        ["126.7", "126", "127", "126.67"],
        "Yes: 126.7 kg against 124.7 kg.",
        "No, 110 x 4 is better, 132 against 120.",
        _EPLEY,
    )
    yield figure(
        "Bodyweight 80 kg plus 20 on the belt, 5 dips. Epley on the total load. How much total is "
        "that for one?",
        epley(100, 5),
        "kg",
        "100 kg x 1.167 = 116.7 kg including yourself.",
        "23.3 kg",
        _EPLEY,
        within=0.01,
    )
    yield figure(
        "Did 8 at RPE 8. How many could I have done at most?",
        10,
        "reps",
        "RPE 8 leaves two in the tank, so 10 reps.",
        "16 reps",
        _RIR,
    )
    yield figure(
        "coach wrote sets of 5 @ RPE 7. how many reps are left in reserve then",
        3,
        "reps",
        "Three reps in reserve.",
        "7 reps.",
        _RIR,
    )


def _shares() -> Iterator[Question]:
    yield figure(
        "Wendler 5/3/1 starts from a training max of 90 % of the real one. Mine is 140 kg real. "
        "Training max?",
        126,
        "kg",
        "126 kg is your training max.",
        "130 kg",
        "Wendler 5/3/1: 90 %",
    )
    yield figure(
        "5/3/1, first week, top set is 85% of the training max. Training max 100 lb press... what's "
        "on the bar",
        85,
        "lb",
        "85 lb",
        "90 lb",
        "Wendler 5/3/1, week 1: 65, 75, 85 %",
    )
    yield figure(
        "Deload at 60 percent. I normally squat 105 for my sets. How heavy?",
        63,
        "kg",
        "63 kg for the deload.",
        "42 kg",
        _SHARE,
    )
    yield figure(
        "I lifted 90 kg and my max is 120. What percentage was it?",
        75,
        "%",
        "Exactly 75 %.",
        "133 %",
        _SHARE,
    )
    yield figure(
        "total volume: 5 sets of 5 at 80 kg, in kilos?",
        2000,
        "kg",
        "25 reps at 80 make 2,000 kg.",
        "400 kg",
        "volume = sets x reps x load",
    )
    yield figure(
        "4 x 8 at 55 kg vs what i did last week, 3 x 10 at 55. how many kg more in total",
        4 * 8 * 55 - 3 * 10 * 55,
        "kg",
        "1,760 against 1,650, so 110 kg more.",
        "55 kg more",
        "volume = sets x reps x load",
    )
    yield figure(
        "If I add 2.5 kg every week from 60, what am I benching after eight weeks of that?",
        80,
        "kg",
        "60 + 8 x 2.5 = 80 kg.",
        "77.5 kg",
        "linear progression",
    )
