"""How many new tokens a request may have: a pure function of what it asks and what there is.

The published recipe gave half of max_new_tokens, at least 512, whenever less than 10 GB of GPU
memory were free. That is blunt: a token of Qwen3-0.6B takes 112 KiB of cache, so 10 GB are 90,000
tokens. It remains as a rule of its own, "published"; the default, "room", counts tokens.
"""

from dataclasses import dataclass
from typing import Literal

BudgetRule = Literal["room", "published"]
_MIN_UNDER_LOAD = 256  # tokens that a request keeps while others wait
_MIN_PUBLISHED = 512
_PUBLISHED_GIB = 10.0


@dataclass(frozen=True)
class Room:
    """What there is when a request comes.

    Args:
        context: Tokens that prompt and answer may have together.
        cache: Tokens that are free in the key-value cache.
        slots: Requests that can be answered at once.
        busy: Requests being answered or waiting, without this one.
        free_gib: Free GPU memory in GiB; None without a GPU.
    """

    context: int
    cache: int
    slots: int
    busy: int
    free_gib: float | None = None


def answer_budget(
    asked: int,
    prompt: int,
    room: Room,
    rule: BudgetRule = "room",
    below_gib: float = _PUBLISHED_GIB,
) -> int:
    """Return how many new tokens a request may have; 0 or less if the prompt leaves no room.

    Args:
        asked: Tokens that it asks for.
        prompt: Tokens of its prompt.
        room: What there is.
        rule: "room": what was asked, as far as context and cache allow; while there are more
            requests than slots, half of it, but at least 256. "published": see above; it looks only
            at free GPU memory and the context.
        below_gib: Free GPU memory below which the published rule halves.

    >>> answer_budget(1024, 1500, Room(context=2048, cache=2048, slots=4, busy=0))
    548
    >>> answer_budget(1024, 100, Room(context=2048, cache=2048, slots=4, busy=4))
    512
    """
    if rule == "published":
        halved = room.free_gib is not None and room.free_gib < below_gib
        least = _MIN_PUBLISHED
    else:
        halved = room.busy >= room.slots
        least = _MIN_UNDER_LOAD
    budget = max(asked // 2, least) if halved else asked
    return min(asked, budget, room.context - prompt, room.cache - prompt)
