"""Published formulas that the answers are computed by."""

from collections.abc import Sequence
from itertools import product

MILE = 1.609344  # km, international mile
POUND = 0.45359237  # kg
MARATHON, HALF = 42.195, 21.0975  # km, World Athletics


def on_bar(bar: float, *plates: float) -> float:
    """Weigh a bar with these plates on each side."""
    return bar + 2 * sum(plates)


def loadable(bar: float, plates: Sequence[float], pairs: int = 4) -> list[float]:
    """List all weights that a bar can have, with so many pairs of each plate."""
    counts = product(range(pairs + 1), repeat=len(plates))
    weights = {bar + 2 * sum(n * x for n, x in zip(own, plates, strict=True)) for own in counts}
    return sorted(weights)


def below(target: float, weights: Sequence[float]) -> float:
    """Return the heaviest weight that is not above a target."""
    return max(x for x in weights if x <= target + 1e-9)


def above(target: float, weights: Sequence[float]) -> float:
    """Return the lightest weight that is not below a target."""
    return min(x for x in weights if x >= target - 1e-9)


def nearest(target: float, weights: Sequence[float]) -> float:
    """Return the weight nearest to a target; two are never equally near here."""
    first, second = sorted(weights, key=lambda x: abs(x - target))[:2]
    if abs(abs(first - target) - abs(second - target)) < 1e-9:
        raise ValueError(f"{target} lies between {first} and {second}")
    return first


def epley(weight: float, reps: int) -> float:
    """Estimate a one-rep maximum: weight (1 + reps / 30). Epley 1985."""
    return weight * (1 + reps / 30)


def brzycki(weight: float, reps: int) -> float:
    """Estimate a one-rep maximum: 36 weight / (37 - reps). Brzycki 1993."""
    return weight * 36 / (37 - reps)


def lombardi(weight: float, reps: int) -> float:
    """Estimate a one-rep maximum: weight reps^0.10. Lombardi 1989."""
    return weight * float(reps**0.10)


def riegel(seconds: float, distance: float, other: float) -> float:
    """Predict the time of another distance: t (d2 / d1)^1.06. Riegel 1981."""
    return seconds * float((other / distance) ** 1.06)


def naismith(km: float, ascent: float) -> float:
    """Estimate hours of a walk: 5 km an hour, and an hour for 600 m of ascent. Naismith 1892."""
    return km / 5 + ascent / 600


def tanaka(age: float) -> float:
    """Estimate a maximum heart rate: 208 - 0.7 age. Tanaka, Monahan and Seals 2001."""
    return 208 - 0.7 * age


def karvonen(rest: float, most: float, share: float) -> float:
    """Return the heart rate at a share of the heart-rate reserve. Karvonen 1957."""
    return rest + share * (most - rest)


def mifflin(kg: float, cm: float, age: float, *, male: bool) -> float:
    """Estimate kcal a day at rest. Mifflin and St Jeor 1990."""
    return 10 * kg + 6.25 * cm - 5 * age + (5 if male else -161)


def met_kcal(met: float, kg: float, minutes: float) -> float:
    """Estimate kcal: MET x 3.5 x kg / 200 a minute. ACSM."""
    return met * 3.5 * kg / 200 * minutes


def clock(seconds: float) -> str:
    """Write a time: 4:05 or 1:04:05."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
