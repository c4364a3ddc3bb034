"""Plans for people: with a sore joint, older, back after a break, new to running, with a weak spot."""

from coaching import (
    COMPANIONS,
    COUNT,
    FREQUENCY,
    NAMES,
    PLACES,
    RETURN,
    WHO,
    Told,
    mirror_of,
    say,
)
from mirrors import Draw, Mirror, declare, join, require

CATEGORY = "programmes"

LOADS = {  # which joints an exercise asks much of
    "jump squats": ("knee", "ankle"), "walking lunges": ("knee", "hip"), "leg extensions": ("knee",), "step-ups": ("knee",),
    "overhead presses": ("shoulder", "elbow", "wrist"), "dips": ("shoulder", "elbow", "wrist"), "upright rows": ("shoulder", "wrist"),
    "pull-ups": ("shoulder", "elbow"), "lateral raises": ("shoulder",), "front raises": ("shoulder",), "reverse flys": ("shoulder",),
    "deadlifts": ("lower back", "hip"), "good mornings": ("lower back", "hip"), "bent-over rows": ("lower back",),
    "back extensions": ("lower back",), "kettlebell swings": ("lower back", "hip"), "push-ups": ("wrist", "shoulder", "elbow"),
    "bear crawls": ("wrist", "shoulder"), "front squats": ("wrist", "knee", "shoulder", "lower back"),
    "shoulder taps": ("wrist", "shoulder"), "wrist curls": ("wrist",), "plate pinches": ("wrist",),
    "triceps extensions": ("elbow",), "barbell curls": ("elbow", "wrist"), "preacher curls": ("elbow",), "close-grip presses": ("elbow", "shoulder"),
    "skipping": ("ankle", "knee"), "hill runs": ("ankle", "knee"), "calf raises": ("ankle",), "heel walks": ("ankle",),
    "single-leg stands on a cushion": ("ankle",), "sumo squats": ("hip", "knee"), "high marching": ("hip",),
    "hanging leg raises": ("hip", "shoulder"), "side lunges": ("hip", "knee"), "adductor presses": ("hip",),
}  # fmt: skip
GENTLE = {  # what keeps the sore joint moving without loading it
    "knee": ("glute bridges", "straight-leg lifts", "seated heel slides"),
    "shoulder": ("band rotations with the elbow at the side", "arm circles below the painful height", "shoulder blade squeezes"),
    "lower back": ("bird dogs", "dead bugs", "pelvic tilts"),
    "wrist": ("forearm planks", "soft ball squeezes", "open-and-close fists"),
    "elbow": ("light forearm turns", "slow hammer curls with a bottle", "wrist lifts with a bottle"),
    "ankle": ("seated ankle circles", "seated toe raises", "alphabet circles with the foot"),
    "hip": ("clamshells", "glute squeezes", "small bridge holds"),
}  # fmt: skip
CAUSES = (
    "the move", "the ski trip", "a long flight", "the garden work", "a week of painting walls", "the mud run",
    "the wedding dance", "the boxing class", "a day of chopping wood", "the school sports day", "the bouldering trial",
    "the long drive", "my first tennis lesson", "the hike", "a night on a bad mattress", "cleaning the loft",
    "the trampoline park", "carrying the baby all week", "the rowing camp", "shovelling snow",
)  # fmt: skip
SORE = (
    "My {a} is a bit sore since {c}. What can I train meanwhile?",
    "A session that spares my {a}, please; it is mildly sore from {c}.",
    "Since {c} my {a} is a bit sore, and my {b} is fine. What can I train?",
    "My {a} aches a little since {c}; my {b} does not. Give me a session.",
    "After {c} my {b} feels good and my {a} complains. What is a sensible workout?",
    "I want to train today, but {c} left me a slightly sore {a}; my {b} is all right. What do I do?",
    "The {a} is touchy since {c}, the {b} is well. Which exercises are on?",
    "How do I train around it? Sore since {c}: my {a}. Sound: my {b}.",
    "My {b} is in order. My {a} has nagged since {c}. Plan a session, please.",
    "A workout that spares my {a} while it settles after {c}, please; the {b} may work.",
    "{c} was too much for my {a}, not for my {b}. Which session is right today?",
    "Please choose exercises for me: {a} mildly sore after {c}, {b} without any trouble.",
    "No injury, just a sore {a} since {c}. The {b} can take everything. What now?",
)
AROUND = (
    "Train what does not ask much of the {a}: {w}.",
    "Give the {a} a break and do {w}.",
    "Leave the {a} in peace and work the rest with {w}.",
    "There is plenty left that spares the {a}: {w}.",
    "Today's session goes around the {a}: {w}.",
    "For now build the session from {w}; none of it loads the {a} much.",
)
SOOTHE = (
    "Then move the sore spot gently: {g} {n} x {r}, slowly.",
    "Add {g}, {n} easy sets of {r}, so that the {a} keeps moving.",
    "For the {a} itself, {n} x {r} {g} are enough.",
    "End with {g} {n} x {r}; that should feel easy.",
    "Between sets do {g}, {r} at a time, {n} times in all.",
)
WATCH = (
    "Stop an exercise if the {a} goes above 3 on a scale of 10.",
    "If the {a} swells, or is no better in two weeks, let a physiotherapist look at it.",
    "A dull 2 of 10 in the {a} is acceptable, a sharp pain is not.",
    "When the {a} is quiet for a week, bring its exercises back with half the usual sets.",
    "The {a} should feel no worse tomorrow morning; if it does, do less next time.",
    "See a doctor if the {a} wakes you at night or gives way.",
)


def sore_spot(draw: Draw) -> Mirror:
    """Which joint is sore and which is fine: the same two joints, swapped."""
    cause = draw.fact("cause", CAUSES)
    joints = draw.two(list(GENTLE))

    def told(sore: str, sound: str) -> Told:
        fitting = [e for e, on in LOADS.items() if sound in on and sore not in on]
        others = [e for e, on in LOADS.items() if sound not in on and sore not in on]
        lifts = [*draw.rng.sample(fitting, 2), draw.pick(others)]
        work = join([f"{e} {draw.pick((2, 3, 4))} x {draw.pick((8, 10, 12))}" for e in lifts])
        answer = say(
            draw, AROUND, SOOTHE, WATCH, a=sore, w=work, g=draw.pick(GENTLE[sore]),
            n=draw.pick((2, 3)), r=draw.pick((10, 12, 15)),
        )  # fmt: skip
        return Told(
            {"c": cause, "a": sore, "b": sound},
            answer,
            {"any": fitting + others, "none": [e for e, on in LOADS.items() if sore in on]},
            "loads the sore joint",
            (f"{join(lifts)} spare the {sore}",),
        )

    return mirror_of(draw, CATEGORY, SORE, told(*joints), told(*joints[::-1]))


AGES = (
    "I am {a} and my {c} is {b}. We are both healthy and on our feet a lot. Plan my week.",
    "My {c} is {b}, I am {a}. What should I do for my fitness each week? We are well and active.",
    "Both healthy, both fairly fit: I am {a}, my {c} is {b}. What is a good week for me?",
    "At {a}, what does a week of exercise look like for me? My {c} is {b}, and we both cycle to town.",
    "I am {a} now, and my {c} is {b}. Which weekly plan is mine, as we both are well and active?",
    "Please write a week for a healthy, active person of {a}. My {c}, who is {b}, gets another one.",
    "How active should I be at {a}? I train beside my {c}, {b}, but with a plan of my own.",
    "My {c} turns {b} and I turn {a} this year. Plan my training week, we are fit and well.",
    "We joined a club last year, my {c} of {b} and I of {a}. What is on my plan?",
    "Age {a}, no complaints, used to sport. What is my week? My {c} is {b}.",
    "Doctor says go. I am {a}, my {c} is {b}, we both walk daily, and I need a weekly plan.",
)
OLDER = (
    "Walk briskly for {m} minutes on {d} days, {t} minutes in all.",
    "{d} brisk walks of {m} minutes make {t} minutes a week.",
    "Aim at {t} minutes of brisk walking, say {d} times {m}.",
    "Start the week with {d} outings of {m} minutes on foot or by bike: {t} minutes.",
    "Spread {t} minutes of walking or water exercise over {d} days, {m} at a time.",
)
OLDER_STRENGTH = (
    "On two of the days add strength work with a chair and a band: {e}, {s} x {r} each.",
    "Twice a week do {e}, {s} sets of {r}.",
    "Two days get strength as well: {s} x {r} of {e}, with the last ones hard but clean.",
    "Add {e} on two days, {s} x {r} each, near something you can hold on to.",
)
OLDER_BALANCE = (
    "On three days practise balance for {k} minutes: {f}.",
    "From 65 on balance counts too, so do {f} for {k} minutes on three days.",
    "Balance comes three times a week for {k} minutes, for example {f}.",
    "{k} minutes of balance on three days, with {f}, lower the risk of a fall.",
)
STEADY_EXERCISES = ("sit-to-stands", "band rows", "wall push-ups", "heel raises", "step-ups on a low step", "band pull-aparts", "seated leg extensions", "counter push-ups")  # fmt: skip
BALANCE = ("standing on one leg beside the table", "walking heel to toe", "side steps along the counter", "turning slowly on the spot", "tai chi", "standing with feet in line")  # fmt: skip
YOUNGER = (
    "Do intervals on {d} days, {m} minutes each time: {t} hard minutes in the week.",
    "{d} sessions of hard intervals at {m} minutes give you {t} vigorous minutes.",
    "Collect {t} vigorous minutes with intervals, {d} times {m}.",
    "Start with intervals on the bike or on foot, {m} minutes on {d} days, which is {t} minutes.",
)
YOUNGER_STRENGTH = (
    "Lift on two other days: {e}, {s} x {r} each.",
    "Add two days of weights with {e}, {s} sets of {r}.",
    "Two days belong to {e}; do {s} x {r} and add load when all sets are clean.",
    "On two days train {e}, {s} x {r} each, with a weight that leaves two repetitions in reserve.",
)
YOUNGER_END = (
    "Add {k} minutes of sprints or jumps once the first {w} weeks went well.",
    "After {w} weeks bring in jump squats, {k} minutes of them, if the knees agree.",
    "In week {w} try one harder day, with {k} minutes of hill sprints.",
    "Keep a rest day after every hard day, and lengthen a session by {k} minutes after {w} weeks.",
    "{w} weeks later add {k} minutes to one of the sessions.",
)


def for_my_age(draw: Draw) -> Mirror:
    """Two ages, of which either may be the person's own."""
    companion = draw.fact("companion", COMPANIONS)
    old, young = draw.rng.randint(66, 84), draw.rng.randint(24, 46)
    days, each = draw.pick(((5, 30), (6, 25), (3, 50), (4, 40), (5, 35), (6, 30)))
    walk = {"d": COUNT[days], "m": each, "t": days * each}
    days, each = draw.pick(((3, 25), (2, 40), (3, 30), (4, 20)))
    hard = {"d": COUNT[days], "m": each, "t": days * each}
    sets, reps = draw.pick((2, 3)), draw.pick((8, 10, 12))
    older = say(
        draw, OLDER, OLDER_STRENGTH, OLDER_BALANCE, s=sets, r=reps, k=draw.pick((5, 8, 10, 12)),
        e=join(draw.rng.sample(STEADY_EXERCISES, 3)), f=draw.pick(BALANCE), **walk,
    )  # fmt: skip
    lifts, pushes, pulls, _ = PLACES["in a gym"]
    younger = say(
        draw, YOUNGER, YOUNGER_STRENGTH, YOUNGER_END, s=sets + 1, r=reps, k=draw.pick((5, 8, 10)),
        e=join([draw.pick(lifts), draw.pick(pushes), draw.pick(pulls)]), w=draw.pick((4, 5, 6, 8)),
        **hard,
    )  # fmt: skip
    one = Told(
        {"a": old, "b": young, "c": companion},
        older,
        {"all": ["balance"], "none": ["sprints", "intervals", "jump squats"]},
        "no work on balance and too hard a start",
        (f"from 65 balance on 3 days; {walk['t']} minutes of moderate activity ({WHO})",),
    )
    other = Told(
        {"a": young, "b": old, "c": companion},
        younger,
        {"any": ["intervals"], "none": ["balance"]},
        "a plan for someone much older",
        (f"{hard['t']} vigorous minutes and strength on 2 days ({WHO})",),
    )
    return mirror_of(draw, CATEGORY, AGES, one, other)


JOG = (
    "I can jog for {a} minutes, then I must walk. How do I become a runner?",
    "I want to start running and last {a} minutes. What should my first week be?",
    "After {a} minutes of jogging I am out of breath. Give me a run-and-walk plan.",
    "I can jog {a} minutes without a stop, my {c} {b}. Plan my first runs.",
    "My {c} jogs {b} minutes at a stretch and I {a}. What are my first running sessions?",
    "{a} minutes of jogging and I must stop; my {c} stops after {b}. How do I build up?",
    "How should I begin to run? I last {a} minutes, my {c} lasts {b}.",
    "We start running on Monday. I hold out for {a} minutes, my {c} for {b}. What do I do?",
    "A beginner's plan with walking breaks for me, please. I can jog for {a} minutes, my {c} for {b}.",
    "Jogging limit: {a} minutes for me, {b} for my {c}. What do my runs look like this week?",
    "I have to walk after {a} minutes of jogging, my {c} after {b}. Write my week.",
    "My {c} is done after {b} minutes of easy jogging, I am after {a}. Which intervals suit me?",
    "Run and walk: what is my mix? I manage {a} minutes in one go; my {c} manages {b}.",
    "Please plan for me alone. My {c} can jog {b} minutes, I can jog {a}.",
)
MIX = (
    "Jog {i} minutes and walk {j}, {r} times over: that is {m} minutes.",
    "Take {r} blocks: jog {i} minutes, walk {j}. Together they last {m} minutes.",
    "{r} times, jog {i} minutes and then walk {j}, which makes {m} minutes.",
    "Stay a bit below your limit of {a} and jog {i} minutes at a time, walk {j}, and repeat until you have {r} blocks, {m} minutes.",
)
AROUND_IT = (
    "With {w} minutes of walking before and after you are out for {t} minutes.",
    "Walk {w} minutes first and {w} at the end, so plan {t} minutes.",
    "Add {w} minutes on foot at either end; the whole outing takes {t} minutes.",
    "Put {w} easy minutes before it and {w} behind it: {t} minutes in all.",
)
NEXT_RUNS = (
    "Do it on three days with a day between, and add one minute to the jogging part next week.",
    "Three such days a week, never two in a row; jog so slowly that you can talk. From week two make it {k} minutes of jogging.",
    "Repeat it three times this week. If the last block felt easy, go to {k} minutes, else stay.",
    "Run it on three days. When {k} minutes go well for a week, cut the walk by half a minute.",
    "Three days a week will do, and the step to {k} minutes comes after three good runs.",
)


def run_and_walk(draw: Draw) -> Mirror:
    """Intervals below what the person can jog, not below what somebody else can."""
    companion = draw.fact("companion", COMPANIONS)
    limits = [draw.rng.randint(3, 25) for _ in range(2)]
    require(max(limits) >= 1.5 * min(limits))

    def told(own: int, others: int) -> Told:
        jog = max(2, 3 * own // 4)
        walk = 1 if jog < 5 else 2
        rounds = max(2, round(24 / (jog + walk)))
        warm = draw.pick((4, 5, 6))
        main = rounds * (jog + walk)
        answer = say(
            draw, MIX, AROUND_IT, NEXT_RUNS, a=own, i=jog, j=walk, r=rounds, m=main, w=warm,
            t=main + 2 * warm, k=jog + 1,
        )  # fmt: skip
        return Told(
            {"a": own, "b": others, "c": companion},
            answer,
            {"all": [f"jog {jog} minutes"]},
            "longer than the person can jog"
            if others > own
            else "far less than the person can jog",
            (f"{rounds} x ({jog} + {walk}) + 2 x {warm} = {main + 2 * warm} minutes",),
        )

    return mirror_of(draw, CATEGORY, JOG, told(*limits), told(*limits[::-1]))


BREAKS = ("the flu", "a long journey", "an office move", "a training ban at our gym", "my final exams", "a stay with my parents", "a stubborn cold", "night shifts", "the harvest", "a house renovation", "a film shoot", "a new baby", "a research stay", "jury duty")  # fmt: skip
VOLUMES = {
    "sets": (("sets for the legs", "sets for the back", "sets for the chest", "sets for the shoulders"), (10, 20, 30)),
    "minutes": (("minutes of rowing", "minutes of swimming", "minutes of cycling", "minutes of dancing"), tuple(range(60, 241, 10))),
    "km": (("km of running", "km of cycling", "km of hiking", "km of inline skating"), (20, 30, 40, 50, 60, 70, 80)),
}  # fmt: skip
AFTER = (
    "I was away for {w} weeks with {k}. Before, I did {a} {x} a week. How do I come back?",
    "What is a safe way back to {a} {x} a week after {w} weeks off ({k})?",
    "{w} weeks without training because of {k}. Can I go straight back to {a} {x}?",
    "Before {k} I did {a} {x} and {b} {y} a week. Now, {w} weeks later, how do I return to {x}?",
    "{w} weeks off because of {k}. My normal week: {a} {x}, {b} {y}. How many {x} do I start with?",
    "I come back after {w} weeks ({k}). It used to be {a} {x} and {b} {y} weekly. Plan the {x}.",
    "My break: {w} weeks, due to {k}. My old week: {a} {x} and {b} {y}. What about {x} now?",
    "How do I get back to {a} {x}? The reason for {w} weeks away was {k}; I also did {b} {y}.",
    "Getting back after {k}, {w} weeks without training. I had {a} {x} and {b} {y} a week. Which numbers of {x}, week by week?",
    "{k} cost me {w} weeks. Before, each week had {a} {x} and {b} {y}. How do I build the {x} again?",
    "Please plan my return to {x} after {w} weeks of {k}. Usual week: {a} {x}, {b} {y}.",
    "Is it fine to begin again with all {a} {x}? I was out for {w} weeks with {k}, and used to do {b} {y} too.",
    "Back at last after {k}. {w} weeks are gone. From {a} {x} and {b} {y} a week, where do I restart the {x}?",
)
HALF = (
    "Start at half of your usual {a}: {h} {x} in week one.",
    "Week one has {h} {x}, which is 50 % of {a}.",
    "Do {h} {x} in the first week, half of the {a} you are used to.",
    "Come back with {h} {x}; half of {a} is plenty after a break.",
)
STEPS = (
    "Then go to {i}, {j} and {k}, that is 70, 80 and 90 %, and you are back at {a} in week five.",
    "Week two brings {i}, week three {j}, week four {k}, and week five the full {a}.",
    "After it, {i}, {j} and {k} follow week by week until {a} are reached again.",
    "Add up to {i} in week two, {j} in week three and {k} in week four.",
)
PATIENCE = (
    "Keep the intensity easy too; soreness from {h} {x} tells you whether to take the next step.",
    "If a week hurts more than it should, repeat its {x} before you go up.",
    "Muscle comes back faster than it was built, so nothing is lost by {w} weeks away.",
    "Rest a day between sessions while the {x} grow.",
    "Sleep and drink well in the first {w} weeks of the return; tired people get hurt.",
    "The {x} may feel too easy in week one, and that is intended.",
)


def after_a_break(draw: Draw) -> Mirror:
    """Half of what was done before, then 70, 80 and 90 %."""
    reason = draw.fact("break", BREAKS)
    names, amounts = VOLUMES[draw.pick(list(VOLUMES))]
    x, y = draw.two(names)
    usual = draw.two(amounts)
    weeks = draw.pick((2, 3, 4, 5, 6))

    def told(own: int, others: int) -> Told:
        i, j, k = (own * share // 100 for share in (70, 80, 90))
        answer = say(draw, HALF, STEPS, PATIENCE, a=own, x=x, h=own // 2, i=i, j=j, k=k, w=weeks)
        return Told(
            {"k": reason, "a": own, "b": others, "x": x, "y": y, "w": weeks},
            answer,
            {"number": own / 2, "within": 0.01},
            "returns too fast" if others > own else "returns with less than needed",
            (f"50, 70, 80, 90 % of {own} = {own // 2}, {i}, {j}, {k} ({RETURN})",),
        )

    return mirror_of(draw, CATEGORY, AFTER, told(*usual), told(*usual[::-1]))


HOW_MANY_DAYS = (
    "I can train {n} days a week {w}. Give me a plan.",
    "{n} sessions a week {w}: what do I do in each?",
    "Write a {n}-day week {w}, please.",
    "What is a good routine for {n} days a week {w}?",
    "My week has {n} training days {w}. How do I fill them?",
    "Please split my training {w} over {n} days.",
    "I have signed up for {n} days a week {w}. Which programme is it?",
    "How would you set up {n} days of training a week {w}?",
    "Training {w}, {n} times a week. Which exercises on which day?",
    "A programme with {n} days {w}, please, simple and short.",
    "{n} days is what I can keep up {w}. What should they look like?",
)
ROUTINES = {
    2: ("whole body", "whole body"),
    3: ("whole body", "whole body", "whole body"),
    4: ("upper body", "lower body", "upper body", "lower body"),
    5: ("upper body", "lower body", "push", "pull", "legs"),
    6: ("push", "pull", "legs", "push", "pull", "legs"),
}
ROUTINE_END = (
    "{s} sets a week in all; leave at least one day free after day {n}.",
    "That adds up to {s} weekly sets. Each muscle comes round {f} times.",
    "Together {s} sets. Stop each of them with one or two repetitions to spare.",
    "The {n} days hold {s} sets, and every muscle works {f} times a week.",
    "It comes to {s} sets in {n} days; start lighter in the first week.",
)


def days_a_week(draw: Draw) -> Mirror:
    """Two to six days a week, counted."""
    place = draw.pick(list(PLACES))
    lift = draw.fact("main lift", PLACES[place][0])
    counts = draw.two(list(ROUTINES))

    def told(days: int, others: int) -> Told:
        total, lines, first = 0, [], True
        for day, part in enumerate(ROUTINES[days], 1):
            patterns = NAMES[part][: 3 if days < 4 else 2]
            lifts: list[str] = []
            for pattern in patterns:
                fresh = [e for e in PLACES[place][pattern] if e not in lifts]
                lifts.append(lift if first and pattern == 0 else draw.pick(fresh))
                first = first and pattern != 0
            require(len(set(lifts)) == len(lifts))
            sets = [draw.pick((2, 3, 4)) for _ in lifts]
            total += sum(sets)
            work = join([f"{e} {s} x {draw.pick((8, 10, 12))}" for e, s in zip(lifts, sets, strict=True)])  # fmt: skip
            lines.append(f"Day {day}{', ' + part if days > 3 else ''}: {work}.")
        end = say(draw, ROUTINE_END, s=total, n=days, f="three" if days == 3 else "two")
        return Told(
            {"n": COUNT[days], "w": place},
            f"{' '.join(lines)} {end}",
            {"all": [f"day {days}"], "none": [f"day {days + 1}"]},
            "too many days" if others > days else "too few days",
            (f"{days} days: {', '.join(ROUTINES[days])} ({FREQUENCY})",),
        )

    return mirror_of(draw, CATEGORY, HOW_MANY_DAYS, told(*counts), told(*counts[::-1]))


KINDS = (
    (sore_spot, 4),
    (for_my_age, 3),
    (run_and_walk, 3),
    (after_a_break, 3),
    (days_a_week, 3),
)
declare("cause", CAUSES)
declare("companion", COMPANIONS)
declare("break", BREAKS)
declare("main lift", sorted({lift for legs, *_ in PLACES.values() for lift in legs}))
