"""What a free answer claims: the things it recommends, yes or no, and how urgent it says a sign is.

An answer that names everything claims nothing: a thing counts where it is affirmed, not where it
is denied, asked about, or made to depend on something else. Clauses are told apart by punctuation
and a few words; there is no grammar and no model in this.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

# A sentence ends here; so does a line of a list.
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_OPENERS = "without|rather than|instead of|except|apart from|unlike|than"
_SPLIT = re.compile(
    r"\s*([,:()\u2013\u2014]|\s-\s|\b(?:and|or|but|while|whereas|because|since|so|though|although|as|by"
    r"|(?<!made )with)\b"
    rf"|(?=\b(?:{_OPENERS})\b))\s*"
)
_DENIED = re.compile(r"\b(?:not?|nor|neither|never|cannot|none|without|skip|avoid)\b|n't\b")
# What makes a thing one that is ruled out, wherever in its clause it is.
_REJECTED = re.compile(
    rf"\b(?:not?|nor|neither|never|cannot|none|skip|avoid|{_OPENERS}|leave|rule|drop|swap|replace[ds]?"
    r"|contains?|made|comes? from|forbidden|haram|unsuitable|wrong|off limits|fails?|hurts?"
    r"|stress(?:es)?|loads|aggravates?|needs|too)\b|n't\b"
)
_ADVISED = re.compile(
    r"\b(?:do|use|try|have|eat|pick|choose|go|take|stick|order|get|is|are|works?)\b"
)
_CONDITION = re.compile(
    r"(?<!even )(?<!as )\b(?:if|unless|in case|only when|should (?:it|you|the))\b"
)
_UNSAID = re.compile(rf"{_DENIED.pattern}|\b(?:{_OPENERS})\b|{_CONDITION.pattern}")
_NEEDLESS = re.compile(
    r"(?:not|n't)\s+(?:be\s+)?(?:needed|necessary|required|call for)|unnecessary"
)
_ITEM_WORDS = 3  # of a clause that may only be an item of a list

_LEVELS = {
    "emergency": (
        "ambulance|911|999|112|call 000|triple zero|call 108|emergency|a&e|er|hospital"
        "|paramedic|casualty"
    ),
    "doctor": (
        "doctor|gp|physician|physio|physiotherapist|physical therapist|appointment|clinic"
        "|specialist|checked|examined|looked at|dietitian|midwife|medical advice|walk-in"
    ),
    "carry on": (
        "carry on|carrying on|keep going|keep training|continue|go ahead|train as usual|keep it up"
        "|train on|keep running|keep lifting|go on training"
    ),
    "fine": "fine|normal|ok|okay|common|expected|safe",
    "harmless": "harmless",
}
_OWN = re.compile(r"\b(?:i|i'm|my|me|we)\b")  # what the user feels, said again
_ALL_CLEAR = re.compile(
    r"no need|(?:not|n't|no) (?:an? )?(?:need|reason|cause|serious|dangerous|worry)"
    r"|nothing (?:serious|to worry|dangerous|wrong)"
)


class Clause(NamedTuple):
    """A part of a sentence."""

    text: str  # lower case, hyphens as spaces
    affirmed: bool  # by what is in it, and by the list it is in


def sentences(answer: str) -> list[str]:
    """Split an answer into sentences, in lower case; its questions are left out."""
    text = re.sub(r"(?<=\w)-(?=\w)", " ", answer.lower().replace("\u2019", "'"))
    text = re.sub(r"[*_`#]+", "", text)
    return [part for part in map(str.strip, _SENTENCE.split(text)) if part and part[-1] != "?"]


def clauses(sentence: str) -> list[Clause]:
    """Split a sentence into clauses.

    A list is denied by what is before or after it: "avoid squats, lunges", "honey and whey are
    not vegan". "Avoid squats, do rows" denies the squats only.
    """
    parts = _SPLIT.split(sentence)
    found = [
        (text, text and _REJECTED.search(text), separator.strip())
        for text, separator in zip(parts[::2], [*parts[1::2], ""], strict=True)
    ]
    found = [one for one in found if one[0]]
    rejected = [bool(by_itself) for _, by_itself, _ in found]
    for i in range(1, len(found)):
        goes_on = found[i - 1][2] in (",", "and", "or") and _is_item(found[i][0])
        rejected[i] |= rejected[i - 1] and goes_on
    for i in reversed(range(len(found) - 1)):
        text, _, separator = found[i]
        after, own, _ = found[i + 1]
        ends_list = separator in ("and", "or") and own and not _REJECTED.match(after)
        goes_on = separator == "," and rejected[i + 1] and not own
        rejected[i] |= _is_item(text) and bool(ends_list or goes_on)
    return [Clause(one[0], not out) for one, out in zip(found, rejected, strict=True)]


def _is_item(text: str) -> bool:
    return len(text.split()) <= _ITEM_WORDS and not _ADVISED.search(text)


def picks(answer: str, options: Sequence[str]) -> list[str]:
    """Return the options that an answer affirms.

    Args:
        answer: The text.
        options: Each a word or phrase, or several of one meaning: `push-up|pushup|press-up`.
    """
    affirmed = [x.text for one in sentences(answer) for x in clauses(one) if x.affirmed]
    return [option for option in options if any(_names(option, text) for text in affirmed)]


def says(answer: str) -> str | None:
    """Return `yes` or `no`, as an answer says it; None where it says both or neither.

    Without either word, the first sentence is a no if it denies something.
    """
    found = sentences(answer)
    begun = [re.match(r"\W*(?:well,? )?(yes|yep|yeah|no|nope)\b", text) for text in found]
    words = {"no" if match[1].startswith("n") else "yes" for match in begun if match}
    if words:
        return words.pop() if len(words) == 1 else None
    if not found or "it depends" in found[0]:
        return None
    return "no" if _DENIED.search(found[0]) else "yes"


def urgency(answer: str) -> str | None:
    """Return how urgent an answer says a sign is: `emergency`, `doctor` or `carry on`.

    "Call 999 if it gets worse" calls nobody now. An answer that names two courses and leaves the
    choice, or calls the same sign harmless and urgent, has no level: None.
    """
    found: set[str] = set()
    for text in sentences(answer):
        named = set(_levels_of(text))
        if re.search(r"\bor\b|\bdepend", text) and len(named - {"harmless", "fine"}) > 1:
            return None
        found |= named
    calm = found & {"carry on", "harmless", "fine"}
    if "emergency" in found:
        return None if calm else "emergency"
    if "doctor" in found:
        return None if "harmless" in found else "doctor"
    return "carry on" if calm else None


def _levels_of(sentence: str) -> Iterator[str]:
    parts = [part for part in _SPLIT.split(sentence)[::2] if part]
    if _ALL_CLEAR.search(sentence) and not _CONDITION.search(sentence):
        yield "harmless"
    for part, after in pairwise([*parts, ""]):
        if _NEEDLESS.search(part):
            continue
        # "If it lasts, see a doctor", "see a doctor if it lasts", "see a doctor, if it lasts"
        conditional = (
            _CONDITION.match(sentence) or _CONDITION.search(part) or _CONDITION.match(after)
        )
        for level, words in _LEVELS.items():
            place = _find(words, part)
            # "far more than normal" is not normal; "if it continues" does not say to go on
            if place is None or _UNSAID.search(part[:place]):
                continue
            if level in ("emergency", "doctor") and conditional:
                continue
            if level == "fine" and (conditional or _OWN.search(part)):
                continue
            yield level


def _names(option: str, text: str) -> bool:
    return _find(option, text) is not None


def _find(option: str, text: str) -> int | None:
    """Return where a text has one of an option's words, plural or not."""
    found = _pattern(option).search(text)
    return found.start() if found else None


@cache
def _pattern(option: str) -> re.Pattern[str]:
    words = "|".join(re.escape(word) for word in option.lower().replace("-", " ").split("|"))
    return re.compile(rf"(?<!\w)(?:{words})(?:s|es)?(?!\w)")
