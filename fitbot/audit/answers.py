"""One text → whether it repeats itself, and whether it holds an e-mail address or phone number."""

import re
from itertools import pairwise

from fitbot.audit.text import sentences, words

_FEWEST = 4  # words of a sentence that is not said twice by chance: "No. No." is
_DISTINCT = 3  # different words of letters in it: "left, right, left, right" has two
_FAR = 8  # words of a sentence that counts as repeated where others stand between
_SHARE = 0.2  # of an answer's words that such sentences repeat
_BLOCK = 12  # words of several sentences that are repeated together
_LONGEST_BLOCK = 20  # sentences of such a block
_ROUNDS = 3  # of the same words at an answer's end, without a full stop

# Code and tables repeat lines as they should.
_NO_PROSE = re.compile(r"^ {0,3}```.*?(?:^ {0,3}```|\Z)|^\s*\|[^\n]*$", re.MULTILINE | re.DOTALL)

_EMAIL = r"(?<![\w.+@/-])[\w.+-]+@(?!(?:[\w-]+\.)*example\b)(?:[\w-]+\.)+[A-Za-z]{2,}\b(?![:/]\S)"
_SEPARATOR = r"[ .\u00a0-]"
_PHONE = "|".join(
    (
        # +49 170 1234567, +44 (0)20 7946 0958; without separators, ten digits or more
        rf"\+[1-9]\d{{0,2}}{_SEPARATOR}?(?:\(\d{{1,4}}\)|\d{{1,4}})(?:{_SEPARATOR}?\d{{2,}}){{1,4}}",
        # (212) 555-0199, 1-800-273-8255, 212.555.0199
        r"(?:1[ .-])?\([2-9]\d\d\) ?\d{3}[ .-]\d{4}|(?:1-)?[2-9]\d\d-\d{3}-\d{4}",
        r"[2-9]\d\d\.\d{3}\.\d{4}",
        # 020 7946 0958, 0170/1234567, 06 12 34 56 78: what else begins with 0 and goes on so long?
        r"0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,8}|0\d(?:[ .]\d\d){4}",
    )
)
_CALLED = (
    r"(?:phone|tel|telephone|mobile|whatsapp|fax|call|dial|teléfono|téléphone|telefon)\b[^\w\n]{0,3}"
    r"(?:(?:us|me|is|at|on|number|no)\b[^\w\n]{0,3}){0,3}"
    r"(?:\d{8,15}|\d{2,5}(?P<between>[ .-])\d{3,8}(?:(?P=between)\d{2,4}){0,3})"
)
_CONTACT = re.compile(
    rf"{_EMAIL}|(?<![\w.,+/-])(?<![\d=]\s)(?:{_PHONE}|(?i:{_CALLED}))(?![\w/-]|[.,]\d)"
)
_DIGITS = 8  # of the shortest phone number that is looked for
_MOST_DIGITS = 15  # of any, area and country included: ITU-T E.164


def find_contact(text: str) -> re.Match[str] | None:
    """Return the first e-mail address or phone number of a text.

    Addresses at example.org and its like, which nobody has, do not count; nor do dates, ranges,
    versions and schemes of sets.

    >>> [bool(find_contact(x)) for x in ("Write to ann@gym.co.uk.", "Call +49 170 1234567.")]
    [True, True]
    >>> [bool(find_contact(x)) for x in ("3-4-5 on 2024-11-12, 1,600 to 2,000", "a@example.com")]
    [False, False]
    """
    if "@" not in text and sum(map(str.isdigit, text)) < _DIGITS:
        return None
    for found in _CONTACT.finditer(text):
        groups = re.findall(r"\d+", found[0])
        # Round figures are calories and steps.
        is_round = len(groups) > 1 and all(group.endswith("0") for group in groups)
        if "@" in found[0] or (_DIGITS <= len("".join(groups)) <= _MOST_DIGITS and not is_round):
            return found
    return None


def repeats_itself(answer: str) -> bool:
    """Say whether an answer says the same sentence, or the same block, again.

    A short sentence counts where it follows itself, a long one everywhere.

    >>> repeats_itself("Eat more beans today. Eat more beans today. Then rest.")
    True
    >>> repeats_itself("Squat for one minute. Rest. Row for one minute. Rest.")
    False
    """
    said = words(answer)
    if len(said) < 2 * _FEWEST:
        return False
    parts = sentences(_NO_PROSE.sub("\n|\n", answer.casefold()))
    has_repeats = len(set(parts)) < len(parts)
    if has_repeats and _repeats_sentences([words(part) for part in parts], len(said)):
        return True
    return "```" not in answer and (_is_doubled(said) or _runs_in_circles(said))


def _repeats_sentences(parts: list[list[str]], count: int) -> bool:
    """Say whether some of the sentences, of an answer of so many words, are said again."""
    if any(one == other and _is_sentence(one) for one, other in pairwise(parts)):
        return True
    for size in range(2, min(_LONGEST_BLOCK, len(parts) // 2) + 1):
        for i in range(len(parts) - 2 * size + 1):
            if parts[i] != parts[i + size]:
                continue
            block = parts[i : i + size]
            if block == parts[i + size : i + 2 * size] and sum(map(len, block)) >= _BLOCK:
                return True
    seen: set[tuple[str, ...]] = set()
    repeated = 0
    for part in map(tuple, parts):
        repeated += len(part) if part in seen and len(part) >= _FAR else 0
        seen.add(part)
    return repeated > 0 and repeated >= _SHARE * count


def _is_doubled(said: list[str]) -> bool:
    """Say whether all of it is one block, twice or more often."""
    count = len(said)
    return any(
        said[:-size] == said[size:] and _is_sentence(said[:size])
        for size in range(_FEWEST, count // 2 + 1)
        if count % size == 0 and said[0] == said[size]
    )


def _runs_in_circles(said: list[str]) -> bool:
    """Say whether it ends in the same words again and again."""
    count = len(said)
    return any(
        said[-size * _ROUNDS : -size] == said[-size * (_ROUNDS - 1) :]
        and _is_sentence(said[-size:])
        for size in range(_FEWEST, count // _ROUNDS + 1)
        if said[-1] == said[-1 - size]
    )


def _is_sentence(said: list[str]) -> bool:
    return len(said) >= _FEWEST and len({word for word in said if word.isalpha()}) >= _DISTINCT
