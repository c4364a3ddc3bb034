"""The key-value cache of a decoder: its tensors, its pages, and the requests that have them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fitbot.errors import ConfigError
from fitbot.generation.pages import PAGE, Pages, pages_for
from fitbot.generation.sampling import Draw

LEAST_TOKENS = 1024  # of a cache that is worth beginning with


@dataclass
class SlotState:
    """The request that has a slot."""

    draw: Draw
    ranks: slice | None  # of the request's adapter; None for the base
    ids: Sequence[int]  # its prompt
    pages: list[int]
    length: int  # tokens in the cache, once the prompt has been read
    last: Tensor  # (1,) the newest token, which is not in the cache yet

    def place(self, position: int) -> int:
        """Where in the cache a token of the request is."""
        return self.pages[position // PAGE] * PAGE + position % PAGE


class PagedCache:
    """Keys and values of M tokens, (layers, M + PAGE, key heads, D) each.

    What a request has lies close together: on a GPU, looking up far addresses takes time. The last
    page is nobody's: what is padding is written there.
    """

    keys: Tensor
    values: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        dtype: torch.dtype,
        device: torch.device,
        *,
        slots: int,
        most: int,
    ):
        """Say what the cache will be; `allocate` makes it.

        Args:
            shape: Layers, key heads, head size.
            dtype: Of keys and values.
            device: Where they are.
            slots: Requests at once.
            most: M, if memory holds as many.
        """
        self.shape, self.dtype, self.device, self.slots = shape, dtype, device, slots
        # Kernels count its elements in 32 bits.
        self.tokens = min(most, (2**31 - 1) // (shape[1] * shape[2]) - PAGE)
        self.held: dict[int, SlotState] = {}
        self.is_allocated = False
        self._versions: Counter[int] = Counter()  # of the adapter at each first rank

    @property
    def bytes_per_token(self) -> int:
        """What a token takes."""
        layers, key_heads, head_size = self.shape
        return 2 * layers * key_heads * head_size * self.dtype.itemsize

    def fit(self, free: int, context: int) -> None:
        """Be as small as the memory that is left, in bytes.

        Raises:
            ConfigError: That is too small.
        """
        self.tokens = min(self.tokens, max(0, free) // self.bytes_per_token)
        least = min(LEAST_TOKENS, context)
        if self.tokens < least:
            raise ConfigError(
                f"{max(0, free) / 2**30:.2f} GiB of GPU memory are left for answers, a cache of "
                f"{least} tokens takes {least * self.bytes_per_token / 2**30:.2f}; end what else "
                "uses the GPU, ask for fewer slots, or take a smaller base"
            )

    def allocate(self) -> None:
        """Make the cache."""
        self.pages = Pages(max(1, self.tokens // PAGE))
        self.tokens = self.pages.count * PAGE
        layers, key_heads, head_size = self.shape
        shape = layers, self.tokens + PAGE, key_heads, head_size
        # Never read before it is written; on a CPU it takes memory only as far as it is used.
        self.keys, self.values = (
            torch.empty(shape, dtype=self.dtype, device=self.device) for _ in "kv"
        )
        self.is_allocated = True

    def admit(self, slot: int, ids: Sequence[int], ranks: slice | None, wanted: Draw) -> int | None:
        """See `Decoder.admit`."""
        # What is not read is not scored.
        shared = [] if wanted.scores_prompt else self.pages.share(self._weights_of(ranks), ids)
        near = shared[-1] + 1 if shared else slot * (self.pages.count // self.slots)
        own = self.pages.take(pages_for(len(ids) + 1) - len(shared), near)
        if own is None:
            self.pages.give_back(shared)
            return None
        self.held[slot] = SlotState(wanted, ranks, ids, shared + own, len(ids), torch.empty(0))
        return len(shared) * PAGE

    def grow(self, slot: int) -> int:
        """See `Decoder.grow`."""
        held = self.held[slot]
        if held.length == len(held.pages) * PAGE:
            held.pages += self.pages.take(1, held.pages[-1] + 1) or []
        return len(held.pages) * PAGE - held.length

    def release(self, slot: int) -> None:
        """See `Decoder.release`."""
        self.pages.give_back(self.held.pop(slot).pages)

    def remember(self, slot: int) -> None:
        """Share a prompt that has been read with those that begin as it does."""
        held = self.held[slot]
        self.pages.remember(self._weights_of(held.ranks), held.ids, held.pages)

    def renew(self, ranks: slice) -> None:
        """Forget what was read with the adapter that was there."""
        self._versions[ranks.start] += 1

    def pages_of(self, slot: int, length: int) -> slice | Tensor:
        """Say where the first tokens of a request are: a slice, if its pages lie in a row."""
        pages = self.held[slot].pages[: pages_for(length)]
        first = pages[0]
        if pages == list(range(first, first + len(pages))):
            return slice(first * PAGE, (first + len(pages)) * PAGE)
        return torch.tensor(pages, device=self.device)

    def read(self, cache: Tensor, pages: slice | Tensor, length: int) -> Tensor:
        """Read a request's first tokens from keys or values of a layer: (key heads, length, D)."""
        if isinstance(pages, slice):
            return cache[pages][:length].transpose(0, 1)
        paged = cache.unflatten(0, (-1, PAGE))  # type: ignore[no-untyped-call]
        found: Tensor = paged.index_select(0, pages).flatten(0, 1)[:length].transpose(0, 1)
        return found

    def _weights_of(self, ranks: slice | None) -> tuple[int, int] | None:
        return None if ranks is None else (ranks.start, self._versions[ranks.start])
