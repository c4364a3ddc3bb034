"""Short plans that somebody asks for in few words: sessions, weeks, days of protein, warm-ups.

No preference pairs: fitbot-tiny learns from them; see chats.py. Every plan is checked as it is drawn:
its sets and grams add up, its exercises fit the kit, its repetitions fit the goal.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from coaching import COUNT, PLACES
from diet import BY_NAME
from exercises import Row
from grammar import one_of
from mirrors import Draw, capital, join, require
from plain_facts import KNOWN, Exchange, Kinds, loosely
from programmes import CIRCUIT, KITS, SETS_OF_DAYS, week

SETS = re.compile(r"([A-Za-z][A-Za-z -]*?) (\d+) x (\d+)")
PORTION = re.compile(r"(\d+) g of ([A-Za-z -]+) \((\d+) g\)")


class Goal(NamedTuple):
    """What somebody trains for, and the sets, repetitions and rests that suit it."""

    says: str
    name: str
    sets: tuple[int, ...]
    reps: tuple[int, ...]
    rest: str


GOALS = (
    Goal("[to build muscle|to get bigger|to grow|to bulk up]", "muscle", (3, 4), (8, 10, 12), "one to two minutes"),
    Goal("[to get stronger|to build strength|to get strong]", "strength", (3, 4, 5), (4, 5, 6), "2 to 3 minutes"),
    Goal("[endurance|stamina|muscular endurance]", "endurance", (2, 3), (15, 20, 25), "less than a minute"),
    Goal("[to lose weight|to lose fat|to slim down|to burn fat|to get lean]", "fat loss", (2, 3), (10, 12, 15), "about a minute"),
    Goal("[to get fit|to get started|to get in shape|to start with]", "a start", (2, 3), (8, 10, 12), "one to two minutes"),
)  # fmt: skip
SAID_OF_PLACES = {
    "in a gym": "[in the gym|at the gym|gym|in a gym]",
    "at home with two dumbbells": "[at home with dumbbells|with two dumbbells|dumbbells only|home, dumbbells]",
    "at home without any kit": "[at home|at home with no equipment|without equipment|no gym|bodyweight|no weights|in my living room|at home no gear]",
    "in a park with bars": "[in the park|outdoors|on bars outside|calisthenics park]",
}
SESSION = (
    "[give me|write me|make me|need|i want|can i get] a [|quick |short |simple |good ][workout|session|routine|training] {where}[| {goal}][|?| pls| please]",
    "[workout|session|exercise plan|routine] {where}[ {goal}|, {goal}|][|?| please]",
    "[what|which] [workout|exercises|session] [can i do|should i do|do you suggest] {where}[| {goal}][|?]",
    "{goal}[, | ]{where}[, what do i do?|: what session?|, any plan?]",
    "[plan|design|suggest] [me |]a [full body |whole body |]workout {where}[| {goal}][|?]",
    "[full body|whole body] {where}[|?| {goal}]",
)
NO_PLACE = (
    "[give me|write me|make me|need|i want|can i get|show me] a [|simple |short |quick |beginner ][plan|workout|training plan|routine|program] {goal}[|?| pls]",
    "[workout|plan|routine|program] {goal}[|?| please]",
    "[write|plan|create|suggest] [me |][a|some] [training|workout|exercises] {goal}[|?]",
    "[what should i do|what do i do|how do i train|how should i train] {goal}[|?]",
)
SESSION_SAID = (
    "[Do|Try|Start with] {w}. Rest {rest} between sets. [That is {t} sets, two or three times a week.|Those are {t} sets; add a little each week.]",
    "{For}: {w}. [Rest|Pause] {rest} after each set; {t} sets in all.",
    "[A short session|Here is a session|One simple session]{place}: {w}. {t} sets, with {rest} of rest between them.",
)


def adds_up(text: str, allowed: Collection[str], reps: Collection[int] = ()) -> bool:
    """Say whether a plan holds: allowed exercises, the sum of sets; in a session also the repetitions.

    Args:
        text: The answer.
        allowed: Exercises, as they are written in it.
        reps: Of a single session, in which no exercise comes twice.
    """
    found = SETS.findall(text)
    names = [max((e for e in allowed if name.endswith(e)), key=len, default="") for name, _, _ in found]  # fmt: skip
    total = sum(int(sets) for _, sets, _ in found)
    return (
        len(found) >= 3
        and all(names)
        and (not reps or len(set(names)) == len(names))
        and (not reps or all(int(r) in reps for _, _, r in found))
        and re.search(rf"\b{total} (?:weekly )?sets\b", text) is not None
    )


def session(draw: Draw) -> Exchange:
    """Three exercises with sets and repetitions, for a goal and a kit."""
    goal, where = draw.pick(GOALS), draw.pick((*PLACES, "at home without any kit"))
    kit = draw.pick(tuple(KITS)) if draw.rng.random() < 0.3 else ""
    place = f"[with {kit}|using {kit}|with only {kit}]" if kit else SAID_OF_PLACES[where]
    if not kit and draw.rng.random() < 0.3:
        place, where = "", "at home without any kit"
    forms = SESSION if place else NO_PLACE
    aim = goal.says if goal.says.startswith("[to ") else goal.says.replace("[", "[for ", 1)
    asked = one_of(tuple(f.replace("{where}", place).replace("{goal}", f"\1{aim}") for f in forms), draw.rng)  # fmt: skip
    if "\1" not in asked:  # no aim is named
        goal = GOALS[-1]
    patterns = KITS[kit] if kit else PLACES[where][:3]
    lifts = [draw.pick(pattern) for pattern in patterns]
    draw.rng.shuffle(lifts)
    sets, reps = draw.pick(goal.sets), draw.pick(goal.reps)
    spot = f" with {kit}" if kit else f" {where}"
    said = one_of(
        SESSION_SAID, draw.rng, w=join([f"{lift} {sets} x {reps}" for lift in lifts]), t=sets * len(lifts),
        rest=goal.rest, place=spot, For=capital(f"for {goal.name}{spot}"),
    )  # fmt: skip
    require(adds_up(said, [e for pattern in patterns for e in pattern], goal.reps))
    return asked.replace("\1", "").strip(), said


WEEK_ASKED = (
    "[make me|give me|write me|i need|can you make|show me] a {n}[ |-]day [workout|training|gym|] [plan|split|routine|program] [{where}|][|?| please]",
    "{n}[ |-]day [split|plan|week|workout plan|routine] [{where}|for a beginner {where}|][|?]",
    "[i can train|i have|i train] {n} days a week [{where}|][, what's the plan?|, what do i do?|. Plan?]",
    "[weekly|week] [plan|schedule|split][, | with ]{n} days[| {where}][|?]",
    "[plan|sort|organise] my [training |workout |]week[, | {where}, ]{n} days[|?| please]",
)


def days(draw: Draw) -> Exchange:
    """A week of two to five days; days with rest between them where there are few."""
    chosen = draw.fact("free days", [d for d in SETS_OF_DAYS if len(d) <= 4], " ".join)
    if len(chosen) == 3:
        chosen = draw.fact("free days", (("Monday", "Wednesday", "Friday"), ("Tuesday", "Thursday", "Saturday"), chosen), " ".join)  # fmt: skip
    where = draw.pick((*PLACES, "in a gym"))
    form = draw.pick(WEEK_ASKED)
    asked = one_of((form.replace("{where}", SAID_OF_PLACES[where]),), draw.rng, n=draw.pick((len(chosen), COUNT[len(chosen)])))  # fmt: skip
    text, _ = week(draw, chosen, where)
    allowed = [e for pattern in PLACES[where] for e in pattern]
    require(adds_up(text, allowed) and "all two" not in text)
    return re.sub(r" +", " ", asked).strip(), text


# What a meal may hold: food and grams.
MEALS = {
    "Breakfast": ((("fat-free Greek yoghurt", (200, 250, 300)), ("plain whole-milk yoghurt", (200, 250)), ("silken tofu", (200, 250)), ("kefir", (250, 300)), ("hummus", (80, 100)), ("tahini", (30, 40))),
                  (("rolled oats", (50, 60, 80)), ("wholemeal bread", (80, 100)), ("rye bread", (80, 100)), ("pumpkin seeds", (20, 30)), ("hemp seeds", (20, 30)))),
    "Lunch": ((("extra-firm tofu", (150, 200, 250)), ("cooked lentils", (200, 250, 300)), ("cooked chickpeas", (200, 250)), ("mozzarella", (80, 100)), ("edamame", (150, 200)), ("feta", (80, 100))),
              (("cooked quinoa", (150, 200)), ("cooked bulgur", (150, 200)), ("cooked couscous", (150, 200)), ("cooked pasta", (150, 200)))),
    "Dinner": ((("tempeh", (120, 150)), ("fried tofu", (120, 150)), ("cooked soybeans", (150, 200)), ("dal", (250, 300)), ("ricotta", (150, 200)), ("natto", (100,))),
               (("cooked white rice", (150, 200)), ("cooked wholegrain pasta", (150, 200)), ("peeled potatoes", (200, 300)), ("naan", (80, 100)), ("broccoli", (150, 200)))),
    "Snack": ((("soy protein isolate", (20, 25, 30)), ("whey protein powder", (25, 30)), ("almonds", (30, 40)), ("peanuts", (30, 40)), ("cheddar", (30, 40)), ("edamame", (100,))),
              (("oat milk", (250,)), ("bananas", (120,)), ("gala apples", (150,)), ("oranges", (150,)))),
}  # fmt: skip
PROTEIN_DAY = (
    "[give me|plan me|write me|show me|i need] a [day of [eating|food|meals]|meal plan|one day meal plan|days food] [{diet}|for a {diet}|, {diet}][| with [around |about |]{n}[ |]g protein][|?| please]",
    "{diet} [meal plan|day of eating|meals for a day|diet plan][|, {n}[| ]g protein| with {n} g of protein| high protein][|?]",
    "[how do i|how can i|how to] [get|hit|reach|eat] {n}[| ]g[| of] protein [as a {diet}|{diet}|on a {diet} diet][|?| a day?]",
    "what [should|do] i eat [in a day|all day|today] [as a {diet}|{diet}][| to get {n}[| ]g protein| for muscle][|?]",
    "{n}[| ]g protein {diet}[|?| day| meal plan]",
    "[im|I'm|I am] {diet}[, | and ][plan my day|plan my meals|what do i eat in a day|need a meal plan][| with {n} g protein][|?]",
)


def portions_hold(text: str, total: int) -> bool:
    """Say whether every portion has the protein that is written beside it, and they give the total."""
    found = PORTION.findall(text)
    return len(found) >= 4 and sum(int(p) for _, _, p in found) == total and all(
        int(p) == round(int(grams) * float(BY_NAME[food]["protein"]) / 100) for grams, food, p in found
    )  # fmt: skip


def protein_day(draw: Draw) -> Exchange:
    """A day of vegetarian or vegan food whose protein is near what was asked for."""
    vegan = draw.rng.random() < 0.45
    diets = ("plant",) if vegan else ("plant", "dairy")
    target = draw.pick(range(70, 141, 10))
    best: tuple[int, list[tuple[str, list[tuple[str, int, int]]]]] = (999, [])
    for _ in range(12):
        plan, total = [], 0
        for meal, slots in MEALS.items():
            parts = []
            for slot in slots:
                fitting = [(food, grams) for food, grams in slot if BY_NAME[food]["diet"] in diets]
                food, choices = draw.fact("food", fitting, lambda f: f[0])
                grams = draw.pick(choices)
                parts.append((food, grams, round(grams * float(BY_NAME[food]["protein"]) / 100)))
            plan.append((meal, parts))
            total += sum(protein for _, _, protein in parts)
        if abs(total - target) < abs(best[0] - target):
            best = (total, plan)
    total, plan = best
    require(abs(total - target) <= 4 and any(BY_NAME[f]["diet"] == "dairy" for _, ps in plan for f, _, _ in ps) != vegan)  # fmt: skip
    lines = [f"{meal}: {' and '.join(f'{grams} g of {food} ({p} g)' for food, grams, p in parts)}." for meal, parts in plan]  # fmt: skip
    diet = "[vegan|plant based]" if vegan else "[vegetarian|vegetarian|veggie]"
    asked = one_of(tuple(f.replace("{diet}", diet) for f in PROTEIN_DAY), draw.rng, n=target)
    said = one_of(
        ("{l} [Together|In all|That makes] [about |]{t} g of protein.", "[A {d} day|One {d} day|Here is a {d} day]. {l} Sum: {t} g of protein."),
        draw.rng, l=" ".join(lines), t=total, d="vegan" if vegan else "vegetarian",
    )  # fmt: skip
    require(portions_hold(said, total))
    return asked, said


MEAL_ASKED = (
    "[high protein |good |quick |easy |]{diet} {meal}[|?| idea| ideas| with protein]",
    "[what should|what can] a {diet} eat for {meal}[|?| with protein?]",
    "[what to eat|what do i eat|what should i have|ideas] for {meal}[|?| as a {diet}| when {diet}]",
    "[give me|suggest|need] a {diet} {meal}[| with protein| please]",
    "[best|good] [food|meal|thing to eat] [after|before] [a workout|training|the gym][|?]",
)


def meal(draw: Draw) -> Exchange:
    """One meal with its protein."""
    vegan = draw.rng.random() < 0.5
    diets, name = ("plant",) if vegan else ("plant", "dairy"), draw.pick(tuple(MEALS))
    parts = []
    for slot in MEALS[name]:
        fitting = [(food, grams) for food, grams in slot if BY_NAME[food]["diet"] in diets]
        food, choices = draw.fact("food", fitting, lambda f: f[0])
        grams = draw.pick(choices)
        parts.append((food, grams, round(grams * float(BY_NAME[food]["protein"]) / 100)))
    total = sum(p for _, _, p in parts)
    require(total >= 10)
    diet = "[vegan|plant based eater]" if vegan else "[vegetarian|vegetarian|veggie]"
    listed_parts = " with ".join(f"{grams} g of {food}" for food, grams, _ in parts)
    return one_of(tuple(f.replace("{diet}", diet) for f in MEAL_ASKED), draw.rng, meal=name.lower()), one_of(
        ("[Try|How about|For example] {p}: about {t} g of protein.", "{P}. That has about {t} g of protein.", "{P}, which [brings|makes] about {t} g of protein."),
        draw.rng, p=listed_parts, P=capital(listed_parts), t=total,
    )  # fmt: skip


WARM_ASKED = (
    "[how do i|how should i|how to] warm[| ]up [before|for] {e}[|?]",
    "[good |best |quick |]warm[-| ]up [before|for] [{e}|lifting|the gym|a workout|training|leg day][|?]",
    "[do i need to|should i] warm[| ]up[| before {e}][|?]",
    "[how long|how much] [to warm up|warm up|should a warm up be][|?]",
    "warm[ |-|]up [routine|exercises|plan][|?| for {e}]",
)
DRILLS = ("leg swings", "walking lunges", "high knees", "heel kicks", "arm circles", "hip circles", "trunk turns", "inchworms")  # fmt: skip
WARM_SAID = (
    "{m} minutes of [easy cycling|brisk walking|easy rowing|light jogging], then {d}, {s} seconds each. [Then|After that] do two lighter sets of {e}.",
    "[Get warm for|Move easily for] {m} minutes, do {d} for {s} seconds each, and [begin {e} with little load|start {e} light].",
    "[Start with|Take] {m} easy minutes on [a bike|your feet|a rower]. Add {d}, {s} seconds each. The first set of {e} stays light.",
)


def warm_up(draw: Draw) -> Exchange:
    """A warm-up before an exercise."""
    row: Row = draw.fact("exercise", KNOWN, lambda r: r["exercise"])
    drills = draw.rng.sample(DRILLS, 3)
    asked = one_of(WARM_ASKED, draw.rng, e="\1")
    first = row["everyday"] if "\1" in asked else "your first exercise"
    asked = asked.replace("\1", loosely(row["everyday"], draw))
    return asked, one_of(
        WARM_SAID, draw.rng, m=draw.pick((5, 6, 8, 10)), d=join(drills), s=draw.pick((20, 30)), e=first
    )  # fmt: skip


TIMED_ASKED = (
    "[give me|need|i want|make me|any|quick] a {n}[ |-][minute|min] [workout|session|circuit|routine|home workout][|?| please| at home]",
    "{n}[ |-][minute|min|mins] [workout|circuit|session|training][|?| at home| no equipment]",
    "[i only have|i've got|got|i have] {n} [minutes|min|mins][, what workout?|, what can i do?|. Workout?| to train]",
    "what can i [do|train] in {n} [minutes|min][|?| at home?]",
)
TIMED_SAID = (
    "[Warm up for|Move easily for] {w} minutes. Then {r} rounds of {x}, 40 seconds each with 20 seconds of rest: {m} minutes. [Walk|Stretch|Cool down] for {c} minutes, {n} in all.",
    "{n} minutes: {w} to warm up, {m} for {r} rounds of {x} (40 seconds each, 20 seconds of rest), {c} to [cool down|calm down|stretch].",
)


def timed(draw: Draw) -> Exchange:
    """A circuit of four exercises that fills some minutes, warm-up and end included."""
    minutes = draw.pick((10, 12, 15, 18, 20, 25, 30, 35, 40, 45))
    end = draw.pick((2, 3))
    rounds = draw.pick([r for r in range(1, 10) if 3 <= minutes - 4 * r - end <= 8] or [0])
    require(rounds > 1)
    asked = one_of(TIMED_ASKED, draw.rng, n=minutes)
    return asked, one_of(
        TIMED_SAID, draw.rng, n=minutes, w=minutes - 4 * rounds - end, c=end, r=rounds, m=4 * rounds,
        x=join(draw.rng.sample([e for e in CIRCUIT if e not in ("rows with a bag", "step-ups")], 4)),
    )  # fmt: skip


KINDS: Kinds = ((timed, 2), (session, 8), (days, 5), (protein_day, 4), (meal, 3), (warm_up, 2))
