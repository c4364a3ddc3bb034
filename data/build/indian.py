"""Foods of Indian kitchens: comparisons, amounts, exchanges, sums of a plate.

The questions of a mirror hold the same words: both foods, both wishes, both amounts; only who wants
what, or which amount goes with which food, has changed. indian.csv holds the figures per 100 g, every
row with its source: USDA FoodData Central, or the Indian Food Composition Tables 2017 (ICMR-NIN,
https://www.nin.res.in) for ragi and bajra. Iron and calcium of dishes that USDA makes of enriched flour
are left out.
"""

from typing import NamedTuple

import indian_meals
from mirrors import Draw, Mirror, Side, capital, declare, figure, require, table

ROWS = table("indian.csv")
UNITS = {"protein": "g", "energy": "kcal", "fibre": "g", "iron": "mg", "calcium": "mg"}
LEAST = {"protein": 1.5, "energy": 20, "fibre": 1, "iron": 0.5, "calcium": 10}
Row = dict[str, str]


def of(row: Row, nutrient: str) -> float:
    """Return an amount per 100 g, as it is written; 0 where the table has none."""
    return float(figure(float(row[nutrient])).replace(",", "")) if row[nutrient] else 0.0


def amount(value: float, nutrient: str) -> str:
    """Write an amount: 18 g, 350 kcal."""
    return f"{figure(value)} {UNITS[nutrient]}"


def fact(row: Row, nutrient: str) -> str:
    """Say what an answer rests on, and who says so."""
    value = amount(float(row[nutrient]), nutrient)
    return f"{row['food']}: {value} of {nutrient} per 100 g ({row['source']}, {row['source_name']})"


def two_foods(draw: Draw, nutrient: str) -> tuple[Row, Row]:
    """Draw two foods that have a nutrient, well apart; the richer one first."""
    known = [row for row in ROWS if of(row, nutrient) >= LEAST[nutrient]]
    one, other = (draw.fact("food", known, lambda row: row["food"]) for _ in range(2))
    low, high = sorted((one, other), key=lambda row: of(row, nutrient))
    require(of(high, nutrient) >= 1.4 * of(low, nutrient))
    return high, low


# {x} is more or less, whatever the asker wants; {z} is the opposite.
MORE_OR_LESS = (
    "I look for {x} {n}, my brother for {z}. {A} or {b} for me?",
    "My brother looks for {x} {n}, I for {z}. {A} or {b} for him?",
    "Not {z} but {x} {n} is what I need, weight for weight. {A} or {b}?",
    "{A} or {b}? My aim is {x} {n} per 100 g, not {z}.",
    "On training days I want {x} {n}, on rest days {z}. Today I train. {A} or {b}?",
    "On training days I want {z} {n}, on rest days {x}. Today I rest. {A} or {b}?",
    "The dietician wants me to eat {x} {n} and my father {z}. Which is mine, {a} or {b}?",
    "The dietician wants me to eat {z} {n} and my father {x}. Which is his, {a} or {b}?",
    "Last month I needed {z} {n}; now it is {x}. Per 100 g, {a} or {b}?",
    "Until last month I needed {x} {n}, and after a week of {z} I am back to that. {A} or {b}?",
    "Of {a} and {b}, which suits somebody who wants {x} {n} and not {z}?",
    "I said {z} {n} yesterday, but I meant {x}. So, {a} or {b}?",
    "You may take {z} {n}; I take {x}. Do I pick {a} or {b}?",
    "You may take {x} {n}; I take {z}. Do you pick {a} or {b}?",
    "My flatmate is after {z} {n}. I am after {x}. {A} for me, or {b}?",
    "Amma asks for {x} {n}, Papa for {z}. What goes on her plate, {a} or {b}?",
    "Amma asks for {z} {n}, Papa for {x}. What goes on his plate, {a} or {b}?",
    "Do I choose {a} or {b} if {x} {n} is good for me and {z} is not?",
    "{A} against {b}: I want {x} {n}, and my coach, who is cutting, {z}. Mine, please.",
    "{A} against {b}: I want {z} {n}, and my coach, who is cutting, {x}. The coach's, please.",
)
COMPARED = (
    "{X}, with {v} per 100 g.",
    "{X}: {v} per 100 g.",
    "That would be {x}, at {v} per 100 g.",
    "Take {x}; 100 g hold {v}.",
    "Go for {x}, at {v} per 100 g.",
    "{X} it is, at about {v} for 100 g.",
    "Here it is {x}, since 100 g have {v}.",
    "{X}, by the food tables: {v} per 100 g.",
    "By weight that is {x}, with {v} in 100 g.",
    "Pick {x}: some {v} per 100 g.",
)


def more_or_less(draw: Draw) -> Mirror:
    """Two people or times, of which one wants more of a nutrient and one less."""
    nutrient = draw.pick(tuple(UNITS))
    high, low = two_foods(draw, nutrient)
    names = [high["food"], low["food"]]
    draw.rng.shuffle(names)
    question, answer = draw.ask(MORE_OR_LESS), draw.pick(COMPARED)

    def side(wish: str) -> Side:
        winner, loser = (high, low) if wish == "more" else (low, high)
        return Side(
            question.format(
                x=wish, z="less" if wish == "more" else "more",
                n=nutrient, a=names[0], A=capital(names[0]), b=names[1],
            ),
            capital(_compared(answer, winner, nutrient)),
            {"all": [winner["food"]], "none": [loser["food"]]},
            f"has {'less' if wish == 'more' else 'more'} of it",
            (fact(high, nutrient), fact(low, nutrient)),
        )  # fmt: skip

    return draw.mirror("indian food", side("more"), side("less"))


def _compared(answer: str, winner: Row, nutrient: str) -> str:
    value = f"{amount(of(winner, nutrient), nutrient)} of {nutrient}"
    return answer.format(x=winner["food"], X=capital(winner["food"]), v=value)


FIRST_OF_ALL = (
    "{X} matters more to me than {z}. {A} or {b}?",
    "I care for {z} less than for {x}. {A} or {b}, per 100 g?",
    "My plate lacks {x}, not {z}. Do I add {a} or {b}?",
    "{X} first, {z} second: {a} or {b}?",
    "I have enough {z} but too little {x}. Which helps, {a} or {b}?",
    "Yesterday I asked about {z}; today it is {x}. Which has more of it, {a} or {b}?",
    "I count {x}, my wife counts {z}. Which is richer for my count, {a} or {b}?",
    "I count {z}, my wife counts {x}. Which is richer for her count, {a} or {b}?",
    "{A} or {b}, if I look at {x} alone and forget about {z}?",
    "Forget {z}, think of {x}. Weight for weight, {a} or {b}?",
    "My coach said {z}, my doctor said {x}, and I follow the doctor. {A} or {b}?",
    "My coach said {x}, my doctor said {z}, and I follow the coach. {A} or {b}?",
    "I need {x} in the morning and {z} at night. It is breakfast time. {A} or {b}?",
    "I need {z} in the morning and {x} at night. It is dinner time. {A} or {b}?",
    "Is it {a} or {b} that gives more {x}? I do not ask about {z}.",
    "Between {a} and {b}, choose by {x} and not by {z}.",
    "The label of {x} counts for me, that of {z} does not. {A} or {b}?",
    "For my son's {x} and in spite of its {z}: should it be {a} or {b}?",
)


def first_of_all(draw: Draw) -> Mirror:
    """Two nutrients, of which one counts; each food is ahead in one."""
    names = tuple(UNITS)
    one, other = draw.two(names)
    high, low = two_foods(draw, one)
    require(of(high, other) > 0 and of(low, other) >= 1.4 * of(high, other))
    require(of(low, other) >= LEAST[other])
    foods = [high["food"], low["food"]]
    draw.rng.shuffle(foods)
    question, answer = draw.ask(FIRST_OF_ALL), draw.pick(COMPARED)

    def side(counts: str, rest: str, winner: Row, loser: Row) -> Side:
        values = {"x": counts, "X": capital(counts), "z": rest}
        return Side(
            question.format(**values, a=foods[0], A=capital(foods[0]), b=foods[1]),
            capital(_compared(answer, winner, counts)),
            {"all": [winner["food"]], "none": [loser["food"]]},
            f"ahead in {rest}, not in {counts}",
            (fact(winner, counts), fact(loser, counts)),
        )

    return draw.mirror("indian food", side(one, other, high, low), side(other, one, low, high))


ENOUGH = (
    "I have {r} and {w} at home. How many grams of the first give {t} g of protein?",
    "I have {w} and {r} at home. How many grams of the second give {t} g of protein?",
    "{t} g of protein, please, from {r} and not from {w}. How many grams?",
    "Not from {w} but from {r} I want {t} g of protein. What do I weigh out?",
    "My son eats {w}, I eat {r}. How much of mine holds {t} g of protein?",
    "My son eats {r}, I eat {w}. How much of his holds {t} g of protein?",
    "How much {r} replaces {w} as a source of {t} g of protein?",
    "I was going to get {t} g of protein from {w}, but now it is {r}. How many grams of it?",
    "I was going to get {t} g of protein from {r}, and I nearly changed to {w}. As planned, then: how many grams?",
    "Lunch is {r}, dinner is {w}. What weight at lunch brings {t} g of protein?",
    "Lunch is {w}, dinner is {r}. What weight at dinner brings {t} g of protein?",
    "{W} is out of stock, {r} is there. How many grams of what is there make {t} g of protein?",
)
WEIGHED = (
    "About {v}.",
    "Weigh out {v}.",
    "{v} will do.",
    "Some {v}.",
    "Roughly {v}, by the food tables.",
    "You need about {v}.",
    "It takes {v}.",
    "That is {v} on the scales.",
    "Take {v}.",
    "Around {v}; the kitchen scales help.",
)


def enough(draw: Draw) -> Mirror:
    """Grams of one of two foods for an amount of protein."""
    foods = two_foods(draw, "protein")
    require(all(of(row, "protein") >= 3 for row in foods))
    target = draw.pick((8, 10, 12, 15, 20, 25))
    question, answer = draw.ask(ENOUGH), draw.pick(WEIGHED)

    def side(row: Row, other: Row) -> Side:
        grams = 100 * target / of(row, "protein")
        value = f"{round(grams / 5) * 5} g of {row['food']}"
        require(15 <= grams <= 450)
        return Side(
            question.format(r=row["food"], w=other["food"], W=capital(other["food"]), t=target),
            capital(answer.format(v=value)),
            {"number": round(grams, 1), "within": 0.12, "all": [row["food"]]},
            "amount of the other food",
            (fact(row, "protein"), f"100 x {target} / {of(row, 'protein'):g} = {grams:.0f} g"),
        )

    return draw.mirror("indian food", side(*foods), side(*reversed(foods)))


EXCHANGE = (
    "I leave out {g} g of {a} and eat {b} instead. How many grams for the same protein?",
    "{g} g of {a} against {b}: what weight of the latter has as much protein?",
    "In place of {g} g of {a} I want {b}, protein unchanged. How much?",
    "What amount of {b} has the protein of {g} g of {a}?",
    "My plan says {g} g of {a}, but I only have {b}. Same protein, please: how many grams?",
    "Swap {g} g of {a} for {b} without losing protein. What is the new weight?",
    "I traded {a}, {g} g, for {b}. What amount keeps the protein?",
    "What portion of {b} equals {g} g of {a} in protein?",
    "{g} g of {a} is what I had; now I have {b}. Which amount gives equal protein?",
    "Change my {a}, {g} g of it, into {b}. The protein should stay.",
)


def exchange(draw: Draw) -> Mirror:
    """One food for another, in both directions."""
    foods = two_foods(draw, "protein")
    require(all(of(row, "protein") >= 3 for row in foods))
    grams = draw.pick((50, 60, 80, 100, 120))
    question, answer = draw.ask(EXCHANGE), draw.pick(WEIGHED)

    def side(old: Row, new: Row) -> Side:
        value = grams * of(old, "protein") / of(new, "protein")
        require(15 <= value <= 600)
        rounded = round(value / 5) * 5
        return Side(
            question.format(a=old["food"], b=new["food"], g=grams),
            capital(answer.format(v=f"{rounded} g of {new['food']}")),
            {"number": round(value, 1), "within": 0.12, "all": [new["food"]]},
            "exchanged the wrong way round",
            (
                fact(old, "protein"),
                fact(new, "protein"),
                f"{grams} x {of(old, 'protein'):g} / {of(new, 'protein'):g} = {value:.0f} g",
            ),
        )

    return draw.mirror("indian food", side(*foods), side(*reversed(foods)))


UNCOOKED = (
    "dry ",
    "flour",
    "besan",
    "suji",
    "sabudana",
    "pearl barley",
    "leaves",
    "sarson",
    "ghee",
)
PLATE = (
    "My plate has {x} g of {a} and {y} g of {b}. How much {n} is that?",
    "{x} g of {a}, {y} g of {b}: what is the {n} of it all?",
    "I had {x} g of {a} with {y} g of {b}. Total {n}?",
    "Add up the {n} of {x} g of {a} and {y} g of {b}, please.",
    "For my log: {y} g of {b} and {x} g of {a}. The {n} together?",
    "What {n} do {x} g of {a} and {y} g of {b} make?",
    "There was {a} ({x} g) and {b} ({y} g). How much {n} in all?",
    "Sum of {n}, please: {b}, {y} g, and {a}, {x} g.",
    "With {y} g of {b} beside {x} g of {a}, what {n} did I eat?",
    "Two things in my tiffin, {x} g of {a} and {y} g of {b}. How much {n} do they bring?",
)
SUMS = (
    "About {v}.",
    "Together {v}.",
    "It adds up to {v}.",
    "That makes {v}.",
    "In all, {v}.",
    "{v} or so.",
    "Some {v}, by the food tables.",
    "I get {v}.",
    "Put down {v}.",
    "Your plate brings {v}.",
)


def plate(draw: Draw) -> Mirror:
    """The sum of two foods, with their weights exchanged."""
    nutrient = draw.pick(("protein", "energy", "fibre"))
    one, other = two_foods(draw, nutrient)
    require(not any(word in row["food"] for row in (one, other) for word in UNCOOKED))
    x, y = draw.two((40, 50, 80, 100, 120, 150, 200))
    question, answer = draw.ask(PLATE), draw.pick(SUMS)

    def side(first: int, second: int) -> Side:
        a, b = of(one, nutrient), of(other, nutrient)
        total = (a * first + b * second) / 100
        value = f"{figure(total)} {UNITS[nutrient]} of {nutrient}"
        return Side(
            question.format(x=first, a=one["food"], y=second, b=other["food"], n=nutrient),
            capital(answer.format(v=value)),
            {"number": round(total, 2), "within": 0.06},
            "weights of the two exchanged",
            (
                fact(one, nutrient),
                fact(other, nutrient),
                f"({first} x {a:g} + {second} x {b:g}) / 100 = {value}",
            ),
        )

    return draw.mirror("indian food", side(x, y), side(y, x))


class Serving(NamedTuple):
    """A usual portion, whose weight the question tells."""

    name: str  # of several
    grams: int  # of one
    food: str  # in the table


SERVINGS = (
    Serving("rotis", 40, "roti"),
    Serving("idlis", 40, "idli"),
    Serving("plain dosas", 90, "plain dosa"),
    Serving("vadas", 45, "vada"),
    Serving("parathas", 80, "paratha"),
    Serving("puris", 25, "puri"),
    Serving("samosas", 80, "samosa"),
    Serving("katoris of dal", 150, "cooked dal"),
    Serving("katoris of rajma", 120, "boiled rajma"),
    Serving("katoris of chana", 120, "boiled kabuli chana"),
    Serving("katoris of masoor", 130, "boiled whole masoor"),
    Serving("katoris of sambar", 150, "sambar"),
    Serving("katoris of curd", 100, "curd"),
    Serving("katoris of palak paneer", 140, "palak paneer"),
    Serving("plates of upma", 180, "upma"),
    Serving("cubes of paneer", 20, "paneer"),
    Serving("handfuls of peanuts", 30, "raw peanuts"),
    Serving("katoris of moong sprouts", 75, "moong sprouts"),
    Serving("spoons of besan", 15, "besan"),
    Serving("katoris of dry soya chunks", 25, "dry soya chunks"),
)
THALI = (
    "I had {x} {a} of {ga} g each and {y} {b} of {gb} g each. How much {n} is that?",
    "{x} {a} ({ga} g each) with {y} {b} ({gb} g each): what is the {n}?",
    "My lunch: {y} {b}, {gb} g each, and {x} {a}, {ga} g each. Total {n}?",
    "Count the {n} of {x} {a} and {y} {b}, please. One of the first is {ga} g, one of the second {gb} g.",
    "How much {n} do {y} {b} at {gb} g and {x} {a} at {ga} g bring?",
    "On the thali there were {x} {a} and {y} {b}, {ga} g and {gb} g apiece. What {n} did I get?",
    "For my diary: {x} {a}, {y} {b}. They weigh {ga} g and {gb} g each. The {n} of it all?",
    "Mother served {y} {b} and {x} {a}. At {gb} g and {ga} g each, how much {n} was that?",
    "If I eat {x} {a} of {ga} g and {y} {b} of {gb} g, what is my {n}?",
    "{y} {b}, {x} {a}, {gb} g and {ga} g each. Add up the {n}.",
)


def thali(draw: Draw) -> Mirror:
    """Usual portions of two foods, with their counts exchanged."""
    nutrient = draw.pick(("protein", "energy", "protein", "fibre"))
    rows = {row["food"]: row for row in ROWS}
    known = [s for s in SERVINGS if of(rows[s.food], nutrient) >= LEAST[nutrient]]
    one, other = (draw.fact("food", known, lambda serving: serving.food) for _ in range(2))
    require(one.food != other.food)
    x, y = draw.two((2, 3, 4, 5))
    question, answer = draw.ask(THALI), draw.pick(SUMS)
    each = [of(rows[s.food], nutrient) * s.grams / 100 for s in (one, other)]
    require(abs(each[0] - each[1]) > 0.25 * max(each))

    def side(first: int, second: int) -> Side:
        total = each[0] * first + each[1] * second
        value = f"{figure(total)} {UNITS[nutrient]} of {nutrient}"
        parts = zip((first, second), (one, other), strict=True)
        how = " + ".join(
            f"{n} x {s.grams} x {of(rows[s.food], nutrient):g} / 100" for n, s in parts
        )
        return Side(
            capital(
                question.format(
                    x=first, a=one.name, ga=one.grams, y=second, b=other.name, gb=other.grams, n=nutrient
                )
            ),
            capital(answer.format(v=value)),
            {"number": round(total, 2), "within": 0.04},
            "counts of the two exchanged",
            (
                fact(rows[one.food], nutrient),
                fact(rows[other.food], nutrient),
                f"{how} = {value}",
            ),
        )  # fmt: skip

    return draw.mirror("indian food", side(x, y), side(y, x))


KINDS = (
    (thali, 4),
    (more_or_less, 6),
    (first_of_all, 4),
    (enough, 4),
    (exchange, 3),
    (plate, 4),
    *indian_meals.KINDS,
)
# Foods that other tables have too keep the pool that they have there.
ELSEWHERE = {row["food"] for row in table("foods.csv")}
SERVED = [serving.food for serving in SERVINGS if serving.food not in ELSEWHERE]
declare("food", SERVED)  # so that validation and test have two usual portions each
declare("food", (row["food"] for row in ROWS if row["food"] not in {*ELSEWHERE, *SERVED}))
