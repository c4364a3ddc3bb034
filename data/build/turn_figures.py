"""Conversations about a figure: it is corrected, withdrawn, or belongs to somebody else.

Both conversations of a mirror hold the same words. Two figures have changed places, and with them
the answers. So no association of single words tells which answer is right.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from facts import FOODS
from mirrors import Draw, Mirror, Side, capital, declare, figure, require

Shape = tuple[str, ...]  # turns, the person's first and last

ACKS = (
    "Noted. What would you like to know?",
    "Good. How can I help?",
    "Thanks, I have that. What is the question?",
    "All right. What shall I work out?",
    "Got it. What comes next?",
    "Fine. What do you need?",
    "Okay, that helps. What is it about?",
    "I have written that down. Is there more?",
    "Thank you. What can I do with it?",
    "Good to know. What are you after?",
)
SETTLE = (
    "Which of the two should I use?",
    "I see two figures. Which one holds?",
    "Those do not agree. Which shall I take?",
    "Hm, which of the two is right?",
    "Two figures, then. Which one counts?",
)
# {Sr}, {Sw}: the right and the wrong figure in a sentence; {r}, {w}: alone; {ask}, {Ask}: the question.
SHAPES: tuple[Shape, ...] = (
    ("{Sw}.", "{ack}", "Sorry, I meant {r}, not {w}. {Ask}"),
    ("{Sr}.", "{ack}", "My partner says {w}, but that is wrong. {Ask}"),
    ("{Sw}.", "{ack}", "That was a typo: {w} should read {r}. {Ask}"),
    ("{Sr}.", "{ack}", "I nearly wrote {w}. The figure I gave is right. {Ask}"),
    ("{Sw}. No, wait, it is {r}.", "{ack}", "{Ask}"),
    ("{Sr}. It used to be {w}.", "{ack}", "Go by today's figure. {Ask}"),
    ("{Sw}.", "{ack}", "{w} was last month. Today it is {r}. {Ask}"),
    ("{Sr}.", "{ack}", "An old note of mine says {w}; ignore it. {Ask}"),
    ("{Sw}.", "{ack}", "I looked again: {r} instead of {w}. {Ask}"),
    ("{Sr}.", "{ack}", "In my diary I find {w}.", "{settle}", "The first one, from today. {Ask}"),
    ("{Sw}.", "{ack}", "In my diary I find {r}.", "{settle}", "The diary is right. {Ask}"),
    ("{Sr}. For my brother it is {w}.", "{ack}", "First for me: {ask}"),
    ("{Sw}. For my brother it is {r}.", "{ack}", "It is about him, not me: {ask}"),
    ("{Sr}. For my wife it is {w}.", "{ack}", "Leave her out of it for now. {Ask}"),
    ("{Sw}. For my sister it is {r}.", "{ack}", "She wants to know this: {ask}"),
    ("{Sw}.", "{ack}", "Change that to {r}, please. {w} was a slip. {Ask}"),
    ("{Sr}.", "{ack}", "Make that {w}.", "Changed. Anything else?", "No, undo that, I was right at first. {Ask}"),
    ("{Sw}.", "{ack}", "Make that {r}.", "Changed. Anything else?", "{Ask}"),
    ("{Sr}.", "{ack}", "What if it were {w}? No, stay with what it is. {Ask}"),
    ("{Sw}.", "{ack}", "Suppose it were {r} instead of {w}. {Ask}"),
    ("{Sw}.", "{ack}", "Oops, I read the wrong line; {w} is not mine, {r} is. {Ask}"),
    ("{Sr}. Somebody wrote {w} on my card, which is nonsense.", "{ack}", "{Ask}"),
    ("{Sw}. Or so I thought; it turns out to be {r}.", "{ack}", "Then tell me: {ask}"),
    ("{Sr}, and next month it will be {w}.", "{ack}", "As things are now: {ask}"),
    ("{Sw}, and from tomorrow it will be {r}.", "{ack}", "Plan for tomorrow. {Ask}"),
    ("{Sr}.", "{ack}", "For my training partner it is {w}.", "Good. Whose turn is it?", "Mine. {Ask}"),
    ("{Sw}.", "{ack}", "For my training partner it is {r}.", "Good. Whose turn is it?", "My partner's. {Ask}"),
    ("{Sw}.", "{ack}", "Swap that for {r}; I mixed it up with {w}. {Ask}"),
    ("{Sr}.", "{ack}", "My coach keeps saying {w}. He mixes me up with someone. {Ask}"),
    ("{Sw}.", "{ack}", "Strike out {w}. It has to be {r}. {Ask}"),
)  # fmt: skip
OVER_TIME = ("used to", "last month", "next month", "tomorrow", "old note", "from today")
ANSWERS = (
    "{v}.",
    "Then it is {v}.",
    "That makes {v}.",
    "With that figure, {v}.",
    "{v}, going by what you said.",
    "Understood: {v}.",
    "Worked out, {v}.",
    "In that case {v}.",
    "I get {v}.",
    "So the answer is {v}.",
    "Noted, so {v}.",
    "Plan with {v}.",
    "It comes to {v}.",
    "{v} is what you are looking for.",
    "{v}, and tell me if the figure changes again.",
    "By my count {v}.",
)


class Quantity(NamedTuple):
    """A figure that people tell, and what is asked of it."""

    name: str  # of the fact that decides the split
    values: Sequence[float]
    unit: str
    says: tuple[str, ...]  # {x}: the figure with its unit; {t}: a thing drawn from `things`
    asks: tuple[str, ...]  # {k}: a number drawn from `ks`
    ks: Sequence[float]
    result: Callable[[float, float], tuple[float, str]]  # figure, k → result and how it was reached
    result_unit: str
    fits: Callable[[float, float], bool] = lambda x, k: True
    things: tuple[str, ...] = ("",)
    lasts: bool = True  # it stays for weeks; else it is one day's


def _plain(value: float) -> str:
    """Write a number exactly, to two decimals: 1,240 or 57.5."""
    return f"{value:,.2f}".rstrip("0").rstrip(".")


LIFTS = ("squat", "deadlift", "bench press", "front squat", "leg press", "hip thrust")
QUANTITIES = (
    Quantity(
        "weight", range(48, 111), "kg",
        ("I weigh {x}", "My weight is {x}", "The scales show {x}", "My body weight stands at {x}"),
        ("How many grams of protein a day are {k} g per kg?", "What daily protein is that at {k} g per kg?", "At {k} g of protein per kg, what is the total for a day?", "How much protein do {k} g per kg make?", "Work out {k} g of protein per kg."),
        (1.4, 1.6, 1.8, 2.0, 2.2), lambda x, k: (round(x * k), f"{_plain(x)} x {k}"), "g of protein",
    ),
    Quantity(
        "maximum", range(40, 221, 10), "kg",
        ("My {t} record is {x}", "My best single {t} is {x}", "My {t} maximum stands at {x}", "I can do one {t} with {x}"),
        ("Which load is {k} %?", "How heavy is a set at {k} %?", "What goes on for {k} % of it?", "What is {k} % of that?", "Tell me the weight for {k} %."),
        (50, 60, 70, 75, 80, 90), lambda x, k: (x * k / 100, f"{_plain(x)} x {k} / 100"), "kg",
        lambda x, k: (x * k / 100) % 2.5 == 0, LIFTS,
    ),
    Quantity(
        "eaten", range(24, 97), "g",
        ("So far I have eaten {x} of protein today", "My breakfast and lunch had {x} of protein", "My protein today stands at {x}", "I am at {x} of protein for today"),
        ("How much is left to {k} g?", "What is missing to a target of {k} g?", "How many grams are still to come for {k} g?", "The goal is {k} g. What remains?", "How far is it to {k} g?"),
        (110, 120, 130, 140, 150, 160), lambda x, k: (k - x, f"{k} - {_plain(x)}"), "g of protein", lasts=False,
    ),
    Quantity(
        "run", range(20, 100), "minutes",
        ("My last run took {x}", "I ran for {x}", "My watch says {x} for the run", "I was out running for {x}"),
        ("Over {k} km, what is the pace?", "It was {k} km. How many minutes per km?", "What pace is that for {k} km?", "With {k} km, how long did one km take?", "Give me the minutes per km for {k} km."),
        (4, 5, 6, 8, 10), lambda x, k: (x / k, f"{_plain(x)} / {k}"), "minutes per km",
        lambda x, k: 4.5 <= x / k <= 9 and (2 * x) % k == 0, lasts=False,
    ),
    Quantity(
        "energy", range(1700, 3301, 50), "kcal",
        ("My daily need is {x}", "My maintenance is {x}", "I keep my weight on {x} a day", "I burn {x} a day"),
        ("What is left after a cut of {k} %?", "How much is it with {k} % less?", "What does a deficit of {k} % leave?", "Take {k} % off. What remains?", "What is the budget for a {k} % deficit?"),
        (10, 15, 20), lambda x, k: (round(x * (100 - k) / 100), f"{x:g} x {100 - k} / 100"), "kcal",
    ),
    Quantity(
        "heart", range(150, 205), "beats a minute",
        ("My maximum heart rate is {x}", "My highest pulse is {x}", "My heart goes up to {x} at most", "My maximum in the test was {x}"),
        ("What is {k} % of it?", "Which pulse is {k} %?", "Where do {k} % lie?", "What should the watch show at {k} %?", "What is the zone limit at {k} %?"),
        (60, 65, 70, 75, 80, 85), lambda x, k: (round(x * k / 100), f"{_plain(x)} x {k} / 100"), "beats a minute",
    ),
    Quantity(
        "start", range(20, 121, 5), "kg",
        ("My {t} starts at {x}", "I begin the {t} with {x}", "In week one my {t} is {x}", "I start the {t} at {x}"),
        ("With 2.5 kg more a week, where is it after {k} weeks?", "What is it {k} weeks on, at 2.5 kg a week?", "Adding 2.5 kg weekly, what will it be in {k} weeks?", "How heavy after {k} weeks of adding 2.5 kg?", "It grows by 2.5 kg a week. And in {k} weeks?"),
        range(3, 11), lambda x, k: (x + 2.5 * k, f"{_plain(x)} + 2.5 x {k}"), "kg", things=LIFTS, lasts=False,
    ),
    Quantity(
        "walked", range(2100, 7500, 100), "steps",
        ("I have walked {x} so far today", "My phone shows {x} for today", "My watch is at {x}", "I am at {x} today"),
        ("How many are left to {k}?", "What is missing to {k}?", "The goal is {k}. How many still?", "How far off is {k}?", "How many more make {k}?"),
        (8000, 9000, 10000, 12000), lambda x, k: (k - x, f"{k} - {x:g}"), "steps", lasts=False,
    ),
    Quantity(
        "load", range(20, 141, 5), "kg",
        ("My working weight in the {t} is {x}", "I do my {t} sets with {x}", "I load {x} for the {t}", "For the {t} I use {x}"),
        ("{k} sets of ten: how many kilos in all?", "What is the volume of {k} sets of ten?", "What do {k} x 10 add up to?", "What is moved in {k} sets of ten repetitions?", "Total for {k} sets of ten, please."),
        (2, 3, 4, 5), lambda x, k: (k * 10 * x, f"{k} x 10 x {_plain(x)}"), "kg", things=LIFTS[:4],
    ),
    Quantity(
        "sets of a day", range(4, 21), "sets",
        ("My {t} day has {x}", "My plan says {x} on every {t} day", "I do {x} each {t} day", "Each of my {t} sessions has {x}"),
        ("With {k} such days a week, how many is that?", "{k} times a week: what is the weekly sum?", "What does that make over {k} days?", "How many in a week of {k} such days?", "What is the weekly total with {k} of these days?"),
        (2, 3, 4), lambda x, k: (k * x, f"{k} x {_plain(x)}"), "sets", things=("chest", "back", "leg", "shoulder", "arm"),
    ),
)  # fmt: skip


def talk(shape: Shape, values: Mapping[str, str]) -> tuple[tuple[tuple[str, str], ...], str]:
    """Fill a conversation in; → (earlier turns, the question)."""
    *turns, question = (capital(turn.format(**values)) for turn in shape)
    return tuple(zip(turns[::2], turns[1::2], strict=True)), question


def figure_changes(draw: Draw) -> Mirror:
    """One figure is right in one conversation, the other figure in the other."""
    quantity = draw.pick(QUANTITIES)
    k, thing = draw.pick(quantity.ks), draw.pick(quantity.things)
    fitting = [x for x in quantity.values if quantity.fits(x, k)]
    pair = [draw.fact(quantity.name, fitting) for _ in range(2)]
    results = [quantity.result(x, k) for x in pair]
    require(abs(results[0][0] - results[1][0]) > 0.07 * max(results[0][0], results[1][0]))
    shape, ack, settle = draw.ask(SHAPES), draw.pick(ACKS), draw.pick(SETTLE)
    require(quantity.lasts or not any(word in " ".join(shape) for word in OVER_TIME))
    says = draw.ask(quantity.says).replace("{t}", thing)
    ask = draw.ask(quantity.asks).format(k=f"{k:,}")
    answer = draw.pick(ANSWERS)

    def side(place: int) -> Side:
        right, wrong = (f"{x:,} {quantity.unit}" for x in (pair[place], pair[1 - place]))
        result, how = results[place]
        value = f"{_plain(result)} {quantity.result_unit}"
        values = {
            "Sr": says.format(x=right), "Sw": says.format(x=wrong), "r": right, "w": wrong,
            "ask": ask[:1].lower() + ask[1:], "Ask": ask, "ack": ack, "settle": settle,
        }  # fmt: skip
        history, question = talk(shape, values)
        return Side(
            question,
            capital(answer.format(v=value)),
            {"number": round(result, 2), "within": 0.02},
            "works with the figure that does not count",
            (f"the figure that counts: {right}, not {wrong}", f"{how} = {value}"),
            history,
        )

    return draw.mirror("turns", side(0), side(1))


PORTIONS: tuple[Shape, ...] = (
    ("How much {n} do 100 g of {r} and 100 g of {w} have?", "{ack2}", "And {g} g of the first?"),
    ("How much {n} do 100 g of {w} and 100 g of {r} have?", "{ack2}", "And {g} g of the second?"),
    ("What is the {n} of {r} and of {w}, per 100 g?", "{ack2}", "My portion of the first is {g} g. What does that make?"),
    ("What is the {n} of {w} and of {r}, per 100 g?", "{ack2}", "My portion of the second is {g} g. What does that make?"),
    ("I had {r} today and {w} yesterday. What is their {n} per 100 g?", "{ack2}", "Today's portion was {g} g. How much was it?"),
    ("I had {w} today and {r} yesterday. What is their {n} per 100 g?", "{ack2}", "Yesterday's portion was {g} g. How much was it?"),
    ("I eat {r} and my son eats {w}. How much {n} is in 100 g of each?", "{ack2}", "And in mine, which weighs {g} g?"),
    ("I eat {w} and my son eats {r}. How much {n} is in 100 g of each?", "{ack2}", "And in his, which weighs {g} g?"),
    ("Compare {r} with {w}: how much {n} in 100 g?", "{ack2}", "I take the former, {g} g of it. So how much?"),
    ("Compare {w} with {r}: how much {n} in 100 g?", "{ack2}", "I take the latter, {g} g of it. So how much?"),
    ("There is {r} for lunch and {w} for dinner. What is their {n} per 100 g?", "{ack2}", "Lunch is {g} g of it. How much do I log?"),
    ("There is {w} for lunch and {r} for dinner. What is their {n} per 100 g?", "{ack2}", "Dinner is {g} g of it. How much do I log?"),
)  # fmt: skip
BOTH = (
    "The first has {a}, the second {b}.",
    "It is {a} for the first and {b} for the second.",
    "In that order: {a} and {b}.",
    "{a} and {b}, in the order you named them.",
)


def portion(draw: Draw) -> Mirror:
    """A portion of one of two foods that were compared per 100 g."""
    nutrient, unit = draw.pick((("protein", "g"), ("energy", "kcal"), ("fibre", "g")))
    known = [f for f in FOODS if float(f[nutrient] or 0) >= (40 if unit == "kcal" else 2)]
    foods = [draw.fact("food", known, lambda row: row["food"]) for _ in range(2)]
    per100 = [float(figure(float(food[nutrient]))) for food in foods]
    require(abs(per100[0] - per100[1]) > 0.2 * max(per100))
    grams = draw.pick((40, 50, 60, 150, 200, 250, 300))
    shape, both, answer = draw.ask(PORTIONS), draw.pick(BOTH), draw.pick(ANSWERS)

    def side(place: int) -> Side:
        right, wrong = foods[place]["food"], foods[1 - place]["food"]
        first = place if shape[0].index("{r}") < shape[0].index("{w}") else 1 - place
        told = both.format(a=f"{per100[first]:g} {unit}", b=f"{per100[1 - first]:g} {unit}")
        values = {"n": nutrient, "r": right, "w": wrong, "g": str(grams), "ack2": told}
        history, question = talk(shape, values)
        result = per100[place] * grams / 100
        value = f"{figure(result)} {unit} of {nutrient}"
        return Side(
            question,
            capital(answer.format(v=value)),
            {"number": round(result, 2), "within": 0.06},
            "portion of the other food",
            (f"{right}: {per100[place]:g} {unit} of {nutrient} (USDA FoodData Central, per 100 g)",
             f"{grams} x {per100[place]:g} / 100 = {value}"),
            history,
        )  # fmt: skip

    return draw.mirror("turns", side(0), side(1))


KINDS = ((figure_changes, 10), (portion, 3))
for quantity in QUANTITIES:
    if quantity.name in ("eaten", "heart", "walked", "sets of a day"):
        declare(quantity.name, quantity.values)
