"""Formats: the same question, asked for in two forms; each answer has one of them."""

from collections.abc import Sequence

from exercises import EXERCISES, exercise_name, names_muscle
from facts import FOODS, nutrients_of, with_unit
from mirrors import Draw, Mirror, Side, capital, join, require

NUMBER_ONLY = (
    "Answer with the number and unit only.",
    "Just the figure, nothing else.",
    "Only the number with its unit, please.",
    "No words around it: number and unit.",
    "Give me the bare figure.",
    "Number and unit, no sentence.",
    "I only want to read the figure.",
    "Keep it to the number and its unit.",
    "The figure alone will do.",
    "Please reply with nothing but the figure.",
)
EXPLAINED = (
    "Please put it in a full sentence or two, with a word on what it means.",
    "Explain it a little, in whole sentences.",
    "Tell me in two sentences, with some context.",
    "I would like it explained, in a sentence or two.",
    "Write it out and say what I can do with it.",
    "More than one word, please: a short explanation.",
    "Answer in sentences and add how to use it.",
    "A short explanation, please, in full sentences.",
    "Say it in words and put it in context.",
    "Give me a little paragraph about it.",
)
ONE_WORD = (
    "One word, please.",
    "Answer in a single word.",
    "Just one word.",
    "Keep it to one word.",
    "A single word is enough.",
    "Reply with one word only.",
    "No more than one word.",
    "I want one word, no sentence.",
    "Only one word as the answer.",
    "One word will do.",
)
YES_OR_NO = (
    "Yes or no only.",
    "Answer with yes or no.",
    "Just yes or no, please.",
    "Only a yes or a no.",
    "Yes or no is enough.",
    "Reply with yes or no and nothing else.",
    "A plain yes or no will do.",
    "I only want to hear yes or no.",
    "Yes or no, no reasons.",
    "Keep it to yes or no.",
)
WITH_A_REASON = (
    "Please explain it in a sentence or two.",
    "Say why, in whole sentences.",
    "Not just yes or no: a short explanation.",
    "I would like some words with it, in full sentences.",
    "Explain it a little.",
    "Tell me in two sentences, with some context.",
    "Write it out, with a word on how to use it.",
    "A short explanation, please, in full sentences.",
    "Give me a little more than yes or no.",
    "Add a sentence or two.",
)
THREE_NAMES = (
    "Three names only, separated by commas, no explanation.",
    "Only three names with commas between them, nothing else.",
    "Name three in one line, with commas, and leave out the reasons.",
    "Three of them in a row with commas; no explanation.",
    "Just three names with commas.",
    "Three names, commas, no comment.",
    "One line, three names, commas between.",
    "Write three names and commas, that is all.",
    "I want three names with commas and not a word more.",
    "Simply three names, divided by commas.",
)
AS_LIST = (
    "Make it a list with dashes.",
    "Please write a list, one to a line.",
    "As a list with a dash before each, please.",
    "Put each on a line of its own, with a dash.",
    "I want bullet points.",
    "A dashed list, please.",
    "One bullet for each.",
    "Show it as bullet points, one below the other.",
    "Lines with dashes, please.",
    "Set it out as a bulleted list.",
)
AS_TEXT = (
    "Please write it as running text, no list.",
    "In one sentence, not as a list.",
    "No bullet points, just a sentence.",
    "Tell me in a normal sentence.",
    "As plain text in a single sentence.",
    "Write a sentence, no bullets.",
    "I would like one flowing sentence.",
    "A sentence, please, and no list.",
    "Say it in one sentence without bullets.",
    "One sentence of plain text.",
)
FIGURE_CORES = (
    "How much {n} do 100 g of {f} have?",
    "What is the {n} in 100 g of {f}?",
    "I need the {n} of {f}, per 100 g.",
    "100 g of {f}: how much {n}?",
)
EXPLANATIONS = (
    "100 g of {f} hold about {v} of {n}. Weigh your own portion and scale the figure.",
    "There are roughly {v} of {n} in 100 g of {f}. For a double portion, count {d}.",
    "You get about {v} of {n} from 100 g of {f}. Brands and ripeness shift that a little.",
    "By the USDA's tables it is {v} of {n} for 100 g of {f}. Half of it makes a small portion.",
    "Count {v} of {n} for every 100 g of {f}. That is close enough for a food diary.",
    "In 100 g of {f} you find some {v} of {n}. Cooking water or oil would change the figure.",
    "100 g of {f} bring about {v} of {n}. Put the plate on a kitchen scale if you want to be exact.",
    "You can reckon with {v} of {n} in 100 g of {f}. Two such portions make {d}.",
    "It is around {v} of {n} for 100 g of {f}. Add it to what the rest of the meal brings.",
    "100 g of {f} come with some {v} of {n}. Tables differ by a few per cent, which does no harm.",
)
MUSCLE_CORES = (
    "Which muscle does the {e} mainly train?",
    "What is the main muscle of the {e}?",
    "What does the {e} work most?",
    "Which muscle leads in the {e}?",
)
MUSCLE_TEXTS = (
    "The {e} mainly trains the {p}. Lower the weight slowly and you will feel it there.",
    "Most of the work in the {e} is done by the {p}. Two or three sets are enough to begin with.",
    "With the {e} you train the {p} first of all. Keep the movement steady and the range full.",
    "The {e} is an exercise for the {p}. Choose a weight that leaves two repetitions in reserve.",
    "It is the {p} that the {e} loads most. Stop a set when your form begins to slip.",
    "In the {e} the load is on the {p}. Add weight only when all sets feel steady.",
    "The {e} loads the {p} before anything else. Begin with a weight that you can stop at any point.",
    "The {e} asks most of the {p}. Pause for a moment where it is hardest.",
    "Nothing works as hard in the {e} as the {p}. Note the weight, so that you can add to it next time.",
    "The {e} is made for the {p}. Breathe out on the way that costs effort.",
)
YES_NO_CORES = (
    "Does the {e} mainly train the {p}?",
    "Is the {e} first of all an exercise for the {p}?",
    "Is it the {p} that the {e} works most?",
    "Do I choose the {e} to train the {p}?",
)
NAMES_CORES = (
    "Which exercises train the {p}?",
    "What can I do for the {p}?",
    "Suggest exercises for the {p}.",
    "How do I train the {p}?",
)


# Both forms are named, so that the words are the same: y is the one that is not wanted.
NOT_THIS = (
    "{q} My friend wanted this: “{y}” I want that: “{x}”",
    "{q} “{x}” is my wish; “{y}” was my friend's.",
    "{q} What I do not mean: “{y}” What I do mean: “{x}”",
    "{q} I said first: “{y}” And I correct myself: “{x}”",
    "{q} Take the first of these notes, not the second. “{x}” “{y}”",
    "{q} Take the second of these notes, not the first. “{y}” “{x}”",
    "{q} “{y}” is crossed out. “{x}” is not crossed out.",
    "{q} Yesterday's rule was “{y}” Today's rule is “{x}”",
    "{q} This holds for me: “{x}” This holds for others: “{y}”",
    "{q} For others you may do this: “{y}” For me do this: “{x}”",
)


def _both(draw: Draw, core: str, first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Ask for a form each; in most cases both questions name both forms."""
    x, y = draw.ask(first), draw.ask(second)
    if draw.rng.random() < 0.45:
        return [f"{core} {x}", f"{core} {y}"]
    form = draw.ask(NOT_THIS)
    return [form.format(q=core, x=x, y=y), form.format(q=core, x=y, y=x)]


def number_or_text(draw: Draw) -> Mirror:
    """A figure alone, or explained."""
    food = draw.fact("food", FOODS, lambda row: row["food"])
    nutrient = draw.pick(nutrients_of(food))
    value = float(food[nutrient])
    core = draw.pick(FIGURE_CORES).format(n=nutrient, f=food["food"])
    text = draw.pick(EXPLANATIONS).format(
        f=food["food"], n=nutrient, v=with_unit(value, nutrient), d=with_unit(2 * value, nutrient)
    )
    bare = f"{with_unit(value, nutrient)}{draw.pick(('', '.'))}"
    fact = (f"{food['food']}: {with_unit(value, nutrient)} of {nutrient}",)
    questions = _both(draw, core, NUMBER_ONLY, EXPLAINED)
    return draw.mirror(
        "format",
        Side(
            questions[0],
            bare,
            {"format": "number", "number": value},
            "sentences instead of a figure",
            fact,
        ),
        Side(
            questions[1],
            capital(text),
            {"format": "explained", "number": value, "all": [food["food"]]},
            "bare figure instead of an explanation",
            fact,
        ),
    )


def word_or_text(draw: Draw) -> Mirror:
    """A muscle in one word, or in sentences."""
    plain = [e for e in EXERCISES if " " not in e["primary"] and not names_muscle(e)]
    row = draw.fact("exercise", plain, lambda row: row["exercise"])
    core = draw.pick(MUSCLE_CORES).format(e=exercise_name(row))
    text = draw.pick(MUSCLE_TEXTS).format(e=exercise_name(row), p=row["primary"])
    fact = (f"{row['exercise']}: {row['primary']}",)
    word = capital(row["primary"]) + draw.pick(("", "."))
    questions = _both(draw, core, ONE_WORD, EXPLAINED)
    return draw.mirror(
        "format",
        Side(
            questions[0],
            word,
            {"format": "one word", "any": [row["primary"]]},
            "sentences instead of one word",
            fact,
        ),
        Side(
            questions[1],
            text,
            {"format": "explained", "all": [exercise_name(row), row["primary"]]},
            "one word instead of an explanation",
            fact,
        ),
    )


def yes_no_or_text(draw: Draw) -> Mirror:
    """Whether an exercise trains a muscle: yes or no alone, or with an explanation."""
    unnamed = [e for e in EXERCISES if not names_muscle(e)]
    row = draw.fact("exercise", unnamed, lambda row: row["exercise"])
    trained = {row["primary"], *row["secondary"].split("; ")}
    others = sorted({e["primary"] for e in EXERCISES} - trained)
    asked = draw.pick((row["primary"], draw.pick(others)))
    core = draw.pick(YES_NO_CORES).format(e=exercise_name(row), p=asked)
    verdict = "Yes" if asked == row["primary"] else "No"
    text = draw.pick(MUSCLE_TEXTS).format(e=exercise_name(row), p=row["primary"])
    fact = (f"{row['exercise']}: {row['primary']}",)
    questions = _both(draw, core, YES_OR_NO, WITH_A_REASON)
    return draw.mirror(
        "format",
        Side(
            questions[0],
            verdict + draw.pick(("", ".")),
            {"format": "yes or no", "any": [verdict]},
            "sentences instead of yes or no",
            fact,
        ),
        Side(
            questions[1],
            draw.pick((f"{verdict}. {text}", f"{verdict}: {text[0].lower()}{text[1:]}")),
            {"format": "explained", "all": [verdict, exercise_name(row), row["primary"]]},
            "yes or no instead of an explanation",
            fact,
        ),
    )


def names_or_list(draw: Draw) -> Mirror:
    """Three exercises in a row, in a list, or in a sentence."""
    muscle = draw.pick(sorted({e["primary"] for e in EXERCISES}))
    fitting = [e for e in EXERCISES if e["primary"] == muscle and not names_muscle(e)]
    rows = [draw.fact("exercise", fitting, lambda row: row["exercise"]) for _ in range(3)]
    names = [exercise_name(row) for row in rows]
    require(len(set(names)) == 3)
    forms = {
        "names": capital(", ".join(names)),
        "list": "\n".join(f"- {capital(name)}" for name in names),
        "no list": draw.pick(("You could do the {j}, two or three sets of each.", "Good ones are the {j}, with a light weight at first.", "Take the {j}, on two days of the week.", "Try the {j} and keep two repetitions in reserve.", "I would start with the {j}, in this order.")).format(j=join([names[0], f"the {names[1]}", f"the {names[2]}"])),
    }  # fmt: skip
    asked = {"names": THREE_NAMES, "list": AS_LIST, "no list": AS_TEXT}
    flaws = {
        "names": "more than the three names asked for",
        "list": "no list, though asked for",
        "no list": "no sentence, though asked for",
    }
    kinds = draw.two(list(forms))
    core = draw.pick(NAMES_CORES).format(p=muscle)
    fact = tuple(f"{row['exercise']}: {row['primary']}" for row in rows)

    questions = _both(draw, core, *(asked[kind] for kind in kinds))
    one, other = (
        Side(question, forms[kind], {"format": kind}, flaws[kind], fact)
        for question, kind in zip(questions, kinds, strict=True)
    )
    return draw.mirror("format", one, other)


KINDS = ((number_or_text, 4), (word_or_text, 3), (yes_no_or_text, 3), (names_or_list, 4))
