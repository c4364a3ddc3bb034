"""All categories: the kinds of mirrors of each, how many every file has of it, and how one is drawn."""

from collections.abc import Callable
from typing import NamedTuple

import arithmetic
import asking
import caution
import constraints
import diet
import facts
import formats
import habits
import indian
import myths
import programmes
import turns
import units
from between import between_two
from mirrors import Draw, Mirror
from spelling import misspelt

Kinds = tuple[tuple[Callable[[Draw], Mirror], int], ...]  # each with its weight


class Category(NamedTuple):
    """What a category is made of. A mirror is two pairs."""

    kinds: Kinds
    train: int  # mirrors in the training file
    held_out: int  # of each of the three kinds of split, in validation and in test
    between: float = 0.0  # share of the mirrors whose two questions are asked in one breath
    messy: float = 0.12  # share of the others that are typed with typos, abbreviations, few marks


CATEGORIES = (
    Category(facts.KINDS, 800, 32, between=0.1),
    Category(diet.KINDS, 420, 16),
    Category(arithmetic.KINDS, 360, 14),
    Category(constraints.KINDS, 360, 14, between=0.1),
    Category(formats.KINDS, 260, 10),
    Category(caution.KINDS, 200, 9),
    Category(myths.KINDS, 120, 5),
    Category(asking.KINDS, 180, 7),
    Category(programmes.KINDS, 380, 12),
    Category(habits.KINDS, 300, 10),
    Category(turns.KINDS, 240, 9),
    Category(indian.KINDS, 160, 6),
    Category(units.KINDS, 120, 5),
)


def draw_one(category: Category, draw: Draw) -> Mirror:
    """Draw one mirror of a category."""
    (kind,) = draw.rng.choices([k for k, _ in category.kinds], [w for _, w in category.kinds])
    mirror = kind(draw)
    if draw.rng.random() < category.between:
        return between_two(draw, mirror)
    return misspelt(draw, mirror) if draw.rng.random() < category.messy else mirror
