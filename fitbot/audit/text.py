"""A text → what the audit compares: its normal form, words, sentences, template and excerpt."""

import re
import unicodedata

# Scripts written without spaces: there every character counts as a word.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W_{_UNSPACED}]+(?:['\u2019][^\\W\\d_]+)?")
_SENTENCE_END = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s+|\s*\n\s*")
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_NAME = re.compile(r"[^\W\d_a-z][^\W\d_]+")  # candidates; mask_template asks for the capital
_ENDS_SENTENCE = (".", "!", "?", "\n", ":", "\u201c", '"')


def normalise(text: str) -> str:
    """Make texts equal that differ only in case, spacing or compatibility forms.

    >>> normalise("  Is  RICE ok?\\n")
    'is rice ok?'
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def words(text: str) -> list[str]:
    """Split a text into its words, case folded; where a script has no spaces, into characters.

    >>> words("Don't eat 12 eggs!")
    ["don't", 'eat', '12', 'eggs']
    """
    return _WORD.findall(text.casefold())


def sentences(text: str) -> list[str]:
    """Split a text at line breaks and after full stops, question and exclamation marks.

    >>> sentences("Rest. Then lift!\\nEat 1.5 eggs.")
    ['Rest.', 'Then lift!', 'Eat 1.5 eggs.']
    """
    return [part for part in _SENTENCE_END.split(text.strip()) if part]


def mask_template(text: str) -> str:
    """Mask numbers, and capitalised words inside a sentence, and normalise what is left.

    >>> mask_template("Can Anna do 3 sets?") == mask_template("Can Bob do 12 sets?")
    True
    """

    def mask(match: re.Match[str]) -> str:
        before = text[: match.start()].rstrip(" \t")
        inside = before and not before.endswith(_ENDS_SENTENCE)
        return "@" if inside and match[0][0].isupper() else match[0]

    return normalise(_NUMBER.sub("#", _NAME.sub(mask, text)))


def excerpt(text: str, limit: int = 90) -> str:
    """Shorten a text to one printable line; what is not printable is shown as an escape.

    >>> excerpt("one\\n\\x1b[31mtwo")
    'one \\\\x1b[31mtwo'
    """
    line = " ".join(text[: 4 * limit].split())
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return line if len(line) <= limit else f"{line[: limit - 1]}\u2026"
