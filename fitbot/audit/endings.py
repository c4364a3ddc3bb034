"""Answers of one file → those that stop in mid-sentence, or inside a list, a bracket or code.

No language is known here; the file itself says what an end looks like. A word that it never writes
before a mark or at the end of a line is one that no sentence ends in. An answer that ends in a
figure, a name or a list item without a full stop is whole.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

_FEWEST = 4  # words of an answer that can be cut off
_PROSE = 6  # words from which on a line is a sentence, not a name or a title
_AFTER = 3  # words that are enough after another sentence, and in a line that is no sentence
_LONGEST_NAME = 4  # words between two commas of a list of names
_CLOSED = 0.95  # share of sentences at answers' ends that have a mark, where marks are the habit
_HABIT = 20  # such sentences, from which on there is a habit
_OFTEN = 50  # texts with a word that say where it can stand
_RARELY = 0.01  # share of a word's texts in which an end after it may be a slip

_FENCE = re.compile(r"^ {0,3}```", re.MULTILINE)
_MARKER = re.compile(r"^\s*(?:[-*\u2022]|(\d+)[.)])(?:\s|$)")
_NO_PROSE = re.compile(r"^\s*[#>|]|\s\|\s|^(?: {4}|\t)\s*\S*[({;=]")
_SENTENCE_END = re.compile(r"(?<=[.!?\u2026\u3002\uff01\uff1f])[\"'\u201d\u2019)*_]*\s+")
_DANGLING = re.compile(r"(?:[,;(\[{\uff0c\u3001]|[^\W\d_]{2}[-\u2013\u2014]|[^\W\d_]:|\s=)\Z")
_EMOTICON = re.compile(r"(?<!\w)[:;=8xX]-?[(\[{]+\Z")
_WORD = re.compile(r"[^\W_]+")
_BEFORE_MARK = re.compile(r"[^\W_]+(?=[^\w\s'\u2019-]|[ \t]*\n)")


def cut_off(answers: Sequence[str], texts: Iterable[str]) -> set[int]:
    """Return the indices of answers that were cut off.

    Args:
        answers: All answers of a file.
        texts: All its texts, which show what its sentences end in.
    """
    stripped = [answer.rstrip() for answer in answers]
    broken = {i for i, text in enumerate(stripped) if _breaks_off(text)}
    open_ended = {i for i, text in enumerate(stripped) if text[-1:].isalpha()} - broken
    if not open_ended:
        return broken
    prose = {i for i, text in enumerate(stripped) if i not in broken and _ends_in_prose(text)}
    closes = len(prose) >= _HABIT and len(prose & open_ended) <= (1 - _CLOSED) * len(prose)
    words = {i: found for i in open_ended if (found := _words(stripped[i]))}
    ends = _Ends({found[-1] for found in words.values()}, texts)
    return broken | {
        i
        for i, found in words.items()
        if len(found) >= _FEWEST and ends.never(found[-1], closes and i in prose)
    }


class _Ends:
    """In how many texts of a file some words are, and in how many at an end."""

    def __init__(self, looked_for: set[str], texts: Iterable[str]):
        self._all: Counter[str] = Counter()
        self._last: Counter[str] = Counter()
        for text in texts:
            folded = text.casefold()
            if found := looked_for.intersection(_WORD.findall(folded)):
                self._all.update(found)
                self._last.update(found.intersection(_BEFORE_MARK.findall(folded)))

    def never(self, word: str, in_prose: bool) -> bool:
        """Say whether no sentence ends in a word; outside of prose only of a frequent one."""
        if not in_prose and self._all[word] < _OFTEN:
            return False
        return self._last[word] <= _RARELY * self._all[word]


def _breaks_off(text: str) -> bool:
    """Say whether a text's own marks show that something is missing."""
    if "```" in text and len(_FENCE.findall(text)) % 2:
        return True
    lines = text.split("\n")
    if len(lines) > 1 and _is_bare_marker(lines):
        return True
    # Most texts leave here.
    if text.endswith((".", "!", "?")) or _EMOTICON.search(text) or len(_words(text)) < _FEWEST:
        return False
    if _DANGLING.search(text):
        items = [line.rstrip()[-1] for line in lines if _MARKER.match(line)]
        return not (_MARKER.match(lines[-1]) and items[-2:-1] == items[-1:])
    line = lines[-1]
    return text[-1].isalpha() and line.rfind("(") > line.rfind(")") and not _NO_PROSE.search(line)


def _is_bare_marker(lines: Sequence[str]) -> bool:
    """Say whether the last line is a list item without text, after another item."""
    last = _MARKER.match(lines[-1])
    if last is None or any(map(str.isalnum, lines[-1][last.end() :])):
        return False
    before = [found for line in lines[:-1] if (found := _MARKER.match(line))]
    if last[1] is None:
        return any(found[1] is None for found in before)
    return any(found[1] is not None and int(found[1]) == int(last[1]) - 1 for found in before)


def _ends_in_prose(text: str) -> bool:
    """Say whether a text's last part is a sentence that should have a full stop."""
    *lines, line = text.split("\n")
    if _NO_PROSE.search(line):
        return False
    marker = _MARKER.match(line)
    *before, part = _SENTENCE_END.split(line[marker.end() :] if marker else line)
    found = _WORD.findall(part)
    if before and len(found) >= _AFTER:
        return True
    # A line among others that have no mark either is one of a plan or a table.
    if marker or len(found) < _PROSE or any(other.rstrip()[-1:].isalnum() for other in lines):
        return False
    if sum(word[0].isupper() for word in found) > len(found) / 2:  # a title
        return False
    return max(len(piece.split()) for piece in part.split(",")) > _LONGEST_NAME


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
