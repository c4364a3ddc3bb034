"""Exercises: the muscles, the equipment and the class of each, asked for one by one and in pairs."""

from functools import cache

from mirrors import Draw, Mirror, Side, capital, join, require, table

Row = dict[str, str]

EXERCISES = [
    e
    for e in table("exercises.csv")
    if e["category"] != "stretching"
    # A plural name would need other verbs in every wording.
    and not (e["exercise"].endswith("s") and not e["exercise"].endswith("ss"))
    and not e["exercise"].startswith(("Around", "The ", "Front Raise And"))
    # What stands behind the name is no part of it in running text.
    and not e["exercise"].endswith(
        ("Powerlifting", "Medium", "Close-Grip", "Wide", "Grip", "Overhead")
    )
]
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
    "Which of the two is {x} work and not {y}: the {a} or the {b}?",
    "The {a} and the {b}: which one counts as {x}, not as {y}?",
    "I sort my exercises. Is it the {a} or the {b} that goes under {x} and not under {y}?",
    "Pick the {x} exercise, not the {y} one: {a} or {b}?",
    "My plan needs {x} work, no {y}. The {a} or the {b}?",
    "Between the {a} and the {b}, which is not {y} but {x}?",
    "{X}, not {y}: does that fit the {a} or the {b}?",
    "Not {y} but {x} is what I look for. Do I take the {a} or the {b}?",
    "One of these is {y}, I want the {x} one: the {a} or the {b}?",
    "Name the {x} exercise of this pair, the other is {y}: {a}, {b}.",
)
THE_ONE = (
    "The {e}.",
    "That is the {e}.",
    "It is the {e}.",
    "I would name the {e}.",
    "Here it is the {e}.",
    "The answer is the {e}.",
    "The {e} is the one.",
    "Of these two, the {e}.",
    "You are looking for the {e}.",
    "{E}.",
    "The {e} fits that.",
    "That goes for the {e}.",
)


def _one_of(
    draw: Draw, rows: list[Row], questions: list[str], flaws: list[str], source: str
) -> Mirror:
    """Two questions about two exercises: the first is right for one, the second for the other.

    Args:
        draw: Where choices come from.
        rows: Both exercises.
        questions: With the places a and b for their names.
        flaws: What is wrong with the other's name, for each question.
        source: The column that tells them apart.
    """
    names = [exercise_name(row) for row in rows]
    require(names[0] not in names[1] and names[1] not in names[0])
    a, b = draw.two(names)
    form = draw.pick(THE_ONE)
    facts = tuple(f"{row['exercise']}: {row[source]} ({FROM_DB})" for row in rows)
    one, other = (
        Side(
            capital(question.format(a=a, b=b)),
            form.format(e=name, E=capital(name)),
            {"all": [name], "none": [rival]},
            flaw,
            facts,
        )
        for question, name, rival, flaw in zip(questions, names, names[::-1], flaws, strict=True)
    )
    return draw.mirror("facts", one, other)


def exercise_kind(draw: Draw) -> Mirror:
    """Which of two exercises is compound, and which isolation work."""
    known = [e for e in EXERCISES if e["mechanic"]]
    compound = draw.fact("exercise", [e for e in known if e["mechanic"] == "compound"], _name)
    same = [
        e for e in known if e["mechanic"] == "isolation" and e["primary"] == compound["primary"]
    ]
    isolation = draw.fact("exercise", same, _name)
    form, (x, y) = draw.ask(KIND_QUESTIONS), ("compound", "isolation")
    questions = [
        form.replace("{x}", one).replace("{X}", capital(one)).replace("{y}", other)
        for one, other in ((x, y), (y, x))
    ]
    flaws = ["wrong class of exercise"] * 2
    return _one_of(draw, [compound, isolation], questions, flaws, "mechanic")


TRAINS_OR_NOT = (
    ("Which of the two trains the {p}: the {a} or the {b}?", "Which of the two does not train the {p}: the {a} or the {b}?"),
    ("The {a} or the {b}: which one is meant for the {p}?", "The {a} or the {b}: which one is not meant for the {p}?"),
    ("I want to work the {p}. Do I take the {a} or the {b}?", "I want to spare the {p}. Do I take the {a} or the {b}?"),
    ("Between the {a} and the {b}, which loads the {p}?", "Between the {a} and the {b}, which leaves the {p} alone?"),
    ("My {p} day is today. Does the {a} or the {b} belong there?", "My {p} day was yesterday, so not again. Does the {a} or the {b} fit?"),
    ("Pick the one for the {p}: {a} or {b}.", "Pick the one that has nothing to do with the {p}: {a} or {b}."),
    ("Which of them gives the main work to the {p}, the {a} or the {b}?", "Which of them gives no main work to the {p}, the {a} or the {b}?"),
    ("I compare the {a} with the {b}. Which one builds the {p}?", "I compare the {a} with the {b}. Which one builds something else than the {p}?"),
    ("{a} or {b}: which should I feel in the {p}?", "{a} or {b}: which should I not feel in the {p}?"),
    ("To train the {p}, is it the {a} or the {b}?", "To rest the {p}, is it the {a} or the {b}?"),
    ("Which belongs on a list for the {p}, the {a} or the {b}?", "Which does not belong on a list for the {p}, the {a} or the {b}?"),
)  # fmt: skip
NEEDS_OR_NOT = (
    ("Which of the two needs {t}: the {a} or the {b}?", "Which of the two does not need {t}: the {a} or the {b}?"),
    ("The {a} or the {b}: which one is done with {t}?", "The {a} or the {b}: which one is done without {t}?"),
    ("I have {t} and want to use it. The {a} or the {b}?", "I have everything but {t}. Can I do the {a} or the {b}?"),
    ("Between the {a} and the {b}, which takes {t}?", "Between the {a} and the {b}, which takes something else than {t}?"),
    ("{t} at hand: do I need it for the {a} or the {b}?", "{t} not at hand: does that leave the {a} or the {b}?"),
    ("Pick the one for which I need {t}: {a} or {b}.", "Pick the one for which I need no such thing as {t}: {a} or {b}."),
    ("I bought {t}. Is it for the {a} or for the {b}?", "I sold {t}. Can I still do the {a} or the {b}?"),
    ("Which belongs to {t}, the {a} or the {b}?", "Which does not belong to {t}, the {a} or the {b}?"),
    ("My hotel has {t}. Which makes use of it, the {a} or the {b}?", "My hotel has all but {t}. The {a} or the {b}?"),
    ("For which do I get out {t}, the {a} or the {b}?", "For which do I leave {t} where it is, the {a} or the {b}?"),
)  # fmt: skip


def exercise_for_muscle_or_not(draw: Draw) -> Mirror:
    """Which of two exercises trains a muscle, and which does not."""
    plain = [e for e in EXERCISES if not names_muscle(e)]
    rows = [draw.fact("exercise", plain, _name) for _ in range(2)]
    muscle = rows[0]["primary"]
    require(muscle not in (rows[1]["primary"], *muscles(rows[1])))
    questions = [q.format(p=muscle, a="{a}", b="{b}") for q in draw.ask(TRAINS_OR_NOT)]
    flaws = ["exercise for another muscle", "trains what was to be spared"]
    return _one_of(draw, rows, questions, flaws, "primary")


def exercise_with_tool_or_without(draw: Draw) -> Mirror:
    """Which of two exercises needs a tool, and which does not."""
    plain = [e for e in EXERCISES if e["equipment"] in TOOLS and not names_tool(e)]
    tools = [e for e in plain if e["equipment"] != "body only"]
    rows = [draw.fact("exercise", tools, _name), draw.fact("exercise", plain, _name)]
    require(rows[0]["equipment"] != rows[1]["equipment"])
    require(any(row["equipment"] in SOFT for row in rows))
    tool = TOOLS[rows[0]["equipment"]]
    questions = [capital(q.format(t=tool, a="{a}", b="{b}")) for q in draw.ask(NEEDS_OR_NOT)]
    flaws = ["equipment that is not there", "needs what is not there"]
    return _one_of(draw, rows, questions, flaws, "equipment")


def _name(row: Row) -> str:
    return row["exercise"]


def names_muscle(row: Row) -> bool:
    """Say whether an exercise's name gives its muscle away."""
    return _name_has_muscle(row["exercise"])


def names_tool(row: Row) -> bool:
    """Say whether an exercise's name gives its equipment away."""
    return _name_has_tool(row["exercise"])


@cache
def _name_has_muscle(exercise: str) -> bool:
    stems = ("calf", "tricep", "bicep", "chest", "shoulder", "hamstring", "glute", "quad", "lat ",
             "lats", "forearm", "ab ", "neck", "back", "leg", "hip", "wrist", "deltoid", "oblique")  # fmt: skip
    return any(stem in exercise.lower() + " " for stem in stems)


@cache
def _name_has_tool(exercise: str) -> bool:
    stems = ("barbell", "dumbbell", "cable", "machine", "smith", "kettlebell", "band", "ball", "bar",
             "leverage", "pulley", "pulldown", "body", "rope", "plate", "bench", "lying t")  # fmt: skip
    return any(stem in exercise.lower() for stem in stems)


KINDS = (
    (exercise_muscle, 10),
    (exercise_for_muscle_or_not, 13),
    (exercise_tool, 3),
    (exercise_with_tool_or_without, 6),
    (exercise_kind, 6),
)
