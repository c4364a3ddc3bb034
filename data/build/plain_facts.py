"""Plain questions about facts, as people type them; some have a wrong answer, too. No preference pairs.

fitbot-tiny learns from them; see chats.py. All facts are those of the training split.
"""

from collections.abc import Callable, Mapping

import categories  # noqa: F401  all tables: which pool a fact is of depends on what is declared
from exercises import EXERCISES, TOOLS, Row, exercise_name, muscles, names_muscle
from facts import FOODS, UNITS, nutrients_of, with_unit
from grammar import one_of
from mirrors import Draw, capital, figure, join, require, table
from myths import CLAIMS
from ranges import RANGES

Exchange = tuple[str, ...]  # a question, its answer, of some facts also a wrong answer
Kinds = tuple[tuple[Callable[[Draw], Exchange], int], ...]  # each with its weight

_NAMES = {food["food"] for food in FOODS}
ALL_FOODS: tuple[Row, ...] = (
    *FOODS,
    *(dict.fromkeys(UNITS, "") | row for row in table("indian.csv") if row["food"] not in _NAMES),
)
BARE = ("cooked ", "raw ", "canned ", "grilled ", "plain ", "peeled ", "unsweetened ", "rolled ")
ALSO = {  # a name in the table: what people call it
    "extra-firm tofu": "tofu",
    "raw chicken breast": "chicken",
    "cooked sockeye salmon": "salmon",
    "fat-free Greek yoghurt": "greek yogurt",
    "plain whole-milk yoghurt": "yogurt",
    "wholemeal bread": "bread",
    "cooked white rice": "rice",
    "gala apples": "apples",
    "green grapes": "grapes",
    "whey protein powder": "whey",
    "soy protein isolate": "soy protein",
    "medjool dates": "dates",
    "dried figs": "figs",
    "low-fat buttermilk": "buttermilk",
    "raw sirloin steak": "steak",
    "raw pork chops": "pork",
    "raw lean turkey mince": "turkey",
    "romaine lettuce": "lettuce",
}
CALLED = {
    "energy": "[calories|calories|kcal|energy]",
    "carbohydrate": "[carbs|carbohydrates]",
    "fibre": "[fiber|fibre]",
}
# Their own names, and what the exercise is called in exercises.csv.
FAMILIAR = {
    "squats": "Barbell Squat", "bodyweight squats": "Bodyweight Squat", "goblet squats": "Goblet Squat", "dumbbell squats": "Dumbbell Squat",
    "jump squats": "Freehand Jump Squat", "lunges": "Dumbbell Lunges", "barbell lunges": "Barbell Lunge", "step-ups": "Dumbbell Step Ups", "leg presses": "Leg Press",
    "leg extensions": "Leg Extensions", "leg curls": "Lying Leg Curls", "hip thrusts": "Barbell Hip Thrust", "glute bridges": "Single Leg Glute Bridge",
    "glute kickbacks": "Glute Kickback", "Romanian deadlifts": "Romanian Deadlift", "sumo deadlifts": "Sumo Deadlift", "good mornings": "Good Morning",
    "kettlebell swings": "One-Arm Kettlebell Swings", "push-ups": "Push-Up Wide", "incline push-ups": "Incline Push-Up", "dumbbell bench presses": "Dumbbell Bench Press",
    "machine bench presses": "Machine Bench Press", "dumbbell flys": "Dumbbell Flyes", "cable crossovers": "Cable Crossover", "incline dumbbell presses": "Incline Dumbbell Press",
    "dumbbell shoulder presses": "Dumbbell Shoulder Press", "military presses": "Standing Military Press", "lateral raises": "Side Lateral Raise",
    "front raises": "Front Dumbbell Raise", "reverse flys": "Reverse Flyes", "face pulls": "Face Pull", "band pull-aparts": "Band Pull Apart", "dumbbell rows": "One-Arm Dumbbell Row",
    "cable rows": "Seated Cable Rows", "kettlebell rows": "One-Arm Kettlebell Row", "lat pulldowns": "Wide-Grip Lat Pulldown", "shrugs": "Barbell Shrug", "dumbbell curls": "Dumbbell Bicep Curl",
    "hammer curls": "Hammer Curls", "concentration curls": "Concentration Curls", "bench dips": "Bench Dips", "triceps pushdowns": "Triceps Pushdown",
    "triceps kickbacks": "Tricep Dumbbell Kickback", "band skull crushers": "Band Skull Crusher", "calf raises": "Standing Calf Raises", "dead bugs": "Dead Bug", "Russian twists": "Russian Twist",
    "hanging leg raises": "Hanging Leg Raise", "cable crunches": "Cable Crunch", "side planks": "Side Bridge", "flutter kicks": "Flutter Kicks",
    "band good mornings": "Band Good Morning", "ball leg curls": "Ball Leg Curl",
}  # fmt: skip
_BY_NAME = {row["exercise"]: row for row in table("exercises.csv")}
# Not in the table, nor in any pair.
_OWN = (("pull-ups", "bar", "lats", "biceps; middle back"), ("chin-ups", "bar", "lats", "biceps"), ("planks", "body only", "abdominals", "lower back; shoulders"),
        ("mountain climbers", "body only", "abdominals", "shoulders; quadriceps"))  # fmt: skip
KNOWN: tuple[Row, ...] = (
    *({**_BY_NAME[name], "everyday": everyday} for everyday, name in FAMILIAR.items()),
    *({"exercise": name, "everyday": name, "equipment": kit, "primary": primary, "secondary": more}
      for name, kit, primary, more in _OWN),
)  # fmt: skip
KITS = {**TOOLS, "bar": "a bar to hang from", "body only": "nothing but your own body weight"}
MUSCLE_WORDS = {
    "abdominals": "[abs|core|belly|six pack|stomach|abdominals]", "quadriceps": "[legs|quads|thighs|quadriceps]", "hamstrings": "[hamstrings|hams|back of my legs]",
    "glutes": "[glutes|butt|bum|booty]", "chest": "[chest|pecs|chest]", "middle back": "[back|upper back|middle back]", "lats": "[lats|back|wide back]",
    "shoulders": "[shoulders|delts|shoulder]", "biceps": "[biceps|arms|bicep]", "triceps": "[triceps|arms|tricep|back of my arms]", "calves": "[calves|calf muscles]",
    "lower back": "[lower back]", "traps": "[traps]",
}  # fmt: skip


def everyday(food: str) -> str:
    """Name a food as people do."""
    if food in ALSO:
        return ALSO[food]
    for word in BARE:
        food = food.removeprefix(word)
    return food


def verb(food: str, plural: str) -> str:
    """Let a verb agree with a food: lentils hold, tofu holds."""
    if food.endswith("s") and not food.endswith(("hummus", "asparagus", "couscous")):
        return plural
    return {"have": "has", "are": "is"}.get(plural, f"{plural}s")


def _tell(
    draw: Draw, forms: tuple[str, ...], right: Mapping[str, object], wrong: Mapping[str, object]
) -> tuple[str, str]:
    """Write a right and a wrong answer in the same words."""
    state = draw.rng.getstate()
    said = one_of(forms, draw.rng, **right)
    draw.rng.setstate(state)
    return said.strip(), one_of(forms, draw.rng, **wrong).strip()


def _helped(row: Row) -> dict[str, object]:
    others = muscles(row)[:3]
    return {"p": row["primary"], "helped": f", with help from the {join(others)}" if others else ""}


def _food(draw: Draw) -> Row:
    return draw.fact("food", ALL_FOODS, lambda row: row["food"])


def one(plural: str) -> str:
    """Name one of them: bananas, a banana; lunges, a lunge."""
    for ending, single in (
        ("sses", "ss"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("berries", "berry"),
        ("oes", "o"),
    ):
        if plural.endswith(ending):
            return plural.removesuffix(ending) + single
    return plural.removesuffix("s")


def loosely(exercise: str, draw: Draw) -> str:
    """Write an exercise as people do: push-ups, push ups, pushups, a push-up."""
    name = draw.pick((exercise, exercise, exercise, exercise.replace("-", " "), exercise.replace("-", ""), one(exercise)))  # fmt: skip
    return name.lower() if draw.rng.random() < 0.5 else name


def _known(draw: Draw) -> Row:
    return draw.fact("exercise", KNOWN, lambda row: row["exercise"])


AMOUNT = (
    "[how much|how many grams of] {n} [in|is in|is there in|does] {f}[| have]",
    "{n} [in|of] [|100g |100 g |a 100g portion of ]{f}[|?]",
    "{f} {n}[|?| content| per 100g| per 100 g?]",
    "how much {n} [does|do] 100[| ]g[| of] {f} [have|contain|give me][|?]",
    "[whats|what's|what is|tell me] the {n} [in|of|content of] {f}[|?| per 100g?]",
    "[do you know|any idea|can you tell me] how much {n} [there is|is] in {f}[|?]",
    "[im|I'm|I am] eating {f}[, |. ][how much {n} do i get|what's the {n}|{n}?]",
    "{n} per 100[| ]g [for|of] {f}[|?]",
    "how much {n} [will i get|do I get|would i get] [from|out of] [|some |100g ]{f}[|?]",
)
COUNTED = (
    "how many {n} [in|are in|are there in] [|100g |100 g of |some ]{f}[|?]",
    "{n} in [|100g |100 g of ]{f}[|?]",
    "{f} {n}[|?| per 100g| count?]",
    "[whats|what's|what is] the [calorie count|kcal|number of calories] [of|for] {f}[|?]",
    "[do|does] {f} have [a lot of|many] {n}[|?]",
)
AMOUNT_SAID = (
    "100 g of {f} [hold|have|come with|give you] [about |roughly |]{v} of {n}.",
    "[About|Roughly|Around] {v} of {n} per 100 g of {f}.",
    "{F}: [about |]{v} of {n} per 100 g[|, by the USDA's figures|; brands differ a little].",
    "Per 100 g, {f} {bring} {v} of {n}[|, so 200 g bring {double}| and 50 g {half}].",
    "[I have|My figure is|The USDA lists] {v} of {n} for 100 g of {f}.",
)


def amount(draw: Draw) -> Exchange:
    """One figure of a food, the food named as people do."""
    food = _food(draw)
    known = nutrients_of(food)
    nutrient = draw.pick([*known, *(n for n in known if n == "protein")])  # asked for most
    return _amount(draw, food, nutrient, AMOUNT)


def calories(draw: Draw) -> Exchange:
    """The energy of a food."""
    food = _food(draw)
    require("energy" in nutrients_of(food))
    return _amount(draw, food, "energy", COUNTED)


def _amount(draw: Draw, food: Row, nutrient: str, forms: tuple[str, ...]) -> Exchange:
    value, name = float(food[nutrient]), food["food"]
    common = everyday(name)
    single = f"a {one(common)}" if common.endswith("s") and " " not in common else common
    spoken = draw.pick((common, name, common, single))
    asked = one_of(
        tuple(form.replace("{n}", CALLED.get(nutrient, nutrient)) for form in forms), draw.rng, f=spoken
    )  # fmt: skip
    other = _food(draw)
    require(nutrient in nutrients_of(other))
    low, high = sorted((value, float(other[nutrient])))
    require(high >= 1.4 * low and high - low >= 0.4)
    same = {"n": nutrient, "f": name, "F": capital(name), "bring": draw.pick((verb(name, "bring"), verb(name, "hold")))}  # fmt: skip

    def slots(amount: float) -> dict[str, str]:
        shown = (("v", amount), ("double", 2 * amount), ("half", amount / 2))
        return same | {slot: with_unit(much, nutrient) for slot, much in shown}

    return asked, *_tell(draw, AMOUNT_SAID, slots(value), slots(float(other[nutrient])))


AND = ("and {f}?", "what about {f}", "and [in|for] {f}[|?]", "how about {f}?", "{f}?", "[ok |]and {f}[|?]", "same for {f}[|?]")  # fmt: skip


def follow_up(draw: Draw) -> tuple[Exchange, Exchange]:
    """A figure of a food, then the same of another in few words."""
    one, other = _food(draw), _food(draw)
    shared = [n for n in nutrients_of(one) if n in nutrients_of(other)]
    require(one is not other and bool(shared))
    nutrient = "protein" if "protein" in shared and draw.rng.random() < 0.5 else draw.pick(shared)
    return _amount(draw, one, nutrient, AMOUNT), _amount(draw, other, nutrient, AND)


MORE = (
    "[whats better|what's better|which is better|better] for {n}[, |: | ]{a} or {b}[|?]",
    "[which|what] has more {n}[, |: | ]{a} or {b}[|?]",
    "{a} or {b} [for {n}|if I want {n}|for more {n}|when {n} matters][|?]",
    "{a} vs {b} {n}[|?| comparison]",
    "does {a} have more {n} than {b}[|?]",
    "is there more {n} in {a} or [in |]{b}[|?]",
)
MORE_SAID = (
    "{W}: {v} of {n} per 100 g, against {u} in {l}.",
    "{W}, with {v} of {n} per 100 g; {l} {have} {u}.",
    "Per 100 g it is {v} of {n} in {w} and {u} in {l}, so {w}.",
)
EQUAL_SAID = (
    "About the same: {v} of {n} per 100 g of {w}, {u} of {l}.",
    "They hardly differ. 100 g of {w} have {v} of {n}, 100 g of {l} have {u}.",
)


def more(draw: Draw) -> Exchange:
    """Which of two foods has more; or that they are about equal."""
    one, other = _food(draw), _food(draw)
    require(one is not other)
    shared = [n for n in nutrients_of(one) if n in nutrients_of(other)]
    nutrient = "protein" if "protein" in shared and draw.rng.random() < 0.5 else draw.pick(shared or [""])  # fmt: skip
    require(bool(nutrient))
    less, most = sorted((one, other), key=lambda row: float(row[nutrient]))
    low, high = float(less[nutrient]), float(most[nutrient])
    forms = MORE_SAID if high >= 1.25 * low else EQUAL_SAID
    names = [everyday(one["food"]), everyday(other["food"])]
    require(names[0] != names[1])
    asked = tuple(form.replace("{n}", CALLED.get(nutrient, nutrient)) for form in MORE)
    return one_of(asked, draw.rng, a=names[0], b=names[1]), one_of(
        forms, draw.rng, n=nutrient, w=most["food"], W=capital(most["food"]), l=less["food"],
        v=with_unit(high, nutrient), u=with_unit(low, nutrient), have=verb(less["food"], "have"),
    )  # fmt: skip


RICH = {"plant": "vegan", "dairy": "vegetarian", "": "high-protein"}
RICH_ASKED = {
    "plant": (
        "[good|best|high|what are good] [vegan|plant|plant based] [protein sources|sources of protein|protein foods|proteins][|?]",
        "[where do|how do|how can] vegans get [their |enough |]protein[| from][|?]",
        "[im|I'm|I am] vegan[, |. ][what should i eat for protein|how do i hit my protein|where's my protein coming from][|?]",
        "[what|which] [plants|vegan foods] [have|are high in] [a lot of |the most |]protein[|?]",
    ),
    "dairy": (
        "[good|best|high|what are good] [vegetarian|veggie|veg|meat free] [protein sources|sources of protein|protein foods|proteins][|?]",
        "[where|how] [do|can] [veggies|vegetarians like me|people without meat] get [their |]protein[| from][|?]",
        "[im|I'm|I am] [vegetarian|veggie|a vegetarian][, |. ][what should i eat for protein|how do i get my protein|need more protein][|?]",
        "[protein|high protein foods] without meat[|?]",
    ),
    "": (
        "[what|which] foods [have|are high in] [a lot of |the most |]protein[|?]",
        "[good|best|high|what are good] [protein sources|sources of protein|protein foods|high protein snacks][|?]",
        "[what should i eat|what to eat|what do I eat] [for|to get] [more |]protein[|?]",
        "[need|I need|want] more protein[, what do i eat| in my diet|. Ideas?]",
    ),
}  # fmt: skip
RICH_SAID = (
    "[Good ones|Strong choices|Try these]: {l}[|, all per 100 g]. [Spread them over the day.|Mix them over the day.|]",
    "[Look at|Build on|Start with] {l}, [each |]per 100 g.",
    "For example {l}[| per 100 g]. [A portion with every meal adds up fast.|Beans, soy and grains complete each other over a day.|]",
)


def rich_foods(draw: Draw) -> Exchange:
    """Three foods with a lot of protein that fit a way to eat."""
    way = draw.pick(tuple(RICH))
    diets = {"plant": ("plant",), "dairy": ("plant", "dairy"), "": ("plant", "dairy", "fish", "meat")}[way]  # fmt: skip
    rows: list[Row] = []
    for _ in range(12):
        row = _food(draw)
        dry = row["food"].startswith(("dry ", "raw ")) and row["diet"] not in ("meat", "fish")
        if row["diet"] in diets and row not in rows and not dry and float(row["protein"] or 0) >= 7:
            rows.append(row)
    require(len(rows) >= 3 and (way == "plant" or any(row["diet"] != "plant" for row in rows[:3])))
    listed = join([f"{row['food']} with {with_unit(float(row['protein']), 'protein')}" for row in rows[:3]])  # fmt: skip
    return one_of(RICH_ASKED[way], draw.rng), one_of(RICH_SAID, draw.rng, l=listed).strip()


GOOD_FOOD = (
    "[is|are] {f} [bad|good|healthy|unhealthy|fattening|ok|bad for me|good for you|ok when cutting|good for weight loss][|?]",
    "[can|should|may] i eat {f} [every day|daily|at night|on a diet|after training|when losing weight][|?]",
    "[does|will|do] {f} make [me|you] [fat|gain weight][|?]",
    "[should i|do i have to] [avoid|cut out|give up|quit] {f}[|?| to lose weight?]",
    "what [do you think|about] [of |]{f}[|?]",
)
GOOD_FOOD_SAID = (
    "[No single food|No food by itself] is [good or bad|fattening]; the whole day counts. 100 g of {f} have {v} and {p} of protein.",
    "[Sure|That can fit]. {F} {bring} {v} and {p} of protein per 100 g, so [mind the portion|count it into your day|weigh a portion once].",
    "[In a normal portion that is fine|Nothing is wrong with {f} in a normal portion]. Per 100 g you get {v} and {p} of protein; [the day's total decides|variety does the rest].",
)


def good_food(draw: Draw) -> Exchange:
    """Whether a food is bad: none is by itself, and its figures."""
    row = _food(draw)
    require("energy" in nutrients_of(row) and "protein" in nutrients_of(row))
    return one_of(GOOD_FOOD, draw.rng, f=everyday(row["food"])), one_of(
        GOOD_FOOD_SAID, draw.rng, f=row["food"], F=capital(row["food"]),
        bring=verb(row["food"], "bring"), v=with_unit(float(row["energy"]), "energy"), p=with_unit(float(row["protein"]), "protein"),
    )  # fmt: skip


DIET_ASKED = (
    "[is|are] {f} [vegan|plant based|ok for vegans|suitable for vegans][|?]",
    "[can|do] vegans eat {f}[|?]",
    "[im|I'm|I am] vegan[, |. ][can i have {f}|is {f} ok|{f}?][|?]",
)


def vegan_food(draw: Draw) -> Exchange:
    """Whether a food is vegan."""
    row = _food(draw)
    name, why = row["food"], {"dairy": "made of milk", "egg": "from eggs", "fish": "fish", "meat": "meat"}  # fmt: skip
    forms = (
        ("Yes, {f} {are} vegan.", "[Yes|Sure], {f} {are} plant food.")
        if row["diet"] == "plant"
        else ("No, {f}: that is {w}.", "No. {F}: that is {w}, so not vegan.")
    )  # fmt: skip
    return one_of(DIET_ASKED, draw.rng, f=everyday(name)), one_of(
        forms, draw.rng, f=name, F=capital(name), w=why.get(row["diet"], ""), are=verb(name, "are")
    )


WORKS = (
    "[what|which|wat] muscle[s|] [do|does] {e} [work|train|hit|target|use][|?]",
    "what [do|does] {e} [work|train|hit|target|do|build][|?]",
    "[what are|what's|whats] {e} [good for|for][|?]",
    "{e}[ muscles worked| target muscle|, which muscle?| work what?]",
    "[where|where should i] feel {e}[|?]",
    "do {e} [train|work|hit] [the |my |]{m}[|?| or something else?]",
    "[are|is] {e} [any good|good|worth it|useful][|?| for me?]",
    "why [do|should i do|would anyone do] {e}[|?]",
)
WORKS_SAID = (
    "{E} [work|train|load] mainly the {p}{helped}.",
    "[Mainly|Above all|First of all] the {p}{helped}.",
    "{E} are an exercise for the {p}{helped}. [|Two or three sets are a start.|Start light until the movement sits.]",
    "The {p}[ do most of the work| first| are the target]{helped}.",
)


def works(draw: Draw) -> Exchange:
    """The muscles of an exercise, its name in the plural as people say it."""
    row, other = _known(draw), _known(draw)
    require(row["primary"] != other["primary"])
    same: dict[str, object] = {"E": capital(row["everyday"])}
    word = one_of((draw.pick(tuple(MUSCLE_WORDS.values())),), draw.rng)
    asked = one_of(WORKS, draw.rng, e=loosely(row["everyday"], draw), m=word)
    return asked, *_tell(draw, WORKS_SAID, same | _helped(row), same | _helped(other))


def works_singular(draw: Draw) -> Exchange:
    """The muscle of any exercise of the table."""
    unnamed = [e for e in EXERCISES if not names_muscle(e)]
    row, other = (draw.fact("exercise", unnamed, lambda r: r["exercise"]) for _ in range(2))
    require(row["primary"] != other["primary"])
    same: dict[str, object] = {"e": exercise_name(row)}
    asked = ("[what|which] muscle[s|] does [the |a |]{e} [work|train|hit|target][|?]", "{e}[ muscles| muscles worked|, which muscle?| target]",
             "what does [the |]{e} [train|work|do][|?]", "what is [the |a |]{e} [good |]for[|?]")  # fmt: skip
    forms = ("[Mainly|Above all|Chiefly] the {p}{helped}.", "The {e} [trains|works|is for] the {p}{helped}.", "It is an exercise for the {p}{helped}.")  # fmt: skip
    return one_of(asked, draw.rng, **same), *_tell(draw, forms, same | _helped(row), same | _helped(other))  # fmt: skip


NEEDS = (
    "what [do i need|equipment do i need|do you need|gear] for {e}[|?]",
    "[can|could] i do {e} [at home|without equipment|without a gym][|?]",
    "{e} equipment[|?| needed?]",
)


def needs(draw: Draw) -> Exchange:
    """What an exercise is done with."""
    row = _known(draw)
    require(row["equipment"] in KITS)
    kit, name = KITS[row["equipment"]], row["everyday"]
    forms = ("For {e} you need {k}.", "{E} are done with {k}.", "[You need {k}.|It takes {k}.] [|With that you can do {e} anywhere.]")  # fmt: skip
    if row["equipment"] == "body only":
        forms = ("{E} need {k}, so [home is fine|any floor will do].", "Yes: {e} take {k}.", "Nothing, {e} are done with your own body weight.")  # fmt: skip
    return one_of(NEEDS, draw.rng, e=loosely(name, draw)), one_of(forms, draw.rng, e=name, E=capital(name), k=kit).strip()  # fmt: skip


GEAR = {  # equipment: as people say that they have it
    "body only": "[no equipment|without equipment|at home|at home without gear|with no weights|with just my bodyweight|without a gym|in my room]",
    "dumbbell": "[with dumbbells|with a pair of dumbbells|dumbbells only|with 2 dumbbells|using dumbbells]",
    "barbell": "[with a barbell|barbell only|with barbell]",
    "kettlebells": "[with a kettlebell|with kettlebells|kettlebell only]",
    "bands": "[with bands|with a resistance band|bands only]",
    "machine": "[on a machine|with machines|using machines]",
    "cable": "[with cables|on the cable machine|using a cable]",
}  # fmt: skip
FOR_MUSCLE = (
    "[best |good |an |one |any |]exercise[|s] for [|my |the ]{m} {g}[|?]",
    "[how do i|how can i|how to] [train|work|build|grow|hit] [|my |the ]{m} {g}[|?]",
    "{m} [workout|exercises|training] {g}[|?| please| pls]",
    "[what can i do|what do i do|give me something] for [|my |the ]{m} {g}[|?]",
    "[i want|want|I'd like] [bigger|stronger|nice|toned] {m}[, | ]{g}[|?| help]",
)
ANYHOW = (
    "[best |good |an |one |any |top ]exercise[|s] for [|my |the |bigger |stronger ]{m}[|?]",
    "[how do i|how can i|how to] [train|work|build|grow|get bigger|get stronger] [|my ]{m}[|?]",
    "{m} [workout|exercises|day][|?| please| ideas]",
    "[what works|what's good] [for|to build] [|my |the ]{m}[|?]",
)
FOR_SAID = (
    "[Try|Do|Go for|Start with] {l}[|, {s} sets of {r}|: {s} sets of {r} each, twice a week].",
    "For the {p} {g}: {l}. [Do {s} sets of {r}.|{s} sets of {r} are a start.|]",
    "{L} [train|work|load] the {p}[|; do {s} sets of {r}].",
)


def for_muscle(draw: Draw) -> Exchange:
    """Exercises for a muscle, with the kit that is there."""
    first = _known(draw)
    muscle, kit = first["primary"], first["equipment"]
    require(muscle in MUSCLE_WORDS)
    given = kit in GEAR and draw.rng.random() < 0.7
    names = [first["everyday"]]
    for _ in range(40):
        row = _known(draw)
        if row["primary"] == muscle and row["everyday"] not in names and (not given or row["equipment"] == kit):  # fmt: skip
            names.append(row["everyday"])
    listed = join(names[:3])
    with_kit = {"body only": "without equipment", "dumbbell": "with dumbbells", "barbell": "with a barbell", "kettlebells": "with a kettlebell",
                "bands": "with a band", "machine": "on machines", "cable": "with a cable"}  # fmt: skip
    word = MUSCLE_WORDS[muscle]
    forms = tuple(f.replace("{m}", word).replace("{g}", GEAR[kit]) for f in FOR_MUSCLE) if given else tuple(f.replace("{m}", word) for f in ANYHOW)  # fmt: skip
    return one_of(forms, draw.rng), one_of(
        FOR_SAID, draw.rng, l=listed, L=capital(listed), p=muscle, s=draw.pick((2, 3)), r=draw.pick(("8 to 12", "10 to 12", "8 to 10")),
        g=with_kit[kit] if given else "you can do these",
    ).replace(" you can do these:", ":").strip()  # fmt: skip


INSTEAD = (
    "[alternative|alternatives|replacement|substitute] [to|for] {e}[|?]",
    "[what can i do|what do i do|what should I do|something i can do] instead of {e}[|?]",
    "[i can't do|i cant do|I hate|no equipment for] {e}[, what else?|, any swap?|. Alternatives?|, what instead?]",
    "{e} [alternative|alternatives|swap][|?]",
    "[swap|replace] {e} [with what|for what][|?]",
)
INSTEAD_SAID = (
    "[Try|Do|Swap in|Take] {x}[ instead|]; [they train the {p} as well|they are also for the {p}|the {p} work there, too].",
    "{X} [can replace {e}|are a fair swap]: both [train|load] the {p}.",
)


def instead(draw: Draw) -> Exchange:
    """Another exercise for the same muscle; with other kit where that is missing."""
    row, without = _known(draw), draw.rng.random() < 0.3
    own = [e for e in (_known(draw) for _ in range(25)) if e["primary"] == row["primary"] and e["everyday"] != row["everyday"]]  # fmt: skip
    asked = one_of(INSTEAD, draw.rng, e=loosely(row["everyday"], draw))
    if without:
        own = [e for e in own if e["equipment"] == "body only"]
        asked = f"{asked.rstrip('?')} {one_of((GEAR['body only'],), draw.rng)}?"
    require(bool(own) and not (without and row["equipment"] == "body only"))
    other = draw.pick(own)["everyday"]
    return asked, one_of(INSTEAD_SAID, draw.rng, x=other, X=capital(other), p=row["primary"], e=row["everyday"])  # fmt: skip


ASKED_OF_RANGES = {  # a topic of ranges.py: how people ask
    "protein to build muscle": ("[how much protein|how many grams of protein] [do i need|should i eat|per day|a day][| to build muscle| for muscle| to grow| when lifting| if i work out][|?]", "[daily protein|protein per kg|protein intake] [for muscle|to build muscle|for lifters|for gym][|?]", "[do i eat enough|am i getting enough|whats enough] protein[|?]"),
    "protein of an inactive adult": ("[how much|] protein [if i dont train|without sport|for a couch potato|for non athletes|when i never train][|?]",),
    "protein per meal": ("[how much|max] protein [per|in one|in a single|each] meal[|?]", "protein per meal[|?]"),
    "fibre a day": ("how much fib[er|re] [do i need|a day|per day|should i eat][|?]", "daily fib[er|re][|?| target]"),
    "aerobic activity a week": ("how much cardio [do i need|a week|per week|should i do|is healthy][|?]", "how [many minutes|long] should i [exercise|walk|be active|move] [a|per|each] week[|?]", "[minimum exercise|how much exercise] [per week|to stay healthy][|?]"),
    "vigorous activity a week": ("how much [running|hard cardio|hiit|vigorous exercise] [a|per|each] week[|?]",),
    "rest between heavy sets": ("how long [to|do i|should i] rest [between|after] [heavy |strength ]sets[|?]", "rest [time|times|between sets] [for strength|when lifting heavy|for heavy squats][|?]"),
    "rest in light muscle work": ("[how long to |]rest between [light|high rep|easy] sets[|?]",),
    "repetitions for maximal strength": ("[how many|what] reps [for|to build|to get] [strength|strong|max strength][|?]",),
    "repetitions for muscle growth": ("[how many|what|best] reps [for|to build|to grow] [muscle|size|hypertrophy|mass][|?]", "rep range [for growth|to build muscle|for hypertrophy][|?]", "how many reps should [i|a beginner] do[|?]"),
    "repetitions for muscular endurance": ("[how many|what] reps for [endurance|stamina|muscular endurance][|?]",),
    "load for beginners": ("how heavy should [i|a beginner|a newbie] [lift|start|go][|?]", "[what|how much] weight should i start [with|lifting at][|?]"),
    "load for maximal strength": ("how heavy [do i lift|to lift|should i go] for [strength|max strength][|?]",),
    "sleep of adults": ("how [much|many hours of] sleep [do i need|should i get|for recovery|to recover|is enough][|?]", "is [5|6|five|six] hours [of |]sleep [enough|ok][|?]", "does sleep matter[|?| for gains?]"),
    "meal before exercise": ("[when|how long] [should i|do i|to] eat before [training|a workout|a run|the gym][|?]", "eat before [workout|training][|?| how long?]"),
    "weekly sets a muscle": ("how many sets [a|per|each] week[| per muscle| for growth| do i need| for chest][|?]", "[weekly sets|sets per week] [for muscle|for growth|per muscle][|?]"),
    "sets of one exercise for a beginner": ("how many sets [should i do|per exercise|of each exercise|for a beginner|of an exercise][|?]",),
    "training days of beginners": ("how [often|many days|many times a week] should [i|a beginner|a newbie|someone new] [train|lift|work out|go to the gym][|?]", "[gym|training|workout] days per week [for beginners|when starting][|?]"),
    "training days of advanced lifters": ("how [often|many days] do [advanced|pro|experienced] lifters train[|?]",),
    "weight loss a week": ("how [fast|quickly|much per week] [should|can] i [lose|drop] [weight|fat|the fat][|?| safely?]", "[safe|good|healthy] [rate of |weekly ][weight|fat] loss[|?]", "how much weight [a|per] week [can i lose|is ok to lose|is safe][|?]"),
    "fluid loss": ("how much [sweat|water] can i lose[| in training| before it hurts performance][|?]", "[how do i know if i'm|am i] dehydrated [in training|when running][|?]"),
    "raising the load": ("[when|how much|how] [do i|should i] [add|increase|raise|up] [weight|the weight|the load][|?]", "how [much|] to progress [weights|my lifts][|?]", "progressive overload how much[|?]"),
    "carbohydrate during long exercise": ("[carbs|how many carbs] [per hour|during] [a long ride|long runs|a marathon|cycling][|?]",),
    "carbohydrate for light training": ("[how many|how much] carbs [on easy days|on a light day|for light training][|?]",),
    "carbohydrate for hard endurance training": ("[how many|how much] carbs [for runners|for endurance training|when i run a lot][|?]",),
    "trans fat": ("[how much|] trans fat [is ok|limit|a day][|?]",),
}  # fmt: skip
RANGE_SAID = (
    "[About |Aim for |Plan with |Roughly ]{a}.",
    "{A}[|, as a rule|; that suits most people].",
    "Most guidelines say {a}[|; adjust to how you feel].",
    "[The usual advice is|A good range is|A fair target is] {a}.",
)


def usual_range(draw: Draw) -> Exchange:
    """A range to train or eat by, asked for in few words."""
    plain = [r for r in RANGES if r.topic in ASKED_OF_RANGES]
    chosen = draw.fact("range", plain, lambda r: r.topic)
    others = [r for r in plain if r.answer != chosen.answer]
    alike = [r for r in others if r.unit == chosen.unit]
    other = draw.fact("range", alike or others, lambda r: r.topic)
    both = (chosen.answer, other.answer)
    in_digits = all(answer[0].isdigit() for answer in both)
    forms = RANGE_SAID if in_digits else ("{A}.", "Most guidelines say {a}.")
    right, wrong = ({"a": a, "A": capital(a)} for a in both)
    return one_of(ASKED_OF_RANGES[chosen.topic], draw.rng), *_tell(draw, forms, right, wrong)


BELIEFS = (
    "[is it true|true] that {c}[|?]",
    "[someone told me|my friend says|i heard|people say|i read] [that |]{c}[, true?|, is that right?|. Really?|?]",
    "{c}[, true or false?|, right?|, myth or fact?| - true?|, is it true?]",
    "[do you think|so] {c}[|?]",
)


def belief(draw: Draw) -> Exchange:
    """Whether what people say is right, and why."""
    claim = draw.fact("claim", CLAIMS, lambda c: c.text)
    reason = draw.pick(claim.reasons)
    forms = ("[Yes|That is true|True]: {r}.", "Yes, {r}.") if claim.right else ("[No|That is a myth|A myth]: {r}.", "No, {r}.")  # fmt: skip
    return one_of(BELIEFS, draw.rng, c=claim.text), one_of(forms, draw.rng, r=reason)


FOR_WEIGHT = (
    "[i weigh|im|I'm|I am] {w}[| ]kg[, how much protein|, what's my protein|. Protein per day|, how many grams of protein a day][|?| to build muscle?]",
    "[how much protein|protein] [for|at] {w}[| ]kg[|?| body weight]",
    "{w}[| ]kg[, muscle gain, | lifter, ]protein[|?| a day?]",
)


def protein_for_weight(draw: Draw) -> Exchange:
    """Grams of protein a day for a body weight."""
    weight = draw.fact("weight", range(48, 111))
    low, high = round(1.6 * weight), round(2.2 * weight)
    forms = ("[About|Roughly|Aim for] {a} to {b} g a day, if you [lift|train] to build muscle.", "At {w} kg it is {a} to {b} g [of protein |]a day: 1.6 to 2.2 g per kg.", "1.6 to 2.2 g per kg, so {a} to {b} g a day for {w} kg.")  # fmt: skip
    return one_of(FOR_WEIGHT, draw.rng, w=weight), one_of(forms, draw.rng, a=low, b=high, w=weight)


POUNDS = (
    "[convert |how much is |what is |whats |]{p} [lb|lbs|pounds] [in|to|into] [kg|kilos|kilograms][|?]",
    "{p} [lb|lbs|pounds] in kg[|?| please]",
)
KILOS = (
    "[convert |how much is |what is |whats |]{k} [kg|kilos|kilograms] [in|to|into] [lb|lbs|pounds][|?]",
    "{k}[| ]kg in [lb|lbs|pounds][|?| please]",
)


def pounds(draw: Draw) -> Exchange:
    """Pounds to kilograms, and back."""
    if draw.rng.random() < 0.5:
        value = draw.fact("lb", range(100, 281))
        return one_of(POUNDS, draw.rng, p=value), one_of(
            ("[About|Roughly] {k} kg.", "{p} lb [are|is] about {k} kg."), draw.rng, p=value, k=figure(value * 0.4536)
        )  # fmt: skip
    value = draw.fact("weight", range(48, 111))
    return one_of(KILOS, draw.rng, k=value), one_of(
        ("[About|Roughly] {p} lb.", "{k} kg [are|is] about {p} lb."), draw.rng, k=value, p=figure(value / 0.4536)
    )  # fmt: skip


CUES = {  # an exercise: how it is done
    "squats": ("feet about shoulder-wide, push the hips back and sit down between them", "keep the chest up and the heels on the floor", "let the knees point where the toes point"),
    "push-ups": ("hands a little wider than the shoulders, body in one line", "lower the chest to just above the floor", "keep the elbows at about 45 degrees to the trunk"),
    "incline push-ups": ("hands on a bench or table, body in one line", "lower the chest to the edge and push away", "the higher the hands, the easier it is"),
    "planks": ("elbows under the shoulders, body in one line from head to heels", "squeeze the glutes and breathe on", "stop when the hips begin to sink"),
    "lunges": ("take a long step and lower the back knee towards the floor", "keep the trunk upright", "push back up through the front heel"),
    "step-ups": ("put the whole foot on the box", "push through the heel and stand up tall", "step down slowly"),
    "glute bridges": ("lie on your back with the feet near the hips", "lift the hips until trunk and thighs are in one line", "hold for a second at the top"),
    "hip thrusts": ("shoulders on a bench, the bar over the hips", "push the hips up until the trunk is level", "keep the chin tucked"),
    "Romanian deadlifts": ("soft knees, push the hips back and let the bar slide down the thighs", "keep the back flat", "stop where the hamstrings are tight, then stand up"),
    "dumbbell rows": ("one hand and knee on a bench, back flat", "pull the dumbbell to the hip", "lower it slowly and do not turn the trunk"),
    "pull-ups": ("hang with straight arms, hands a little wider than the shoulders", "pull the chest towards the bar", "lower yourself slowly"),
    "dumbbell curls": ("elbows beside the trunk", "lift without swinging", "lower slowly to straight arms"),
    "dumbbell shoulder presses": ("ribs down, dumbbells at the shoulders", "press up until the arms are straight", "do not lean back"),
    "lateral raises": ("arms nearly straight, a slight lean forward", "lift to shoulder height", "lower slowly; light weights will do"),
    "dead bugs": ("lie on your back, arms and knees up", "lower one arm and the opposite leg", "keep the lower back on the floor"),
    "calf raises": ("stand on the balls of the feet on an edge", "rise as high as you can", "lower the heels slowly below the edge"),
}  # fmt: skip
HOW = (
    "how [do i|do you|to|should i] [do|perform] {e}[| right| properly| correctly| safely][|?]",
    "{e} [form|technique|how to|tips|cues][|?| please]",
    "[show|teach|tell|explain] me [how to do |]{e}[|?| please]",
    "[what's|whats|what is] [the |][right|correct|proper|good] [form|technique] for {e}[|?]",
    "[am i doing|i think i do] {e} wrong[|?|, what should i watch?]",
)


def how_to(draw: Draw) -> Exchange:
    """How an exercise is done, in three cues."""
    cued = [row for row in KNOWN if row["everyday"] in CUES]
    name = draw.fact("exercise", cued, lambda row: row["exercise"])["everyday"]
    first, second, third = CUES[name]
    forms = ("{A}. {B}. {C}.", "For {e}: {a}; {b}. {C}.", "{E}: {a}, {b}; {c}. [Start light.|Film one set from the side.|]")  # fmt: skip
    return one_of(HOW, draw.rng, e=loosely(name, draw)), one_of(
        forms, draw.rng, e=name, E=capital(name), a=first, b=second, c=third, A=capital(first), B=capital(second), C=capital(third),
    ).strip()  # fmt: skip


KINDS: Kinds = (
    (amount, 8),
    (calories, 3),
    (more, 5),
    (rich_foods, 4),
    (good_food, 4),
    (vegan_food, 2),
    (works, 6),
    (works_singular, 4),
    (needs, 2),
    (how_to, 3),
    (for_muscle, 7),
    (instead, 4),
    (usual_range, 8),
    (belief, 5),
    (protein_for_weight, 2),
    (pounds, 2),
)
