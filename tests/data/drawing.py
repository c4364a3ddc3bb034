"""Draw mirrors as the build does, of the kinds of one module alone."""

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "data" / "build"))

from mirrors import Draw, Mirror, NothingToDraw

Kinds = Sequence[tuple[Callable[[Draw], Mirror], int]]


def draw(kinds: Kinds, count: int, facts: str = "train", forms: str = "train") -> list[Mirror]:
    """Draw mirrors that hold, at least one in thirty tries, no conversation twice."""
    rng, mirrors = random.Random(27), list[Mirror]()
    seen: set[str] = set()
    for _ in range(30 * count):
        (kind,) = rng.choices([k for k, _ in kinds], [w for _, w in kinds])
        try:
            mirror = kind(Draw(rng, facts, forms))
        except NothingToDraw:
            continue
        asked = {side.conversation.lower() for side in (mirror.one, mirror.other)}
        if mirror.holds() and len(asked) == 2 and not asked & seen:
            mirrors.append(mirror)
            seen |= asked
        if len(mirrors) == count:
            return mirrors
    raise AssertionError(f"only {len(mirrors)} of {count} mirrors drawn from {30 * count} tries")
