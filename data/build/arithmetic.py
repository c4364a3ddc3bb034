"""Arithmetic: two questions of one form with other numbers, or of two forms with one unit."""

from collections.abc import Callable
from typing import NamedTuple

from facts import FOODS
from mirrors import Draw, Mirror, Side, capital, declare, figure, require

Asked = tuple[str, float, str, str]  # question, result, unit, how it was reached


class Weights(NamedTuple):
    """A unit of weight: what bars and dumbbells of a gym make in it."""

    name: str
    records: range  # best single lifts
    loads: range
    steps: tuple[float, ...]  # that a load grows by


WEIGHTS = (
    Weights("kg", range(40, 221, 10), range(20, 141, 5), (2.5, 5)),
    Weights("kg", range(40, 221, 10), range(20, 141, 5), (2.5, 5)),
    Weights("lb", range(80, 481, 20), range(45, 311, 5), (5, 10)),
)


def loadable(weight: float, unit: str) -> bool:
    """Say whether plates can make a weight: steps of 2.5 kg or 5 lb."""
    return weight % (2.5 if unit == "kg" else 5) == 0


ANSWERS = (
    "{v}.",
    "That makes {v}.",
    "{v}, going by your numbers.",
    "It comes to {v}.",
    "You end up at {v}.",
    "The sum is {v}.",
    "Worked out, that is {v}.",
    "With your figures it is {v}.",
    "My result is {v}.",
    "{v}, by your figures.",
    "Altogether {v}.",
    "So the answer is {v}.",
    "{v}, which is easy to check with a calculator.",
    "I get {v}.",
    "Put {v} into your plan.",
    "Then it is {v}.",
)


def protein_target(draw: Draw) -> Asked:
    """Grams a day for a body weight."""
    weight, factor = draw.fact("weight", range(48, 111)), draw.pick((1.2, 1.4, 1.6, 1.8, 2.0, 2.2))
    q = draw.ask(
        (
            "I weigh {w} kg and aim at {k} g of protein per kg. How many grams a day?",
            "With {w} kg of body weight and {k} g of protein per kg, what is my daily amount?",
            "My target is {k} g of protein per kg. At {w} kg, what does that make in a day?",
            "How much protein does {k} g per kg mean for a person of {w} kg?",
            "Please work out {k} g of protein per kg for {w} kg.",
            "At {w} kg, how many grams of protein is {k} g per kg?",
            "My plan says {k} g of protein for each kg. I have {w} kg. So how much is it?",
            "{w} kg on the scales, {k} g of protein per kg: what is the total?",
            "I am {w} kg. The book says {k} g of protein per kg daily. Which number is that?",
            "What do I write down as daily protein for {w} kg at {k} g per kg?",
        )
    )
    return q.format(w=weight, k=factor), weight * factor, "g", f"{weight} kg times {factor} g"


def percent_of_maximum(draw: Draw) -> Asked:
    """A working weight that plates can make."""
    unit = draw.pick(WEIGHTS)
    best, percent = draw.fact("maximum", unit.records), draw.pick(range(50, 96, 5))
    require(loadable(best * percent / 100, unit.name))
    lift = draw.pick(("squat", "deadlift", "hip thrust", "front squat", "bench press", "rack pull"))
    q = draw.ask(
        (
            "My best {l} is {b} {u}. What is {p} % of it?",
            "I can do one {l} with {b} {u}. Which weight is {p} %?",
            "The plan says {p} % of the maximum. My {l} stands at {b} {u}. What do I load?",
            "With a {l} maximum of {b} {u}, what goes on the bar for {p} %?",
            "Work out {p} % of a {b} {u} {l}, please.",
            "One repetition maximum in the {l}: {b} {u}. Sets today at {p} %. How heavy?",
            "How much is {p} % if my {l} is {b} {u}?",
            "Today I train the {l} at {p} %. My record is {b} {u}. So what is the weight?",
            "{b} {u} is my limit in the {l}. Tell me the load for {p} %.",
            "What should I lift in the {l} for {p} % of {b} {u}?",
        )
    )
    return (
        q.format(l=lift, b=best, p=percent, u=unit.name),
        best * percent / 100,
        unit.name,
        f"{percent} % of {best} {unit.name}",
    )


def weekly_sets(draw: Draw) -> Asked:
    """Sets a week."""
    days, lifts, sets = (
        draw.pick((2, 3, 4)),
        draw.pick((2, 3, 4)),
        draw.fact("sets", (2, 3, 4, 5, 6)),
    )
    muscle = draw.pick(("chest", "back", "biceps", "triceps"))
    q = draw.ask(
        (
            "I train {m} on {d} days with {l} exercises of {s} sets each. How many sets a week is that?",
            "{d} sessions a week, {l} exercises for the {m}, {s} sets of each: what is the weekly total?",
            "How many weekly sets do I reach with {d} days, {l} {m} exercises and {s} sets of each?",
            "Count my {m} sets: {d} days, {l} exercises a day, {s} sets an exercise.",
            "Each of my {d} {m} days has {l} exercises with {s} sets. Sum for the week?",
            "My week holds {d} {m} days. On each I do {l} lifts, {s} sets a lift. How many sets?",
            "{l} exercises, {s} sets, {d} times a week for the {m}. What does that add up to?",
            "What is the weekly volume in sets for {m}, at {d} days, {l} exercises, {s} sets?",
            "Help me count: {m}, {d} times a week, {l} exercises, {s} sets each time.",
            "Is my count right? {d} days of {m}, {l} exercises, {s} sets. How many in all?",
        )
    )
    return (
        q.format(m=muscle, d=days, l=lifts, s=sets),
        days * lifts * sets,
        "sets",
        f"{days} x {lifts} x {sets}",
    )


def volume(draw: Draw) -> Asked:
    """Sets times repetitions times weight."""
    unit = draw.pick(WEIGHTS)
    sets, reps = draw.pick((3, 4, 5)), draw.pick((5, 6, 8, 10, 12))
    weight = draw.fact("load", unit.loads)
    q = draw.ask(
        (
            "{s} sets of {r} repetitions with {w} {u}: how much did I move?",
            "What is the volume of {s} x {r} with {w} {u}?",
            "I did {s} sets of {r} at {w} {u}. What is the total load?",
            "Work out sets times repetitions times weight: {s}, {r}, {w} {u}.",
            "How much weight have I lifted in all with {s} sets, {r} repetitions and {w} {u}?",
            "Total tonnage for {s} times {r} with {w} {u}, please.",
            "My log says {s} x {r} x {w} {u}. What is the product?",
            "If I lift {w} {u} for {r} repetitions and {s} sets, what is the sum of it?",
            "Add up one exercise: {w} {u}, {r} repetitions, {s} sets.",
            "For the diary: {s} sets, {r} repetitions, {w} {u}. How much in total?",
        )
    )
    return (
        q.format(s=sets, r=reps, w=weight, u=unit.name),
        sets * reps * weight,
        unit.name,
        f"{sets} x {reps} x {weight} {unit.name}",
    )


def food_for_protein(draw: Draw) -> Asked:
    """Grams of a food for an amount of protein."""
    food = draw.fact(
        "food", [f for f in FOODS if float(f["protein"] or 0) >= 6], lambda f: f["food"]
    )
    target = draw.pick((15, 20, 25, 30, 35, 40))
    amount = round(100 * target / float(food["protein"]) / 5) * 5
    q = draw.ask(
        (
            "How much {f} gives me {t} g of protein?",
            "I want {t} g of protein from {f}. How many grams do I weigh out?",
            "What amount of {f} holds {t} g of protein?",
            "If {f} were my only source, how much would I need for {t} g of protein?",
            "How many grams of {f} for {t} g of protein?",
            "Weigh it out for me: {t} g of protein by way of {f}.",
            "To reach {t} g of protein with {f}, what goes on the scales?",
            "Tell me the portion of {f} that brings {t} g of protein.",
            "My meal should have {t} g of protein, all from {f}. How big is the portion?",
            "{t} g of protein from {f}: what portion is that?",
        )
    )
    fact = f"{food['food']}: {figure(float(food['protein']))} g of protein per 100 g"
    return q.format(f=food["food"], t=target), amount, "g", fact


def deficit(draw: Draw) -> Asked:
    """Energy after a cut."""
    need, percent = draw.fact("energy", range(1700, 3301, 50)), draw.pick((10, 15, 20, 25))
    q = draw.ask(
        (
            "I need {n} kcal to keep my weight and want to eat {p} % less. What is left?",
            "What is {n} kcal with a deficit of {p} %?",
            "My maintenance is {n} kcal. A cut of {p} % leaves me how much?",
            "Take {p} % off {n} kcal, please.",
            "How many kcal a day after a {p} % cut from {n} kcal?",
            "I burn {n} kcal daily. For a {p} % deficit, what do I eat?",
            "With maintenance at {n} kcal and a deficit of {p} %, what is my budget?",
            "My coach wants me {p} % under {n} kcal. Which figure is that?",
            "From {n} kcal, minus {p} %: what is the target?",
            "What remains of {n} kcal if I leave out {p} %?",
        )
    )
    return (
        q.format(n=need, p=percent),
        need * (100 - percent) / 100,
        "kcal",
        f"{need} kcal less {percent} %",
    )


def rests(draw: Draw) -> Asked:
    """Minutes of rest."""
    sets, rest = draw.fact("rests", range(4, 25)), draw.pick((1.5, 2, 2.5, 3))
    q = draw.ask(
        (
            "I do {s} sets with {r} minutes of rest after each. How long do I rest in all?",
            "{s} sets, {r} minutes of rest after every one: what is the total rest?",
            "How many minutes go into rest with {s} sets and {r} minutes after each?",
            "Sum up my rests: {s} of them, {r} minutes each.",
            "If I rest {r} minutes after each of {s} sets, how much time is that?",
            "My session has {s} sets. Each is followed by {r} minutes of rest. Rest in total?",
            "How long do I sit around in {s} sets with rests of {r} minutes?",
            "Rest of {r} minutes, {s} times. How many minutes?",
            "What do {s} rests of {r} minutes add up to?",
            "Time spent resting with {s} sets and {r} minutes after each set, please.",
        )
    )
    return q.format(s=sets, r=figure(rest)), sets * rest, "minutes", f"{sets} x {rest} minutes"


def progress(draw: Draw) -> Asked:
    """Weight after some weeks."""
    unit = draw.pick(WEIGHTS)
    start, step = draw.fact("start", unit.loads), draw.pick(unit.steps)
    weeks = draw.pick(range(3, 13))
    q = draw.ask(
        (
            "I start at {a} {u} and add {b} {u} a week. Where am I after {c} weeks?",
            "From {a} {u}, with {b} {u} more every week, what do I lift after {c} weeks?",
            "If I add {b} {u} each week for {c} weeks to {a} {u}, what is on the bar?",
            "{c} weeks, {b} {u} more a week, first weight {a} {u}. Last weight?",
            "What is {a} {u} plus {b} {u} a week over {c} weeks?",
            "My bar has {a} {u} today. It grows by {b} {u} a week. What will it have in {c} weeks?",
            "Starting weight {a} {u}, weekly step {b} {u}, {c} weeks: which weight is that?",
            "How heavy do I lift in {c} weeks, with {a} {u} now and {b} {u} added weekly?",
            "I raise my weight by {b} {u} every week. Now it is {a} {u}. And in {c} weeks?",
            "Work out my plan: {a} {u}, then {b} {u} more in each of {c} weeks.",
        )
    )
    return (
        q.format(a=start, b=figure(step), c=weeks, u=unit.name),
        start + step * weeks,
        unit.name,
        f"{start} + {step} x {weeks} {unit.name}",
    )


def pace(draw: Draw) -> Asked:
    """Minutes for a distance at a pace."""
    minutes, distance = draw.pick((4.5, 5, 5.5, 6, 6.5, 7)), draw.fact("distance", range(3, 25))
    q = draw.ask(
        (
            "I run a kilometre in {p} minutes. How long do {d} km take me?",
            "At {p} minutes a kilometre, what is my time over {d} km?",
            "How many minutes are {d} km at {p} minutes per km?",
            "{d} km, {p} minutes for each: how long is that?",
            "My pace is {p} minutes per km and the run has {d} km. How long am I out?",
            "With {p} minutes per km, when am I done with {d} km?",
            "What time should I allow for {d} km at {p} minutes per km?",
            "Work out {d} km at a pace of {p} minutes.",
            "I keep {p} minutes per km over {d} km. How many minutes in all?",
            "A loop of {d} km at {p} minutes a km takes how long?",
        )
    )
    return (
        q.format(p=figure(minutes), d=distance),
        minutes * distance,
        "minutes",
        f"{minutes} x {distance} minutes",
    )


KINDS_OF_SUM: tuple[Callable[[Draw], Asked], ...] = (
    protein_target,
    percent_of_maximum,
    weekly_sets,
    volume,
    food_for_protein,
    deficit,
    rests,
    progress,
    pace,
)


def arithmetic(draw: Draw) -> Mirror:
    """Two sums of one kind with other numbers."""
    kind, answer = draw.pick(KINDS_OF_SUM), draw.pick(ANSWERS)
    asked = [kind(draw) for _ in range(2)]
    require(asked[0][2] == asked[1][2])
    results = [result for _, result, _, _ in asked]
    require(abs(results[0] - results[1]) > 0.08 * max(results))
    require(all(result > 0 for result in results))

    def side(question: str, result: float, unit: str, how: str) -> Side:
        exact = (
            f"{result:,.0f}" if unit in ("g", "kcal") else f"{result:,.2f}".rstrip("0").rstrip(".")
        )
        return Side(
            question,
            capital(answer.format(v=f"{exact} {unit}")),
            {"number": round(result, 2), "within": 0.03},
            "wrong result",
            (f"{how} = {exact} {unit}",),
        )

    return draw.mirror("arithmetic", side(*asked[0]), side(*asked[1]))


KINDS = ((arithmetic, 1),)
declare("sets", range(2, 7))
