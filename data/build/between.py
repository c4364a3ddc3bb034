"""Two questions in one, of which one is to be answered: so that words alone do not tell the answer.

Both sides of a mirror get the same words: both questions, and who asked or which one counts.
"""

from mirrors import Draw, Mirror, Side, require

PEOPLE = (
    ("Anna", "Ben"), ("Priya", "Tom"), ("Maria", "Luis"), ("Chen", "Emma"), ("Omar", "Julia"),
    ("Asha", "Karl"), ("Noah", "Ines"), ("Ravi", "Lena"), ("Sofia", "Paul"), ("Meera", "Jonas"),
    ("Ali", "Clara"), ("Nina", "David"),
)  # fmt: skip
# one and other are the questions, a and b who asks them; x is who is to be answered.
ASKERS = (
    "{a} asks: “{one}” {b} asks: “{other}” What do I tell {x}?",
    "{b} wants to know: “{other}” {a} wants to know: “{one}” Please answer {x} only.",
    "Two messages in my group. {a}: “{one}” {b}: “{other}” Give me a reply for {x}.",
    "From {b}: “{other}” From {a}: “{one}” I answer {x} now. What do I write?",
    "{a}: “{one}” {b}: “{other}” It is {x}'s turn to get an answer.",
    "At the desk {b} says: “{other}” Then {a} says: “{one}” What is right for {x}?",
    "{a} wrote: “{one}” {b} wrote: “{other}” I can only reply to {x} today.",
    "{b} and {a} wait for me. {b}: “{other}” {a}: “{one}” First {x}, please.",
    "My clients {a} and {b} ask. {a}: “{one}” {b}: “{other}” A line for {x}?",
    "I read {b}'s note, “{other}”, and {a}'s note, “{one}”. Answer {x} for me.",
)
# x is the number of the question that is to be answered, z that of the other.
NUMBERED = (
    "First question: {one} Second question: {other} The {z} one is settled; answer the {x} one.",
    "Two questions, first: {other} Second: {one} I know about the {z}. What about the {x}?",
    "My first question: {one} My second: {other} Skip the {z}, take the {x}.",
    "The first: {other} The second: {one} Only the {x} matters now, not the {z}.",
    "Here is a first question: {one} And a second: {other} The {x} is urgent, the {z} can wait.",
    "First I asked: {other} Second I asked: {one} I got an answer to the {z} but not to the {x}.",
    "I wrote down two things. First: {one} Second: {other} Leave the {z} out; the {x} is mine.",
    "In a first mail: {other} In a second mail: {one} Reply to the {x}, not to the {z}.",
    "First: {one} Second: {other} Someone has explained the {z} to me, so tell me the {x}.",
    "A first one: {other} A second one: {one} Please do the {x} and forget the {z}.",
)


def between_two(draw: Draw, mirror: Mirror) -> Mirror:
    """Ask both questions of a mirror twice, once for each of its answers."""
    require("\n" not in mirror.one.question + mirror.other.question)
    if draw.rng.random() < 0.6:
        return _of_two_people(draw, mirror)
    form = draw.ask(NUMBERED)
    one_first = form.index("{one}") < form.index("{other}")
    names = ("first", "second") if one_first else ("second", "first")
    texts = {"one": mirror.one.question, "other": mirror.other.question}
    return Mirror(
        mirror.category,
        mirror.keys,
        _asked(mirror.one, form.format(**texts, x=names[0], z=names[1])),
        _asked(mirror.other, form.format(**texts, x=names[1], z=names[0])),
    )


def _of_two_people(draw: Draw, mirror: Mirror) -> Mirror:
    form, (a, b) = draw.ask(ASKERS), draw.two(draw.pick(PEOPLE))
    texts = {"one": mirror.one.question, "other": mirror.other.question, "a": a, "b": b}
    return Mirror(
        mirror.category,
        mirror.keys,
        _asked(mirror.one, form.format(**texts, x=a)),
        _asked(mirror.other, form.format(**texts, x=b)),
    )


def _asked(side: Side, question: str) -> Side:
    return Side(question, side.answer, side.check, side.flaw, side.facts)
