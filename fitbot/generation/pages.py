"""Which request has which pages of the key-value cache: bookkeeping alone, on no device.

The cache is a row of pages of `PAGE` positions. A request has one for every `PAGE` of its tokens,
and takes the next when it needs it, so that memory limits how many tokens there are, not how many
requests. Full pages of prompts are remembered: a request that begins with the same tokens, computed
with the same weights, shares them. A remembered page that nobody has is given away last, the one
that was used longest ago first (as in vLLM, arXiv:2309.06180, section 4).
"""

from array import array
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from hashlib import blake2b

PAGE = 16  # positions


class Pages:
    """The pages of one cache."""

    def __init__(self, count: int):
        """Begin with so many pages that nobody has."""
        self.count = count
        self._unused = bytearray(b"\1" * count)  # 1 where nobody has a page
        self._num_unused = count
        self._users = [0] * count
        self._remembered: dict[bytes, int] = {}  # by what is in it and before it
        self._keys: dict[int, bytes] = {}  # of remembered pages
        self._idle: OrderedDict[int, None] = OrderedDict()  # remembered pages that nobody has

    @property
    def available(self) -> int:
        """Pages that a request can have now."""
        return self._num_unused + len(self._idle)

    def take(self, number: int, near: int = 0) -> list[int] | None:
        """Give away so many pages, which begin with one user each; None if there are not enough.

        Args:
            number: How many.
            near: The page from which on to look, so that a request's pages lie in a row.
        """
        if number > self.available:
            return None
        taken = []
        for _ in range(number):
            if self._num_unused:
                page = self._unused.find(1, near)
                page = self._unused.find(1) if page < 0 else page
                self._unused[page] = 0
                self._num_unused -= 1
            else:
                page, _ = self._idle.popitem(last=False)
                del self._remembered[self._keys.pop(page)]
            self._users[page] = 1
            taken.append(page)
            near = page + 1
        return taken

    def share(self, weights: Hashable, ids: Sequence[int]) -> list[int]:
        """Give one user more to the pages of a prompt's beginning that are remembered.

        Args:
            weights: What the prompt is read with.
            ids: The prompt. One of its tokens at least is left to be read.
        """
        pages = []
        for key in _keys(weights, ids[:-1]):
            page = self._remembered.get(key)
            if page is None:
                break
            self._idle.pop(page, None)
            self._users[page] += 1
            pages.append(page)
        return pages

    def remember(self, weights: Hashable, ids: Sequence[int], pages: Sequence[int]) -> None:
        """Remember a prompt's full pages, once they are written; see `share`."""
        for key, page in zip(_keys(weights, ids), pages, strict=False):
            if key not in self._remembered and page not in self._keys:
                self._remembered[key] = page
                self._keys[page] = key

    def give_back(self, pages: Sequence[int]) -> None:
        """Take one user from each of a request's pages."""
        for page in reversed(pages):  # a beginning is of more use than what follows it
            self._users[page] -= 1
            if self._users[page]:
                continue
            if page in self._keys:
                self._idle[page] = None
            else:
                self._unused[page] = 1
                self._num_unused += 1


def pages_for(tokens: int) -> int:
    """Count the pages that hold so many tokens.

    >>> pages_for(16), pages_for(17)
    (1, 2)
    """
    return -(-tokens // PAGE)


def _keys(weights: Hashable, ids: Sequence[int]) -> Iterator[bytes]:
    """Name each full page by the weights, its tokens, and all that come before."""
    key = repr(weights).encode()
    for start in range(0, len(ids) - PAGE + 1, PAGE):
        page = array("q", ids[start : start + PAGE]).tobytes()
        key = blake2b(key + page, digest_size=16).digest()
        yield key
