"""A text → where a rule's concepts stand in it, whatever its spelling, and whether they are meant.

Normalise, split into tokens, stem, mend typing errors, look phrases up. All steps are linear in the
text's length. Nothing here knows what a concept stands for or what follows from finding it.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain, groupby
from typing import NamedTuple

# Letters of other scripts that look like Latin ones; NFKC leaves them as they are.
_LOOKALIKES = str.maketrans(
    "аеорсухіјѕһԁӏкмтвнαορνιкτυ\u0131’‘ʼ´`\u2032ø", "aeopcyxijshdlkmtbhaopviktui''''''o"
)
_LEET = str.maketrans("013457@$", "oieastas")
_TOKEN = re.compile(
    r"\d{1,3}(?:,\d{3}){1,3}(?![\d,])|\d+(?:\.\d+)?(?![a-z\d])|[a-z0-9@$]+(?:'[a-z]+)*|[.!?;:,\n]"
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NUMBER_WITH_UNIT = re.compile(r"(\d+)([a-z]+)")
_REPEATED = re.compile(r"(.)\1{2,}")
_NEGATED = ("can", "do", "does", "did", "is", "was", "are", "have", "has", "wo", "could")
_SPELT_WITHOUT_APOSTROPHE = {f"{verb}nt": f"{verb}n't" for verb in _NEGATED} | {
    "cant": "can't",
    "cannot": "can't",
    "cannt": "can't",
    "im": "i'm",
    "ive": "i've",
}
_CONTRACTED = {"m": "am", "re": "are", "ve": "have", "ll": "will"}
_MIN_MENDED = 4  # letters; shorter words have too many neighbours
_MAX_WORD = 24  # letters; a longer token is no word and is not mended
_SPELT_OUT = 4  # single letters in a row that are read as words: c h e s t

_ENDS_LIKE_AN_ENDING = ("eed", "iss", "ass", "oss", "uss", "less", "ress", "hess", "uess")

STOPS = frozenset(".!?;:\n")


class Span(NamedTuple):
    """Tokens start to end - 1 of a text."""

    start: int
    end: int


def normalise(text: str) -> str:
    """Make texts equal that only look different: case, width, accents, look-alikes, invisibles.

    >>> normalise("ＣＨＥＳＴ\u200b p\u00e1in")
    'chest pain'
    """
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_LOOKALIKES)
    return "".join(
        character
        for character in unicodedata.normalize("NFD", folded)
        if unicodedata.category(character) not in ("Mn", "Cf")
    )


def split(text: str) -> Iterator[str]:
    """Yield the words, numbers and punctuation marks of a normalised text.

    >>> list(split("i can't eat 1,200kcal"))
    ['i', 'can', 'not', 'eat', '1200', 'kcal']
    """
    for token in _TOKEN.findall(text):
        if token[0].isdigit() and token[-1].isdigit():
            yield token.replace(",", "")
        elif unit := _NUMBER_WITH_UNIT.fullmatch(token):
            yield from unit.groups()
        else:
            yield from _apart(_SPELT_WITHOUT_APOSTROPHE.get(token, token))


def _apart(token: str) -> list[str]:
    head, apostrophe, tail = token.partition("'")
    if not apostrophe:
        return [head]
    if tail == "t" and head.endswith("n"):
        return [{"can": "can", "won": "will"}.get(head, head[:-1]), "not"]
    return [head] if tail == "s" else [head, *_CONTRACTED.get(tail, tail).split("'")]


def stem(word: str) -> str:
    """Cut a word's endings, so that pains, hurting and fainted meet pain, hurt and faint.

    >>> [stem(word) for word in ("pains", "hurting", "dizziness", "dizzy", "breathe", "cramped")]
    ['pain', 'hurt', 'dizzi', 'dizzi', 'breath', 'cramp']
    """
    if not word.endswith(_ENDS_LIKE_AN_ENDING):
        for ending in ("ness", "ing", "ed", "es", "s", "e"):
            if word.endswith(ending) and len(word) - len(ending) >= 3:
                word = word[: -len(ending)]
                break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsez":
        word = word[:-1]
    return word[:-1] + "i" if word.endswith("y") and len(word) > 3 else word


class Vocabulary:
    """Every phrase of the rules, ready to be found in one pass over a text.

    Args:
        concepts: Name of a concept → phrases that mean it, in plain words; `#0-1199` stands for a
            number in that range.
        known: Words that are no typing errors although one letter away from a phrase's word.
    """

    def __init__(self, concepts: Mapping[str, Iterable[str]], known: Iterable[str]) -> None:
        """Stem all phrases and index them by their first word."""
        self._concepts: dict[tuple[str, ...], list[str]] = {}  # phrase → what it means
        self._lengths: dict[str, set[int]] = {}  # first word → lengths of its phrases
        # A number fits hundreds of phrases, so those that begin with one wait at the word after it.
        self._with_number: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        self._stems: set[str] = set()
        for concept, phrases in concepts.items():
            for phrase in phrases:
                words = _stemmed(phrase)
                self._stems.update(words)
                if "#" in phrase:
                    first = words[0] if words[0][0] != "#" else "".join(words[1:2])
                    self._with_number.setdefault(first, []).append((concept, words))
                else:
                    self._concepts.setdefault(words, []).append(concept)
                    self._lengths.setdefault(words[0], set()).add(len(words))
        self._known = {stem(word) for word in known}
        self._shortened: dict[str, set[str]] = {}
        for word in self._stems:
            if len(word) > _MIN_MENDED and word.isalpha():
                for short in _shortenings(word):
                    self._shortened.setdefault(short, set()).add(word)

    def tokens(self, text: str) -> list[str]:
        """Return a text's stems, mended where a typing error hides a word of the rules."""
        tokens: list[str] = []
        mend = cache(self._mend)  # for this text: an attacker repeats, a person hardly
        words = split(normalise(text))
        for are_letters, group in groupby(words, lambda word: len(word) == 1 and word.isalpha()):
            if are_letters:
                tokens += self._spelt_out(list(group))
            else:
                tokens += chain.from_iterable(map(mend, group))
        return tokens

    def _spelt_out(self, letters: list[str]) -> list[str]:
        if not _SPELT_OUT <= len(letters) <= 4 * _MAX_WORD:
            return letters
        found, rest = [], "".join(letters)
        while rest:
            size = next((n for n in range(12, 2, -1) if stem(rest[:n]) in self._stems), 1)
            found.append(stem(rest[:size]))
            rest = rest[size:]
        return found

    def _mend(self, token: str) -> list[str]:
        if token[0] in "0123456789" and _NUMBER.fullmatch(token):
            return [token]
        word = stem(token)
        if word in self._stems or word in self._known:
            return [word]
        if len(token) > _MAX_WORD or len(token) < _MIN_MENDED:
            return [word]
        if not token.isalpha():
            word = stem(token.translate(_LEET))
            return [word if word in self._stems else token]
        for plainer in (_REPEATED.sub(r"\1\1", token), _REPEATED.sub(r"\1", token)):
            if stem(plainer) in self._stems:
                return [stem(plainer)]
        # ches is no plural: the word as written is compared as well as its stem.
        return self._unglued(token) or [self._neighbour(word) or self._neighbour(token) or word]

    def _unglued(self, token: str) -> list[str]:
        for cut in range(4, len(token) - 3):
            parts = [stem(token[:cut]), stem(token[cut:])]
            if self._stems.issuperset(parts):
                return parts
        return []

    def _neighbour(self, word: str) -> str | None:
        """Return the rules' word one typing error away that begins alike, else None."""
        near = {
            candidate
            for short in (word, *_shortenings(word))
            for candidate in self._shortened.get(short, ())
            if candidate[0] == word[0] and is_one_error(word, candidate)
        }
        return min(near, default=None)

    def find(self, tokens: Sequence[str]) -> dict[str, list[Span]]:
        """Return where each concept stands, in order; concepts that do not occur are left out."""
        spans: dict[str, list[Span]] = {}
        for start, token in enumerate(tokens):
            for length in self._lengths.get(token, ()):
                words = tuple(tokens[start : start + length])  # fewer at the end of the text
                for concept in self._concepts.get(words, ()) if len(words) == length else ():
                    spans.setdefault(concept, []).append(Span(start, start + length))
            first = tokens[start + 1 : start + 2] if token[0].isdigit() else [token]
            for concept, words in self._with_number.get("".join(first), ()):
                end = start + len(words)
                if end <= len(tokens) and all(map(_fits, words, tokens[start:end])):
                    spans.setdefault(concept, []).append(Span(start, end))
        return spans


def is_one_error(word: str, other: str) -> bool:
    """Say whether one letter added, left out, changed or swapped with the next makes them equal.

    >>> is_one_error("fanited", "fainted"), is_one_error("chess", "heart")
    (True, False)
    """
    if word == other:
        return True
    short, long = sorted((word, other), key=len)
    start = next((i for i, letter in enumerate(short) if letter != long[i]), len(short))
    if len(long) - len(short) == 1:
        return short[start:] == long[start + 1 :]
    swapped = short[:start] + short[start : start + 2][::-1] + short[start + 2 :]
    return len(short) == len(long) and (short[start + 1 :] == long[start + 1 :] or swapped == long)


def within(spans: Sequence[Span], start: int, end: int) -> bool:
    """Say whether a span of an ordered list begins in tokens start to end - 1."""
    return bisect_left(spans, (end,)) > bisect_left(spans, (start,))


def together(found: Sequence[Sequence[Span]], window: int) -> Iterator[Span]:
    """Yield every stretch of at most `window` tokens that holds a span of each list, in any order.

    >>> list(together([[Span(0, 1)], [Span(3, 4), Span(9, 10)]], window=5))
    [Span(start=0, end=4)]
    """
    latest: list[Span | None] = [None] * len(found)
    for span, owner in sorted((span, owner) for owner, spans in enumerate(found) for span in spans):
        latest[owner] = span
        present = [other for other in latest if other is not None]
        if len(present) < len(found):
            continue
        start, end = min(s.start for s in present), max(s.end for s in present)
        if end - start <= window:
            yield Span(start, end)


def covered(spans: Iterable[Span]) -> set[int]:
    """Collect the tokens that lie in one of the spans."""
    return {token for span in spans for token in range(*span)}


def _stemmed(phrase: str) -> tuple[str, ...]:
    words: list[str] = []
    for part in phrase.split():
        words += [part] if part[0] == "#" else map(stem, split(normalise(part)))
    return tuple(words)


def _fits(word: str, token: str) -> bool:
    if word[0] != "#":
        return word == token
    low, high = word[1:].split("-")
    return bool(_NUMBER.fullmatch(token)) and float(low) <= float(token) <= float(high)


def _shortenings(word: str) -> set[str]:
    return {word[:i] + word[i + 1 :] for i in range(len(word))}
