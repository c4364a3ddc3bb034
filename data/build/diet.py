"""Diet: a meal that fits the way a person eats, against one that fits another way."""

from typing import NamedTuple

from between import PEOPLE
from facts import FOODS
from mirrors import Draw, Mirror, Side, capital, declare, require

BY_NAME = {food["food"]: food for food in FOODS}


class Source(NamedTuple):
    """A source of protein as it stands in a meal."""

    words: str  # in the meal
    food: str  # in the table
    grams: int
    diet: str


SOURCES = (
    Source("firm tofu", "extra-firm tofu", 200, "plant"),
    Source("tempeh", "tempeh", 120, "plant"),
    Source("lentils", "cooked lentils", 250, "plant"),
    Source("chickpeas", "cooked chickpeas", 220, "plant"),
    Source("black beans", "cooked black beans", 240, "plant"),
    Source("kidney beans", "cooked kidney beans", 240, "plant"),
    Source("edamame", "edamame", 180, "plant"),
    Source("soybeans", "cooked soybeans", 150, "plant"),
    Source("dal", "dal", 300, "plant"),
    Source("natto", "natto", 120, "plant"),
    Source("paneer", "paneer", 120, "dairy"),
    Source("cottage cheese", "cottage cheese", 200, "dairy"),
    Source("Greek yoghurt", "fat-free Greek yoghurt", 250, "dairy"),
    Source("mozzarella", "mozzarella", 100, "dairy"),
    Source("feta", "feta", 110, "dairy"),
    Source("ricotta", "ricotta", 200, "dairy"),
    Source("boiled eggs", "boiled eggs", 150, "egg"),
    Source("egg whites with two yolks", "egg whites", 200, "egg"),
    Source("canned tuna", "canned tuna", 120, "fish"),
    Source("salmon", "cooked sockeye salmon", 120, "fish"),
    Source("cod", "raw cod", 160, "fish"),
    Source("prawns", "cooked prawns", 130, "fish"),
    Source("mackerel", "grilled mackerel", 120, "fish"),
    Source("sardines", "canned sardines", 120, "fish"),
    Source("chicken breast", "raw chicken breast", 150, "meat"),
    Source("turkey mince", "raw lean turkey mince", 150, "meat"),
    Source("lean beef mince", "raw lean beef mince", 150, "meat"),
    Source("sirloin steak", "raw sirloin steak", 150, "meat"),
    Source("pork tenderloin", "raw pork tenderloin", 150, "meat"),
    Source("lamb mince", "raw lamb mince", 150, "meat"),
)
ANIMAL = {
    "meat": ["chicken", "turkey", "beef", "steak", "pork", "lamb", "bacon", "ham", "meat"],
    "fish": ["tuna", "salmon", "cod", "prawn", "mackerel", "sardine", "fish"],
    "egg": ["egg", "yolk", "omelette"],
    "dairy": [
        "paneer",
        "cheese",
        "yoghurt",
        "mozzarella",
        "feta",
        "ricotta",
        "milk",
        "whey",
        "butter",
    ],
    "plant": [
        "tofu",
        "tempeh",
        "lentil",
        "chickpea",
        "bean",
        "edamame",
        "soybean",
        "dal",
        "natto",
        "hummus",
    ],
}


class Eater(NamedTuple):
    """A way to eat: what it must not hold, what it must."""

    says: tuple[str, ...]
    eats: tuple[str, ...]  # kinds of source that fit
    never: tuple[str, ...]
    wants: tuple[str, ...]  # kinds of which one must be there; empty: no wish
    flaw: str


VEGETARIAN = Eater(
    ("I am a vegetarian.", "I eat no animals.", "As a vegetarian I ask this.", "I have been vegetarian for years.", "My kitchen is vegetarian."),
    ("plant", "dairy"), ("meat", "fish"), (), "not vegetarian",
)  # fmt: skip
VEGAN = Eater(
    ("I am vegan.", "I eat plants only.", "I live vegan.", "Nothing from animals for me, please.", "We cook vegan at home."),
    ("plant",), ("meat", "fish", "egg", "dairy"), (), "not vegan",
)  # fmt: skip
MEAT = Eater(
    ("I like to eat meat.", "I want meat on my plate.", "Meat should be part of it.", "I am a meat eater and would like some.", "It should have meat in it."),
    ("meat",), (), ("meat",), "no meat, though asked for",
)  # fmt: skip
FISH = Eater(
    ("I eat fish but no meat.", "I am a pescatarian and would like seafood.", "It should be something from the sea, no meat.", "I want fish or seafood in it.", "Seafood, please, and no meat."),
    ("fish",), ("meat",), ("fish",), "no fish, though asked for",
)  # fmt: skip
DAIRY = Eater(
    ("I am a vegetarian and want my protein from milk products.", "It should be built on dairy.", "I would like a dairy food as the protein.", "Milk products agree with me, so please use one.", "Vegetarian, with dairy as the main protein."),
    ("dairy",), ("meat", "fish"), ("dairy",), "no dairy, though asked for",
)  # fmt: skip
EGGS = Eater(
    ("I am an eggetarian and want eggs in it.", "No meat or fish, but eggs, please.", "I keep hens and want to use their eggs.", "Eggs should be the protein.", "Eggetarian here, so build it on eggs."),
    ("egg",), ("meat", "fish"), ("egg",), "no eggs, though asked for",
)  # fmt: skip
NO_EGGS = Eater(
    ("I am a vegetarian who eats no eggs.", "No meat, no fish and no eggs for me.", "I am allergic to eggs and eat vegetarian.", "Vegetarian without eggs, please.", "I leave out meat, fish and eggs."),
    ("plant", "dairy"), ("meat", "fish", "egg"), (), "has eggs",
)  # fmt: skip
NO_DAIRY = Eater(
    ("I cannot have milk products, and I eat no meat.", "No dairy and no meat for me.", "Milk products make me ill, and I am a vegetarian.", "I leave out dairy, meat and fish.", "Please without any dairy, and vegetarian."),
    ("plant", "egg"), ("meat", "fish", "dairy"), (), "has dairy",
)  # fmt: skip
OPPOSITES = (
    (VEGETARIAN, MEAT),
    (VEGETARIAN, FISH),
    (VEGAN, MEAT),
    (VEGAN, DAIRY),
    (VEGAN, EGGS),
    (NO_EGGS, EGGS),
    (NO_DAIRY, DAIRY),
    (FISH, MEAT),
    (EGGS, FISH),
    (DAIRY, MEAT),
    (VEGAN, FISH),
)
SIDES = (
    "brown rice",
    "quinoa",
    "couscous",
    "bulgur",
    "wholegrain pasta",
    "white rice",
    "millet",
    "buckwheat",
    "polenta",
    "rice noodles",
    "wild rice",
)
COLD = (
    "cottage cheese",
    "Greek yoghurt",
    "mozzarella",
    "feta",
    "ricotta",
    "boiled eggs",
    "natto",
    "canned tuna",
    "sardines",
    "edamame",
)
GREENS = (
    "broccoli",
    "spinach",
    "roast peppers",
    "green beans",
    "grilled courgette",
    "tomato salad",
    "carrots and peas",
    "cauliflower",
    "a cucumber salad",
    "kale",
    "mushrooms",
    "cabbage",
    "leeks",
    "beetroot",
)
ASKS = (
    "What could I cook tonight with plenty of protein?",
    "Suggest a lunch for a training day.",
    "What do I eat after lifting?",
    "Give me an idea for a quick dinner.",
    "Which meal would you plan for tomorrow?",
    "I need something filling after a long run. What fits?",
    "What can I take to work in a box?",
    "Please plan one meal for muscle gain.",
    "What should be on my plate on a heavy day?",
    "One simple main course, please.",
    "What would a good post-workout plate look like?",
    "I have half an hour to cook. What do I make?",
    "Tell me a dinner with protein for two days of leftovers.",
    "What suits the evening before leg day?",
    "An easy lunch with protein, please.",
    "What can I prepare on Sunday for the week?",
    "Propose a meal that keeps me full till night.",
    "I train at six and eat at eight. What do you suggest?",
    "What do you put on the plate after a football match?",
    "Help me with one main meal for a cutting phase.",
)
MEALS = (
    "{g} g of {s} with {c} and {v}; that is about {p} g of protein from the {s0}.",
    "Have {s} ({g} g) on {c}, and {v} beside it.",
    "Try {c} with {g} g of {s} and {v}, around {p} g of protein in the main part.",
    "Fry {g} g of {s} with garlic, add {v} and serve it on {c}.",
    "A bowl of {c}, {v} and {g} g of {s}.",
    "{S} ({g} g) with {v} and {c}: roughly {p} g of protein.",
    "Put {s} and {v} in the oven, and boil {c} meanwhile. With {g} g you have {p} g of protein.",
    "How about {g} g of {s}, {v} and {c}, with lemon and herbs?",
    "I would go for {s} with {c}. Add {v}; {g} g make some {p} g of protein.",
    "{C} with {s} ({g} g) and {v}, ready in twenty minutes.",
    "Mix {g} g of {s} with {v}, season it well and eat it with {c}.",
    "Something warm: {s}, {v} and {c}. Take {g} g of the {s0} for {p} g of protein.",
)
SWAP_QUESTIONS = (
    "{says} What can stand in for the protein in my {d}?",
    "{says} My {d} needs a source of protein. Which one?",
    "{says} What do I put into a {d} for protein?",
    "{says} I make a {d} every week. What goes in as protein?",
    "{says} A friend wants a {d} at my place. Which protein do I use?",
    "{says} Which protein food would you add to a {d}?",
    "{says} What should I buy for the protein in a {d}?",
    "{says} The recipe for my {d} leaves the protein open. Fill it in, please.",
    "{says} For a {d}, what is the protein to go with?",
    "{says} I am short of protein. What belongs in my {d}?",
)
DISHES = (
    "curry",
    "stir-fry",
    "rice bowl",
    "stew",
    "salad",
    "pasta bake",
    "wrap",
    "soup",
    "casserole",
    "filled pepper",
)
SWAPS = (
    "Use {g} g of {s}; that brings about {p} g of protein.",
    "{S}, about {g} g a person.",
    "Take {s}. With {g} g you add some {p} g of protein.",
    "{G} g of {s} would do it.",
    "Go for {s}, {g} g each, around {p} g of protein.",
    "Put {s} in; {g} g give you {p} g of protein.",
    "{S} would work well here: {g} g for one portion.",
    "I would take {g} g of {s}, added towards the end.",
)


# Two eaters of one table; x is the one that is cooked for.
AT_TABLE = (
    "{a} says: “{one}” {b} says: “{other}” This is for {x}: {q}",
    "My guest {b} told me: “{other}” My guest {a}: “{one}” I cook for {x} today. {q}",
    "{a}: “{one}” {b}: “{other}” {x} asks: {q}",
    "We are two. {b}: “{other}” {a}: “{one}” And now {x} wants to know: {q}",
    "Notes about {a}: “{one}” About {b}: “{other}” Please think of {x}. {q}",
    "At our table {b} says “{other}” and {a} says “{one}” It is {x}'s day. {q}",
    "I have two clients. {a}: “{one}” {b}: “{other}” For {x}: {q}",
    "{b} (“{other}”) is out tonight, or {a} (“{one}”). Only {x} eats with me. {q}",
    "{a} wrote “{one}” and {b} wrote “{other}” Plan for {x}, please. {q}",
    "Two flatmates, {b}: “{other}” and {a}: “{one}” Something for {x}. {q}",
)


def meal(draw: Draw) -> Mirror:
    """One request, two ways to eat, of one asker each or of two people at one table."""
    pair = draw.pick(OPPOSITES)
    form, swap = draw.pick(MEALS), draw.rng.random() < 0.3
    asks, dish = draw.ask(ASKS), draw.pick(DISHES)
    side_dish, green = draw.pick(SIDES), draw.pick(GREENS)
    if swap:
        form, asks = draw.pick(SWAPS), draw.ask(SWAP_QUESTIONS)
    before = draw.rng.random() < 0.6
    says = [draw.pick(eater.says) for eater in pair]
    at_table = draw.ask(AT_TABLE) if draw.rng.random() < 0.5 else ""
    a, b = draw.two(draw.pick(PEOPLE))

    def side(number: int) -> Side:
        eater, own = pair[number], says[number]
        fits = [s for s in SOURCES if s.diet in eater.eats]
        source = draw.fact("food", fits, lambda s: s.food)
        protein = float(BY_NAME[source.food]["protein"]) * source.grams / 100
        if at_table:
            question = at_table.format(
                a=a, b=b, one=says[0], other=says[1], x=(a, b)[number],
                q=asks.format(says="", d=dish).strip(),
            )  # fmt: skip
        elif swap:
            question = asks.format(says=own, d=dish)
        else:
            question = f"{own} {asks}" if before else f"{asks} {own}"
        answer = form.format(
            g=source.grams, G=source.grams, s=source.words, S=capital(source.words),
            s0=source.words.split(" with ")[0], c=side_dish, C=capital(side_dish), v=green, p=round(protein),
        )  # fmt: skip
        check = {"none": [word for kind in eater.never for word in ANIMAL[kind]]}
        if eater.wants:
            check["any"] = [word for kind in eater.wants for word in ANIMAL[kind]]
        if not check["none"]:
            del check["none"]
        facts = (f"{source.words}: {source.diet}", f"{source.grams} g: {protein:.0f} g of protein")
        return Side(question, capital(answer), check, eater.flaw, facts)

    one, other = side(0), side(1)
    require(one.answer != other.answer)
    if any(word in form for word in ("Fry", "oven", "warm", "towards the end")):
        require(not any(word in side.answer for side in (one, other) for word in COLD))
    return draw.mirror("diet", one, other)


KINDS = ((meal, 1),)
for kind in ANIMAL:  # so that validation and test have sources of every kind
    declare("food", (source.food for source in SOURCES if source.diet == kind))
