"""What a message is about, judged by its words and by pieces of them: a linear classifier.

The rules find signs that somebody wrote down; this has learned from some 63,000 messages of
many authors, and finds what is like them. `data/health/learn.py` makes the weights. It knows no
meaning: see docs/health.md for how far that goes.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import as_file, files
from itertools import pairwise
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

FILE = "words.safetensors"
ABOUT = ("harmless", "self-harm", "eating disorder", "emergency", "drugs")  # a user's messages
ANSWERS = ("good", "bad")  # an assistant's sentences
LANGUAGES = ("en", "es", "de", "fr", "hi", "hi-Latn")  # that the messages are in

BUCKETS = 2**16  # of words, and as many of pieces: with all classes 3.4 MB
_PIECES = (3, 4, 5)  # characters
_MOST = 4000  # characters that are read from each end of a text
_ACCENTS = re.compile("[\u0300-\u036f]")
_REPEATED = re.compile(r"(.)\1{2,}")
_DIGIT = re.compile(r"\d")
# Devanagari's vowel signs are no \w.
_WORD = re.compile(r"[\w\u0900-\u097f]+|[?!]")
_MULTIPLIERS = np.array([2654435761, 40503, 2246822519, 3266489917, 668265263], np.uint32)  # odd


def plain(text: str) -> str:
    """Make texts equal that only look different; of numbers only their lengths count.

    >>> plain("Nooooo, ＥＬÉ 250")
    'noo, ele ###'
    """
    if len(text) > 2 * _MOST:
        text = f"{text[:_MOST]} {text[-_MOST:]}"
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    text = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text)))
    return _DIGIT.sub("#", _REPEATED.sub(r"\1\1", text))


def features(text: str) -> NDArray[np.int64]:
    """Find words, pairs of words, and pieces of words of three to five letters.

    Returns:
        Their hashes, each once: below `BUCKETS` those of words, from there on those of pieces.
    """
    text = plain(text)
    words = _WORD.findall(text)
    whole = [*words, *map(" ".join, pairwise(words))]
    hashes = [crc32(word.encode()) % BUCKETS for word in whole]
    return np.unique(np.concatenate([np.array(hashes, np.int64), _pieces(text)]))


def _pieces(text: str) -> NDArray[np.int64]:
    """Hash what lies in one word, the spaces around it included: numpy, as it is asked often."""
    letters = np.frombuffer(f" {' '.join(text.split())} ".encode("utf-32-le"), np.uint32)
    spaces = np.concatenate([[0], np.cumsum(letters == ord(" "))])
    found = [np.empty(0, np.int64)]
    for size in _PIECES:
        starts = np.arange(len(letters) - size + 1)
        inside = starts[spaces[starts + size - 1] == spaces[starts + 1]]
        mixed = np.full(len(inside), size, np.uint32)
        for place in range(size):
            mixed = (mixed ^ letters[inside + place]) * _MULTIPLIERS[place]
        found.append((mixed >> 16).astype(np.int64) + BUCKETS)
    return np.concatenate(found)


def _probabilities(name: str, text: str) -> NDArray[np.float32]:
    """Return how likely each class is: a softmax of what a text's features weigh."""
    weights, bias = _weights()[f"{name}.weights"], _weights()[f"{name}.bias"]
    logits = weights[features(text)].sum(0) + bias
    likely = np.exp(logits - logits.max())
    found: NDArray[np.float32] = likely / likely.sum()
    return found


@cache
def _weights() -> dict[str, NDArray[np.float32]]:
    with as_file(files(__package__) / FILE) as path:
        return {name: array.astype(np.float32) for name, array in load_file(path).items()}


@lru_cache(512)  # a conversation is read again with each turn
def about(text: str) -> dict[str, float]:
    """Return how likely a user's message, or several as one text, is about each of `ABOUT`."""
    return dict(zip(ABOUT, _probabilities("about", text).tolist(), strict=True))


def harmful(text: str) -> float:
    """Return how likely an assistant's sentence, or a few, must not be shown."""
    return float(_probabilities("answers", text)[1])


def likely_language(text: str) -> str:
    """Return which of `LANGUAGES` a text most likely is in, were it one of them."""
    return LANGUAGES[int(_probabilities("language", text).argmax())]


def conversation(turns: Sequence[tuple[str, str]]) -> str:
    """Lay the end of a conversation out as one text.

    Args:
        turns: Role ("user" or "assistant") and text of each.
    """
    return "\n".join(text if role == "user" else f"({text})" for role, text in turns[-6:])
