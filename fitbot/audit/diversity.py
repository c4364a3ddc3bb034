"""Pairs of one file → how much its answers repeat each other."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fitbot.audit.text import excerpt, normalise, sentences, words
from fitbot.pairs.formats import PreferencePair

_MOST = 5  # how many of the most frequent are listed
_SENTENCE = 4  # words from which on a line counts as a sentence; "Sure!" and "2." do not


@dataclass(frozen=True)
class Repeated:
    """A text that occurs in several answers."""

    text: str
    pairs: int  # in whose answers it occurs
    share: float  # of all pairs
    chosen: float  # share of the answers with it that are chosen; 0.5: no preference


@dataclass(frozen=True)
class DiversityReport:
    """Distinct answers of one file, up to case and spacing."""

    pairs: int
    chosen: int  # distinct
    rejected: int
    answers: list[Repeated]  # the most frequent answers that are in more than one pair
    sentences: list[Repeated]  # likewise of answers' sentences


def audit_diversity(pairs: Sequence[PreferencePair]) -> DiversityReport:
    """Count distinct answers, and the answers and sentences that recur."""
    chosen = [normalise(pair.chosen) for pair in pairs]
    rejected = [normalise(pair.rejected) for pair in pairs]
    return DiversityReport(
        pairs=len(pairs),
        chosen=len(set(chosen)),
        rejected=len(set(rejected)),
        answers=_most_frequent([{text} for text in chosen], [{text} for text in rejected]),
        sentences=_most_frequent(map(_sentences, chosen), map(_sentences, rejected)),
    )


def _sentences(answer: str) -> set[str]:
    return {line for line in sentences(answer) if len(words(line)) >= _SENTENCE}


def _most_frequent(
    in_chosen: Iterable[set[str]], in_rejected: Iterable[set[str]]
) -> list[Repeated]:
    both = list(zip(in_chosen, in_rejected, strict=True))
    chosen = Counter(text for texts, _ in both for text in texts)
    rejected = Counter(text for _, texts in both for text in texts)
    held = Counter(text for one, other in both for text in one | other)
    return [
        Repeated(
            excerpt(text), pairs, pairs / len(both), chosen[text] / (chosen[text] + rejected[text])
        )
        for text, pairs in sorted(held.items(), key=lambda item: (-item[1], item[0]))[:_MOST]
        if pairs > 1
    ]
