"""Energy, heart rate and units."""

from collections.abc import Iterator

from formulas import POUND, karvonen, met_kcal, mifflin, tanaka
from question import Question, figure

_MIFFLIN = "Mifflin and St Jeor 1990: 10 kg + 6.25 cm - 5 years, + 5 for men, - 161 for women"
_TANAKA = "Tanaka, Monahan and Seals 2001: 208 - 0.7 age"
_KARVONEN = "Karvonen 1957: rest + share (max - rest)"
_ATWATER = "Atwater factors: 4, 4, 9, 7 kcal per g of protein, carbohydrate, fat, alcohol"
_KJ = "1 kcal = 4.184 kJ"
_MET = "ACSM: kcal a minute = MET x 3.5 x kg / 200"


def questions() -> Iterator[Question]:
    """Yield them all."""
    yield from _energy()
    yield from _heart()
    yield from _units()


def _energy() -> Iterator[Question]:
    for who, kg, cm, age, male in (
        ("man", 82, 180, 30, True),
        ("woman", 64, 168, 41, False),
        ("woman", 71, 160, 28, False),
    ):
        found = mifflin(kg, cm, age, male=male)
        yield figure(
            f"Resting calories by Mifflin-St Jeor for a {who}, {age} years, {cm} cm, {kg} kg?",
            found,
            "kcal",
            f"About {found:.0f} kcal a day.",
            f"{found + (-166 if male else 166):.0f} kcal",
            _MIFFLIN,
            within=0.006,
            template=True,
        )
    yield figure(
        "a bar has 20 g protein, 22 g carbs, 8 g fat. how many kcal should the label say",
        4 * 20 + 4 * 22 + 9 * 8,
        "kcal",
        "80 + 88 + 72, so 240 kcal.",
        "200 kcal",
        _ATWATER,
        within=0.01,
    )
    yield figure(
        "I eat 2,400 kcal and want 30% from fat. How many grams of fat is that?",
        80,
        "g",
        "720 kcal from fat, divided by 9 that's 80 g.",
        "180 g",
        _ATWATER,
        within=0.01,
    )
    yield figure(
        "1.6 g protein per kilo, I weigh 165 pounds. Grams a day, roughly?",
        1.6 * 165 * POUND,
        "g",
        "165 lb is 74.8 kg, so around 120 g.",
        "264 g",
        "Morton et al. 2018: 1.6 g per kg",
        within=0.02,
    )
    yield figure(
        "The packet says 1046 kJ. What's that in kcal?",
        1046 / 4.184,
        "kcal",
        "250 kcal.",
        "4376 kcal",
        _KJ,
        within=0.01,
    )
    yield figure(
        "What do 300 kcal come to in kilojoules?",
        300 * 4.184,
        "kJ",
        "About 1255 kJ.",
        "72 kJ",
        _KJ,
        within=0.005,
    )
    yield figure(
        "Cycling at 8 MET for three quarters of an hour, me 70 kg. kcal by the usual ACSM formula?",
        met_kcal(8, 70, 45),
        "kcal",
        "8 x 3.5 x 70 / 200 x 45 = 441 kcal",
        "560 kcal",
        _MET,
        within=0.01,
    )
    yield figure(
        "walking 3.5 MET, 60 kg, one hour. burned?",
        met_kcal(3.5, 60, 60),
        "kcal",
        "Some 220 kcal.",
        "350 kcal",
        _MET,
        within=0.02,
    )
    yield figure(
        "Deficit of 400 a day. How many kcal does that make in two weeks?",
        5600,
        "kcal",
        "14 x 400 = 5,600 kcal",
        "2,800 kcal",
        "arithmetic",
    )


def _heart() -> Iterator[Question]:
    yield figure(
        "Max heart rate for a 50 year old, Tanaka not 220 minus age",
        tanaka(50),
        "bpm",
        "208 minus 35 gives 173.",
        "170 bpm",
        _TANAKA,
        within=0.003,
    )
    yield figure(
        "i'm 32. tanaka max hr?",
        tanaka(32),
        "bpm",
        "About 186 (185.6).",
        "188",
        _TANAKA,
        within=0.003,
    )
    yield figure(
        "Resting pulse 60, max 190. Karvonen, 70 percent: which heart rate?",
        karvonen(60, 190, 0.7),
        "bpm",
        "60 + 0.7 x 130 = 151 bpm",
        "133 bpm",
        _KARVONEN,
        within=0.005,
    )
    yield figure(
        "Upper end of zone 2 for me: 65% of heart rate reserve, rest 52, max 182. How many beats?",
        karvonen(52, 182, 0.65),
        "bpm",
        "136.5, so stay under about 137.",
        "118 bpm",
        _KARVONEN,
        within=0.006,
    )


def _units() -> Iterator[Question]:
    yield figure(
        "I'm 11 stone 6. In kilos?",
        (11 * 14 + 6) * POUND,
        "kg",
        "160 lb, that's 72.6 kg.",
        "116 kg",
        "1 stone = 14 lb",
        within=0.005,
    )
    yield figure(
        "5 foot 9 in cm?",
        69 * 2.54,
        "cm",
        "175 cm (175.26).",
        "179 cm",
        "1 inch = 2.54 cm",
        within=0.005,
    )
    yield figure(
        "recipe says 6 oz of chicken. grams?",
        6 * 28.3495,
        "g",
        "About 170 g.",
        "600 g",
        "1 oz = 28.35 g",
        within=0.02,
    )
    yield figure(
        "two litres of water a day, how many 250 ml glasses?",
        8,
        None,
        "Eight glasses.",
        "Five",
        "arithmetic",
    )
    yield figure(
        "BMI with 81 kg and 1.80 m?",
        25,
        None,
        "81 / 3.24 = 25.",
        "It is 45.",
        "WHO: kg / m^2",
        within=0.004,
    )
