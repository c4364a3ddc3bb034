"""How many new tokens a request may have: a pure function of what was asked and what there is.

The published recipe gave half of max_new_tokens, at least 512, whenever less than 10 GB of GPU
memory were free. That is blunt: a token of Qwen3-0.6B takes 112 KiB of cache, so 10 GB are 90,000
tokens. It remains as a policy of its own, "published"; the default, "room", counts tokens.
"""

from dataclasses import dataclass
from typing import Literal

Policy = Literal["room", "published"]
_LEAST_UNDER_LOAD = 256  # tokens that a request keeps while others wait
_LEAST_PUBLISHED = 512
_PUBLISHED_GIB = 10.0


@dataclass(frozen=True)
class Room:
    """What there is when a request comes.

    Args:
        context: Tokens that prompt and answer may have together.
        cache: Tokens that are free in the key-value cache.
        slots: Requests that can be answered at once.
        busy: Requests being answered or waiting, this one left out.
        free_gib: Free GPU memory in GiB; None without a GPU.
    """

    context: int
    cache: int
    slots: int
    busy: int
    free_gib: float | None = None


def grant(
    asked: int,
    prompt: int,
    room: Room,
    policy: Policy = "room",
    below_gib: float = _PUBLISHED_GIB,
) -> int:
    """Say how many new tokens a request may have.

    Args:
        asked: Tokens that it asks for.
        prompt: Tokens that it brings.
        room: What there is.
        policy: "room": what was asked, as far as context and cache allow; while more requests are
            there than slots, half of it, but at least 256. "published": see above; it knows only
            free GPU memory, and the context.
        below_gib: Where the published policy begins to halve.

    Returns:
        Tokens; 0 or less when the prompt leaves no room.
    """
    most = min(room.context - prompt, room.cache - prompt)
    if policy == "published":
        scarce = room.free_gib is not None and room.free_gib < below_gib
        granted = max(asked // 2, _LEAST_PUBLISHED) if scarce else asked
    else:
        crowded = room.busy >= room.slots
        granted = max(asked // 2, _LEAST_UNDER_LOAD) if crowded else asked
    return min(asked, granted, most)
