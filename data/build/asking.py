"""Asking back where something essential is missing, and answering where it was told."""

from collections.abc import Callable

from arithmetic import WEIGHTS, loadable
from between import PEOPLE
from frames import framed
from mirrors import Draw, Mirror, Side, declare, require

Case = Callable[[Draw], tuple[str, str, str, dict[str, object], str]]

WHY = (
    "then I can work it out",
    "the answer depends on it",
    "without it I would only guess",
    "then the figure will fit you",
    "I need that first",
    "that decides it",
    "it makes a big difference here",
    "so that I do not guess",
)


def _ask_back(draw: Draw, things: tuple[str, ...]) -> str:
    thing, why = draw.pick(things), draw.pick(WHY)
    form = draw.pick(
        (
            "{T}? {W}.",
            "Could you tell me: {t}? {W}.",
            "First a question: {t}? {W}.",
            "One thing is missing: {t}? {W}.",
            "That I can only say if I know more: {t}? {W}.",
            "Gladly. {T}? {W}.",
        )
    )
    return form.format(t=thing, T=thing[0].upper() + thing[1:], W=why[0].upper() + why[1:])


def protein(draw: Draw) -> tuple[str, str, str, dict[str, object], str]:
    """Body weight is missing, or given."""
    weight = draw.fact("weight", range(48, 111))
    core = draw.ask(
        framed(
            (
                "How many grams of protein should I eat a day to gain muscle?",
                "I lift three times a week. How many grams of protein a day are right for me?",
            )
        )
    )
    low, high = round(weight * 1.6), round(weight * 2.2)
    answer = draw.pick(
        (
            "About {a} to {b} g a day, spread over three or four meals.",
            "Aim for {a} to {b} g a day.",
            "Somewhere from {a} to {b} g a day will do.",
            "Plan with {a} to {b} g, a little in every meal.",
            "{a} to {b} g a day is the range that studies point to.",
            "Try to land between {a} and {b} g a day.",
        )
    )
    back = _ask_back(
        draw,
        (
            "what do you weigh",
            "how much do you weigh at present",
            "what is your body weight",
            "how many kilos do you weigh",
        ),
    )
    return (
        core,
        f" I weigh {weight} kg.",
        answer.format(a=low, b=high),
        {"number": float(low), "within": 0.1},
        back,
    )


def working_weight(draw: Draw) -> tuple[str, str, str, dict[str, object], str]:
    """The maximum is missing, or given."""
    unit = draw.pick(WEIGHTS)
    best = draw.fact("maximum", unit.records)
    percent = draw.pick((60, 65, 70, 75, 80, 85))
    require(loadable(best * percent / 100, unit.name))
    core = draw.ask(
        framed(
            (
                f"My plan says {percent} % of the maximum today. Which weight do I load?",
                f"How much do I put on the bar for sets at {percent} %?",
            )
        )
    )
    load = best * percent / 100
    answer = draw.pick(
        (
            "Load {k} {u}.",
            "That is {k} {u} on the bar.",
            "{k} {u}, plates and bar together.",
            "Take {k} {u} today.",
            "Work with {k} {u}, and stop if the form slips.",
            "Your working weight is {k} {u}.",
        )
    )
    back = _ask_back(
        draw,
        (
            "what is your best single lift",
            "how much can you lift once",
            "what is your one-repetition maximum",
            "which lift is it, and what is your record",
        ),
    )
    lift = draw.pick(("squat", "deadlift", "front squat", "bench press"))
    return (
        core,
        f" My best {lift} is {best} {unit.name}.",
        answer.format(k=f"{load:.1f}".removesuffix(".0"), u=unit.name),
        {"number": load, "within": 0.03},
        back,
    )


def water(draw: Draw) -> tuple[str, str, str, dict[str, object], str]:
    """Loss of weight in training is missing, or given."""
    before = draw.fact("weight", range(50, 111))
    lost = draw.pick((0.6, 0.8, 1.0, 1.2, 1.4, 1.6))
    core = draw.ask(
        framed(
            (
                "How much should I drink after my run to make up for the sweat?",
                "I sweat a lot in training. How much fluid do I have to replace?",
            )
        )
    )
    litres = lost * 1.5
    answer = draw.pick(
        (
            "About {l} litres over the next hours.",
            "Drink around {l} litres, in sips, with a meal.",
            "{l} litres or so, since some of it passes through.",
            "Some {l} litres, not all at once.",
            "Count on {l} litres, spread over the evening.",
            "Roughly {l} litres, with a little salt in the food.",
        )
    )
    back = _ask_back(
        draw,
        (
            "how much weight did you lose in the session",
            "what did you weigh before and after",
            "what do the scales say before and after training",
            "how many kilos were you lighter at the end",
        ),
    )
    given = f" I weighed {before} kg before and {before - lost:.1f} kg after."
    return (
        core,
        given,
        answer.format(l=f"{litres:.1f}".removesuffix(".0")),
        {"number": litres, "within": 0.1},
        back,
    )


def week(draw: Draw) -> tuple[str, str, str, dict[str, object], str]:
    """Training days are missing, or given."""
    days = draw.fact("days", (2, 3, 4, 5, 6))
    core = draw.ask(
        framed(
            (
                "How do I split my lifting over the week?",
                "Which split fits the days on which I can lift?",
            )
        )
    )
    plans = {
        2: "two full-body sessions, with at least two days between them",
        3: "three full-body sessions with a day between",
        4: "upper body and lower body, twice each",
        5: "upper, lower, then push, pull and legs on the 5 days",
        6: "push, pull and legs, gone through twice",
    }
    answer = draw.pick(
        (
            "Do {p}.",
            "A good split is {p}.",
            "I would plan {p}.",
            "Go for {p}; that way nothing is left out.",
            "Try {p} for two months.",
            "What suits that is {p}.",
        )
    )
    back = _ask_back(
        draw,
        (
            "on how many days a week can you train",
            "how many days do you have for it",
            "how many sessions a week are possible for you",
            "which days are free",
        ),
    )
    return (
        core,
        f" I have {days} days a week.",
        answer.format(p=plans[days]),
        {"any": [plans[days].split(",")[0]]},
        back,
    )


def energy(draw: Draw) -> tuple[str, str, str, dict[str, object], str]:
    """Maintenance is missing, or given."""
    need, percent = draw.fact("energy", range(1700, 3301, 50)), draw.pick((10, 15, 20))
    core = draw.ask(
        framed(
            (
                f"How many kcal a day do I eat for a deficit of {percent} %?",
                f"I want to cut my energy by {percent} %. What is my daily budget in kcal?",
            )
        )
    )
    left = need * (100 - percent) / 100
    answer = draw.pick(
        (
            "About {k} kcal a day.",
            "{k} kcal a day.",
            "Your budget is {k} kcal.",
            "Eat {k} kcal a day and look at the scales after two weeks.",
            "Aim for {k} kcal.",
            "That leaves {k} kcal a day.",
        )
    )
    back = _ask_back(
        draw,
        (
            "how many kcal keep your weight steady",
            "what do you eat a day when your weight does not change",
            "what is your maintenance intake",
            "how many kcal a day do you burn",
        ),
    )
    return (
        core,
        f" My weight is steady at {need:,} kcal.",
        answer.format(k=f"{left:,.0f}"),
        {"number": left, "within": 0.03},
        back,
    )


def supplement(draw: Draw) -> tuple[str, str, str, dict[str, object], str]:
    """How someone eats is missing, or told."""
    diet, powder, words = draw.fact("powder", POWDERS, lambda c: c[0])
    core = draw.ask(
        framed(
            (
                "Which protein powder suits the way I eat?",
                "What protein powder should I buy, going by my diet and allergies?",
            )
        )
    )
    answer = draw.pick(
        (
            "Take {p}.",
            "{P} would suit you.",
            "I would buy {p}, without added sugar.",
            "Go for {p}; one scoop after training is plenty.",
            "Look for {p}.",
            "That would be {p}.",
        )
    )
    back = _ask_back(
        draw,
        (
            "do you eat milk products, and are you allergic to anything",
            "are you vegan, vegetarian or neither, and do you have allergies",
            "what do you leave out of your diet",
            "which foods do you avoid",
        ),
    )
    return (
        core,
        f" I am {diet}.",
        answer.format(p=powder, P=powder[0].upper() + powder[1:]),
        {"any": [words]},
        back,
    )


POWDERS = (
    ("vegan", "a soy or pea protein powder", "soy"),
    ("vegetarian and fine with milk", "whey protein, which is made from milk", "whey"),
    ("vegetarian but allergic to milk", "a pea or rice protein powder", "pea"),
    ("vegetarian and allergic to soy", "a pea protein powder or whey", "pea"),
)

CASES: tuple[Case, ...] = (protein, protein, working_weight, water, week, energy, supplement)


# One of two people gives the detail; x asks. The words are the same if the other one asks.
WHO_GIVES = (
    "{a} and {b} train together. {a} says: “{g}” {x} asks: “{q}” What do I tell {x}?",
    "I coach {b} and {a}. From {a} I know this: “{g}” A question of {x}'s: “{q}”",
    "{a}'s note says: “{g}” {b} left none. Now {x} wants to know: “{q}” What do I answer {x}?",
    "Two clients, {b} and {a}. {a} told me: “{g}” For {x}: “{q}”",
    "{x} asks: “{q}” Of {a} and {b}, only {a} has filled in the form: “{g}” Your reply to {x}?",
    "Of {b} and {a}, it was {a} who said: “{g}” It is {x} who asks: “{q}” Help me to answer {x}.",
    "My friends {a} and {b} lift. “{g}”, says {a}. “{q}”, asks {x}. I should answer {x}.",
    "A message from {x}: “{q}” I also know {a} and {b}, and {a} wrote: “{g}” What do I write to {x}?",
    "{b} and {a} stand at my desk. {a}: “{g}” Then {x}: “{q}” So what do I say to {x}?",
    "About {a}, not about {b}, I know: “{g}” {x} has a question: “{q}” A line for {x}, please.",
)


def missing_or_told(draw: Draw) -> Mirror:
    """One question, without and with what it takes to answer it."""
    core, given, answer, check, back = draw.pick(CASES)(draw)
    given = given.strip()
    before = draw.rng.random() < 0.3
    missing, told = core, f"{given} {core}" if before else f"{core} {given}"
    if draw.rng.random() < 0.65:
        form, (a, b) = draw.ask(WHO_GIVES), draw.two(draw.pick(PEOPLE))
        missing, told = (form.format(a=a, b=b, g=given, q=core, x=x) for x in (b, a))
    facts = ("essential detail missing",)
    return draw.mirror(
        "asking back",
        Side(missing, back, {"asks": True}, "guesses instead of asking", facts),
        Side(told, answer, {**check, "asks": False}, "asks for what was told", (given,)),
    )


KINDS = ((missing_or_told, 1),)
declare("days", range(2, 7))
declare("powder", (powder[0] for powder in POWDERS))
