"""Figures and times in an answer, with their units."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

NUMBER = re.compile(r"(?<![\w.,])(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?")

_MOST = 20  # different figures of an answer that gives one result
_SAME = 0.0005  # share by which a trap may be missed
# Ways to write units; a figure with another unit than the one asked for is another figure.
_UNITS = {
    "kg": "kg|kgs|kilo|kilos|kilogram|kilograms|kilogramme|kilogrammes",
    "lb": "lb|lbs|pound|pounds",
    "km": "km|kms|kilometre|kilometres|kilometer|kilometers",
    "mi": "mi|mile|miles",
    "m": "m|metre|metres|meter|meters",
    "cm": "cm|centimetre|centimetres|centimeter|centimeters",
    "in": "inch|inches",
    "ft": "ft|foot|feet",
    "km/h": "km/h|kph|kmh",
    "mph": "mph",
    "kcal": "kcal|kcals|calorie|calories|cal|cals",
    "kJ": "kj|kilojoule|kilojoules",
    "g": "g|gram|grams|gramme|grammes",
    "oz": "oz|ounce|ounces",
    "ml": "ml|millilitre|millilitres|milliliter|milliliters",
    "l": "l|litre|litres|liter|liters",
    "%": "%|percent|per cent",
    "bpm": "bpm|beats",
    "min": "min|mins|minute|minutes",
    "s": "s|sec|secs|second|seconds",
    "h": "h|hr|hrs|hour|hours",
    "days": "day|days",
    "weeks": "week|weeks",
    "reps": "rep|reps|repetition|repetitions",
    "sets": "set|sets",
}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words.split("|")}
_AFTER = re.compile(r"[ \u00a0-]?(km/h|per cent|%|[a-z]+)(?![a-z])", re.IGNORECASE)
_WORDS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]
_FIGURE = re.compile(rf"{NUMBER.pattern}|\b({'|'.join(_WORDS)})\b", re.IGNORECASE)
# Between two figures of which either may be meant: "60, or 62.5 kg", "60 kg to 65", "60-65".
_EITHER = re.compile(
    r"\s*[a-z/%]*,?\s*(?:\bor\b|\bto\b|\u2013|-)\s*(?:maybe |perhaps |even )?", re.I
)

_CLOCK = re.compile(r"(?<![\w:.])(?:(\d{1,2}):)?(\d{1,3}):(\d{2})(?:\.\d+)?(?![\w:])")
_H, _M, _S = (rf"(\d+(?:\.\d+)?)[ -]?(?:{_UNITS[x]})\b" for x in ("h", "min", "s"))
_GAP = r"[ ,]*(?:and )?"
_SPOKEN = re.compile(rf"(?:{_H}{_GAP})?(?:{_M}{_GAP})?{_S}|(?:{_H}{_GAP})?{_M}|{_H}", re.IGNORECASE)


def numbers(answer: str) -> list[float]:
    """Return the numbers of a text in order; a range such as 3 to 5 gives both ends."""
    return [float(whole.replace(",", "") + fraction) for whole, fraction in NUMBER.findall(answer)]


def figures(answer: str, unit: str | None = None) -> Iterator[tuple[float, int, int]]:
    """Yield the figures of a text that can be of a unit: value, start, end.

    Args:
        answer: The text. Words up to twelve count as figures; times of a clock do not.
        unit: A key of _UNITS; figures with another unit are left out. None: figures of any.

    Raises:
        KeyError: There is no such unit.
    """
    known = None if unit is None else _UNITS[unit]
    text = _CLOCK.sub(lambda match: ":" * len(match[0]), answer)
    for match in _FIGURE.finditer(text):
        whole, fraction, word = match.groups()
        value = (
            _WORDS.index(word.lower()) if word else float(whole.replace(",", "") + (fraction or ""))
        )
        start, end = match.span()
        after = _AFTER.match(text, end)
        own = _UNIT_OF.get(after[1].lower()) if after and after[0] != "s" else None  # the 25s
        if known is None or own in (None, unit):
            yield float(value), start, end


def concludes(
    answer: str, value: float, *, unit: str | None, within: float, traps: Sequence[float] = ()
) -> bool:
    """Say whether an answer gives a figure as its result.

    It does not if it also gives a trap, or the figure as one of two ("60 or 62.5"), or more than
    20 different figures.

    Args:
        answer: The text.
        value: The right figure.
        unit: Of it; None: any.
        within: Share of the value by which it may be missed.
        traps: Wrong results that others may come to.
    """
    found = list(figures(answer, unit))
    if len({number for number, _, _ in found}) > _MOST:
        return False
    if any(_near(number, trap, _SAME) for number, _, _ in found for trap in traps):
        return False
    unsure = {
        number
        for one, other in pairwise(found)
        if _EITHER.fullmatch(answer, one[2], other[1]) and not _near(one[0], other[0], within)
        for number in (one[0], other[0])
    }
    return any(_near(number, value, within) for number, _, _ in found if number not in unsure)


def times(answer: str) -> list[float]:
    """Return the times of a text, in seconds: 52:07, 3:45:10, 52 min 7 s, 1 hour and 5 minutes.

    3:45 counts as 3 min 45 s and as 3 h 45 min, for it may be either.
    """
    found = []
    for hours, minutes, seconds in _CLOCK.findall(answer):
        found.append(3600.0 * int(hours or 0) + 60 * int(minutes) + int(seconds))
        if not hours:
            found.append(3600.0 * int(minutes) + 60 * int(seconds))
    for match in _SPOKEN.finditer(answer):
        h1, m1, s1, h2, m2, h3 = (float(x or 0) for x in match.groups())
        found.append(3600 * (h1 + h2 + h3) + 60 * (m1 + m2) + s1)
    return found


def takes(answer: str, seconds: float, *, within: float, traps: Sequence[float] = ()) -> bool:
    """Say whether an answer gives a time as its result, and none of the traps.

    Args:
        answer: The text.
        seconds: The right time.
        within: Share of it by which it may be missed.
        traps: Wrong results that others may come to, in seconds.
    """
    found = times(answer)
    if len(set(found)) > _MOST or any(_near(x, trap, _SAME) for x in found for trap in traps):
        return False
    return any(_near(x, seconds, within) for x in found)


def _near(number: float, value: float, within: float) -> bool:
    return abs(number - value) <= within * abs(value) + 1e-9
