"""Constraints: what a person has, can do and has time for."""

from typing import NamedTuple

from exercises import EXERCISES, SOFT, TOOLS, Row, exercise_name, names_muscle, names_tool
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
    "I want to work on the {p} and have {t}. What fits?",
    "What would you do for the {p} with {t} alone?",
    "I train with {t}. One idea for the {p}, please.",
    "The gym is closed, I am left with {t}. How do I train the {p}?",
    "Pick an exercise for the {p}; {t} is what I can use.",
)
# Two places, two kinds of kit, and both are named; x is where the person is.
PLACES = (
    "At home I have {t}, at work {u}. Now I am at {x}. What can I do for the {p}?",
    "At work there is {u}, at home {t}. Which exercise for the {p} can I do at {x}?",
    "I own {t} at home and use {u} at work. It is a day at {x}. One exercise for the {p}, please.",
    "{U} at work, {t} at home: that is what I have. How do I train the {p} at {x}?",
    "My kit: at home {t}, at work {u}. I stand at {x} and want to train the {p}. What fits?",
    "At work I find {u}; at home I find {t}. Name an exercise for the {p} for a session at {x}.",
    "If I train at home I have {t}, if I train at work {u}. This time it is at {x}. The {p}?",
    "{T} at home, {u} at work. Suggest something for the {p}, to do at {x}.",
    "Home means {t} to me, and work means {u}. I have time at {x}. What trains the {p}?",
    "Pick an exercise for the {p}. At home: {t}. At work: {u}. I am at {x}.",
)
# Two muscles, and both are named; o is the one that is not to be trained.
NOT_THAT = (
    "I have {t} and want to train the {p}, not the {o}. What do you suggest?",
    "The {o} can rest, the {p} cannot. With {t}, which exercise?",
    "My weak spot: not the {o} but the {p}. I have {t}. One idea?",
    "With {t}: something for the {p} and nothing for the {o}, please.",
    "I trained the {o} yesterday. Today the {p}. I have {t}.",
    "My plan has enough for the {o} and too little for the {p}. All I own is {t}. What do I add?",
    "Leave out the {o}. What can I do with {t} for the {p}?",
    "I own {t}. The {o} I know how to train; how do I train the {p}?",
    "Which exercise with {t} is for the {p} rather than for the {o}?",
    "It is about the {p} and not about the {o}. I have {t} at hand. What fits?",
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
    if other_key == "equipment":
        # Dumbbells, a barbell and a kettlebell may stand in for one another, and who has a tool can
        # do without it.
        tools = {first["equipment"], second["equipment"]}
        require(bool(tools & set(SOFT)) and "body only" not in tools)
    form = draw.pick(TRY)
    flaw = (
        "equipment that is not there" if other_key == "equipment" else "exercise for another muscle"
    )

    questions = _about_kit(draw, [first, second], other_key)

    def side(row: Row, question: str) -> Side:
        fitting = [
            e
            for e in usable
            if e["primary"] == row["primary"] and e["equipment"] == row["equipment"]
        ]
        return Side(
            question,
            form.format(e=exercise_name(row), E=capital(exercise_name(row))),
            {"any": sorted({exercise_name(e) for e in fitting})},
            flaw,
            (f"{row['exercise']}: {row['primary']}, {row['equipment']} (free-exercise-db)",),
        )

    return draw.mirror("constraints", side(first, questions[0]), side(second, questions[1]))


def _about_kit(draw: Draw, rows: list[Row], differ: str) -> list[str]:
    """Ask for an exercise each; in most cases both questions name what both have."""
    tools = [AT_HOME[row["equipment"]] for row in rows]
    muscles = [row["primary"] for row in rows]
    if draw.rng.random() < 0.4:
        return [
            draw.ask(framed(HAVE)).format(t=tool, p=muscle)
            for tool, muscle in zip(tools, muscles, strict=True)
        ]
    if differ == "primary":
        form = draw.ask(NOT_THAT)
        return [form.format(t=tools[0], p=p, o=o) for p, o in (muscles, muscles[::-1])]
    form, places = draw.ask(PLACES), draw.two(("home", "work"))
    t, u = tools if places[0] == "home" else tools[::-1]
    return [
        form.format(t=t, T=capital(t), u=u, U=capital(u), p=muscles[0], x=place) for place in places
    ]


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
    "What would fit: {x}.",
    "{X} would be a good choice here.",
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
# Two lengths, and both are named; x is the kind of day.
TWO_LENGTHS = (
    "On weekdays I have {m} minutes, on weekends {n}. It is one of my {x}. What circuit fits?",
    "My breaks are {n} minutes on weekends and {m} on weekdays. Plan a circuit for {x}.",
    "{m} minutes on weekdays, {n} minutes on weekends: give me a circuit for my {x}.",
    "I train {n} minutes on weekends, {m} minutes on weekdays. Which circuit for the {x}?",
    "Weekdays leave me {m} minutes, weekends {n}. A circuit for {x}, please.",
    "No kit. Weekends: {n} minutes. Weekdays: {m} minutes. What is the plan for {x}?",
    "How do I fill my {x}, with {m} minutes on weekdays and {n} on weekends?",
    "Time for sport: {n} minutes on weekends, {m} on weekdays. Suggest a circuit for {x}.",
    "Of my sessions, those on weekdays have {m} minutes, those on weekends {n}. One for {x}?",
    "For weekends I planned {n} minutes and for weekdays {m}. What do I do on {x}?",
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

    minutes = [number * count for number in rounds]
    questions = [draw.ask(framed(TIME)).format(m=m) for m in minutes]
    if draw.rng.random() < 0.65:
        form_of_two, days = draw.ask(TWO_LENGTHS), draw.two(("weekdays", "weekends"))
        m, n = minutes if days[0] == "weekdays" else minutes[::-1]
        questions = [form_of_two.format(m=m, n=n, x=day) for day in days]

    def side(number: int, flaw: str, question: str) -> Side:
        circuit = join(moves)
        return Side(
            question,
            capital(form.format(r=number, x=circuit, X=capital(circuit))),
            {"number": float(number), "within": 0.01},
            flaw,
            (f"{number} rounds of {count} minutes are {number * count} minutes",),
        )

    flaws = ("too long", "too short") if rounds[0] < rounds[1] else ("too short", "too long")
    return draw.mirror(
        "constraints",
        side(rounds[0], flaws[0], questions[0]),
        side(rounds[1], flaws[1], questions[1]),
    )


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


# Two people of two levels, and both are named.
TWO_LEVELS = (
    "A beginner and an old hand train with me. One exercise for the {p} for the {x}, please.",
    "I coach an old hand and a beginner. What does the {x} do for the {p}?",
    "In our pair one is a beginner, one an old hand. The {x} wants to train the {p}. Which exercise?",
    "Both an old hand and a beginner ask about the {p}. What do I tell the {x}?",
    "For the {p}: a beginner needs one exercise, an old hand another. Which is for the {x}?",
    "The old hand and the beginner of our gym differ. What fits the {x} for the {p}?",
    "Two plans, for a beginner and for an old hand. Fill in the {p} for the {x}.",
    "My sister is a beginner, my uncle an old hand. An exercise for the {p} of the {x}?",
    "An old hand shows a beginner around. Which exercise for the {p} suits the {x}?",
    "Name an exercise for the {p} that fits the {x}; a beginner and an old hand are here.",
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
    both = draw.ask(TWO_LEVELS) if draw.rng.random() < 0.65 else ""

    def side(row: Row, forms: tuple[str, ...], level: str, flaw: str) -> Side:
        fitting = [
            e for e in usable if e["level"] == row["level"] and e["primary"] == row["primary"]
        ]
        name = exercise_name(row)
        return Side(
            (both or draw.ask(framed(forms))).format(p=row["primary"], x=level),
            form.format(e=name, E=capital(name)),
            {"any": sorted({exercise_name(e) for e in fitting})},
            flaw,
            (f"{row['exercise']}: {row['primary']}, {row['level']} (free-exercise-db)",),
        )

    return draw.mirror(
        "constraints",
        side(easy, NEWCOMER, "beginner", "too hard for a beginner"),
        side(hard, VETERAN, "old hand", "too easy for an expert"),
    )


KINDS = ((tool_at_hand, 6), (sore_or_sound, 5), (time_there_is, 5), (level_fits, 2))
declare("complaint", (complaint.name for complaint in COMPLAINTS))
declare("rounds", range(2, 10))
