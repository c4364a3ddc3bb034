"""Questions as people type them: typos, no capitals, abbreviations, missing marks, words run together.

Meaning, numbers and negations stay. A word is misspelt in the same way wherever it stands in a mirror,
so two questions that held the same words still do. Validation and test have patterns of their own, which
training lacks.
"""

import random
import re
from collections.abc import Callable
from dataclasses import replace

from mirrors import Draw, Mirror, Side, require

Change = Callable[
    [str, random.Random], str
]  # a text and a source of randomness → the text as typed

# Never misspelt: they turn a question round, or are one letter away from another word.
_KEPT = """
no not never none without nothing neither nor cannot can't don't doesn't isn't aren't won't didn't wasn't
more less most least higher lower highest lowest above below over under before after former latter
first second third last left right one two three four five six seven eight nine ten twelve twenty
half twice double instead except unless only other another odd even loss lose gain keep
diary dairy trail trial quiet quite there their angle angel casual causal unite untie beast breast
plate plane plank planks bread beard breath breathe weight height eight light night right sight
vegan vegetarian eggetarian jain compound isolation today tomorrow yesterday
"""
KEPT = frozenset(_KEPT.split())
WORD = re.compile(r"[A-Za-z][a-z']*")
SHORT = {  # as people write in a chat
    "train": {"you": "u", "your": "ur", "are": "r", "please": "pls", "because": "coz", "and": "n", "what": "wat", "how": "hw",
              "with": "wid", "have": "hv", "should": "shd", "would": "wud", "grams": "gms", "about": "abt", "much": "mch", "the": "d"},
    "val": {"you": "ya", "please": "plzz", "because": "bcz", "and": "&", "what": "wht", "going": "goin", "the": "teh", "want": "wanna have",
            "have": "hav", "is": "iz", "my": "ma", "that": "dat", "this": "dis", "some": "sum"},
    "test": {"please": "plss", "because": "cuz", "what": "wot", "the": "da", "for": "fr", "from": "frm", "just": "jst", "could": "cud",
             "your": "yr", "people": "ppl", "training": "trng", "exercise": "excercise", "protein": "protien", "which": "wich"},
}  # fmt: skip
UNITS = {  # a number's unit, as it is often typed
    "train": (
        ("kg", "kgs"),
        ("g", "gm"),
        ("minutes", "mins"),
        ("kcal", "cals"),
        ("km", "kms"),
        ("hours", "hrs"),
    ),
    "val": (
        ("kg", "kilos"),
        ("g", "gms"),
        ("minutes", "min"),
        ("kcal", "calories"),
        ("km", "kilometers"),
        ("lb", "pounds"),
    ),
    "test": (
        ("kg", "Kg."),
        ("g", "gram"),
        ("minutes", "mts"),
        ("kcal", "kcals"),
        ("km", "klm"),
        ("lb", "lbs"),
    ),
}
NEIGHBOURS = dict(zip("abcdefghiklmnoprstuvwy", "snvsrdhjojknbpotdyibeu", strict=True))


def _words(change: Callable[[str, random.Random], str], share: float, least: int) -> Change:
    """Change a share of the words that may be changed; the same word always in the same way."""

    def changed(text: str, rng: random.Random) -> str:
        seed = rng.random()

        def one(match: re.Match[str]) -> str:
            word = match[0]
            own = random.Random(f"{seed} {word.lower()}")
            if len(word) < least or word.lower() in KEPT or own.random() > share:
                return word
            new = change(word, own)
            return word if new.lower() in KEPT else new

        return WORD.sub(one, text)

    return changed


def _swap(word: str, rng: random.Random) -> str:
    """Exchange two letters inside a word: protien."""
    i = rng.randrange(1, len(word) - 2)
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _drop(word: str, rng: random.Random) -> str:
    """Leave out a letter inside a word: protin."""
    i = rng.randrange(2, len(word) - 1)
    return word[:i] + word[i + 1 :]


def _twice(word: str, rng: random.Random) -> str:
    """Type a letter twice: proteein."""
    i = rng.randrange(1, len(word) - 1)
    return word[: i + 1] + word[i:]


def _neighbour(word: str, rng: random.Random) -> str:
    """Hit the key beside: protrin."""
    i = rng.randrange(2, len(word) - 1)
    return word[:i] + NEIGHBOURS.get(word[i], word[i]) + word[i + 1 :]


def _long(word: str, rng: random.Random) -> str:
    """Draw out the end: pleaseee."""
    return word + word[-1] * rng.randint(1, 2)


def _lower(text: str, rng: random.Random) -> str:
    return text.lower()


def _upper(text: str, rng: random.Random) -> str:
    return text.upper()


def _no_marks(text: str, rng: random.Random) -> str:
    """Leave out marks that end a sentence, commas, quotes; figures such as 2.5 and 1,240 keep theirs."""
    return re.sub(r"[.,?!;:“”\"](?=\s|$)|(?<=\s)[“\"]", "", text).strip()


def _run_on(text: str, rng: random.Random) -> str:
    """Join sentences by commas."""
    return re.sub(r"[.!?]\s+(?=\S)", ", ", text).rstrip(".!?")


def _no_last_mark(text: str, rng: random.Random) -> str:
    return text.rstrip(".?!")


def _many_marks(text: str, rng: random.Random) -> str:
    """End in several marks, with a space before: ??"""
    return re.sub(r"\s*\?$", " " + "?" * rng.randint(2, 3), text)


def _no_apostrophes(text: str, rng: random.Random) -> str:
    return re.sub(r"(?<=\w)['’](?=\w)", "", text)


def _dots(text: str, rng: random.Random) -> str:
    """Put dots for every mark: ..."""
    return re.sub(r"[.,;:](?=\s)|[.?!]$", "..", text)


def _no_spaces(text: str, rng: random.Random) -> str:
    """Forget the space behind a mark."""
    return re.sub(r"(?<=[A-Za-z][.,?!])\s(?=[A-Za-z])", "", text)


def _hello(text: str, rng: random.Random) -> str:
    return rng.choice(("hi ", "hey ", "hello sir ", "bro ", "hi team, ", "guys ")) + text


def _thanks(text: str, rng: random.Random) -> str:
    return text + rng.choice((" thx", " thank u", " ty", " pls reply", " urgent", " help"))


def _short(forms: str) -> Change:
    """Abbreviate words and units as in a chat."""

    def changed(text: str, rng: random.Random) -> str:
        for unit, typed in UNITS[forms]:
            text = re.sub(rf"(?<=\d )({unit})\b(?! x)", typed, text)
        chosen = {w: s for w, s in SHORT[forms].items() if rng.random() < 0.6}
        return WORD.sub(lambda m: chosen.get(m[0].lower(), m[0]), text)

    return changed


# What is done one after the other; the words first, for they are told apart by their letters.
STYLES: dict[str, tuple[tuple[Change, ...], ...]] = {
    "train": (
        (_lower, _no_last_mark),
        (_words(_swap, 0.25, 6), _lower),
        (_words(_drop, 0.3, 6), _no_last_mark),
        (_words(_twice, 0.25, 5), _no_apostrophes, _lower),
        (_short("train"), _lower, _no_marks),
        (_short("train"), _run_on),
        (_words(_swap, 0.2, 6), _words(_drop, 0.15, 7), _lower, _run_on),
        (_no_apostrophes, _lower, _no_marks),
        (_short("train"), _words(_drop, 0.2, 7), _lower, _no_last_mark),
        (_lower, _run_on, _hello),
    ),
    "val": (
        (_words(_neighbour, 0.25, 6), _many_marks),
        (_short("val"), _lower, _many_marks),
        (_dots, _lower),
        (_words(_neighbour, 0.2, 6), _dots),
    ),
    "test": (
        (_upper,),
        (_short("test"), _no_spaces),
        (_words(_long, 0.15, 5), _no_spaces, _thanks),
        (_short("test"), _lower, _thanks),
    ),
}


def misspelt(draw: Draw, mirror: Mirror) -> Mirror:
    """Let the person type both questions, and all earlier turns of theirs, in one messy style.

    Which styles there are depends on the draw's pool of wordings. Answers and replies stay as they are.
    NothingToDraw is raised where the style changes nothing.
    """
    style, seed = draw.pick(STYLES[draw.forms]), draw.rng.random()

    def typed(text: str, changes: tuple[Change, ...]) -> str:
        for i, change in enumerate(changes):
            text = change(text, random.Random(f"{seed} {i}"))
        return text

    def side(clean: Side) -> Side:
        earlier = tuple(change for change in style if change not in (_hello, _thanks))
        history = tuple((typed(said, earlier), reply) for said, reply in clean.history)
        question = typed(clean.question, style)
        require(question != clean.question)
        return replace(clean, question=question, history=history)

    return replace(mirror, one=side(mirror.one), other=side(mirror.other))
