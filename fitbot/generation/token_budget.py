"""How many new tokens a request may have: a pure function of what it asks and what there is.

The published recipe gave half of max_new_tokens, at least 512, whenever less than 10 GB of GPU
memory were free. That is blunt: a token of Qwen3-0.6B takes 112 KiB of cache, so 10 GB are 90,000
tokens. It remains as a rule of its own, "published"; the default, "room", counts tokens.
"""

from typing import Literal

BudgetRule = Literal["room", "published"]
_MIN_UNDER_LOAD = 256  # tokens that a request keeps while others wait
_MIN_PUBLISHED = 512


def answer_budget(
    asked: int,
    left: int,
    *,
    crowded: bool = False,
    free_gib: float | None = None,
    rule: BudgetRule = "room",
    below_gib: float = 10.0,
) -> int:
    """Return how many new tokens a request may have; 0 or less if the prompt leaves no room.

    Args:
        asked: Tokens that it asks for.
        left: Tokens that its prompt leaves free in the context.
        crowded: Whether all slots are taken, so that the request will wait or others do.
        free_gib: Free GPU memory in GiB; None without a GPU.
        rule: "room": what was asked, as far as the context allows; when it is crowded, half of it,
            but at least 256. "published": see above; it looks only at free GPU memory and the
            context.
        below_gib: Free GPU memory below which the published rule halves.

    >>> answer_budget(1024, 548)
    548
    >>> answer_budget(1024, 1948, crowded=True)
    512
    """
    if rule == "published":
        halved, least = free_gib is not None and free_gib < below_gib, _MIN_PUBLISHED
    else:
        halved, least = crowded, _MIN_UNDER_LOAD
    budget = max(asked // 2, least) if halved else asked
    return min(asked, budget, left)
