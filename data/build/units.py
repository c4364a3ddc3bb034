"""Units that people mix: pounds and kilos, feet and centimetres, miles, ounces, cups, stones, kilojoules.

Two figures of one unit are named, for two people, days or things, and one of them is asked for in
another unit. In the mirror the two figures have changed places; the words stay the same.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mirrors import Draw, Mirror, Side, capital, declare, figure, require, table

KG_PER_LB = 0.45359237  # exact, by the international agreement of 1959, as the next three
KM_PER_MILE = 1.609344
CM_PER_INCH = 2.54
G_PER_OZ = 28.349523125
KJ_PER_KCAL = 4.184  # the thermochemical calorie, as food labels use it
ML_PER_CUP = 236.5882365  # US customary
ML_PER_FL_OZ = 29.5735295625  # US customary


class Unit(NamedTuple):
    """A unit that figures are told in, and the one that they are asked for in."""

    name: str  # of the fact that decides the split
    values: Sequence[float]
    says: Callable[[float], str]
    asked: str  # the unit asked for, in words
    converts: Callable[[float], float]
    short: str  # how the answer writes it
    how: str
    pairs: tuple[tuple[str, str], ...]  # two things that have such a figure
    within: float = 0.02


def feet(inches: float) -> str:
    """Write a height: 5 ft 7 in."""
    return f"{int(inches // 12)} ft {int(inches % 12)} in"


def stones(pounds: float) -> str:
    """Write a weight as the British do: 11 st 4 lb."""
    return f"{int(pounds // 14)} st {int(pounds % 14)} lb"


def minutes(seconds: float) -> str:
    """Write a pace: 8 min 30 s."""
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


PEOPLE = (
    ("my weight", "my brother's weight"), ("my weight", "my sister's weight"), ("my weight today", "my weight last year"),
    ("Asha's weight", "Ben's weight"), ("the weight I have", "the weight I aim at"), ("my weight", "my wife's weight"),
)  # fmt: skip
LOADS = (
    ("my squat", "my bench press"), ("my deadlift", "my front squat"), ("my leg press", "my hip thrust"), ("the bar on Monday", "the bar on Friday"),
    ("my record", "my friend's record"), ("the red barbell", "the blue barbell"), ("my first set", "my second set"),
)  # fmt: skip
RUNS = (
    ("my ride on Sunday", "my ride on Wednesday"), ("the forest loop", "the river loop"), ("week one", "week two"),
    ("the race in May", "the race in June"), ("today's ride", "yesterday's ride"), ("the first day", "the second day"),
)  # fmt: skip
FOODS = (
    ("my chicken", "my rice"), ("the paneer", "the dal"), ("my breakfast oats", "my evening nuts"), ("the fish", "the salad"),
    ("the steak in the plan", "the steak I bought"), ("the tofu", "the cabbage"),
)  # fmt: skip
DRINKS = (
    ("my shake", "my juice"), ("the milk", "the water"), ("the red bottle", "the blue bottle"), ("the morning tea", "the evening tea"),
    ("the soup", "the milk"), ("the lassi", "the chaas"),
)  # fmt: skip
MEALS = (
    ("my lunch", "my dinner"), ("my breakfast", "my dinner"), ("the curry", "the pasta"), ("the blue packet", "the green packet"),
    ("Monday's lunch", "Friday's lunch"), ("my morning ride", "my evening ride"),
)  # fmt: skip
HEIGHTS = (
    ("my height", "my brother's height"), ("my height", "my coach's height"), ("my son's height", "my daughter's height"),
    ("Meera's height", "Arjun's height"),
)  # fmt: skip
WAISTS = (
    ("my waist", "my hip"), ("my waist now", "my waist in January"), ("my chest", "my waist"), ("my waist", "my friend's waist"),
)  # fmt: skip
UNITS = (
    Unit("lb", range(100, 281), lambda x: f"{x:g} lb", "kilos", lambda x: x * KG_PER_LB, "kg", "x 0.4536", PEOPLE),
    Unit("lb lifted", range(45, 406, 5), lambda x: f"{x:g} pounds", "kg", lambda x: x * KG_PER_LB, "kg", "x 0.4536", LOADS),
    Unit("kg lifted", range(20, 181), lambda x: f"{x:g} kg", "pounds", lambda x: x / KG_PER_LB, "lb", "/ 0.4536", LOADS),
    Unit("stone", range(112, 281), stones, "kilos", lambda x: x * KG_PER_LB, "kg", "lb x 0.4536, with 14 lb in a stone", PEOPLE),
    Unit("miles", range(2, 60), lambda x: f"{x:g} miles", "km", lambda x: x * KM_PER_MILE, "km", "x 1.609", RUNS),
    Unit("km", range(3, 100), lambda x: f"{x:g} km", "miles", lambda x: x / KM_PER_MILE, "miles", "/ 1.609", RUNS),
    Unit("ounces", range(2, 33), lambda x: f"{x:g} oz", "grams", lambda x: x * G_PER_OZ, "g", "x 28.35", FOODS),
    Unit("grams", range(50, 901, 10), lambda x: f"{x:g} g", "ounces", lambda x: x / G_PER_OZ, "oz", "/ 28.35", FOODS, 0.04),
    Unit("cups", (0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 3, 3.5, 4), lambda x: f"{x:g} US cups", "ml", lambda x: x * ML_PER_CUP, "ml", "x 237", DRINKS, 0.03),
    Unit("fluid ounces", range(6, 65), lambda x: f"{x:g} fl oz", "ml", lambda x: x * ML_PER_FL_OZ, "ml", "x 29.57", DRINKS),
    Unit("kilojoules", range(400, 4001, 50), lambda x: f"{x:,} kJ", "kcal", lambda x: x / KJ_PER_KCAL, "kcal", "/ 4.184", MEALS),
    Unit("calories", range(100, 1001, 10), lambda x: f"{x:,} kcal", "kJ", lambda x: x * KJ_PER_KCAL, "kJ", "x 4.184", MEALS),
    Unit("feet", range(56, 79), feet, "cm", lambda x: x * CM_PER_INCH, "cm", "inches x 2.54, with 12 in a foot", HEIGHTS, 0.008),
    Unit("inches", range(26, 49), lambda x: f"{x:g} inches", "cm", lambda x: x * CM_PER_INCH, "cm", "x 2.54", WAISTS, 0.015),
    Unit("mile pace", range(360, 901, 5), lambda x: f"{minutes(x)} a mile", "seconds per km", lambda x: x / KM_PER_MILE, "s per km", "seconds / 1.609", (("my pace on Sunday", "my pace on Wednesday"), ("my pace today", "my pace last week"), ("my pace", "my friend's pace"), ("my first mile", "my last mile"))),
)  # fmt: skip
QUESTIONS = (
    "{A} is {x} and {b} is {y}. What is {a} in {u}?",
    "{B} is {y}, {a} {x}. Tell me {a} in {u}.",
    "{A}: {x}. {B}: {y}. How many {u} is {a}?",
    "I wrote down {y} for {b} and {x} for {a}. I need {a} in {u}.",
    "In {u}, please: {a}. It is {x}, and {b} is {y}.",
    "My app shows {x} for {a} and {y} for {b}. What would {a} be in {u}?",
    "Convert {a} to {u}, not {b}. They are {x} and {y}.",
    "Leave out {b}, which is {y}. {A} is {x}. How much is that in {u}?",
    "{B} is {y}. For {a} I have {x}. My coach wants {a} in {u}.",
    "There is {x} for {a} and {y} for {b}. Which figure in {u} do I note for {a}?",
    "I think in {u}. {A} is {x} and {b} {y}. So what is {a}?",
    "The log is in {u}, my notes say {x} for {a} and {y} for {b}. What goes in the log for {a}?",
    "What is {a} in {u}, if {b} is {y} and {a} is {x}?",
    "Here are two figures: {b}, {y}; {a}, {x}. {A} in {u}?",
    "Not {b} ({y}) but {a} ({x}) in {u}, please.",
    "Help me with {u}: {a} is {x}, {b} is {y}, and I only ask for {a}.",
    "How do I write {a} in {u}? I measured {x}, and {y} for {b}.",
    "{y} is {b}, {x} is {a}. In {u}, what is {a}?",
    "Could you turn {a}, {x}, into {u}? {B}, {y}, can stay.",
    "A friend abroad asks for {a} in {u}. It is {x}; {b} is {y}.",
)
ANSWERS = (
    "About {v}.",
    "That is {v}.",
    "{v}, rounded.",
    "It comes to {v}.",
    "Roughly {v}.",
    "You can write {v}.",
    "{v} in the other unit.",
    "Converted, {v}.",
    "Some {v}.",
    "It makes {v}.",
    "Put it down as {v}.",
    "Close to {v}.",
)


def converted(draw: Draw) -> Mirror:
    """One of two figures in another unit."""
    unit = draw.pick(UNITS)
    values = [draw.fact(unit.name, unit.values) for _ in range(2)]
    require(0.4 * max(values) < min(values) < 0.92 * max(values))
    a, b = draw.pick(unit.pairs)
    question, answer = draw.ask(QUESTIONS), draw.pick(ANSWERS)

    def side(place: int) -> Side:
        told, other = unit.says(values[place]), unit.says(values[1 - place])
        result = unit.converts(values[place])
        value = f"{figure(result)} {unit.short}"
        text = question.format(a=a, A=capital(a), b=b, B=capital(b), x=told, y=other, u=unit.asked)
        return Side(
            capital(text),
            capital(answer.format(v=value)),
            {"number": round(result, 2), "within": unit.within},
            "converts the other figure",
            (f"{told} = {value} ({unit.how})",),
        )

    return draw.mirror("units", side(0), side(1))


PROTEIN = (
    "I weigh {x} lb and my brother {y} lb. How much protein are {k} g per kg for me?",
    "My brother weighs {x} lb and I {y} lb. How much protein are {k} g per kg for him?",
    "At {k} g of protein per kg: I have {x} lb, my wife {y} lb. My amount, please.",
    "At {k} g of protein per kg: I have {y} lb, my wife {x} lb. Her amount, please.",
    "{x} pounds is my weight, {y} pounds my target. Protein for my weight now, at {k} g per kg?",
    "{y} pounds is my weight, {x} pounds my target. Protein for my target, at {k} g per kg?",
    "I went from {y} lb to {x} lb. What are {k} g of protein per kg now?",
    "I went from {x} lb to {y} lb. What were {k} g of protein per kg before?",
    "The scales say {x} lb; I first read {y} lb. Work out {k} g of protein per kg.",
    "Not {y} lb but {x} lb is what I weigh. {k} g of protein per kg makes what?",
)
GRAMS = (
    "About {v} g a day.", "{v} g.", "That makes {v} g of protein.", "Some {v} g in a day.", "Around {v} g, after turning pounds into kilos.",
    "You get {v} g.", "It comes to {v} g.", "{v} g a day by that rule.", "Roughly {v} g of protein.", "Plan {v} g.",
)  # fmt: skip


def protein_from_pounds(draw: Draw) -> Mirror:
    """Grams of protein per kilo, for one of two weights in pounds."""
    values = [draw.fact("lb", range(100, 281)) for _ in range(2)]
    require(abs(values[0] - values[1]) > 0.1 * max(values))
    k = draw.pick((1.4, 1.6, 1.8, 2.0, 2.2))
    question, answer = draw.ask(PROTEIN), draw.pick(GRAMS)

    def side(place: int) -> Side:
        result = values[place] * KG_PER_LB * k
        return Side(
            question.format(x=values[place], y=values[1 - place], k=k),
            answer.format(v=round(result)),
            {"number": round(result, 1), "within": 0.03},
            "works with the other weight",
            (f"{values[place]} lb x 0.4536 x {k} = {result:.0f} g",),
        )

    return draw.mirror("units", side(0), side(1))


PRICE = (
    "{A} costs {x} rupees a kilo, {b} {y} rupees. What do {t} g of protein from {a} cost?",
    "{B} costs {y} rupees a kilo, {a} {x} rupees. What do {t} g of protein from {a} cost?",
    "I pay {x} rupees for a kilo of {a} and {y} for a kilo of {b}. The price of {t} g of protein from {a}?",
    "I pay {y} rupees for a kilo of {b} and {x} for a kilo of {a}. The price of {t} g of protein from {a}?",
    "How many rupees are {t} g of protein from {a}, at {x} rupees a kilo? {B} is at {y}.",
    "With {b} at {y} rupees a kilo and {a} at {x}: what do I pay for {t} g of protein from {a}?",
    "My shop asks {x} rupees a kilo for {a}, {y} for {b}. {t} g of protein by way of {a} cost what?",
    "{t} g of protein from {a} and not from {b}: what is that in rupees? A kilo is {x} and {y} rupees.",
    "Prices a kilo: {b} {y} rupees, {a} {x} rupees. I want {t} g of protein from {a}. What is the cost?",
    "Per kilo it is {x} rupees for {a}, {y} rupees for {b}. How much do {t} g of protein from {a} come to?",
)
RUPEES = (
    "About {v} rupees.", "Some {v} rupees.", "It costs {v} rupees or so.", "That is {v} rupees.", "Roughly {v} rupees.",
    "You pay about {v} rupees.", "{v} rupees, by the food tables.", "It comes to {v} rupees.", "Around {v} rupees.", "Reckon with {v} rupees.",
)  # fmt: skip
# Foods that cost alike, each with its row in foods.csv or indian.csv; all names take "costs".
CHEAP = {
    "besan": "besan", "whole moong": "dry whole moong", "toor dal": "dry toor", "whole urad": "dry whole urad", "lobia": "dry lobia",
    "soya flour": "defatted soya flour", "jowar flour": "jowar flour", "suji": "suji",
}  # fmt: skip
DEAR = {
    "paneer": "paneer", "chicken breast": "raw chicken breast", "tofu": "extra-firm tofu", "peanut butter": "peanut butter",
    "makhana": "dry makhana", "canned tuna": "canned tuna",
}  # fmt: skip
PROTEIN_OF = {
    row["food"]: float(figure(float(row["protein"])))
    for name in ("foods.csv", "indian.csv")
    for row in table(name)
    if row["protein"]
}


def price(draw: Draw) -> Mirror:
    """What protein costs from one of two foods; their prices change places."""
    foods, prices = draw.pick(((CHEAP, range(60, 241, 5)), (DEAR, range(240, 601, 10))))
    a, b = draw.two(tuple(foods))
    x, y = (draw.fact("rupees", prices) for _ in range(2))
    protein = PROTEIN_OF[foods[a]]
    require(abs(x - y) > 0.15 * max(x, y))
    target = draw.pick((20, 25, 30))
    question, answer = draw.ask(PRICE), draw.pick(RUPEES)

    def side(own: int, other: int) -> Side:
        grams = 100 * target / protein
        result = grams * own / 1000
        return Side(
            question.format(a=a, A=capital(a), b=b, B=capital(b), x=own, y=other, t=target),
            answer.format(v=figure(result)),
            {"number": round(result, 1), "within": 0.06},
            "takes the price of the other food",
            (f"100 g of {a} have {protein:g} g of protein (USDA FoodData Central)",
             f"{grams:.0f} g x {own} rupees / 1000 = {figure(result)} rupees"),
        )  # fmt: skip

    return draw.mirror("units", side(x, y), side(y, x))


KINDS = ((converted, 12), (protein_from_pounds, 3), (price, 3))
for unit in UNITS:
    declare(unit.name, unit.values)
declare("rupees", sorted({*range(60, 241, 5), *range(240, 601, 10)}))
