"""Programmes: weeks and sessions that fit the days, the minutes, the kit and the joints of a person."""

import people
import progression
from coaching import (
    ACSM_FITNESS,
    COUNT,
    DAYS,
    FREQUENCY,
    NAMES,
    PLACES,
    Told,
    mirror_of,
    say,
)
from mirrors import Draw, Mirror, declare, join, require

CATEGORY = "programmes"

FREE_DAYS = (
    "I train {where}. {free} are free, {taken} are taken. Which plan fits my week?",
    "My week {where}: {taken} belong to work, {free} belong to me. Write me a plan.",
    "I cannot train on {taken}; I can on {free}. What do I do on which day, {where}?",
    "Please plan my training {where}. Possible days: {free}. Impossible days: {taken}.",
    "Work keeps me busy on {taken}. There is time on {free}. I train {where}. What is my split?",
    "{free} suit me, {taken} do not. How should I spread my training {where}?",
    "On {taken} I look after the children, and {free} are open. Plan my week {where}, please.",
    "A plan {where}, please: yes to {free}, no to {taken}.",
    "What does a good week {where} look like if {taken} are out and {free} are in?",
    "{free} work for me. {taken} never work. I train {where} and need a programme.",
    "I have given away {taken} and kept {free} for training {where}. How do I split the work?",
    "New timetable: lectures on {taken}, gaps on {free}. I train {where}; sort my week.",
)
SPLITS = {
    "whole body": (
        "With {n} days and rest between them, train the whole body each time.",
        "{n} days apart from each other call for full-body sessions.",
        "Do a full-body session on each of the {n} days; every muscle then works {n} times a week.",
        "On {n} spread-out days the simplest choice is the best: everything, every time.",
        "Take the whole body on all {n} days, because none of them follows another directly.",
    ),
    "upper/lower": (
        "{n} days go well with an upper/lower split.",
        "Split your {n} days into upper and lower body, so that neighbours never hit the same muscles.",
        "Alternate upper and lower body over the {n} days.",
        "For {n} days I would switch between upper and lower body.",
        "Upper and lower body take turns on your {n} days.",
    ),
    "push/pull/legs": (
        "{n} days, some of them in a row, suit push, pull and legs.",
        "Use push, pull and legs on the {n} days; what worked yesterday then rests today.",
        "As your {n} days touch each other, split them into push, pull and legs.",
        "Push, pull, legs is the split for {n} days that lie side by side.",
    ),
    "mixed": (
        "{n} days: upper, lower, then push, pull and legs.",
        "Spread {n} days over upper body, lower body, push, pull and legs.",
        "With {n} days, begin with upper and lower and go on with push, pull and legs.",
        "{n} days leave room for upper, lower, push, pull and legs, so each muscle comes up twice.",
    ),
}
TOTALS = (
    "That makes {s} sets in the week; add a repetition here and there before you add load.",
    "The week has {s} sets, which is plenty if the last two repetitions of a set are hard.",
    "Altogether {s} sets: leave one or two repetitions in reserve in each of them.",
    "You reach {s} sets a week. When all repetitions go smoothly, raise the weight or the difficulty a little.",
    "I count {s} weekly sets, a load you can recover from on the days between.",
    "Sum of the week: {s} sets, with two minutes of rest after the big exercises.",
    "{s} sets in all; keep this for six weeks before you change exercises.",
    "Counted together it is {s} sets, and the order may change, the days should not.",
)


def _split(days: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Choose the split for some days of the week, and what each day trains."""
    places = sorted(DAYS.index(day) for day in days)
    gaps = [(b - a) % 7 for a, b in zip(places, places[1:] + places[:1], strict=True)]
    if len(days) <= 3 and min(gaps) > 1:
        return "whole body", ("whole body",) * len(days)
    if len(days) == 3:
        return "push/pull/legs", ("push", "pull", "legs")
    if len(days) == 5:
        return "mixed", ("upper body", "lower body", "push", "pull", "legs")
    return "upper/lower", ("upper body", "lower body") * (len(days) // 2)


def week(draw: Draw, days: tuple[str, ...], where: str) -> tuple[str, str]:
    """Write the plan for some days, and say which split it is."""
    split, focus = _split(days)
    reps = (6, 8, 10, 12) if where == "in a gym" else (8, 10, 12, 15)
    total, lines = 0, []
    short = len(days) > 3
    for day, part in zip(days, focus, strict=True):
        lifts: list[str] = []
        for pattern in NAMES[part][: 2 if short else 3]:
            lifts.append(draw.pick([e for e in PLACES[where][pattern] if e not in lifts]))
        sets = [draw.pick((3, 4) if short else (2, 3, 4)) for _ in lifts]
        total += sum(sets)
        work = [f"{e} {s} x {draw.pick(reps)}" for e, s in zip(lifts, sets, strict=True)]
        lines.append(f"{day}{'' if part == 'whole body' else f', {part}'}: {join(work)}.")
    opening = say(draw, SPLITS[split], n=COUNT[len(days)])
    return f"{opening} {' '.join(lines)} {say(draw, TOTALS, s=total)}", split


def free_days(draw: Draw) -> Mirror:
    """Which days are free and which are taken: the same days in other roles."""
    one = draw.fact("free days", SETS_OF_DAYS, " ".join)
    other = draw.fact(
        "free days", [days for days in SETS_OF_DAYS if not set(days) & set(one)], " ".join
    )
    where = draw.pick(list(PLACES))

    def told(free: tuple[str, ...], taken: tuple[str, ...]) -> Told:
        answer, split = week(draw, free, where)
        return Told(
            {"where": where, "free": join(free), "taken": join(taken)},
            answer,
            {"all": list(free), "none": list(taken)},
            "a plan for days that are not free",
            (f"{len(free)} days: {split} ({FREQUENCY})",),
        )

    return mirror_of(draw, CATEGORY, FREE_DAYS, told(one, other), told(other, one))


def _sets_of_days() -> list[tuple[str, ...]]:
    """List the choices of two to five days of a week."""
    chosen = [
        tuple(day for i, day in enumerate(DAYS) if number >> i & 1) for number in range(1, 128)
    ]
    return [days for days in chosen if 2 <= len(days) <= 5]


SETS_OF_DAYS = _sets_of_days()

KITS = {  # legs, pushes, pulls and trunk
    "dumbbells": (("dumbbell goblet squats", "dumbbell Romanian deadlifts", "dumbbell lunges"), ("dumbbell floor presses", "dumbbell overhead presses"), ("dumbbell rows", "dumbbell pullovers")),
    "a resistance band": (("band squats", "band good mornings", "band side steps"), ("band chest presses", "band overhead presses"), ("band rows", "band pull-aparts", "band Pallof presses")),
    "a kettlebell": (("kettlebell goblet squats", "kettlebell swings", "kettlebell deadlifts"), ("kettlebell floor presses", "kettlebell overhead presses"), ("kettlebell rows", "kettlebell carries")),
    "a barbell": (("barbell squats", "barbell deadlifts", "barbell hip thrusts"), ("barbell floor presses", "barbell overhead presses"), ("barbell rows", "barbell high pulls")),
    "a suspension trainer": (("suspension lunges", "suspension squats", "suspension leg curls"), ("suspension push-ups", "suspension chest presses"), ("suspension rows", "suspension fallouts", "suspension Y raises")),
    "machines": (("machine leg presses", "machine leg curls", "machine leg extensions"), ("machine chest presses", "machine shoulder presses"), ("machine rows", "machine pull-downs")),
    "a cable tower": (("cable pull-throughs", "cable squats", "cable kickbacks"), ("cable chest presses", "cable flys"), ("cable rows", "cable woodchops", "cable face pulls")),
    "a sandbag": (("sandbag front squats", "sandbag deadlifts", "sandbag lunges"), ("sandbag floor presses", "sandbag overhead presses"), ("sandbag rows", "sandbag carries")),
    "a medicine ball": (("medicine ball squats", "medicine ball lunges", "medicine ball step-ups"), ("medicine ball chest passes", "medicine ball push-ups"), ("medicine ball slams", "medicine ball rotations")),
    "gym rings": (("ring split squats", "ring-assisted pistol squats", "ring leg curls"), ("ring push-ups", "ring dips"), ("ring rows", "ring chin-ups", "ring fallouts")),
    "a weight plate": (("plate squats", "plate deadlifts", "plate lunges"), ("plate overhead presses", "plate floor presses"), ("plate rows", "plate twists")),
    "an exercise ball": (("exercise ball leg curls", "exercise ball wall squats", "exercise ball bridges"), ("exercise ball push-ups", "exercise ball pike push-ups"), ("exercise ball back extensions", "exercise ball rollouts")),
}  # fmt: skip
SPOTS = (
    "at home", "in the office", "at my parents' house", "in the garage", "in the garden shed",
    "in the hotel", "at the holiday flat", "at the school hall", "in the cellar", "at the fire station",
    "on the ship", "at my partner's place", "in the club room", "at the barracks", "on the balcony",
    "in the student hostel", "at the caravan", "in the clinic", "at the farm", "in the workshop",
)  # fmt: skip
WHICH_KIT = (
    "I have {a} {x} and {b} {y}. Today I train {x}. What is the session?",
    "I put {a} {x} and {b} {y}. Plan tonight's training {x}.",
    "What do I do {x} today? I have {a} there, and {b} {y}.",
    "My kit: {a} {x}, {b} {y}. This evening I am {x}. Give me a session.",
    "{a} {x}, {b} {y}: that is all I own. Please write a workout for today, {x}.",
    "Tomorrow I train {x}. I left {a} {x} and {b} {y}. What can I do?",
    "I keep {a} {x} and {b} {y}. Stuck {x} this week: which exercises?",
    "A full-body session {x}, please. I can use {a} {x} and {b} {y}.",
    "With {a} {x} and {b} {y}, what would you have me do {x} on Sunday?",
    "I am {x} until Friday. There I find {a}; {b} would be {y}. Which session?",
    "You know my places: {a} {x}, {b} {y}. I only get to train {x} this time. What now?",
)
SESSION = (
    "{p} is enough for the whole body: {w}.",
    "Use {p} for {m} exercises: {w}.",
    "Here is a session with {p}: {w}.",
    "Take {p} and do {w}.",
    "{m} exercises with {p} will do: {w}.",
    "Train everything with {p} today. Do {w}.",
    "I would build it around {p}: {w}.",
)
REST = (
    "Rest {r} seconds after each set; the {t} sets take about {d} minutes.",
    "With {r} seconds of rest the {t} sets need some {d} minutes.",
    "That is {t} sets. Pause {r} seconds between them and you finish in roughly {d} minutes.",
    "Count on {d} minutes for the {t} sets if you pause {r} seconds after each.",
    "The {t} sets, with breaks of {r} seconds, fill about {d} minutes.",
)
EFFORT = (
    "Begin with {e} for ten easy repetitions as a warm-up.",
    "End a set of {e} when two more good repetitions would be possible.",
    "If {e} feel too easy, lower yourself over three seconds.",
    "Do {e} last if your grip tires early.",
    "Keep the ribs down and the back quiet in {e}.",
    "Next time add one repetition to each set of {e}.",
    "Breathe out on the hard half of {e}.",
    "Film one set of {e} from the side and compare it with the next session.",
)


def _lifts_with(kit: str) -> list[str]:
    return [lift for lifts in KITS[kit] for lift in lifts]


def place_and_kit(draw: Draw) -> Mirror:
    """Which kit lies where: the same places and kits, swapped."""
    here, there = (draw.fact("spot", SPOTS) for _ in range(2))
    require(here != there)
    kits = draw.two(list(KITS))

    def told(kit: str, elsewhere: str) -> Told:
        legs, pushes, pulls = KITS[kit]
        lifts = [draw.pick(legs), draw.pick(pushes), *draw.two(pulls)]
        sets = [draw.pick((2, 3, 4)) for _ in lifts]
        rest = draw.pick((60, 75, 90))
        work = join([f"{e} {s} x {draw.pick((8, 10, 12))}" for e, s in zip(lifts, sets, strict=True)])  # fmt: skip
        minutes = round(sum(sets) * (rest + 40) / 60)  # a set of ten takes some 40 seconds
        # The answer names the kit without an article's noise: "the dumbbells", "the sandbag".
        name = "the " + kit.removeprefix("a ").removeprefix("an ")
        verb = {"dumbbells": "the pair of dumbbells", "machines": "the row of machines", "gym rings": "the pair of gym rings"}.get(kit, name)  # fmt: skip
        answer = say(
            draw, SESSION, REST, EFFORT, p=verb, w=work, m=COUNT[len(lifts)], r=rest,
            t=sum(sets), d=minutes, e=draw.pick(lifts),
        )  # fmt: skip
        return Told(
            {"a": kit, "b": elsewhere, "x": here, "y": there},
            answer,
            {"any": _lifts_with(kit), "none": _lifts_with(elsewhere)},
            "equipment that is elsewhere",
            (f"{here}: {kit}", f"{sum(sets)} sets of {rest} + 40 s = {minutes} minutes"),
        )

    return mirror_of(draw, CATEGORY, WHICH_KIT, told(*kits), told(*kits[::-1]))


OCCASIONS = (
    ("before work", "after work"),
    ("on weekdays", "at weekends"),
    ("on office days", "on days at home"),
    ("in the holidays", "in term time"),
    ("during the nap of our baby", "once grandma is here"),
    ("between two shifts", "after the night shift"),
    ("in the lunch break", "after dinner"),
    ("in harvest time", "in winter"),
    ("while the bread bakes", "while the children are at judo"),
    ("on tour", "off tour"),
    ("before school", "after homework"),
    ("on days with a meeting", "on days without a meeting"),
    ("while the laundry runs", "on Sunday mornings"),
    ("in exam weeks", "in lecture weeks"),
)
HOW_LONG = (
    "I have {a} minutes {x}. What is a good session?",
    "Plan a workout of {a} minutes {x}, warm-up and end included.",
    "How do I best use {a} minutes {x} for training?",
    "I have {a} minutes {x} and {b} minutes {y}. Plan the session {x} for me.",
    "{x} there are {a} minutes for training, {y} there are {b}. What does a workout {x} look like?",
    "My time: {a} minutes {x}, {b} minutes {y}. How do I use the time {x}?",
    "Training {x} may last {a} minutes; {y} it may last {b}. Which session fits {x}?",
    "{a} minutes {x}, {b} minutes {y}, warm-up and end included. A plan for training {x}, please.",
    "What can I do {x}? I get {a} minutes then, and {b} minutes {y}.",
    "You can count on {a} minutes {x} and on {b} minutes {y}. Write me the one {x}.",
    "Please fill my time {x}. It is {a} minutes; {y} it is {b}.",
    "I find {a} minutes {x}. It is {b} minutes {y}. Let us start {x}: what is the plan?",
    "Sessions of {a} minutes {x}, sessions of {b} minutes {y}: how do I build the one {x}?",
    "My diary gives me {a} minutes {x} and {b} {y}. Sketch a session {x} that ends on time.",
)
CIRCUIT = ("squats", "push-ups", "rows with a bag", "planks", "lunges", "glute bridges", "mountain climbers", "side planks", "step-ups", "dead bugs", "high knees", "chair dips", "calf raises", "bird dogs")  # fmt: skip
WARM = (
    "Warm up for {w} minutes with brisk marching and arm circles.",
    "The first {w} minutes are for easy steps, hip circles and a few slow squats.",
    "Start with {w} minutes of light movement until you feel warm.",
    "Give {w} minutes to a warm-up: march, swing the arms, bend the knees.",
    "{w} minutes of easy skipping on the spot or marching come first.",
    "Use {w} minutes to get the joints moving and the pulse up.",
)
WORK = {
    1: (
        "Then do {r} rounds of {e}, one minute each, which takes {m} minutes.",
        "After that come {e}: a minute of each, {r} rounds, {m} minutes in all.",
        "Next is a circuit of {e}. At one minute an exercise, {r} rounds last {m} minutes.",
        "Go through {e} {r} times at a minute each: {m} minutes of work.",
    ),
    2: (
        "Then do {r} sets of each of {e}; a set with its pause takes two minutes, so {m} in all.",
        "After that, {e}: {r} sets of each at two minutes with the pause, {m} minutes together.",
        "The main part is {e}, {r} sets each. Two minutes for a set and its rest make {m} minutes.",
    ),
    3: (
        "Then do {r} sets of each of {e}. With the rest a set takes three minutes, so {m} in all.",
        "After that, heavy work: {e}, {r} sets each at three minutes with the rest, {m} minutes.",
        "The main part is {e}, {r} sets each. Three minutes for a set and its rest make {m} minutes.",
    ),
}
COOL = (
    "Walk and breathe calmly for the last {c} minutes. {w} + {m} + {c} = {t} minutes.",
    "The last {c} minutes are for slow walking and two stretches. Altogether: {w} + {m} + {c} = {t} minutes.",
    "Finish with {c} easy minutes. So {w}, {m} and {c} make {t} minutes.",
    "Leave {c} minutes to come down and stretch calves and chest, and you are done in {t} minutes.",
    "{c} minutes of easy movement close it: {t} minutes from first step to last.",
    "End with {c} minutes of quiet stretching, which brings the clock to {t} minutes.",
)


def _timed(draw: Draw, total: int) -> tuple[str, str]:
    """Write a session that lasts exactly so long, and its sum."""
    unit = draw.pick((1, 2) if total < 35 else (2, 3))
    count = draw.pick((3, 4, 5))
    rounds = (total - 6) // (unit * count)
    require(2 <= rounds <= 5)
    work = rounds * count * unit
    left = total - work
    require(6 <= left <= 18)
    warm = (3 * left + 4) // 5
    answer = say(
        draw, WARM, WORK[unit], COOL, w=warm, r=rounds, m=work, c=left - warm, t=total,
        e=join(draw.rng.sample(CIRCUIT, count)),
    )  # fmt: skip
    return answer, f"{warm} + {rounds} x {count} x {unit} + {left - warm} = {total} minutes"


def minutes_there_are(draw: Draw) -> Mirror:
    """A session that lasts as long as the person has, at one of two occasions."""
    here, there = draw.fact("occasion", OCCASIONS, " / ".join)
    lengths = [draw.fact("session", range(16, 76)) for _ in range(2)]
    require(abs(lengths[0] - lengths[1]) >= 6)

    def told(total: int, elsewhere: int) -> Told:
        answer, how = _timed(draw, total)
        return Told(
            {"a": total, "b": elsewhere, "x": here, "y": there},
            answer,
            {"number": float(total), "within": 0.01},
            "too long" if elsewhere > total else "too short",
            (how, f"warm-up and cool-down: {ACSM_FITNESS}"),
        )

    return mirror_of(draw, CATEGORY, HOW_LONG, told(*lengths), told(*lengths[::-1]))


MATCHES = ("football", "hockey", "handball", "rugby", "basketball", "volleyball", "tennis", "lacrosse", "badminton", "ultimate frisbee", "softball", "futsal", "netball", "squash", "cricket", "floorball", "beach volleyball", "korfball", "table tennis", "kabaddi")  # fmt: skip
MATCH_DAY = (
    "I play {s} on {d}. My gym days are {g} and {h}. What goes where?",
    "My {s} match is on {d}, and I lift on {g} and {h}. Which day gets the legs?",
    "Gym on {g} and {h}, {s} on {d}: how do I place heavy legs?",
    "{s} every {d}. I have two gym days, {g} and {h}. Sort them, please.",
    "How do I split {g} and {h} in the gym when my {s} games are on {d}?",
    "I want fresh legs for {s} on {d}. The gym is open to me on {g} and {h}.",
    "With {s} on {d}, what do I train on {g} and what on {h}?",
    "My team plays {s} on {d}. I can lift on {g} and on {h}. Where do squats belong?",
    "Plan my two lifting days, {g} and {h}, around {s} on {d}.",
    "Games of {s} fall on {d}. Should legs or upper body come on {g}, and what on {h}?",
)
LEG_DAY = (
    "Put heavy legs on {g}: {x}. Keep {h} for the upper body: {y}. Hard leg work needs about two days on either side of a match, and only one of your days has them.",
    "Heavy legs on {g}, with {x}; upper body on {h}, with {y}. So the legs have two days or more to recover from {s}, and as many before the next game.",
    "I would do heavy legs on {g} ({x}) and the upper body on {h} ({y}). Sore legs and {s} do not mix; tired arms are the smaller evil.",
    "Use {g} and {h} like this: heavy legs on {g}, that is {x}; upper body on {h}, that is {y}. The match then meets legs that had 48 hours of peace.",
    "Heavy legs on {g}: {x}. Upper body on {h}: {y}. The day beside a {s} match is the wrong one for squats and the right one for presses and pulls.",
    "Let heavy legs come on {g} with {x}, the upper body on {h} with {y}. If a match is moved, move the legs with it, so that 48 hours stay between them.",
)


def _away(day: str, match: str) -> int:
    """Count the days between a day and the nearest match."""
    apart = (DAYS.index(day) - DAYS.index(match)) % 7
    return min(apart, 7 - apart)


def legs_and_match(draw: Draw) -> Mirror:
    """Which of two gym days is far enough from the match: both answers have the same words."""
    sport = draw.fact("match", MATCHES)
    g, h = draw.two(DAYS)
    near_h = [d for d in DAYS if _away(d, g) >= 2 and _away(d, h) == 1]
    near_g = [d for d in DAYS if _away(d, h) >= 2 and _away(d, g) == 1]
    require(bool(near_h and near_g))
    form, legs, arms = draw.pick(LEG_DAY), draw.pick(range(3, 6)), draw.pick(range(3, 6))
    _, pushes, pulls, _ = PLACES["in a gym"]
    x = join([f"{e} {legs} x {draw.pick((5, 6, 8))}" for e in draw.two(PLACES["in a gym"][0])])
    y = join([f"{draw.pick(e)} {arms} x {draw.pick((6, 8, 10))}" for e in (pushes, pulls)])

    def told(match: str, day: str, rest: str) -> Told:
        return Told(
            {"s": sport, "d": match, "g": g, "h": h},
            form.format(g=day, h=rest, s=sport, x=x, y=y),
            {"any": [f"legs on {day}", f"legs come on {day}"]},
            "heavy legs beside the match",
            (f"{day} is {_away(day, match)} days from {match}, {rest} one (48 h: {ACSM_FITNESS})",),
        )

    return mirror_of(
        draw, CATEGORY, MATCH_DAY, told(draw.pick(near_h), g, h), told(draw.pick(near_g), h, g)
    )


KINDS = (
    (free_days, 4),
    (place_and_kit, 3),
    (minutes_there_are, 8),
    (legs_and_match, 2),
    *people.KINDS,
    *progression.KINDS,
)
declare("spot", SPOTS)
declare("occasion", (" / ".join(pair) for pair in OCCASIONS))
declare("match", MATCHES)
