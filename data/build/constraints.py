"""Constraints: what a person has, can do and has time for."""

from typing import NamedTuple

from facts import EXERCISES, SOFT, TOOLS, Row, exercise_name, names_muscle, names_tool
from frames import framed
from mirrors import Draw, Mirror, Side, capital, declare, join, require

AT_HOME = {
    **{k: v for k, v in TOOLS.items() if k not in ("machine", "cable")},
    "body only": "my own body weight",
}
HAVE = (
    "I only have {t}. Which exercise is there for the {p}?",
    "With {t} and nothing else, how do I train the {p}?",
    "Name one exercise for the {p} that I can do with {t}.",
    "Besides {t} I own nothing. What can I do for the {p}?",
    "At home I make do with {t}. Suggest something for the {p}.",
    "My {p} need work, and I have {t}. What fits?",
    "What would you do for the {p} with {t} alone?",
    "I train with {t}. One idea for the {p}, please.",
    "The gym is closed, I am left with {t}. How do I train the {p}?",
    "Pick an exercise for the {p}; {t} is what I can use.",
)
TRY = (
    "Try the {e}.",
    "The {e} would fit.",
    "Do the {e}, three sets.",
    "I would take the {e}, with a load you control.",
    "The {e}: two or three sets, slowly.",
    "Go for the {e}.",
    "Use the {e}, and stop two repetitions before you must.",
    "{E}.",
    "What works is the {e}, twice a week.",
    "The {e} is worth a try.",
)


def tool_at_hand(draw: Draw) -> Mirror:
    """The same muscle with other equipment, or the same equipment for another muscle."""
    usable = [
        e
        for e in EXERCISES
        if e["equipment"] in AT_HOME and not names_muscle(e) and not names_tool(e)
    ]
    first = draw.fact("exercise", usable, lambda row: row["exercise"])
    shared, other_key = (
        ("primary", "equipment") if draw.rng.random() < 0.5 else ("equipment", "primary")
    )
    rivals = [e for e in usable if e[shared] == first[shared] and e[other_key] != first[other_key]]
    second = draw.fact("exercise", rivals, lambda row: row["exercise"])
    # Dumbbells, a barbell and a kettlebell may stand in for one another.
    require(other_key == "primary" or any(row["equipment"] in SOFT for row in (first, second)))
    form = draw.pick(TRY)
    flaw = (
        "equipment that is not there" if other_key == "equipment" else "exercise for another muscle"
    )

    def side(row: Row) -> Side:
        fitting = [
            e
            for e in usable
            if e["primary"] == row["primary"] and e["equipment"] == row["equipment"]
        ]
        return Side(
            draw.ask(framed(HAVE)).format(t=AT_HOME[row["equipment"]], p=row["primary"]),
            form.format(e=exercise_name(row), E=capital(exercise_name(row))),
            {"any": sorted({exercise_name(e) for e in fitting})},
            flaw,
            (f"{row['exercise']}: {row['primary']}, {row['equipment']} (free-exercise-db)",),
        )

    return draw.mirror("constraints", side(first), side(second))


class Complaint(NamedTuple):
    """A sore spot, what spares it, the opposite wish, and what serves that."""

    name: str
    sore: tuple[str, ...]
    sparing: tuple[str, ...]
    wish: tuple[str, ...]
    loading: tuple[str, ...]


COMPLAINTS = (
    Complaint("knee", ("Jumping hurts my knees. What trains my legs without it?", "My knees are sore from impact. Which leg exercise is gentle?", "What can I do for my legs while my knees cannot take jumps?"), ("glute bridges", "a seated hamstring curl", "straight-leg raises", "a hip thrust", "clamshells with a band", "easy cycling"), ("My knees are sound and I want to jump higher. What trains my legs for it?", "I play volleyball and need spring in my legs. Which exercise builds it?", "What can I do for my legs to get explosive?"), ("box jumps", "depth jumps", "jump squats", "skater hops", "tuck jumps", "split jumps")),
    Complaint("shoulder", ("Pressing overhead hurts my shoulder. What can I do for it meanwhile?", "My shoulder pinches when the arm goes up. Which exercise spares it?", "What keeps my shoulder working below the painful height?"), ("external rotations with a band", "a chest-supported row", "scapular retractions", "a low cable row", "isometric holds at the side"), ("My shoulders are healthy and I want a strong overhead press. What helps?", "I want to push more weight over my head. Which exercise do I add?", "What makes me stronger with arms overhead?"), ("push presses", "a standing barbell press", "pike push-ups", "a dumbbell overhead press", "handstand holds")),
    Complaint("back", ("Bending forward under load hurts my lower back. What else trains my hips and legs?", "My lower back is touchy. Which leg exercise keeps load off it?", "What can I do for legs without weight on my spine?"), ("a leg press with a full back rest", "split squats without weight", "a lying leg curl", "glute bridges", "step-ups without weight"), ("My back is fine and I want it stronger under load. What do I do?", "I want to lift heavy things from the floor. Which exercise prepares me?", "What builds a back that carries a load?"), ("deadlifts", "good mornings with a bar", "a barbell bent-over row", "loaded carries", "Romanian deadlifts")),
    Complaint("wrist", ("My wrists hurt when I lean on flat hands. What trains my chest?", "Push-ups on flat hands hurt my wrists. What is easier on them?", "Which chest exercise keeps my wrists straight?"), ("a dumbbell press with straight wrists", "push-ups on handles", "a machine chest press", "a cable fly", "push-ups on your fists on a mat"), ("My wrists are strong and I want to do handstands. What prepares them?", "I want wrists that bear my weight on flat hands. What do I practise?", "Which exercise makes my wrists used to leaning on the palms?"), ("wrist push-backs on the floor", "planche leans", "bear crawls on flat hands", "handstand holds at a wall", "crow pose")),
    Complaint("ankle", ("My sprained ankle is healing, and running still hurts. How do I keep fit?", "I cannot run because of my ankle. What endurance work spares it?", "What keeps my endurance without steps on a sore ankle?"), ("swimming with a pull buoy", "an arm ergometer", "easy rowing with the foot loose", "aqua jogging", "a hand bike"), ("My ankles are sound and I want them ready for trail runs. What do I do?", "I want springy ankles for running. Which exercise?", "What makes my ankles strong for uneven ground?"), ("skipping with a rope", "single-leg hops", "hill sprints", "pogo jumps", "balance runs on grass")),
    Complaint("neighbour", ("My neighbours below complain about noise. Which cardio is silent?", "I train in a flat at night. What gets my pulse up without a sound?", "What cardio makes no thuds on the floor?"), ("slow mountain climbers", "shadow boxing in socks", "a fast step-touch", "marching with high knees on a mat", "bodyweight squats at a quick pace"), ("I have a garage with a rubber floor and can make noise. Which cardio is fun?", "Noise is no matter here. What gets my pulse up with jumps?", "What cardio lets me stamp and jump?"), ("burpees", "skipping with a rope", "jumping jacks", "box jumps", "medicine ball slams")),
)  # fmt: skip
SPARE = (
    "Try {x}.",
    "{X} would suit you.",
    "Do {x}, two or three times a week.",
    "I would choose {x}.",
    "{X}, three sets with pauses.",
    "Go for {x}, and build up slowly.",
    "What fits is {x}.",
    "{X} is a good choice here.",
    "Put {x} into your plan.",
    "Start with {x}, for a few minutes at first.",
)


def sore_or_sound(draw: Draw) -> Mirror:
    """What spares a joint, against what loads it."""
    complaint = draw.fact("complaint", COMPLAINTS, lambda c: c.name)
    form = draw.pick(SPARE)
    one, other = draw.pick(complaint.sparing), draw.pick(complaint.loading)
    return draw.mirror(
        "constraints",
        Side(
            draw.ask(framed(complaint.sore)),
            capital(form.format(x=one, X=capital(one))),
            {"any": list(complaint.sparing)},
            "loads what hurts",
            (f"spares: {one}",),
        ),
        Side(
            draw.ask(framed(complaint.wish)),
            capital(form.format(x=other, X=capital(other))),
            {"any": list(complaint.loading)},
            "too gentle for the aim",
            (f"loads: {other}",),
        ),
    )


TIME = (
    "I have {m} minutes. What circuit fits?",
    "Give me a workout of {m} minutes at home.",
    "What can I do in {m} minutes without any kit?",
    "My break is {m} minutes long. Plan a circuit for it.",
    "A session of {m} minutes, please.",
    "Plan {m} minutes of training for me.",
    "How do I fill {m} minutes with a circuit?",
    "There are {m} minutes left before work. Which workout?",
    "Suggest a {m}-minute circuit.",
    "{m} minutes, no equipment: what is the plan?",
)
MOVES = (
    "squats",
    "push-ups",
    "lunges",
    "planks",
    "mountain climbers",
    "glute bridges",
    "burpees",
    "step-ups",
    "side planks",
    "high knees",
    "wall sits",
    "crunches",
    "bear crawls",
    "jumping jacks",
    "dips on a chair",
    "single-leg bridges",
)
CIRCUITS = (
    "{r} rounds of {x}, one minute each.",
    "Do {x} for one minute each, {r} rounds in all.",
    "{X}: a minute of each, then again, for {r} rounds.",
    "Go through {x}, 45 seconds of work and 15 of rest, {r} times.",
    "{r} times through {x}, a minute an exercise.",
    "Set a timer to one minute and do {x}, {r} rounds.",
)


def time_there_is(draw: Draw) -> Mirror:
    """Two lengths of a circuit."""
    count = draw.pick((3, 4, 5))
    moves = draw.rng.sample(MOVES, count)
    form = draw.pick(CIRCUITS)
    rounds = [draw.fact("rounds", range(2, 10)) for _ in range(2)]
    require(abs(rounds[0] - rounds[1]) >= 2)

    def side(number: int, flaw: str) -> Side:
        circuit = join(moves)
        return Side(
            draw.ask(framed(TIME)).format(m=number * count),
            capital(form.format(r=number, x=circuit, X=capital(circuit))),
            {"number": float(number), "within": 0.01},
            flaw,
            (f"{number} rounds of {count} minutes are {number * count} minutes",),
        )

    flaws = ("too long", "too short") if rounds[0] < rounds[1] else ("too short", "too long")
    return draw.mirror("constraints", side(rounds[0], flaws[0]), side(rounds[1], flaws[1]))


NEWCOMER = (
    "I have never trained before. Which exercise for the {p} do I begin with?",
    "As a complete beginner, what should I do for the {p}?",
    "First week in the gym: one exercise for the {p}, please.",
    "I am just starting out. What is an easy exercise for the {p}?",
    "What do newcomers do for the {p}?",
    "Something simple for the {p}, I am new to this.",
    "I am untrained. How do I start with the {p}?",
    "Which exercise for the {p} can I learn on day one?",
    "Day one of training: what about the {p}?",
    "A beginner asks: which exercise for the {p}?",
)
VETERAN = (
    "I have trained for ten years and want a challenge for the {p}. Which exercise?",
    "As an expert lifter, what should I do for the {p}?",
    "After years in the gym I want a hard one for the {p}. Which?",
    "I am far advanced. What is a demanding exercise for the {p}?",
    "What do experts do for the {p}?",
    "Something hard for the {p}, I am long past the basics.",
    "I am very well trained. How do I push the {p}?",
    "Which exercise for the {p} takes years to learn?",
    "Year ten of training: what about the {p}?",
    "An old hand asks: which exercise for the {p}?",
)


def level_fits(draw: Draw) -> Mirror:
    """A beginner's and an expert's exercise for one muscle."""
    usable = [e for e in EXERCISES if not names_muscle(e)]
    hard = draw.fact(
        "exercise", [e for e in usable if e["level"] == "expert"], lambda row: row["exercise"]
    )
    easy = draw.fact(
        "exercise",
        [e for e in usable if e["level"] == "beginner" and e["primary"] == hard["primary"]],
        lambda row: row["exercise"],
    )
    form = draw.pick(TRY)

    def side(row: Row, forms: tuple[str, ...], flaw: str) -> Side:
        fitting = [
            e for e in usable if e["level"] == row["level"] and e["primary"] == row["primary"]
        ]
        name = exercise_name(row)
        return Side(
            draw.ask(framed(forms)).format(p=row["primary"]),
            form.format(e=name, E=capital(name)),
            {"any": sorted({exercise_name(e) for e in fitting})},
            flaw,
            (f"{row['exercise']}: {row['primary']}, {row['level']} (free-exercise-db)",),
        )

    return draw.mirror(
        "constraints",
        side(easy, NEWCOMER, "too hard for a beginner"),
        side(hard, VETERAN, "too easy for an expert"),
    )


KINDS = ((tool_at_hand, 6), (sore_or_sound, 5), (time_there_is, 5), (level_fits, 3))
declare("complaint", (complaint.name for complaint in COMPLAINTS))
declare("rounds", range(2, 10))
