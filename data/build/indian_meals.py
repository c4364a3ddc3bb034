"""Indian meals for vegetarians, eggetarians, vegans, Jains, for days of fasting, without wheat.

Both questions of a mirror name two people, or two days, with their ways to eat; as in turns.table.
A fast of Navratri leaves out grains, pulses, onion and garlic; buckwheat, amaranth, makhana and sabudana
stay. Jain food leaves out eggs, roots, onion and garlic, and here sprouts.
"""

from typing import NamedTuple

from mirrors import Draw, Mirror, Side, capital

from fitbot.evaluation.checks import passes

DAIRY = ["paneer", "curd", "ghee", "milk", "lassi", "raita", "butter", "chaas", "kheer", "yoghurt", "shrikhand"]  # fmt: skip
EGG = ["egg", "omelette"]
ROOTS = ["potato", "aloo", "onion", "garlic", "carrot", "beetroot", "radish", "ginger"]
WHEAT = ["wheat", "suji", "naan", "daliya", "maida", "rava", "vermicelli", "atta"]
PULSES = ["dal", "rajma", "chana", "chole", "moong", "masoor", "lobia", "besan", "sambar", "soya", "sattu", "urad"]  # fmt: skip
NO_FAST = [*PULSES, *WHEAT, *EGG, "onion", "garlic", "rice", "idli", "dosa", "poha", "bajra", "ragi", "jowar", "roti", "bean", "oats", "tofu", "tikka", "daliya"]  # fmt: skip


class Way(NamedTuple):
    """A way to eat, what may not be in it, and what must."""

    words: str  # as in "I eat ..."
    never: list[str]
    wants: list[str]
    flaw: str


VEGAN = Way("vegan food", [*DAIRY, *EGG, "naan"], [], "not vegan")
MILK = Way("vegetarian food with curd, milk or paneer", EGG, DAIRY, "no milk product")
EGGS = Way("food with eggs", [], EGG, "no eggs, though asked for")
NO_EGG = Way("vegetarian food without eggs", EGG, [], "has eggs")
JAIN = Way("Jain food", [*EGG, *ROOTS, "sprout", "sprouted"], [], "not Jain")
ROOT = Way("food with potatoes or onions", [], ["potato", "aloo", "onion"], "none of the vegetables asked for")  # fmt: skip
NO_WHEAT = Way("food without wheat", WHEAT, [], "has wheat")
BREAD = Way("something made of wheat", [], WHEAT, "no wheat, though asked for")
FAST = Way("food for a Navratri fast", NO_FAST, [], "breaks the fast")
PULSE = Way("food made of dal or other pulses", [], PULSES, "no pulses, though asked for")
WAYS = (VEGAN, MILK, EGGS, NO_EGG, JAIN, ROOT, NO_WHEAT, BREAD, FAST, PULSE)

DISHES = (
    "moong dal chilla with mint chutney", "besan chilla with tomato", "rajma with rice", "chole with bajra roti",
    "masoor dal with ragi roti", "soya chunk curry with rice", "tofu bhurji with wheat roti", "sattu drink with lemon and roasted cumin",
    "moong sprout chaat with lemon", "chana chaat with cucumber", "lobia curry with jowar roti", "idli with sambar",
    "plain dosa with coconut chutney and sambar", "poha with peanuts and peas", "daliya with peas and beans", "sprouted moong poha",
    "paneer tikka with mint chutney", "palak paneer with wheat roti", "paneer bhurji with bajra roti", "curd rice with pomegranate",
    "lassi with soaked almonds", "besan kadhi with curd and rice", "cucumber raita with moong khichdi", "oats cooked in milk with dates",
    "paneer paratha of wheat with curd", "ragi porridge with milk", "shrikhand with strawberries", "chaas with roasted chana",
    "egg bhurji with wheat roti", "masala omelette with tomato", "egg curry with rice", "boiled eggs with chana chaat",
    "egg dosa with coconut chutney", "omelette with naan", "egg and onion roll of wheat", "boiled eggs with roasted potatoes",
    "aloo gobi with wheat roti", "onion uttapam with sambar", "carrot and pea pulao with raita", "beetroot thoran with rice and dal",
    "aloo chana chaat with onion", "potato and pea curry with bajra roti", "radish sambar with rice", "onion pakoras of besan",
    "suji upma with peas", "vermicelli upma with beans", "naan with chole", "rava idli with coconut chutney",
    "wheat roti with lauki and moong dal", "wheat paratha with methi and curd", "sabudana khichdi with peanuts", "kuttu cheela with curd",
    "roasted makhana with almonds", "fruit bowl with coconut water", "samak khichdi with peanuts", "rajgira porridge with milk",
    "paneer and pumpkin curry with kuttu puris", "makhana kheer with almonds", "papaya with walnuts and coconut", "lauki curry with rajgira parathas",
    "peanut and cucumber salad with lemon", "singhara cheela with mint chutney", "bhindi masala with moong dal and rice", "toor dal with lauki and jowar roti",
)  # fmt: skip
ASKS = (
    "I eat {r}. My husband eats {w}. What do I cook for myself?",
    "I eat {w}. My husband eats {r}. What do I cook for him?",
    "For my mother it is {r}, for my son {w}. A dish for her after her walk?",
    "For my mother it is {w}, for my son {r}. A dish for him after his cricket?",
    "Last year I asked for {w}. Now I want {r}. One dish with some protein, please.",
    "Last year I asked for {r}, then for {w} for a while, and now again as at first. One dish, please.",
    "Two plates: {r} for Meera, {w} for Arjun. What is on hers?",
    "Two plates: {w} for Meera, {r} for Arjun. What is on his?",
    "On Tuesdays I have {r}, on other days {w}. Today is Tuesday. What do you suggest?",
    "On Tuesdays I have {w}, on other days {r}. Today is Friday. What do you suggest?",
    "My hostel mate wants {w}. I want {r}. Tell me a dish for me.",
    "My hostel mate wants {r}. I want {w}. Tell me a dish for him.",
    "At home we have {r}, at the office canteen {w}. I am at home. What is for lunch?",
    "At home we have {w}, at the office canteen {r}. I am at the office. What is for lunch?",
    "Not {w} but {r} is what I need today. What could it be?",
    "I need {r}, and please not {w}. Any idea for the evening?",
    "My guest in the blue kurta eats {r}, the one in the red kurta {w}. A dish for the blue one?",
    "My guest in the blue kurta eats {w}, the one in the red kurta {r}. A dish for the red one?",
    "This morning it was {w}; tonight it shall be {r}. What do I make tonight?",
    "This morning it was {r}; tonight it shall be {w}. What did I perhaps have this morning?",
)
SERVED = (
    "{D}.", "How about {d}?", "{D} would fit.", "I would make {d}.", "Try {d}.", "{D}, with a glass of water beside it.",
    "You could have {d}.", "Something like {d}.", "One idea is {d}.", "{D} suits that well.", "Let it be {d}.", "What fits is {d}.",
)  # fmt: skip


def check_of(way: Way) -> dict[str, list[str]]:
    """Write down what a dish must and must not name."""
    return {key: words for key, words in (("none", way.never), ("any", way.wants)) if words}


def way_to_eat(draw: Draw) -> Mirror:
    """One way to eat asked for, another one named."""
    one, other = draw.two(WAYS)
    question, form = draw.ask(ASKS), draw.pick(SERVED)

    def side(way: Way, rival: Way) -> Side:
        check = check_of(way)
        fits = [d for d in DISHES if passes(d, check) and not passes(d, check_of(rival))]
        dish = draw.fact("dish", fits)
        return Side(
            question.format(r=way.words, w=rival.words),
            form.format(d=dish, D=capital(dish)),
            check,
            way.flaw,
            (f"wanted: {way.words}", f"has: {dish}"),
        )

    return draw.mirror("indian food", side(one, other), side(other, one))


KINDS = ((way_to_eat, 7),)
