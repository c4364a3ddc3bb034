"""Beginnings: warming up and cooling down, first loads in a gym, first visits, and the morning's pulse."""

from typing import NamedTuple

from coaching import ACSM_FITNESS, NSCA, OVERTRAINING, Told, mirror_of, plain, say, to_step
from mirrors import Draw, Mirror, declare, join, require

CATEGORY = "habits"

BARBELL_LIFTS = ("back squat", "front squat", "bench press", "incline bench press", "overhead press", "deadlift", "Romanian deadlift", "barbell row", "hip thrust", "push press", "power clean", "floor press", "box squat", "close-grip bench press", "good morning", "sumo deadlift", "split squat with the bar", "barbell lunge", "pause squat", "rack pull")  # fmt: skip
RAMP = (
    "Today: {x} with {a} kg and {y} with {b} kg, {s} sets of {r}. How do I warm up for the {x}?",
    "My work sets are {s} x {r}, {a} kg in the {x}, {b} kg in the {y}. Which warm-up sets for the {x}?",
    "Please write warm-up sets for the {x}. I will lift {a} kg there and {b} kg in the {y}, {s} x {r} each.",
    "How do I get ready for {a} kg in the {x}? Later comes the {y} with {b} kg. Both {s} x {r}.",
    "Warming up for the {x}: which weights? Work sets {s} x {r}: {x} {a} kg, {y} {b} kg.",
    "I lift {b} kg in the {y} and {a} kg in the {x} for {s} x {r}. What comes before the first hard {x}?",
    "The {y} is at {b} kg, the {x} at {a} kg, {s} x {r}. Give me the warm-up for the {x} alone.",
    "Straight to {a} kg in the {x}, or steps before? My {y} has {b} kg, both for {s} x {r}.",
    "What are good steps up to the {x}? {s} sets of {r} are planned, {a} kg there, {b} kg in the {y}.",
    "My {x} starts at {a} kg and my {y} at {b} kg, {s} x {r}. I do not know how to warm up for the {x}.",
    "First exercise: {x}, {a} kg, {s} x {r}. How do I warm up for it?",
    "How many warm-up sets does a {x} with {a} kg for {s} x {r} need?",
    "Which weights lead up to {s} x {r} at {a} kg in the {x}?",
    "For {s} x {r}: {a} kg {x}, {b} kg {y}. What is a safe build-up for the {x}?",
    "I feel stiff before the {x}. Work weight {a} kg, {s} x {r}; the {y} follows with {b} kg. Warm-up?",
)
GENERAL = (
    "Cycle or row easily for {m} minutes first.",
    "Begin with {m} minutes of brisk walking or easy rowing.",
    "{m} easy minutes on a bike raise the temperature.",
    "Move lightly for {m} minutes until you breathe a little faster.",
    "Take {m} minutes for easy cardio, then {k} slow squats and {k} arm circles.",
)
STEPS = (
    "Then do the {x} with the empty bar x {i}, {p} kg x {j}, {q} kg x {k} and {t} kg x {l}.",
    "In the {x} go up like this: bar alone for {i}, {p} kg for {j}, {q} kg for {k}, {t} kg for {l}.",
    "Warm-up sets of the {x}: empty bar {i} times, {p} kg {j} times, {q} kg {k} times, {t} kg {l} times.",
    "After that come {i} repetitions of the {x} with the bar, {j} with {p} kg, {k} with {q} kg and {l} with {t} kg.",
)
THEN = (
    "These are about 40, 60 and 80 % of {a} kg; start the first work set after {n} minutes of rest.",
    "Rest one minute between them and {n} minutes before {a} kg.",
    "The repetitions fall as the weight rises, {v} in all, so you arrive at {a} kg awake and not tired.",
    "Add {w} kg x 1 if the last step still feels heavy, then load {a} kg.",
    "If {t} kg moves fast, the bar is ready for {a} kg after {n} minutes.",
    "Long static holds can wait until {a} kg is done.",
)


def ramp(draw: Draw) -> Mirror:
    """Warm-up sets at 40, 60 and 80 % of the lift that is asked about."""
    x, y = (draw.fact("bar lift", BARBELL_LIFTS) for _ in range(2))
    require(x != y)
    loads = [draw.rng.randrange(60, 116, 5) for _ in range(2)]
    require(abs(loads[0] - loads[1]) >= 10)
    sets, reps = draw.pick((3, 4, 5)), draw.pick((3, 5, 6, 8))

    def told(own: int, others: int) -> Told:
        p, q, t = (plain(to_step(own * share, 2.5)) for share in (0.4, 0.6, 0.8))
        i, j, k, last = draw.pick(((10, 8, 5, 3), (8, 6, 4, 2), (10, 6, 4, 2), (12, 8, 4, 2)))
        answer = say(
            draw, GENERAL, STEPS, THEN, x=x, m=draw.pick((5, 6, 8, 10)), a=own, p=p, q=q, t=t, i=i,
            j=j, k=k, l=last, v=i + j + k + last, n=draw.pick((2, 3)), w=plain(to_step(own * 0.9, 2.5)),
        )  # fmt: skip
        return Told(
            {"x": x, "y": y, "a": own, "b": others, "s": sets, "r": reps},
            answer,
            {"all": [f"{t} kg"]},
            "steps towards another weight",
            (f"40, 60, 80 % of {own} kg: {p}, {q}, {t} kg ({NSCA})", ACSM_FITNESS),
        )

    return mirror_of(draw, CATEGORY, RAMP, told(*loads), told(*loads[::-1]))


SPORTS = (
    "intervals", "a tempo run", "a football match", "a long bike ride", "sprints", "a tennis match", "a dance class",
    "a judo class", "a rowing session", "hill repeats", "a climbing session", "a basketball game", "a swim in the lake",
    "a boxing class", "a hike", "a padel match", "a spinning class", "a park run", "a hockey game", "an obstacle run",
)  # fmt: skip
BEFORE_AFTER = (
    "What do I do right {p} {x}, for {m} minutes? I do not mean {q} it.",
    "I ask for {m} minutes {p} {x}, not for those {q} it. What do you suggest?",
    "Which movements fill {m} minutes {p} {x}? What I do {q} it is another matter.",
    "Not {q} {x} but {p} it: which movements, for {m} minutes?",
    "I have {m} minutes {p} {x} and none {q} it. What do I do with them?",
    "There are {m} minutes {p} {x}. What comes {q} it is settled. Which plan?",
    "The time {q} {x} is taken care of; what about {m} minutes {p} it?",
    "How do I spend {m} minutes {p} {x}? I know what to do {q} it.",
    "{m} minutes {p} {x}, please, and nothing for {q} it.",
    "I never know what to do {p} {x}; {q} it I do. Fill {m} minutes for me.",
    "My group has {m} minutes together {p} {x}, and no time {q} it. What do we do?",
    "Should I stretch {p} {x} or {q} it? I only have {m} minutes {p} it. How do I use them?",
)
DYNAMIC = ("leg swings", "walking lunges", "high knees", "heel kicks", "arm circles", "hip circles", "side shuffles", "skips", "ankle hops", "inchworms", "trunk turns", "carioca steps")  # fmt: skip
STATIC = ("calves", "front thighs", "hamstrings", "hip flexors", "chest", "glutes", "lower back", "inner thighs", "shoulders", "lats")  # fmt: skip
READY = (
    "Use the {m} minutes to get warm: {w} minutes of easy jogging or marching, then {e} for {s} seconds each.",
    "Start slowly for {w} minutes until you are warm, then do {e}, {s} seconds of each.",
    "{w} minutes easy, then drills in motion: {e}, {s} seconds apiece.",
    "Jog or march for {w} minutes. Follow with {e}, {s} seconds each, growing from small to large.",
)
READY_END = (
    "Finish the {m} minutes with {n} short bursts at rising speed.",
    "The last {k} minutes belong to {n} efforts that get close to the pace of {x}.",
    "Close with {n} accelerations of ten seconds, so that {x} does not begin cold.",
    "In the remaining time rehearse the first moves of {x}, {n} times, faster each time.",
    "Add {n} pick-ups, and be at the start of {x} with a little sweat on the brow.",
)
CALM = (
    "Come down first: {w} minutes of slow walking, then hold a stretch for the {e}, {s} seconds each side.",
    "Walk for {w} minutes until your breath is quiet, then stretch the {e} and hold for {s} seconds, twice.",
    "{w} minutes of easy walking bring the pulse down. Hold each stretch for {s} seconds: {e}.",
    "Let the pulse fall for {w} minutes on foot. Now is the time to hold stretches of the {e}, {s} seconds each.",
)
CALM_END = (
    "Drink something, and put on a dry shirt before the {m} minutes are over.",
    "Lie on your back for a last slow minute, and the {m} minutes are over.",
    "It will not erase soreness from {x}, but it ends the day's work gently.",
    "Use the last {k} minutes for calm breathing: in for four counts, out for six.",
    "Stretch to a mild pull, never to pain, {n} times in all, and go home rested from {x}.",
)


def before_or_after(draw: Draw) -> Mirror:
    """What belongs before and what belongs after: the two words swap places."""
    sport = draw.fact("sport", SPORTS)
    minutes = draw.pick(range(10, 21))
    walk, seconds = max(3, minutes // 2), draw.pick((20, 25, 30))
    slots = {"m": minutes, "w": walk, "s": seconds, "x": sport, "n": draw.pick((2, 3, 4))}  # fmt: skip
    warm = say(
        draw, READY, READY_END, e=join(draw.rng.sample(DYNAMIC, 4)), k=minutes - walk - 3, **slots
    )
    cool = say(
        draw,
        CALM,
        CALM_END,
        e=join(draw.rng.sample(STATIC, 3)),
        k=minutes - walk - 3,
        **slots,
    )
    one = Told(
        {"x": sport, "m": minutes, "p": "before", "q": "after"},
        warm,
        {"any": list(DYNAMIC), "none": ["hold", "walking bring"]},
        "long holds and rest where one should get warm",
        (f"dynamic before, static holds after, {minutes} minutes ({ACSM_FITNESS})",),
    )
    other = Told(
        {"x": sport, "m": minutes, "p": "after", "q": "before"},
        cool,
        {"any": ["hold"], "none": list(DYNAMIC)},
        "drills at rising speed where one should come down",
        (f"slow walking and holds of {seconds} s ({ACSM_FITNESS})",),
    )
    return mirror_of(draw, CATEGORY, BEFORE_AFTER, one, other)


class Machine(NamedTuple):
    """A machine of a gym and loads that newcomers use on it, in steps of 5 kg."""

    name: str
    low: int
    high: int


MACHINES = (
    Machine("leg press", 40, 90), Machine("chest press", 15, 40), Machine("cable row", 20, 45), Machine("pull-down", 20, 45),
    Machine("leg curl", 15, 40), Machine("leg extension", 15, 45), Machine("shoulder press", 10, 30), Machine("hip abductor machine", 20, 50),
    Machine("adductor machine", 20, 50), Machine("calf press", 30, 80), Machine("back extension machine", 20, 50), Machine("ab crunch machine", 15, 40),
    Machine("seated row machine", 20, 45), Machine("chest fly machine", 15, 40), Machine("reverse fly machine", 10, 30), Machine("biceps machine", 10, 25),
    Machine("triceps machine", 10, 30), Machine("hip thrust machine", 30, 80), Machine("glute kickback machine", 15, 40), Machine("high row", 20, 45), Machine("torso rotation machine", 15, 35),
)  # fmt: skip
FIRST_WEEK = (
    "My first week in a gym: the {x} with {a} kg felt {e}, the {y} with {b} kg felt {f}. What do I set on the {x} next time?",
    "I am new here. {a} kg on the {x} was {e}, {b} kg on the {y} was {f}. How do I go on with the {x}?",
    "First visit done. {x}, {a} kg: {e}. {y}, {b} kg: {f}. Which weight on the {x} on my second visit?",
    "How do I find my weight on the {x}? In my first session {a} kg was {e} there; on the {y} {b} kg was {f}.",
    "On day one I noted: {x} {a} kg {e}, {y} {b} kg {f}. Next {x}?",
    "As a beginner, what do I change on the {x}? It was {e} with {a} kg, and the {y} was {f} with {b} kg.",
    "The trainer was busy, so I ask here: {a} kg on the {x} is {e}, {b} kg on the {y} is {f}. What about the {x}?",
    "Week one at the gym. The {y} at {b} kg seemed {f}, the {x} at {a} kg seemed {e}. Adjust the {x}, please.",
    "Is my {x} right? I took {a} kg, which was {e}. The {y} took {b} kg, which was {f}. I start tomorrow again.",
    "Second gym day tomorrow. Yesterday: {e} on the {x} ({a} kg), {f} on the {y} ({b} kg). What load for the {x}?",
    "Never trained before last Monday. The {x} was {e} at {a} kg. What do I put on it now?",
    "My first time on the {x}, {a} kg, was {e}. Which weight comes next?",
    "I set the {x} to {a} kg on my first day and it was {e}. And now?",
    "Please help a newcomer with the {x}: {a} kg was {e}. The {y} at {b} kg was {f}.",
    "It is my first month. {x} {a} kg {e}; {y} {b} kg {f}. I want to get the {x} right first.",
)
HEAVIER = (
    "Set the {x} to {n} kg next time, one step more.",
    "Move the pin of the {x} up to {n} kg.",
    "Go up to {n} kg on the {x}; a load should feel like work by the last repetitions.",
    "Take {n} kg on the {x}, as {a} kg left you with too much in reserve.",
    "{n} kg is your next try on the {x}.",
)
LIGHTER = (
    "Set the {x} down to {n} kg.",
    "Move the pin of the {x} back to {n} kg and earn {a} kg later.",
    "Go down to {n} kg on the {x}; the first weeks are for learning the movement.",
    "Take {n} kg on the {x}, because {a} kg leaves no room for clean repetitions.",
    "{n} kg is the better start on the {x}.",
)
TARGET = (
    "Do {s} sets of {r}, and look for a weight with which two or three more would be possible.",
    "Aim for {s} x {r} with two or three repetitions to spare.",
    "{s} sets of {r} are right for now; the last two should be slow but clean.",
    "With {s} sets of {r} you should feel that two more could have been done.",
    "If {r} repetitions come out evenly in all {s} sets, the weight fits.",
)
NEWCOMER = (
    "Note seat and pin of the {x}, so that the next visit begins faster.",
    "Rest {t} seconds between sets and breathe out when you push or pull.",
    "Two visits in the week with a day between are enough at first.",
    "Some soreness after the {x} is normal for two days in the first weeks.",
    "Ask the staff to watch one set of the {x}; that is what they are there for.",
    "Change the {x} by one pin at a time from then on.",
    "Stay with the same {m} machines for {w} weeks before you try others.",
    "Nobody looks at your pin; everyone on the {x} began somewhere.",
)
EASY = ("far too easy", "much too light", "like nothing", "no work at all")
HEAVY = ("far too hard", "much too heavy", "like a wall", "more than I could control")


def first_load(draw: Draw) -> Mirror:
    """Which of two machines was too light and which too heavy: the same words, swapped."""
    x, y = (draw.fact("machine", MACHINES, lambda machine: machine.name) for _ in range(2))
    require(x != y)
    a, b = (draw.rng.randrange(m.low, m.high + 1, 5) for m in (x, y))
    light, heavy = draw.pick(EASY), draw.pick(HEAVY)

    def told(felt: str, other_felt: str) -> Told:
        easy = felt == light
        n = a + 5 if easy else a - 5
        require(n >= 10)
        answer = say(
            draw, HEAVIER if easy else LIGHTER, TARGET, NEWCOMER, x=x.name, a=a, n=n, s=draw.pick((2, 3)),
            r=draw.pick((8, 10, 12, 15)), t=draw.pick((60, 90, 120)), m=draw.pick((5, 6, 7, 8)), w=draw.pick((4, 6, 8)),
        )  # fmt: skip
        return Told(
            {"x": x.name, "y": y.name, "a": a, "b": b, "e": felt, "f": other_felt},
            answer,
            {"all": [f"{n} kg"], "none": [f"{a - 5 if easy else a + 5} kg"]},
            "goes down where it was too light" if easy else "goes up where it was too heavy",
            (f"{a} {'+' if easy else '-'} 5 = {n} kg", NSCA),
        )

    return mirror_of(draw, CATEGORY, FIRST_WEEK, told(light, heavy), told(heavy, light))


PLANS = ("interval run", "leg session", "long ride", "heavy squats", "hill repeats", "bench session", "swim set", "tempo run", "rowing test", "circuit class", "deadlift day", "spinning class", "track session", "climbing evening", "sprint session", "boxing class", "push day", "pull day", "stair run", "sled session")  # fmt: skip
PULSE = (
    "My pulse in the morning is {a} as a rule and {b} today. On the plan: {s}. Do I do it?",
    "As a rule I wake with a pulse of {a}. Today it is {b}. Is the {s} on?",
    "Normal resting pulse {a}, this morning {b}, {s} planned. What would you do?",
    "The watch says {b} at rest today; my usual number is {a}. Should I keep the {s}?",
    "My average at rest is {a}. I woke up with {b}. What about today's {s}?",
    "Today's resting pulse: {b}. The average of the month: {a}. Planned: {s}. Any change?",
    "For weeks my morning pulse was {a}. Now it shows {b}. Does the {s} stay in the plan?",
    "I see {b} beats at rest this morning in place of {a}. Does that matter for the {s}?",
    "Usually {a}, today {b}: that is my pulse in bed. The {s} is due. Your advice?",
    "Do I go ahead with the {s}? Resting pulse today {b}, on other days {a}.",
    "How do I read my pulse? {a} is usual, {b} is today's, the {s} comes at six.",
)
TIRED = (
    "{d} beats above your usual {a} is a reason to go easy.",
    "Today's {b} is {d} beats above normal, a sign that you have not recovered yet.",
    "{b} in place of {a} means {d} beats too many; the body is busy with something.",
    "You are {d} beats above your own average, so today is a day for recovery.",
)
INSTEAD = (
    "Swap the {s} for {m} easy minutes on foot or by bike, and see what tomorrow's pulse says.",
    "Put the {s} off by a day or two and walk for {m} minutes.",
    "Move for {m} minutes so lightly that you can chat, and keep the {s} for a better morning.",
    "Leave out the {s}; {m} minutes of easy cycling and an early night do more now.",
)
CHECK_ON = (
    "Fever, a sore throat or a bad night are common reasons.",
    "If it stays above {h} for a week, or you feel ill, see a doctor.",
    "One number proves little, so ask also how you slept and how heavy your legs feel.",
    "Measure again tomorrow, lying down, before coffee.",
    "Alcohol, stress and heat raise it as well; {h} or more without such a cause deserves attention.",
)
FRESH = (
    "{b} is {d} beats below your usual {a}, no sign of tiredness.",
    "With {d} beats fewer than your average of {a} you look recovered.",
    "A pulse of {b} says that you are rested; {a} would have been fine as well.",
    "{d} beats under normal is nothing to worry about if you feel well.",
)
GO = (
    "Do the {s} as planned, after {m} minutes of warm-up.",
    "The {s} is on; give it {m} minutes of warm-up and judge the first hard part.",
    "Go ahead with the {s}, and take {m} minutes to get warm.",
    "Keep the {s}. {m} minutes of easy movement first will tell you more than the watch.",
)
ALSO_ASK = (
    "Sleep, mood and heavy legs count more than one number.",
    "If you felt dizzy or faint with it, that would be another matter.",
    "Note {b} in the diary; a trend over weeks says more.",
    "Keep measuring lying down, before coffee, so that {b} and {a} can be compared.",
    "Should the first minutes feel wrong in spite of {b}, cut it short.",
)


def morning_pulse(draw: Draw) -> Mirror:
    """A resting pulse above or below the usual one: the two numbers, swapped."""
    plan = draw.fact("plan", PLANS)
    low = draw.rng.randint(46, 68)
    gap = draw.rng.randint(8, 14)

    def told(usual: int, today: int) -> Told:
        tired = today > usual
        parts = (TIRED, INSTEAD, CHECK_ON) if tired else (FRESH, GO, ALSO_ASK)
        minutes = draw.pick((20, 25, 30, 40)) if tired else draw.pick((8, 10, 12, 15))
        answer = say(draw, *parts, a=usual, b=today, d=gap, s=plan, m=minutes, h=usual + 5)
        go = ["as planned", "is on", "go ahead", f"keep the {plan}."]
        rest = ["swap the", "put the", "better morning", "leave out"]
        return Told(
            {"a": usual, "b": today, "s": plan},
            answer,
            {"any": rest if tired else go, "none": go if tired else rest},
            "trains hard on a tired day" if tired else "rests without a reason",
            (f"{today} is {gap} {'above' if tired else 'below'} {usual} ({OVERTRAINING})",),
        )

    return mirror_of(draw, CATEGORY, PULSE, told(low, low + gap), told(low + gap, low))


KINDS = ((ramp, 6), (before_or_after, 4), (first_load, 4), (morning_pulse, 3))
declare("bar lift", BARBELL_LIFTS)
declare("sport", SPORTS)
declare("machine", (machine.name for machine in MACHINES))
declare("plan", PLANS)
