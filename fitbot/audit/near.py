"""Texts → those that share most of their words: an exact set-similarity join.

Two texts are near when the distinct words they share are at least NEAR of all their distinct words
(Jaccard). Two filters leave few to compare, and lose none: near texts share one of their rarest
words (prefix filter; Chaudhuri et al. 2006, https://doi.org/10.1109/ICDE.2006.9), and of bits that
words are hashed to, few differ (bitmap filter; Sandes et al. 2020,
https://doi.org/10.1016/j.is.2019.101449).
"""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitbot.audit.text import words

NEAR = 0.8  # Jaccard similarity of the two texts' distinct words
# Near texts differ in at most this share of the words that they hold together, shared ones twice.
_DIFFER = (1 - NEAR) / (1 + NEAR) + 1e-9  # what rounding lets through is compared exactly
_BITS = 256  # that words are hashed to


class NearIndex:
    """Texts to look for near ones in."""

    def __init__(self, bags: Sequence[frozenset[str]]):
        """Start empty; `bags` are the words of all texts that may be added."""
        # How many texts each word is in decides which words are looked up first, never the result.
        self._frequencies = Counter(word for bag in bags for word in bag)
        self._texts: list[frozenset[str]] = []
        self._sizes = np.zeros(len(bags), dtype=np.int32)
        self._bitmaps = np.zeros((len(bags), _BITS // 64), dtype=np.uint64)
        # rare word → numbers of the texts that hold it
        self._holders: defaultdict[str, array[int]] = defaultdict(lambda: array("i"))

    def add(self, bag: frozenset[str]) -> int:
        """Add a text's words; → its number, counted from 0."""
        number = len(self._texts)
        self._texts.append(bag)
        self._sizes[number] = len(bag)
        self._bitmaps[number] = _bitmap(bag)
        for word in self._prefix(bag):
            self._holders[word].append(number)
        return number

    def find(self, bag: frozenset[str]) -> int | None:
        """Return the number of the nearest text, the first of equals; None if none is near."""
        holders = [self._holders[word] for word in self._prefix(bag) if word in self._holders]
        if not holders:
            return None
        numbers: NDArray[Any] = np.concatenate([np.frombuffer(one, np.int32) for one in holders])
        bits = np.bitwise_count(self._bitmaps[numbers] ^ _bitmap(bag)).sum(axis=1)
        numbers = np.unique(numbers[bits <= _DIFFER * (self._sizes[numbers] + len(bag))])
        held = (self._texts[number] for number in numbers)
        shares = [len(bag & other) / len(bag | other) for other in held]
        best = max(shares, default=0.0)
        return int(numbers[shares.index(best)]) if best >= NEAR else None

    def _prefix(self, bag: frozenset[str]) -> list[str]:
        # Near sets share at least one word of their prefixes, whatever the one order of words.
        ranked = sorted(bag, key=lambda word: (self._frequencies[word], word))
        return ranked[: len(bag) - math.ceil(NEAR * len(bag) - 1e-9) + 1]


def word_set(text: str) -> frozenset[str]:
    """Return a text's distinct words."""
    return frozenset(words(text))


def near_groups(texts: Sequence[str]) -> list[int]:
    """Number texts by group: a text joins the group whose first text is nearest to it.

    >>> near_groups(["is plain rice good for me", "is brown rice bad", "is rice good for me"])
    [0, 1, 0]
    """
    # A text without words is near to none but its like: the text is its only word.
    bags = [word_set(text) or frozenset([text]) for text in texts]
    distinct = list(dict.fromkeys(bags))
    index = NearIndex(distinct)
    group_of: dict[frozenset[str], int] = {}
    for bag in distinct:
        found = index.find(bag)
        group_of[bag] = index.add(bag) if found is None else found
    return [group_of[bag] for bag in bags]


def _bitmap(bag: frozenset[str]) -> NDArray[np.uint64]:
    bits = 0
    for word in bag:
        bits |= 1 << hash(word) % _BITS
    return np.frombuffer(bits.to_bytes(_BITS // 8, "little"), np.uint64)
