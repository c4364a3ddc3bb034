"""Short follow-ups: "And on rest days?", after a sum was done for training days.

The follow-up asks for the other time or person, or for the first one once more. So the right figure is
as often one that was said before as one that was not.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mirrors import Draw, Mirror, Side, capital, declare, require
from turn_figures import Shape, talk

SETTINGS = (
    ("on training days", "on rest days"), ("on weekdays", "at weekends"), ("in summer", "in winter"), ("at home", "at the office"),
    ("on long days", "on short days"), ("this month", "next month"), ("on Mondays", "on Fridays"), ("on hot days", "on cool days"),
    ("before the race", "after the race"), ("on early shifts", "on late shifts"),
)  # fmt: skip
OTHER = (
    "And {o}?", "What about {o}?", "And how much is it {o}?", "Now {o}, please.", "{O}?", "Then {o}?",
    "Do that for me {o} too.", "Good. {O}?", "And when it is {o}?", "I also need it {o}.", "Okay, and {o}?",
    "Thanks! And {o}?", "Fine. How does that look {o}?", "Can you tell me {o} as well?",
)  # fmt: skip
AGAIN = (
    "And {s}, once more?", "What was it {s}?", "And how much was it {s}?", "Again {s}, please.", "{S}, you said?", "So {s} it was?",
    "Say it for me {s} again.", "Hm. {S}, again?", "And when it was {s}?", "I forgot it {s}.", "Wait, and {s}?",
    "Sorry! And {s}?", "Oops. How did that look {s}?", "Can you repeat it {s} once more?",
)  # fmt: skip


class Sum(NamedTuple):
    """Two figures, told at once, and a sum that is done for one of them first."""

    name: str
    values: Sequence[float]
    counts: Sequence[int]
    shapes: tuple[str, ...]  # the person's first turn
    result: Callable[[float, int], float]
    unit: str
    how: str


SUMS = (
    Sum(
        "energy", range(1700, 3301, 50), (3, 4, 5),
        ("I eat {a} kcal {s} and {b} kcal {o}, in {m} equal meals. How much is one meal {s}?",
         "{m} equal meals a day: {b} kcal in all {o}, {a} kcal {s}. What does a meal have {s}?",
         "My plan has {a} kcal {s}, {b} kcal {o} and {m} meals of one size. The size {s}?",
         "With {m} meals alike, {b} kcal {o} and {a} kcal {s}, what is a meal {s}?"),
        lambda x, m: round(x / m), "kcal", "{x} / {m}",
    ),
    Sum(
        "protein of a day", range(60, 201, 2), (3, 4, 5),
        ("My protein is {a} g {s} and {b} g {o}, over {m} equal meals. How much is that a meal {s}?",
         "I aim at {a} g of protein {s}, {b} g {o}. Split over {m} meals, what is it {s}?",
         "{m} meals a day, protein {b} g {o} and {a} g {s}. What should a meal have {s}?",
         "Divide my protein by {m} meals, please: {a} g {s}, {b} g {o}. First {s}."),
        lambda x, m: round(x / m), "g", "{x} / {m}",
    ),
    Sum(
        "litres", (1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75, 3, 3.25, 3.5, 3.75, 4, 4.5), (4,),
        ("I drink {a} litres {s} and {b} litres {o}. How many glasses of 250 ml is that {s}?",
         "In glasses of 250 ml: {a} litres {s}, {b} litres {o}. How many {s}?",
         "My bottle says {b} litres {o} and {a} litres {s}. What is it in glasses of 250 ml {s}?",
         "{a} litres {s}, {b} litres {o}: that is how I drink. How many 250 ml glasses {s}?"),
        lambda x, m: x * m, "glasses", "{x} x {m}",
    ),
    Sum(
        "rounds of a day", range(2, 13), (4, 5, 6),
        ("I have {ma} minutes {s} and {mb} minutes {o}. How many rounds of {m} one-minute exercises fit {s}?",
         "A round has {m} exercises of a minute. There are {ma} minutes {s}, {mb} {o}. How many rounds {s}?",
         "My circuit takes {m} minutes a round. I get {mb} minutes {o} and {ma} minutes {s}. Rounds {s}?",
         "{ma} minutes {s}, {mb} minutes {o}, {m} minutes a round: how many rounds {s}?"),
        lambda x, m: x, "rounds", "{mx} / {m}",
    ),
    Sum(
        "kilometres", range(2, 16), (5, 6, 7, 8),
        ("I run {a} km {s} and {b} km {o}, at {m} minutes a km. How long does it take {s}?",
         "My pace is {m} minutes a km. It is {a} km {s} and {b} km {o}. How many minutes {s}?",
         "{b} km {o}, {a} km {s}, all at {m} minutes a km. My time {s}?",
         "At {m} minutes a km I do {a} km {s}, {b} km {o}. How long am I out {s}?"),
        lambda x, m: x * m, "minutes", "{x} x {m}",
    ),
)  # fmt: skip
REPLIES = (
    "{v}.", "That is {v}.", "It comes to {v}.", "You get {v}.", "{v}, by your figures.", "I make it {v}.", "It works out at {v}.", "{v} in that case.",
    "Then it is {v}.", "{v} it is.", "That makes {v}.", "There it is {v}.",
)  # fmt: skip


def follow_up(draw: Draw) -> Mirror:
    """The other one of two, or the first one again."""
    kind = draw.pick(SUMS)
    count, (first, second) = draw.pick(kind.counts), draw.pick(SETTINGS)
    if draw.rng.random() < 0.5:
        first, second = second, first
    values = [draw.fact(kind.name, kind.values) for _ in range(2)]
    results = [kind.result(value, count) for value in values]
    require(abs(results[0] - results[1]) > 0.05 * max(results))
    index = draw.ask(tuple(map(str, range(len(OTHER)))))
    lasts = (AGAIN[int(index)], OTHER[int(index)])
    opening, told, answer = draw.ask(kind.shapes), draw.pick(REPLIES), draw.pick(REPLIES)
    shown = [f"{result:,g}" if result < 1000 else f"{result:,.0f}" for result in results]

    def side(place: int, flaw: str) -> Side:
        shape: Shape = (opening, told, lasts[place])
        history, question = talk(
            shape,
            {
                "s": first, "o": second, "S": capital(first), "O": capital(second), "m": str(count),
                "a": f"{values[0]:,}", "b": f"{values[1]:,}", "v": f"{shown[0]} {kind.unit}",
                "ma": f"{values[0] * count:g}", "mb": f"{values[1] * count:g}",
            },
        )  # fmt: skip
        value = f"{shown[place]} {kind.unit}"
        how = kind.how.format(x=values[place], m=count, mx=f"{values[place] * count:g}")
        return Side(
            question,
            capital(answer.format(v=value)),
            {"number": results[place], "within": 0.02},
            flaw,
            (f"what was asked: {(first, second)[place]}", f"{how} = {value}"),
            history,
        )

    return draw.mirror(
        "turns",
        side(0, "goes on where the figure was to be repeated"),
        side(1, "repeats the figure that was said"),
    )


KINDS = ((follow_up, 8),)
for name in ("protein of a day", "litres", "rounds of a day", "kilometres"):
    declare(name, next(kind.values for kind in SUMS if kind.name == name))
