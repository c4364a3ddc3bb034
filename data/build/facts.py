"""Facts: protein and energy of foods, muscles and equipment of exercises, ranges to train and eat by."""

from mirrors import Draw, Mirror, Side, capital, declare, figure, join, require, table
from ranges import RANGES, Range

FOODS = table("foods.csv")
EXERCISES = [
    e
    for e in table("exercises.csv")
    if e["category"] != "stretching"
    # A plural name would need other verbs in every wording.
    and not (e["exercise"].endswith("s") and not e["exercise"].endswith("ss"))
    and not e["exercise"].startswith(("Around", "The ", "Front Raise And"))
]
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
SOFT = ("body only", "bands", "medicine ball", "exercise ball")
TOOLS = {
    "body only": "your own body weight",
    "barbell": "a barbell",
    "dumbbell": "dumbbells",
    "cable": "a cable machine",
    "machine": "a machine in the gym",
    "kettlebells": "a kettlebell",
    "bands": "an elastic band",
    "medicine ball": "a medicine ball",
    "exercise ball": "an exercise ball",
    "e-z curl bar": "an EZ curl bar",
}
Row = dict[str, str]

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
        "I compare labels: {a} against {b}. Where is more {n} in it?",
        "I compare labels: {a} against {b}. Where is less {n} in it?",
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


MUSCLE_QUESTIONS = (
    "Which muscle does the {e} work most?",
    "What does the {e} train first of all?",
    "Where should I feel the {e}?",
    "I added the {e} to my plan. Which muscle is it for?",
    "What is the main muscle in the {e}?",
    "My trainer gave me the {e}. What does it build?",
    "Which part of the body gets stronger with the {e}?",
    "The {e}: what is it good for?",
    "If I do the {e} twice a week, what am I training?",
    "Name the target of the {e}.",
    "What is worked by the {e}?",
    "On which day of a split would the {e} belong, going by the muscle it trains?",
    "Which muscle will be sore after many sets of the {e}?",
    "Before I try the {e}: which muscle carries the load?",
    "Tell me what the {e} is meant to train.",
    "Is there one muscle that the {e} is mainly for? Which?",
    "What should be tired at the end of a set of the {e}?",
    "I keep seeing the {e} in videos. Which muscle is behind it?",
    "Which muscle group do I tick off with the {e}?",
    "Explain what the {e} targets.",
)
MUSCLE_ANSWERS = (
    "Mainly the {p}{with_s}.",
    "The {p} first{then_s}.",
    "Above all the {p}{with_s}.",
    "You should feel it in the {p}{then_s}.",
    "It is an exercise for the {p}{with_s}.",
    "Most of the work is done by the {p}{with_s}.",
    "The load is on the {p}{with_s}.",
    "Its target is the {p}{then_s}.",
    "Think of the {p}{with_s}; two or three sets are a start.",
    "The {p}{with_s}. Start light until the movement sits.",
    "That one goes to the {p}{then_s}.",
    "Chiefly the {p}{with_s}.",
    "It builds the {p}{then_s}.",
    "It is made for the {p}{with_s}.",
    "Count it as work for the {p}{with_s}.",
    "Look for it in the {p}{then_s}; if you feel it elsewhere, check your form.",
)
FROM_DB = "free-exercise-db"
PROPER = {
    word.lower(): word
    for word in ("JM", "Zottman", "Smith", "Romanian", "Arnold", "EZ-bar", "T-bar", "Svend", "Rocky",
                 "Turkish", "Russian", "Janda", "Bradford/Rocky", "Jefferson", "Zercher", "Anderson",
                 "London", "Nordic", "Bulgarian", "Cuban")
}  # fmt: skip


def muscles(row: Row) -> list[str]:
    """Name the muscles that help."""
    return [m for m in row["secondary"].split("; ") if m and m != row["primary"]]


def exercise_name(row: Row) -> str:
    """Write an exercise's name as in running text."""
    words = row["exercise"].lower().split()
    return " ".join(PROPER.get(word, word) for word in words)


def exercise_muscle(draw: Draw) -> Mirror:
    """Two exercises, each with its own main muscle."""
    answer = draw.pick(MUSCLE_ANSWERS)
    plain = [e for e in EXERCISES if not names_muscle(e)]
    rows = [draw.fact("exercise", plain, lambda row: row["exercise"]) for _ in range(2)]
    require(rows[0]["primary"] != rows[1]["primary"])

    def side(row: Row) -> Side:
        helpers = muscles(row)[:3]
        text = answer.format(
            p=row["primary"],
            with_s=f", with help from the {join(helpers)}" if helpers else "",
            then_s=f", then the {join(helpers)}" if helpers else "",
        )
        question = draw.ask(MUSCLE_QUESTIONS).format(e=exercise_name(row))
        facts = (f"{row['exercise']}: {row['primary']} ({FROM_DB})",)
        return Side(question, text, {"any": [row["primary"]]}, "muscle of another exercise", facts)

    return draw.mirror("facts", side(rows[0]), side(rows[1]))


TOOL_QUESTIONS = (
    "What do I need for the {e}?",
    "Which equipment does the {e} take?",
    "I would like to try the {e}. What should be at hand?",
    "What is the {e} done with?",
    "Can you tell me the kit for the {e}?",
    "What must my gym have so that I can do the {e}?",
    "The {e}: what do I hold or use?",
    "Before I plan the {e}: what gear is that?",
    "What do people use for the {e}?",
    "Which tool belongs to the {e}?",
    "I travel a lot. What would I have to find for the {e}?",
)
TOOL_ANSWERS = (
    "You need {t}.",
    "{T}.",
    "{T}, and enough room to move.",
    "It is done with {t}.",
    "{T}; that is all.",
    "All it takes is {t}.",
    "Just {t}, and a start with little weight or few repetitions.",
    "With {t} you can begin.",
    "{T}, two or three sets to begin with.",
    "Plan on {t}.",
)


def exercise_tool(draw: Draw) -> Mirror:
    """Two exercises, each with its own equipment."""
    answer = draw.pick(TOOL_ANSWERS)
    plain = [e for e in EXERCISES if e["equipment"] in TOOLS and not names_tool(e)]
    rows = [draw.fact("exercise", plain, lambda row: row["exercise"]) for _ in range(2)]
    require(rows[0]["equipment"] != rows[1]["equipment"])
    # A barbell may stand in for dumbbells or a machine, but nothing for the last three.
    require(any(row["equipment"] in SOFT for row in rows))

    def side(row: Row) -> Side:
        tool = TOOLS[row["equipment"]]
        return Side(
            draw.ask(TOOL_QUESTIONS).format(e=exercise_name(row)),
            answer.format(t=tool, T=capital(tool)),
            {"any": [tool.split(" ", 1)[-1] if tool.startswith(("a ", "an ")) else tool]},
            "equipment of another exercise",
            (f"{row['exercise']}: {row['equipment']} ({FROM_DB})",),
        )

    return draw.mirror("facts", side(rows[0]), side(rows[1]))


KIND_QUESTIONS = (
    "Is the {e} a compound or an isolation exercise?",
    "Compound or isolation: which is the {e}?",
    "Would you call the {e} compound or isolation work?",
    "The {e}, does it count as compound or as isolation?",
    "For my plan: is the {e} isolation or compound?",
    "How is the {e} classed, as isolation or compound?",
    "I sort my exercises into compound and isolation. Where does the {e} go?",
    "Does the {e} belong to the compound or the isolation part of a session?",
    "Put the {e} in a class: isolation or compound.",
    "Do the books list the {e} as compound or isolation?",
)
KIND_ANSWERS = {
    "compound": (
        "Compound: several joints move, for the {p} and others.",
        "It is compound, with the {p} in front.",
        "Compound. More than one joint works, led by the {p}.",
        "A compound one, built around the {p}.",
        "Compound, so put it early in the session, for the {p}.",
        "Count it as compound work for the {p}.",
    ),
    "isolation": (
        "Isolation: one joint moves, for the {p} alone.",
        "It is isolation, aimed at the {p}.",
        "Isolation. A single joint works, moved by the {p}.",
        "An isolation one, made for the {p}.",
        "Isolation, so put it late in the session, for the {p}.",
        "Count it as isolation work for the {p}.",
    ),
}


def exercise_kind(draw: Draw) -> Mirror:
    """A compound and an isolation exercise for the same muscle."""
    rows = {}
    known = [e for e in EXERCISES if e["mechanic"]]
    rows["compound"] = draw.fact(
        "exercise", [e for e in known if e["mechanic"] == "compound"], _name
    )
    muscle = rows["compound"]["primary"]
    same = [e for e in known if e["mechanic"] == "isolation" and e["primary"] == muscle]
    rows["isolation"] = draw.fact("exercise", same, _name)
    index = draw.rng.randrange(len(KIND_ANSWERS["compound"]))

    def side(kind: str) -> Side:
        row = rows[kind]
        return Side(
            draw.ask(KIND_QUESTIONS).format(e=exercise_name(row)),
            KIND_ANSWERS[kind][index].format(p=muscle),
            {"any": [kind]},
            "wrong class of exercise",
            (f"{row['exercise']}: {kind} ({FROM_DB})",),
        )

    return draw.mirror("facts", side("compound"), side("isolation"))


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


def _name(row: Row) -> str:
    return row["exercise"]


def names_muscle(row: Row) -> bool:
    """Say whether an exercise's name gives its muscle away."""
    stems = ("calf", "tricep", "bicep", "chest", "shoulder", "hamstring", "glute", "quad", "lat ",
             "lats", "forearm", "ab ", "neck", "back", "leg", "hip", "wrist", "deltoid", "oblique")  # fmt: skip
    return any(stem in row["exercise"].lower() + " " for stem in stems)


def names_tool(row: Row) -> bool:
    """Say whether an exercise's name gives its equipment away."""
    stems = ("barbell", "dumbbell", "cable", "machine", "smith", "kettlebell", "band", "ball", "bar",
             "leverage", "pulley", "pulldown", "body", "rope", "plate", "bench", "lying t")  # fmt: skip
    return any(stem in row["exercise"].lower() for stem in stems)


KINDS = (
    (food_value, 30),
    (food_comparison, 22),
    (exercise_muscle, 22),
    (exercise_tool, 8),
    (exercise_kind, 5),
    (training_range, 13),
)
declare("range", (chosen.topic for chosen in RANGES))
