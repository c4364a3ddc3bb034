"""All categories: the kinds of mirrors of each, and its share of all mirrors."""

import arithmetic
import asking
import caution
import constraints
import diet
import facts
import formats
import myths

CATEGORIES = (
    (facts.KINDS, 0.32),
    (diet.KINDS, 0.15),
    (arithmetic.KINDS, 0.13),
    (constraints.KINDS, 0.13),
    (formats.KINDS, 0.10),
    (caution.KINDS, 0.06),
    (myths.KINDS, 0.04),
    (asking.KINDS, 0.07),
)
