"""Progression: what to load next, when to back off, how fast to add kilometres or sets, and plateaus."""

import math
from typing import NamedTuple

from coaching import (
    ACSM,
    NSCA,
    SCHOENFELD,
    Told,
    listed,
    mirror_of,
    plain,
    say,
    to_step,
)
from mirrors import Draw, Mirror, declare, join, require

CATEGORY = "programmes"


class Lift(NamedTuple):
    """An exercise, the smallest step of its load and common loads, in kg."""

    name: str
    step: float
    low: int
    high: int


LIFTS = (
    Lift("back squat", 2.5, 40, 140), Lift("front squat", 2.5, 40, 100), Lift("bench press", 2.5, 40, 110),
    Lift("incline press", 2.5, 30, 90), Lift("overhead press", 2.5, 25, 70), Lift("deadlift", 5, 60, 180),
    Lift("Romanian deadlift", 2.5, 40, 120), Lift("barbell row", 2.5, 30, 90), Lift("hip thrust", 5, 50, 160),
    Lift("dumbbell press", 2, 12, 36), Lift("one-arm row", 2, 14, 40), Lift("goblet squat", 2, 12, 40),
    Lift("leg press", 5, 60, 200), Lift("leg curl", 5, 25, 70), Lift("leg extension", 5, 25, 80),
    Lift("chest press", 5, 25, 90), Lift("pull-down", 5, 30, 80), Lift("cable row", 5, 30, 85),
    Lift("hack squat", 5, 40, 140), Lift("trap-bar deadlift", 5, 60, 180), Lift("split squat", 2, 10, 30),
    Lift("close-grip press", 2.5, 30, 90), Lift("good morning", 2.5, 25, 70), Lift("Smith squat", 5, 40, 120),
)  # fmt: skip


def _lift(draw: Draw) -> Lift:
    return draw.fact("lift", LIFTS, lambda lift: lift.name)


def _load(draw: Draw, lift: Lift) -> float:
    """Choose a load that can be put on."""
    return lift.step * draw.rng.randint(
        math.ceil(lift.low / lift.step), math.floor(lift.high / lift.step)
    )


NEXT_LOAD = (
    "I did {a} repetitions in the {l} with {p} kg; the range is {low} to {high}. Do I add weight?",
    "My {l}: {p} kg for {a}, with {low} to {high} as the target. What comes next?",
    "When should I go up in the {l}? I am at {p} kg, {a} repetitions, range {low} to {high}.",
    "My range is {low} to {high}. I got {a} repetitions in the {l} with {p} kg and {b} in the {m} with {q} kg. What do I do in the {l} next time?",
    "In the {l} at {p} kg I did {a} repetitions, in the {m} at {q} kg {b}. The plan says {low} to {high}. How do I go on with the {l}?",
    "Three sets of {low} to {high} are the rule. I noted for the {l}, {p} kg: {a}; for the {m}, {q} kg: {b}. What comes next for the {l}?",
    "Please look at my log: {l} {p} kg, {a}; {m} {q} kg, {b}; target {low} to {high}. Next load in the {l}?",
    "I work with {low} to {high} repetitions. The {l} went {a} with {p} kg, the {m} went {b} with {q} kg. Do I change the {l}?",
    "Should I add weight to the {l}? I am at {p} kg with {a} repetitions; the {m} is at {q} kg with {b}; both should reach {low} to {high}.",
    "Today: {l} with {p} kg for {a}, {m} with {q} kg for {b}. Range {low} to {high}. Tell me about the next {l}.",
    "When do I raise the {l}? With {p} kg I made {a}. The {m} with {q} kg gave {b}. I aim at {low} to {high} in all sets.",
    "My notes say {a} for the {l} ({p} kg) and {b} for the {m} ({q} kg). I follow a range of {low} to {high}. What about the {l}?",
    "{low} to {high} repetitions, three sets. I managed {a} in the {l} at {p} kg but in the {m} at {q} kg it was {b}. What is my next {l}?",
    "How do I progress in the {l}? Last session {p} kg for {a}; the {m} had {q} kg for {b}; the range is {low} to {high}.",
)
RAISE = (
    "All three sets of the {l} reached {high}, so go from {p} to {n} kg.",
    "You hit {high} in every set, which is the signal to load {n} kg in the {l}.",
    "Put {n} kg on for the {l}: {high}, {high} and {high} says that {p} kg has become easy enough.",
    "The {l} has earned {n} kg, one small step above {p} kg.",
    "Time for {n} kg in the {l}, since no set fell short of {high}.",
)
RAISED = (
    "Expect the sets to drop to about {low} or {k} at first, and climb back to {high} over the coming sessions.",
    "With {s} kg more you may land at {k}, {low} and {low}; that is normal. Collect repetitions again until all sets show {high}.",
    "A step of {s} kg is {c} % and stays within the 2 to 10 % that ACSM names. Start at {low} to {k} and work up.",
    "Should you get fewer than {low} with it, return to {p} kg for one more week.",
    "Aim at {k}, {k} and {low} on the first day and build up to {high} before the next {s} kg.",
)
HOLD = (
    "Stay at {p} kg in the {l}; the sets have not all reached {high} yet.",
    "Keep {p} kg on the {l} for now, because the last set ended at {z}, well under {high}.",
    "No change of load: {p} kg is still the right weight for your {l}.",
    "Leave the {l} at {p} kg and earn more repetitions first.",
    "The {l} stays at {p} kg until three sets of {high} are in the book.",
)
HELD = (
    "Aim for {t} next time, one more in each set.",
    "Next session try {t}; that is three repetitions more in total, {u} instead of {v}.",
    "A good target is {t}. If only the first set improves, that counts as well.",
    "Go for {t}, with two to three minutes of rest so that the later sets do not fade.",
    "Try to turn {v} repetitions into {u}, for example {t}.",
)
STEADY = (
    "Keep one repetition in reserve in each set, and note every {l} in the log.",
    "Judge by the {l} alone; other exercises have their own pace.",
    "Only clean repetitions of the {l} count.",
    "Two sessions of the {l} a week are enough to see a trend in a month.",
    "If the {l} stands still for three sessions in a row, look at sleep, food and rest before the plan.",
    "Lower the weight in the {l} under control for two seconds, or the numbers flatter you.",
)


def next_load(draw: Draw) -> Mirror:
    """Double progression: add weight when every set is full, else repetitions."""
    lift, beside = _lift(draw), _lift(draw)
    require(lift != beside)
    p, q = _load(draw, lift), _load(draw, beside)
    require(lift.step / p <= 0.1)  # a larger step is no small step
    low, high = draw.pick(((8, 12), (6, 10), (5, 8), (10, 15), (6, 9), (8, 11), (12, 16)))
    full = (high, high, high)
    first = high - draw.pick((1, 2))
    short = (first, first - 1, max(low, first - draw.pick((1, 2))))
    n = p + lift.step
    shared = {"l": lift.name, "m": beside.name, "p": plain(p), "q": plain(q), "low": low, "high": high}  # fmt: skip
    up = say(
        draw, RAISE, RAISED, STEADY, n=plain(n), k=low + 1, s=plain(lift.step),
        c=plain(round(100 * lift.step / p, 1)), **shared,
    )  # fmt: skip
    require("2 to 10 %" not in up or lift.step / p >= 0.02)
    stay = say(
        draw, HOLD, HELD, STEADY, z=short[2], t=listed([r + 1 for r in short]), u=sum(short) + 3,
        v=sum(short), **shared,
    )  # fmt: skip
    rule = f"add 2 to 10 % once the top of the range is reached ({ACSM})"
    one = Told(
        {**shared, "a": listed(full), "b": listed(short)},
        up,
        {"all": [f"{plain(n)} kg"]},
        "keeps a load that has become too light",
        (f"{plain(p)} + {plain(lift.step)} = {plain(n)} kg", rule),
    )
    other = Told(
        {**shared, "a": listed(short), "b": listed(full)},
        stay,
        {"all": [f"{plain(p)} kg"], "none": [f"{plain(n)} kg"]},
        "adds load too early",
        (f"{sum(short)} repetitions of {3 * high}", rule),
    )
    return mirror_of(draw, CATEGORY, NEXT_LOAD, one, other)


LIGHT_WEEK = (
    "How do I deload my {l}? I do {s} x {r} with {p} kg and have trained hard for {w} weeks.",
    "After {w} hard weeks of {s} x {r} at {p} kg in the {l} I am tired. What does a light week look like?",
    "After {w} hard weeks I need a lighter one. I do {s} sets of {r}: {l} with {p} kg, {m} with {q} kg. What is the {l} in the light week?",
    "{w} weeks of hard training are behind me: {l} {p} kg, {m} {q} kg, each {s} x {r}. How do I deload the {l}?",
    "Deload time after {w} weeks. My sets: {s} x {r} in the {l} at {p} kg and in the {m} at {q} kg. What do I load in the {l}?",
    "My joints ask for a rest week after {w} weeks. What becomes of {s} x {r} in the {l} with {p} kg? The {m} stands at {q} kg.",
    "How should I cut back the {l} next week? I use {p} kg there, {q} kg in the {m}, {s} sets of {r}, and have gone {w} weeks without a break.",
    "Week {w} is done and I am flat. I have {p} kg in the {l} and {q} kg in the {m}, both {s} x {r}. What does an easy week of the {l} look like?",
    "I train {s} x {r}, {p} kg in the {l}, {q} kg in the {m}, now {w} weeks in a row. Plan a deload for the {l}.",
    "Please work out a light week: {l} at {p} kg, {m} at {q} kg, {s} sets of {r}, after {w} weeks. I only ask about the {l}.",
    "A week off the gas, please. {w} weeks done, {s} x {r}, {l} {p} kg, {m} {q} kg. Which load and sets for the {l}?",
    "For the easy week after {w} weeks: what do I do in the {l}? It is {p} kg now, the {m} {q} kg, with {s} sets of {r}.",
    "I lift {p} kg in the {l} and {q} kg in the {m}, {s} sets of {r}. After {w} weeks I am due a deload. What about the {l}?",
)
DELOAD = (
    "Do {h} sets of {r} with {n} kg in the {l}.",
    "For that week the {l} is {h} x {r} at {n} kg.",
    "Cut the {l} to {h} sets of {r} and load {n} kg.",
    "Take {n} kg for the {l}, and {h} sets of {r} in place of {s}.",
    "{h} easy sets of {r} in the {l}, with {n} kg on, will do.",
)
DELOAD_WHY = (
    "That is about 90 % of {p} kg and {v} repetitions where you had {o}, so the movement stays fresh while tiredness fades.",
    "From {o} repetitions you go down to {v}, and from {p} kg by a tenth.",
    "The volume falls from {x} to {y} kg, which is what rests you; the load falls only a little, so that you lose no skill.",
    "Sets times repetitions times load were {x} kg and become {y} kg.",
    "You keep nine tenths of {p} kg, to stay used to it, and drop {g} of {s} sets.",
)
DELOAD_END = (
    "Go back to {p} kg in the week after, and expect the {l} to feel lighter.",
    "Every set of the {l} should end with four or more repetitions to spare.",
    "After seven days return to {s} x {r} at {p} kg.",
    "Sleep a little longer in that week, and leave the {l} alone on the other days.",
    "Plan the next light week {w} weeks from now, or earlier if the {l} slows down.",
    "If the {l} still feels heavy afterwards, add three more easy days.",
)


def light_week(draw: Draw) -> Mirror:
    """A deload: half the sets and nine tenths of the load of the lift that is asked about."""
    lift, beside = _lift(draw), _lift(draw)
    require(lift != beside)
    loads = _load(draw, lift), _load(draw, beside)
    sets, reps, weeks = draw.pick((3, 4, 5, 6)), draw.pick((5, 6, 8, 10)), draw.pick(range(4, 11))
    half = math.ceil(sets / 2)

    def told(p: float, q: float) -> Told:
        n = to_step(0.9 * p, lift.step)
        require(p % lift.step == 0 and 0.86 <= n / p <= 0.94)
        slots = {"l": lift.name, "m": beside.name, "p": plain(p), "q": plain(q), "s": sets, "r": reps, "w": weeks}  # fmt: skip
        answer = say(
            draw, DELOAD, DELOAD_WHY, DELOAD_END, h=half, n=plain(n), v=half * reps, o=sets * reps,
            g=sets - half, x=f"{p * sets * reps:,.0f}", y=f"{n * half * reps:,.0f}", **slots,
        )  # fmt: skip
        return Told(
            slots,
            answer,
            {"all": [f"{plain(n)} kg"]},
            "too light for this lift" if q < p else "too heavy for a light week",
            (f"90 % of {plain(p)} kg = {plain(n)} kg; {sets} sets become {half} ({NSCA})",),
        )

    return mirror_of(draw, CATEGORY, LIGHT_WEEK, told(*loads), told(*loads[::-1]))


TIMES = (
    ("before my exams", "these days"), ("last summer", "this month"), ("in my club years", "at present"),
    ("before we moved house", "now"), ("in spring", "this autumn"), ("two years ago", "currently"),
    ("as a student", "as a father"), ("in my old job", "in my new job"), ("in the army", "since I left the army"),
    ("before the baby came", "since the baby came"), ("on the island", "back in town"),
    ("with my old club", "on my own"), ("before the snow", "since the snow is gone"),
    ("in the first half of the year", "since July"),
)  # fmt: skip
KILOMETRES = (
    "I run {b} km a week {y}. How should I build up in the next four weeks?",
    "How do I get from {b} km a week to more without getting hurt? Plan four weeks.",
    "{x} I ran {a} km a week, {y} I run {b} km. How do I build up over four weeks?",
    "My running: {a} km a week {x}, {b} km a week {y}. Which distances for the next four weeks?",
    "I want to run more. It was {a} km a week {x} and it is {b} km {y}. Plan four weeks.",
    "Four weeks of running, please. I did {a} km weekly {x}; {y} it is {b} km.",
    "How fast may I add distance? {x} {a} km a week, {y} {b} km a week.",
    "{y} I run {b} km a week; {x} it was {a} km. What are sensible next weeks?",
    "Weekly distance {x}: {a} km. Weekly distance {y}: {b} km. What comes next?",
    "What should my next month of running look like, with {b} km a week {y} and {a} km {x}?",
    "I would like to raise my running safely. Week by week I ran {a} km {x}, and {b} km {y}.",
    "Please write my next four running weeks. The past: {a} km a week, {x}. The present: {b} km, {y}.",
    "From where do I start building? {x} it was {a} km a week, and {y} {b} km.",
)
GROWTH = (
    "Build on the {b} km you run at present: {w} km in week one, {x} km in week two, {y} km in week three.",
    "Start from {b} km. Week one has {w} km, week two {x} km, week three {y} km.",
    "Your legs are used to {b} km, so plan {w}, then {x}, then {y} km.",
    "Count from {b} km and add at most a tenth each week: {w} km, {x} km and {y} km.",
    "What counts is today's {b} km. From there go to {w} km, {x} km and {y} km, each within 10 % of the week before.",
)
BACK_OFF = (
    "Week four drops to {z} km so that tendons catch up.",
    "Then take an easier fourth week of {z} km.",
    "In the fourth week cut back to {z} km, about four fifths.",
    "The fourth week, at {z} km, is for recovery.",
    "Rest up with {z} km in week four before you climb again.",
)
SHARES = (
    "Split the first week into {n} runs: one of {l} km, and {o} that share the other {r} km.",
    "With {n} runs a week, the longest has {l} km at first and the others add up to {r} km.",
    "In week one, let the long run be {l} km; the remaining {r} km go into {o} shorter ones.",
    "Make it {n} runs: a long one of {l} km, the rest of {r} km at a pace at which you can talk.",
    "Run {n} times: {l} km once, and {r} km spread over {o} easy outings.",
)


def weekly_distance(draw: Draw) -> Mirror:
    """Growth by a tenth from what the person runs now, not from what they once ran."""
    then, now = draw.fact("running time", TIMES, " / ".join)
    distances = [draw.rng.randint(10, 60) for _ in range(2)]
    require(max(distances) >= 1.45 * min(distances))

    def told(past: int, present: int) -> Told:
        weeks = [present]
        for _ in range(3):
            weeks.append(math.floor(weeks[-1] * 1.1 + 1e-9))
        easy = round(0.8 * weeks[3])
        runs = 3 if present < 25 else 4 if present < 45 else 5
        long = round(weeks[1] / 3)
        answer = say(
            draw, GROWTH, BACK_OFF, SHARES, b=present, w=weeks[1], x=weeks[2], y=weeks[3], z=easy,
            n=runs, l=long, r=weeks[1] - long, o=runs - 1,
        )  # fmt: skip
        return Told(
            {"x": then, "y": now, "a": past, "b": present},
            answer,
            {"number": float(weeks[1]), "within": 0.01},
            "raises the load too fast" if past > present else "falls behind what is run already",
            (f"{present}, {weeks[1]}, {weeks[2]}, {weeks[3]} km: at most 10 % a week",),
        )

    return mirror_of(draw, CATEGORY, KILOMETRES, told(*distances), told(*distances[::-1]))


MUSCLES = {  # and an exercise that adds sets to each
    "chest": "flat presses", "upper back": "chest-supported rows", "lats": "pull-downs", "front thighs": "leg extensions",
    "hamstrings": "leg curls", "glutes": "hip thrusts", "calves": "standing calf raises", "biceps": "curls",
    "triceps": "pushdowns", "side shoulders": "lateral raises", "rear shoulders": "reverse flys", "abs": "cable crunches",
    "obliques": "side bends", "forearms": "wrist curls", "inner thighs": "adductor presses", "upper chest": "incline presses",
    "hip abductors": "cable abductions", "lower back": "back extensions", "traps": "shrugs", "shins": "toe raises",
}  # fmt: skip
WEAK_SPOT = (
    "I do {a} sets a week for the {x}, and they will not grow. What do I change?",
    "Are {a} sets a week right for the {x}?",
    "How many sets for the {x} should I do each week? I am at {a} and see no growth.",
    "I do {a} sets a week for the {x} and {b} for the {y}. The {x} will not grow. What do I change?",
    "My week has {a} sets for the {x} and {b} for the {y}. What makes the {x} grow?",
    "Count of weekly sets: {x} {a}, {y} {b}. I want more from the {x}. How many should I do?",
    "How do I bring up the {x}? I have {a} sets a week there, and {b} for the {y}.",
    "For the {x} I have {a} sets a week and for the {y} {b}. Plan the next weeks for the {x}.",
    "Stuck with the {x}. Per week: {a} sets there, {b} sets for the {y}. What would you do?",
    "I would like more size in the {x}. My log shows {a} weekly sets there and {b} for the {y}.",
    "Are {a} sets a week right for the {x}? For the {y} it is {b}. I am lagging in the {x}.",
    "Please set my volume for the {x}: I am at {a} sets a week, and at {b} for the {y}.",
    "{a} sets for the {x}, {b} sets for the {y}, every week. My weak spot: the {x}. Next step?",
    "What is wrong with my {x}? {a} sets a week go there, {b} to the {y}.",
)
MORE = (
    "{a} sets are on the low side for the {x}, so go from {a} to {n} sets a week.",
    "Raise the {x} from {a} to {n} sets a week.",
    "Too little work for the {x}: go from {a} to {n} weekly sets.",
    "Bring the {x} up from {a} to {n} sets, as reviews see more growth at ten or more.",
    "There is room above {a} sets. Work up to {n} a week for the {x}.",
)
MORE_HOW = (
    "Add two a week: {s}. Use {e} for them, and split the total over two days, {p} and {q}.",
    "Go {s}, one step a week, on two days with {p} and {q} sets at the end, {e} first.",
    "Do it in steps of two, {s}. Half of them can be {e}; two days with {p} and {q} sets are easier than one.",
    "Week by week that is {s}. Put {p} sets on one day and {q} on another, with {e} among them.",
)
ENOUGH = (
    "{a} sets are enough for the {x}; more of them will hardly help.",
    "You already do {a} sets a week for the {x}, so the number is not the problem.",
    "Leave the {x} at {a} sets, which is well above the ten that reviews ask for.",
    "At {a} weekly sets volume for the {x} is not lacking.",
    "Do not add to {a} sets. What the {x} can use is better ones, not more.",
)
ENOUGH_HOW = (
    "Spread them as {p} and {q} over two days, start with {e}, and take each set to one or two repetitions from failure.",
    "Put {e} first on both days, {p} and {q} sets, and add a little weight whenever the top of the range is reached.",
    "Check that the last repetitions of {e} are slow and hard, and divide the work into {p} and {q} sets.",
    "Try {p} sets on one day and {q} on another, {e} early in the session, with two minutes of rest between sets.",
)
VOLUME_END = (
    "Look again in {w} weeks, with a tape and a photo of the {x}.",
    "Give the {x} {w} weeks before you judge.",
    "Keep everything else as it is for {w} weeks, so that you know what worked.",
    "Soreness in the {x} should be gone within two days; if it lasts, take two sets away again.",
    "After {w} weeks compare your numbers in {e}.",
)


def weak_spot(draw: Draw) -> Mirror:
    """More sets where there are few, better ones where there are many."""
    x, y = (draw.fact("muscle", list(MUSCLES)) for _ in range(2))
    require(x != y)
    few, many = draw.rng.randint(3, 7), draw.rng.randint(13, 19)
    target = draw.pick((10, 11, 12))
    lift = MUSCLES[x]
    steps = join([str(n) for n in [*range(few + 2, target, 2), target]], "then")
    slots = {"x": x, "e": lift, "w": draw.pick((6, 8, 10))}
    low = say(
        draw, MORE, MORE_HOW, VOLUME_END, a=few, n=target, s=steps, p=target // 2,
        q=target - target // 2, **slots,
    )  # fmt: skip
    high = say(
        draw, ENOUGH, ENOUGH_HOW, VOLUME_END, a=many, p=many // 2, q=many - many // 2, **slots
    )
    source = f"ten or more weekly sets for growth ({SCHOENFELD})"
    one = Told(
        {"x": x, "y": y, "a": few, "b": many},
        low,
        {"number": float(target), "within": 0.01, "none": ["enough", "hardly"]},
        "keeps too few sets",
        (f"{few} sets become {target}", source),
    )
    other = Told(
        {"x": x, "y": y, "a": many, "b": few},
        high,
        {"number": float(many), "within": 0.01},
        "adds sets where they are not lacking",
        (f"{many} = {many // 2} + {many - many // 2} sets", source),
    )
    return mirror_of(draw, CATEGORY, WEAK_SPOT, one, other)


KINDS = ((next_load, 3), (light_week, 4), (weekly_distance, 6), (weak_spot, 3))
declare("lift", (lift.name for lift in LIFTS))
declare("running time", (" / ".join(pair) for pair in TIMES))
declare("muscle", MUSCLES)
