"""Facts: protein and energy of foods, muscles and equipment of exercises, ranges to train and eat by."""

import exercises
from exercises import Row
from mirrors import Draw, Mirror, Side, capital, declare, figure, require, table
from ranges import RANGES, Range

FOODS = table("foods.csv")
UNITS = {
    "energy": "kcal",
    "protein": "g",
    "fat": "g",
    "carbohydrate": "g",
    "fibre": "g",
    "iron": "mg",
    "calcium": "mg",
    "potassium": "mg",
    "magnesium": "mg",
    "zinc": "mg",
}
USDA = "USDA FoodData Central, per 100 g"
VALUE_QUESTIONS = (
    "How much {n} is there in 100 g of {f}?",
    "What is the {n} content of {f} per 100 g?",
    "I log my meals. What do I enter as {n} for 100 g of {f}?",
    "Roughly how much {n} would I get from 100 g of {f}?",
    "Can you tell me the {n} in 100 g of {f}?",
    "For 100 g of {f}, what figure should I use for {n}?",
    "I am weighing out 100 g of {f}. How much {n} is that?",
    "My food diary wants the {n} of {f} per 100 g. What is it?",
    "Help me with a number: how much {n} do 100 g of {f} hold?",
    "Before I shop: how much {n} is in 100 g of {f}?",
    "I would like to know the {n} in {f}, per 100 g.",
    "Please look up {n} for {f} (100 g).",
    "What does a 100 g serving of {f} give me in {n}?",
    "My coach asked about the {n} in {f}. What do 100 g have?",
    "If I eat 100 g of {f}, how much {n} have I had?",
    "{F}, 100 g: how much {n}?",
    "Do you know the {n} figure for {f}? Per 100 g is fine.",
    "Tell me how much {n} comes with 100 g of {f}.",
    "Quick one about {f}: how much {n} per 100 g?",
    "I swap foods a lot. What should I reckon as {n} for 100 g of {f}?",
)
VALUE_ANSWERS = (
    "About {v} per 100 g.",
    "Roughly {v}.",
    "You can count on {v} or so.",
    "It comes to {v}.",
    "Around {v}, by the USDA's figures.",
    "The USDA lists {v} per 100 g.",
    "Close to {v}; brands and recipes differ a little.",
    "{v}, give or take a little.",
    "Take {v} as your figure; the exact value shifts with brand and preparation.",
    "That is {v}, so twice the amount brings you {double}.",
    "Some {v}. Half of that amount gives {half}.",
    "Put it down as {v}.",
    "Reckon with {v} for that amount, and with {double} if you have it twice.",
    "Food tables say {v}.",
    "{v} is a fair figure for 100 g.",
    "On average {v}, which makes {half} for 50 g.",
    "I would write {v} in the diary.",
    "Most tables give {v}, with small differences between batches.",
    "You get {v} out of it.",
    "For planning, use {v}; for a 200 g portion it would be {double}.",
)


def nutrients_of(food: Row) -> list[str]:
    """Name the nutrients that a food has a figure for, one worth asking about."""
    least = {"energy": 15, "protein": 1, "fat": 1, "carbohydrate": 2, "fibre": 1}
    return [n for n in UNITS if food[n] and float(food[n]) >= least.get(n, 0.3)]


def with_unit(value: float, nutrient: str) -> str:
    """Write an amount: 18 g, 350 kcal."""
    return f"{figure(value)} {UNITS[nutrient]}"


def value_side(draw: Draw, food: Row, nutrient: str, flaw: str, answer: str) -> Side:
    """Ask for one figure."""
    value = float(food[nutrient])
    question = draw.ask(VALUE_QUESTIONS).format(n=nutrient, f=food["food"], F=capital(food["food"]))
    return Side(
        question,
        capital(
            answer.format(
                v=with_unit(value, nutrient),
                double=with_unit(2 * value, nutrient),
                half=with_unit(value / 2, nutrient),
            )
        ),
        {"number": value, "within": 0.12},
        flaw,
        (f"{food['food']}: {with_unit(value, nutrient)} of {nutrient} ({USDA})",),
    )


def food_value(draw: Draw) -> Mirror:
    """Two foods and one nutrient, or one food and two nutrients of one unit."""
    answer = draw.pick(VALUE_ANSWERS)
    first = draw.fact("food", FOODS, lambda row: row["food"])
    nutrient = draw.pick(nutrients_of(first))
    if draw.rng.random() < 0.6:
        second = draw.fact("food", FOODS, lambda row: row["food"])
        require(nutrient in nutrients_of(second))
        one, two = (first, nutrient), (second, nutrient)
        flaw = "figure of another food"
    else:
        others = [n for n in nutrients_of(first) if UNITS[n] == UNITS[nutrient] and n != nutrient]
        require(bool(others))
        one, two = (first, nutrient), (first, draw.pick(others))
        flaw = "figure of another nutrient"
    require(_apart(float(one[0][one[1]]), float(two[0][two[1]])))
    return draw.mirror(
        "facts", value_side(draw, *one, flaw, answer), value_side(draw, *two, flaw, answer)
    )


MORE_OR_LESS = (
    ("Which has more {n} per 100 g, {a} or {b}?", "Which has less {n} per 100 g, {a} or {b}?"),
    (
        "Between {a} and {b}, which gives me more {n}?",
        "Between {a} and {b}, which gives me less {n}?",
    ),
    ("I want a lot of {n}. {A} or {b}?", "I want to keep {n} low. {A} or {b}?"),
    (
        "Weight for weight, which is higher in {n}: {a} or {b}?",
        "Weight for weight, which is lower in {n}: {a} or {b}?",
    ),
    (
        "Of {a} and {b}, pick the one with the most {n}.",
        "Of {a} and {b}, pick the one with the least {n}.",
    ),
    (
        "I compare labels: {a} against {b}. Which one holds more {n}?",
        "I compare labels: {a} against {b}. Which one holds less {n}?",
    ),
    (
        "Should I take {a} or {b} if {n} is what I need?",
        "Should I take {a} or {b} if {n} is what I avoid?",
    ),
    (
        "{A} or {b}: which one wins on {n}?",
        "{A} or {b}: which one comes last on {n}?",
    ),
    ("My aim is to raise my {n}. {A} or {b}?", "My aim is to cut down on {n}. {A} or {b}?"),
    ("Would {a} or {b} bring me further with {n}?", "Would {a} or {b} spare me more {n}?"),
    (
        "Which is the richer source of {n}: {a} or {b}?",
        "Which is the poorer source of {n}: {a} or {b}?",
    ),
)
COMPARED = (
    "{X}, with {v} per 100 g.",
    "{X}: {v} per 100 g.",
    "That would be {x}, at {v} per 100 g.",
    "Take {x}; 100 g hold {v}.",
    "{X}. The tables give {v} for 100 g.",
    "Go for {x}, at {v} per 100 g.",
    "{X} it is, at about {v} for 100 g.",
    "Here it is {x}, since 100 g have {v}.",
    "Reach for {x}: about {v} in 100 g.",
    "{X}, by the USDA's figures: {v} per 100 g.",
)


def food_comparison(draw: Draw) -> Mirror:
    """More or less of a nutrient, of two foods or three."""
    count = 2 if draw.rng.random() < 0.75 else 3
    foods = [draw.fact("food", FOODS, lambda row: row["food"]) for _ in range(count)]
    require(len({food["food"] for food in foods}) == count)
    nutrient = draw.pick(
        [n for n in UNITS if all(n in nutrients_of(food) for food in foods)] or [""]
    )
    require(bool(nutrient))
    ranked = sorted(foods, key=lambda food: float(food[nutrient]))
    require(
        all(
            _apart(float(a[nutrient]), float(b[nutrient]))
            for a, b in zip(ranked, ranked[1:], strict=False)
        )
    )
    names = [food["food"] for food in foods]
    draw.rng.shuffle(names)
    questions = draw.ask(MORE_OR_LESS)
    a, b = (names[0], names[1]) if count == 2 else (", ".join(names[:2]), names[2])
    answer = draw.pick(COMPARED)

    def side(question: str, winner: Row, flaw: str) -> Side:
        amount = with_unit(float(winner[nutrient]), nutrient)
        others = [food["food"] for food in foods if food is not winner]
        return Side(
            question.format(n=nutrient, a=a, A=capital(a), b=b),
            answer.format(x=winner["food"], X=capital(winner["food"]), v=amount),
            {"all": [winner["food"]], "none": others},
            flaw,
            tuple(
                f"{f['food']}: {with_unit(float(f[nutrient]), nutrient)} of {nutrient} ({USDA})"
                for f in foods
            ),
        )

    return draw.mirror(
        "facts",
        side(questions[0], ranked[-1], "names the lower one"),
        side(questions[1], ranked[0], "names the higher one"),
    )


RANGE_ANSWERS = (
    "{a}.",
    "About {a}.",
    "{a} is the usual range.",
    "Plan with {a}.",
    "{a}, as a rule.",
    "Most guidelines say {a}.",
    "Aim for {a}, and adjust to how you feel.",
    "A good range is {a}.",
    "{a}; you need not hit it to the digit.",
    "The common advice is {a}.",
    "{a} will do for most people.",
)


def training_range(draw: Draw) -> Mirror:
    """Two questions whose ranges have one unit and do not touch."""
    first = draw.fact("range", RANGES, lambda r: r.topic)
    rivals = [r for r in RANGES if r.unit == first.unit and not _touch(r, first)]
    second = draw.fact("range", rivals, lambda r: r.topic)
    answer = draw.pick(RANGE_ANSWERS)

    def side(chosen: Range) -> Side:
        return Side(
            draw.ask(chosen.questions),
            capital(answer.format(a=chosen.answer)),
            {"all": [chosen.answer]},
            "range of another question",
            (f"{chosen.topic}: {chosen.answer} ({chosen.source})",),
        )

    return draw.mirror("facts", side(first), side(second))


def _touch(one: Range, other: Range) -> bool:
    return one.low <= other.high and other.low <= one.high


def _apart(one: float, other: float) -> bool:
    low, high = sorted((one, other))
    return high >= 1.4 * low and high - low >= 0.4


KINDS = (
    (food_value, 28),
    (food_comparison, 22),
    *exercises.KINDS,
    (training_range, 12),
)
declare("range", (chosen.topic for chosen in RANGES))
