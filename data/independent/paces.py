"""Running and other endurance: paces, splits, predictions."""

from collections.abc import Iterator

from formulas import HALF, MARATHON, MILE, clock, naismith, riegel
from question import Question, figure, time

_PACE = "pace = time / distance"
_RIEGEL = "Riegel 1981, Athletic records and human endurance: t2 = t1 (d2 / d1)^1.06"
_MILE = "1 mile = 1.609344 km"
_NAISMITH = "Naismith 1892: an hour for 5 km, and one for 600 m of ascent"
_DISTANCE = "World Athletics: marathon 42.195 km, half marathon 21.0975 km"


def questions() -> Iterator[Question]:
    """Yield them all."""
    yield from _from_templates()
    yield from _paces()
    yield from _predictions()
    yield from _other_sports()


def _from_templates() -> Iterator[Question]:
    for km, total in ((5, 1590), (10, 2940), (8, 2712), (15, 5175)):
        yield time(
            f"I ran {km} km in {clock(total)}. What was my average pace per km?",
            total / km,
            f"Divide the time by {km}: {clock(total / km)} per km.",
            f"{clock(total / km + 35)} per km",
            _PACE,
            template=True,
        )
    for km, pace in ((10, 325), (HALF, 340), (MARATHON, 345)):
        yield time(
            f"If I hold {clock(pace)} per kilometre for {km:g} km, when do I finish?",
            pace * km,
            f"You'd be done in {clock(pace * km)}.",
            f"After {clock(pace * km * 1.07)}.",
            _DISTANCE if km > 20 else _PACE,
            template=True,
        )
    for pace in (300, 345):
        yield time(
            f"{clock(pace)} min/km, what is that per mile?",
            pace * MILE,
            f"Times 1.609, so {clock(pace * MILE)} a mile.",
            f"{clock(pace / MILE)} per mile",
            _MILE,
            template=True,
        )
    for pace in (480, 570):
        yield time(
            f"An app shows {clock(pace)} per mile. In min/km please.",
            pace / MILE,
            f"{clock(pace / MILE)} per km",
            f"{clock(pace * MILE)} per km",
            _MILE,
            template=True,
        )


def _paces() -> Iterator[Question]:
    yield time(
        "want to break 50 min in the 10k. what pace per km do i need at most",
        300,
        "5:00 per km or quicker",
        "5:50 per km",
        _PACE,
    )
    yield time(
        "For a 4 hour marathon, which average per km? Seconds rounded.",
        14400 / MARATHON,
        "4 h over 42.195 km is about 5:41 per km.",
        "6:00 per km",
        _DISTANCE,
    )
    yield time(
        "Sub 2 half: how fast does each km have to be on average?",
        7200 / HALF,
        "You need roughly 5:41 each km.",
        "6:15 each km",
        _DISTANCE,
    )
    yield time(
        "How long is one 400 m lap if I run 4:30 per km?",
        270 * 0.4,
        "0.4 of 4:30 is 1:48 a lap.",
        "1:58 for each lap",
        _PACE,
    )
    yield time(
        "track session, 8 x 400m at 96 seconds. what km pace is that",
        240,
        "96 s per 400 m = 4:00 per km.",
        "3:36 per km",
        _PACE,
    )
    yield time(
        "treadmill shows 12 km/h. how many minutes per km am i doing",
        300,
        "60 divided by 12: 5 minutes per km.",
        "That's 7:12 per km.",
        _PACE,
    )
    yield time(
        "Treadmill only does mph. At 7.5 mph, how long does one mile take me?",
        480,
        "8 minutes a mile.",
        "7:30 a mile.",
        _PACE,
    )
    yield figure(
        "My pace is 6:00 per km. Which speed do I set on the treadmill, km/h?",
        10,
        "km/h",
        "Set 10 km/h.",
        "6 km/h",
        _PACE,
    )
    yield figure(
        "Ran for 42 minutes at 5:15 per km. How far did I get?",
        8,
        "km",
        "42 / 5.25 = 8 km",
        "8.8 km",
        _PACE,
    )
    yield figure(
        "how many km is a 10 mile race, roughly, one decimal",
        10 * MILE,
        "km",
        "About 16.1 km.",
        "It is 6.2 km.",
        _MILE,
        within=0.004,
    )
    yield figure(
        "A 50 km ultra in miles?",
        50 / MILE,
        "mi",
        "Just over 31 miles, 31.07.",
        "80 miles",
        _MILE,
        within=0.005,
    )
    yield time(
        "First half of my 10k took 27:10. I want 53:00 overall. How quick must the second 5 km be?",
        53 * 60 - 1630,
        "You have 25:50 left for it.",
        "26:30, half of it.",
        _PACE,
    )
    yield time(
        "Parkrun: km splits 5:10, 5:15, 5:20, 5:20, 4:55. Final time?",
        310 + 315 + 320 + 320 + 295,
        "Added up that's 26:00.",
        "25:10",
        _PACE,
    )
    yield time(
        "Run/walk: 4 minutes run, 1 minute walk, seven times in a row. How long is the session "
        "without warm-up?",
        35 * 60,
        "Seven rounds of five are 35 minutes.",
        "28 minutes",
        "arithmetic",
    )
    yield time(
        "intervals 6 x 800 m in 3:20 with 90 s jog in between (so five of those). total time?",
        6 * 200 + 5 * 90,
        "20:00 of running plus 7:30 of jogging is 27:30.",
        "29:00",
        "arithmetic",
    )
    yield figure(
        "My week: 6, 8, 5 and a long run of 13. They say add at most ten percent. What's the most km "
        "for next week?",
        35.2,
        "km",
        "You did 32, so at most 35.2 km.",
        "42 km",
        "the 10 % rule",
        within=0.01,
    )
    yield figure(
        "Long run should be no more than 30% of the week. I do 45 km a week. Longest run in km?",
        13.5,
        "km",
        "13.5 km at most.",
        "15 km",
        "percentages",
        within=0.01,
    )


def _predictions() -> Iterator[Question]:
    for start, km, other, name, wrong in (
        (1500, 5, 10, "10k", 3000),
        (2700, 10, HALF, "half marathon", 5400),
        (6300, HALF, MARATHON, "marathon", 12600),
        (1200, 5, HALF, "half", 5062),
    ):
        asked = {
            "10k": "5k in 25:00 flat. Going by Riegel's formula (exponent 1.06), my 10k would be?",
            "half marathon": "What half-marathon time does Riegel (1.06) predict from 45:00 for 10 km?",
            "marathon": "I did a half in 1:45:00. Riegel with 1.06 - what marathon can I expect?",
            "half": "20 min 5k runner here, thinking of a half. riegel 1.06 says what?",
        }[name]
        predicted = riegel(start, km, other)
        yield time(
            asked,
            predicted,
            f"Riegel gives about {clock(predicted)} for the {name}.",
            f"Just scale it by distance: {clock(wrong)}.",
            _RIEGEL,
        )


def _other_sports() -> Iterator[Question]:
    yield time(
        "Hill walk of 12 km with 600 m up. Naismith's rule says how long, without breaks?",
        3600 * naismith(12, 600),
        "2 h 24 min for the distance and an hour for the climb: 3 h 24 min.",
        "2 h 24 min",
        _NAISMITH,
    )
    yield time(
        "15 km, 900 m of climbing. How long by Naismith?",
        3600 * naismith(15, 900),
        "3 hours for the way and 1.5 for the height, 4 h 30 min together.",
        "3 hours",
        _NAISMITH,
    )
    yield time(
        "On the rower my 500 m split was 2:05 for the whole 2k. What time is that for the 2000?",
        500,
        "Four times 2:05, so 8:20.",
        "8:05.",
        "rowing split = time per 500 m",
    )
    yield time(
        "C2 rower, 5000m in 21:40. 500 m split?",
        130,
        "2:10 per 500 m",
        "2:17 per 500",
        "rowing split = time per 500 m",
    )
    yield figure(
        "Cycled 42 km in 1 h 45. Average speed?",
        24,
        "km/h",
        "42 divided by 1.75 is 24 km/h.",
        "29 km/h",
        "speed = distance / time",
    )
    yield time(
        "How long does my commute of 18 km take on the bike at 24 km/h?",
        45 * 60,
        "45 minutes.",
        "75 minutes",
        "time = distance / speed",
    )
    yield time(
        "Swim: 1500 m, I average 2:04 per 100. finish time?",
        15 * 124,
        "15 x 2:04 = 31:00",
        "30:40",
        "pace = time / distance",
    )
    yield figure(
        "25 m pool. How many lengths for 1.5 km?",
        60,
        None,
        "Sixty lengths: 60 x 25 m.",
        "150 lengths",
        "arithmetic",
    )
