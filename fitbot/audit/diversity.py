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
    both = list(zip(chosen, rejected, strict=True))
    return DiversityReport(
        pairs=len(pairs),
        chosen=len(set(chosen)),
        rejected=len(set(rejected)),
        answers=_most_frequent(({one}, {other}) for one, other in both),
        sentences=_most_frequent((_sentences(one), _sentences(other)) for one, other in both),
    )


def _sentences(answer: str) -> set[str]:
    return {line for line in sentences(answer) if len(words(line)) >= _SENTENCE}


def _most_frequent(parts: Iterable[tuple[set[str], set[str]]]) -> list[Repeated]:
    chosen: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    held: Counter[str] = Counter()
    count = 0
    for in_chosen, in_rejected in parts:
        chosen.update(in_chosen)
        rejected.update(in_rejected)
        held.update(in_chosen | in_rejected)
        count += 1
    return [
        Repeated(
            excerpt(text), pairs, pairs / count, chosen[text] / (chosen[text] + rejected[text])
        )
        for text, pairs in sorted(held.items(), key=lambda item: (-item[1], item[0]))[:_MOST]
        if pairs > 1
    ]
