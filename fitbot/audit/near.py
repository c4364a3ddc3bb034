"""Texts → those that share most of their words: an exact set-similarity join.

Two texts are near when the distinct words they share are at least NEAR of all their distinct words
(Jaccard). Only texts that share one of their rarest words can be, so only those are compared
(prefix filtering; Chaudhuri et al. 2006, https://doi.org/10.1109/ICDE.2006.9).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from fitbot.audit.text import words

NEAR = 0.8  # Jaccard similarity of the two texts' distinct words


class NearIndex:
    """Texts to look for near ones in."""

    def __init__(self, frequencies: Counter[str]):
        """Start empty.

        Args:
            frequencies: In how many texts each word stands; decides which words are compared first,
                never the result.
        """
        self._frequencies = frequencies
        self._texts: list[frozenset[str]] = []
        self._holders: defaultdict[str, list[int]] = defaultdict(list)  # rare word → texts

    def add(self, bag: frozenset[str]) -> int:
        """Add a text's words; → its number, counted from 0."""
        number = len(self._texts)
        self._texts.append(bag)
        for word in self._prefix(bag):
            self._holders[word].append(number)
        return number

    def find(self, bag: frozenset[str]) -> int | None:
        """Return the number of a near text, or None."""
        compared: set[int] = set()
        for word in self._prefix(bag):
            for number in self._holders.get(word, ()):
                if number not in compared:
                    compared.add(number)
                    if _is_near(bag, self._texts[number]):
                        return number
        return None

    def _prefix(self, bag: frozenset[str]) -> list[str]:
        # Two near sets share at least one word of any such prefix, in whatever one order.
        ranked = sorted(bag, key=lambda word: (self._frequencies[word], word))
        return ranked[: len(bag) - math.ceil(NEAR * len(bag)) + 1]


def word_sets(texts: Iterable[str]) -> list[frozenset[str]]:
    """Return the distinct words of each text."""
    return [frozenset(words(text)) for text in texts]


def count_holders(bags: Iterable[frozenset[str]]) -> Counter[str]:
    """Count in how many texts each word stands."""
    return Counter(word for bag in bags for word in bag)


def near_groups(texts: Sequence[str]) -> list[int]:
    """Number texts by group: a text joins the first group whose first text it is near to.

    >>> near_groups(["is plain rice good for me", "is brown rice bad", "is rice good for me"])
    [0, 1, 0]
    """
    group_of: dict[frozenset[str], int] = {}
    bags = word_sets(texts)
    index = NearIndex(count_holders(set(bags)))
    for bag in bags:
        if bag not in group_of:
            found = index.find(bag)
            group_of[bag] = index.add(bag) if found is None else found
    return [group_of[bag] for bag in bags]


def _is_near(one: frozenset[str], other: frozenset[str]) -> bool:
    small, large = sorted((len(one), len(other)))
    if small < NEAR * large:
        return False
    shared = len(one & other)
    return shared >= NEAR * (small + large - shared)
