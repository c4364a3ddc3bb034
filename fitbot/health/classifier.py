"""What a message is about, judged by its words and by pieces of them: a linear classifier.

The rules find signs that somebody wrote down; this has learned from some 18,000 messages of
many authors, and finds what is like them. `data/health/learn.py` makes the weights. It knows no
meaning: see docs/health.md for how far that goes.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import as_file, files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

FILE = "words.safetensors"
ABOUT = ("harmless", "self-harm", "eating disorder", "emergency", "drugs")  # a user's messages
ANSWERS = ("good", "bad")  # an assistant's sentences
LANGUAGES = ("en", "es", "de", "fr", "hi", "hi-Latn")  # that the messages are in

_BUCKETS = 2**16  # of words, and as many of pieces: with all classes 3.4 MB
_MOST = 4000  # characters that are read from each end of a text
_ACCENTS = re.compile("[\u0300-\u036f]")
_REPEATED = re.compile(r"(.)\1{2,}")
_DIGIT = re.compile(r"\d")
# Devanagari's vowel signs are no \w.
_WORD = r"[\w\u0900-\u097f]+|[?!]"

Texts = Sequence[str]


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


def features(texts: Texts) -> Any:
    """Find words, pairs of words, and pieces of three to five letters: (texts, 2 x buckets)."""
    from scipy.sparse import hstack

    return hstack([reader.transform(texts) for reader in _readers()], format="csr")


@cache
def _readers() -> list[Any]:
    from sklearn.feature_extraction.text import HashingVectorizer  # not before: it loads slowly

    options: dict[str, Any] = {
        "preprocessor": plain,
        "n_features": _BUCKETS,
        "alternate_sign": False,
        "binary": True,
        "dtype": np.float32,
    }
    return [
        HashingVectorizer(ngram_range=(1, 2), token_pattern=_WORD, **options),
        HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **options),
    ]


def probabilities(
    weights: NDArray[np.float32], bias: NDArray[np.float32], texts: Texts
) -> NDArray[np.float64]:
    """Return how likely each class is, (texts, classes): a softmax of what features weigh."""
    logits = np.asarray(features(texts) @ weights.T + bias, np.float64)
    likely = np.exp(logits - logits.max(1, keepdims=True))
    found: NDArray[np.float64] = likely / likely.sum(1, keepdims=True)
    return found


@cache
def _weights() -> dict[str, NDArray[np.float32]]:
    with as_file(files(__package__) / FILE) as path:
        return {name: array.astype(np.float32) for name, array in load_file(path).items()}


@lru_cache(512)  # a conversation is read again with each turn
def about(text: str) -> dict[str, float]:
    """Return how likely a user's message, or several as one text, is about each of `ABOUT`."""
    held = _weights()
    (found,) = probabilities(held["about.weights"], held["about.bias"], [text])
    return dict(zip(ABOUT, found.tolist(), strict=True))


def harmful(text: str) -> float:
    """Return how likely an assistant's sentence, or a few, must not be shown."""
    held = _weights()
    return float(probabilities(held["answers.weights"], held["answers.bias"], [text])[0, 1])


def likely_language(text: str) -> str:
    """Return which of `LANGUAGES` a text most likely is in, were it one of them."""
    held = _weights()
    (found,) = probabilities(held["language.weights"], held["language.bias"], [text])
    return LANGUAGES[int(found.argmax())]


def conversation(turns: Sequence[tuple[str, str]]) -> str:
    """Lay the end of a conversation out as one text.

    Args:
        turns: Role ("user" or "assistant") and text of each.
    """
    return "\n".join(text if role == "user" else f"({text})" for role, text in turns[-6:])
