"""Check an answer by rules: numbers, names, diet, format, caution. No model is involved.

A check is a small JSON object: the value of a record's key `check`. Every key in it must hold:

| key | holds when |
|---|---|
| `number` | some number of the answer is within `within` (a share, 0.1 by default) of it |
| `any` | at least one of these words or phrases occurs |
| `all` | every one of them occurs |
| `none` | none of them occurs |
| `format` | the answer has this form: see FORMATS |
| `asks` | the answer asks a question (true), or does not (false) |
| `figure` | this is the answer's result, in `unit` if given, missed by `within` (0.01) at most |
| `time` | likewise a time, in seconds: 52:07 or 52 min 7 s |
| `picks` | the answer affirms `least` (all by default) of the options in `of`, none of `not` |
| `says` | the answer says `yes` or `no` |
| `urgency` | it says that a sign needs `emergency` care, a `doctor`, or lets the user `carry on` |

The last five do not hold for an answer that names everything: `traps` lists wrong results that
must not be given beside the right one. See figures.py and claims.py.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from fitbot.evaluation.claims import picks, says, urgency
from fitbot.evaluation.figures import concludes, numbers, takes

SENTENCE_END = re.compile(r"[.!?]+(?:\s|$)")
ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.MULTILINE)
_BESIDE = ("within", "unit", "traps")  # keys that say how another key is meant


def passes(answer: str, check: dict[str, Any]) -> bool:
    """Say whether an answer passes a check.

    Args:
        answer: The text to check.
        check: See the module's docstring.

    Raises:
        KeyError: The check has a key or a format that does not exist.
    """
    traps = check.get("traps", ())
    exactly = float(check.get("within", 0.01))
    rules: dict[str, Callable[[Any], bool]] = {
        "number": lambda value: _has_number(answer, float(value), float(check.get("within", 0.1))),
        "any": lambda words: any(occurs(word, text) for word in words),
        "all": lambda words: all(occurs(word, text) for word in words),
        "none": lambda words: not any(occurs(word, text) for word in words),
        "format": lambda name: FORMATS[name](answer.strip()),
        "asks": lambda wanted: ("?" in answer) == wanted,
        "figure": lambda value: concludes(
            answer, float(value), unit=check.get("unit"), within=exactly, traps=traps
        ),
        "time": lambda value: takes(answer, float(value), within=exactly, traps=traps),
        "picks": lambda wanted: _picks(answer, **wanted),
        "says": lambda wanted: says(answer) == wanted,
        "urgency": lambda wanted: urgency(answer) == wanted,
    }
    text = " ".join(answer.lower().split())
    return bool(text) and all(rules[key](check[key]) for key in check if key not in _BESIDE)


def occurs(words: str, text: str) -> bool:
    """Return whether words occur in a lower-case text as whole words, plural or not."""
    return re.search(rf"(?<!\w){re.escape(words.lower())}(?:s|es)?(?!\w)", text) is not None


def _has_number(answer: str, value: float, within: float) -> bool:
    return any(abs(found - value) <= within * abs(value) for found in numbers(answer))


def _picks(
    answer: str, of: Sequence[str], least: int | None = None, **unwanted: Sequence[str]
) -> bool:
    enough = len(of) if least is None else least
    return len(picks(answer, of)) >= enough and not picks(answer, unwanted.pop("not", ()))


FORMATS: dict[str, Callable[[str], bool]] = {
    "one word": lambda answer: len(answer.split()) == 1,
    "yes or no": lambda answer: re.fullmatch(r"(?:yes|no)\.?", answer.lower()) is not None,
    "number": lambda answer: re.fullmatch(r"\d[\d,.]*(?: ?[a-zA-Z%]+)?\.?", answer) is not None,
    "names": lambda answer: len(SENTENCE_END.findall(answer)) <= 1 and len(answer.split(",")) >= 3,
    "explained": lambda answer: len(answer.split()) >= 12 and not ITEM.search(answer),
    "list": lambda answer: len(ITEM.findall(answer)) >= 2,
    "no list": lambda answer: not ITEM.search(answer) and len(answer.split()) >= 5,
}
