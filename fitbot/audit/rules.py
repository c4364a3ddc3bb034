"""Rules that pick the chosen answer without reading the question, fixed and learned; their scores.

A rule gives every pair a preference: above 0 it picks the chosen answer, below 0 the rejected one,
at 0 neither. Learned rules see only differences between the two answers' features, chosen minus
rejected; their logistic regression has no intercept, so that swapping a pair flips the preference.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fitbot.audit.records import prompt_text
from fitbot.audit.text import normalise, words
from fitbot.pairs.formats import PreferencePair

RulePreferences = NDArray[np.float64]  # (N,)
Features = Any  # (N, F) sparse matrix of differences, chosen minus rejected

NEAREST = "nearest questions"
BILINEAR = "question x answer words"
READS_THE_QUESTION = frozenset({NEAREST, BILINEAR})  # rules of question_rules.py

SHORTCUT_ABOVE = 0.55  # where a rule's whole interval must lie to be called a shortcut
_Z = 1.959964  # 95 % of a normal distribution, both sides
MAX_LEARNED = 4000  # pairs that a learned rule learns from; more cost seconds and change little
_BUCKETS = 2**18  # 64 - 46 bits of a hash; that character n-grams are hashed into
_MAX_CHARACTERS = 2000  # of an answer that n-grams are taken from
_LONGEST = 4  # characters of an n-gram; the shortest have two

# Punctuation and format of an answer; each is counted, beside its characters and words.
_COUNTED = {
    "full stops": re.compile(r"\.(?=\s|$)"),
    "commas": re.compile(r","),
    "exclamation marks": re.compile(r"!"),
    "question marks": re.compile(r"\?"),
    "colons and semicolons": re.compile(r"[:;]"),
    "dashes": re.compile(r"[-\u2013\u2014]"),
    "quotes": re.compile(r"[\"\u201c\u201d]"),
    "apostrophes": re.compile(r"['\u2019]"),
    "brackets": re.compile(r"[()\[\]]"),
    "digits": re.compile(r"\d"),
    "capitals": re.compile(r"[A-Z]"),
    "line breaks": re.compile(r"\n"),
    "list items": re.compile(r"(?m)^\s*(?:[-*\u2022]|\d+[.)])\s"),
    "headings": re.compile(r"(?m)^#+\s"),
    "bold": re.compile(r"\*\*"),
    "code": re.compile(r"`"),
    "not ASCII": re.compile(r"[^\x00-\x7f]"),
}


def length_rules(pairs: Sequence[PreferencePair]) -> dict[str, RulePreferences]:
    """Prefer the longer answer, and the shorter one, in characters and in words."""
    characters = _difference(pairs, lambda texts: np.array([float(len(x)) for x in texts]))
    counts = _difference(pairs, lambda texts: np.array([float(len(x.split())) for x in texts]))
    return {
        "longer, characters": characters,
        "shorter, characters": -characters,
        "longer, words": counts,
        "shorter, words": -counts,
    }


def overlap_rules(pairs: Sequence[PreferencePair]) -> dict[str, RulePreferences]:
    """Prefer the answer that repeats more of the question's content words, and the one with fewer.

    Content words are all but English function words; in other languages, all words.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    shares = []
    for pair in pairs:
        asked = set(words(prompt_text(pair))) - ENGLISH_STOP_WORDS
        chosen, rejected = (len(asked & set(words(a))) for a in (pair.chosen, pair.rejected))
        shares.append((chosen - rejected) / max(1, len(asked)))
    difference = np.array(shares)
    return {"repeats the question": difference, "avoids the question's words": -difference}


def seen_rule(train: Sequence[PreferencePair], pairs: Sequence[PreferencePair]) -> RulePreferences:
    """Prefer the answer text that TRAIN chose more often than it rejected it."""
    liked: Counter[str] = Counter(normalise(pair.chosen) for pair in train)
    liked.subtract(normalise(pair.rejected) for pair in train)
    scores = [liked[normalise(p.chosen)] - liked[normalise(p.rejected)] for p in pairs]
    return np.array(scores, dtype=float)


def format_features(train: Sequence[PreferencePair], pairs: Sequence[PreferencePair]) -> Features:
    """Count punctuation and format, in units of their spread in TRAIN."""
    counts = _difference(pairs, _format_counts)
    scale = (counts if pairs is train else _difference(train, _format_counts)).std(axis=0)
    return sparse.csr_array(counts / np.where(scale > 0, scale, 1.0))


def word_features(train: Sequence[PreferencePair], pairs: Sequence[PreferencePair]) -> Features:
    """Weigh the words of each answer by tf-idf as TRAIN has it."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    answers = [answer for pair in train for answer in (pair.chosen, pair.rejected)]
    if not any(map(words, answers)):  # the vectorizer refuses an empty vocabulary
        return sparse.csr_array((len(pairs), 1))
    vectorizer = TfidfVectorizer(analyzer=words, sublinear_tf=True).fit(answers)
    return _difference(pairs, vectorizer.transform)


def character_features(
    train: Sequence[PreferencePair], pairs: Sequence[PreferencePair]
) -> Features:
    """Count each answer's runs of two to four characters, hashed; rows of length 1."""
    del train  # nothing to be learned from it
    return _difference(pairs, _character_ngrams)


LEARNED: dict[str, Callable[[Sequence[PreferencePair], Sequence[PreferencePair]], Features]] = {
    "punctuation and format": format_features,
    "bag of words": word_features,
    "character n-grams": character_features,
}


def learn(features: Features) -> RulePreferences:
    """Fit a pairwise logistic regression without intercept; → (F,) weights.

    Args:
        features: (N, F) differences, chosen minus rejected; at most MAX_LEARNED rows are used.
    """
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).permutation(features.shape[0])[:MAX_LEARNED]
    # Half are shown the other way round: the regression wants two classes.
    signs = np.where(np.arange(len(rows)) % 2 == 0, 1.0, -1.0)
    model = LogisticRegression(fit_intercept=False, max_iter=300, tol=1e-5)
    model.fit(sparse.diags_array(signs) @ features[rows], signs)
    weights: RulePreferences = model.coef_[0]
    return weights


@dataclass(frozen=True)
class RuleScore:
    """How often one rule picks the chosen answer."""

    rule: str
    accuracy: float  # a tie counts one half
    low: float  # 95 % confidence interval
    high: float
    ties: int  # pairs in which the rule has no preference
    reads_question: bool = False

    @property
    def is_shortcut(self) -> bool:
        """Whether the whole interval is above SHORTCUT_ABOVE, without reading the question."""
        return self.low > SHORTCUT_ABOVE and not self.reads_question


def score_rule(
    rule: str, preferences: Sequence[float], pairs: Sequence[PreferencePair]
) -> RuleScore:
    """Score a rule on pairs.

    Args:
        rule: Its name.
        preferences: One a pair: above 0 picks the chosen answer, below 0 the rejected one.
        pairs: The same pairs. Pairs of one question are not independent, so the interval is that of
            as many trials as there are distinct questions.
    """
    ties = sum(value == 0 for value in preferences)
    accuracy = (sum(value > 0 for value in preferences) + ties / 2) / len(preferences)
    low, high = wilson_interval(accuracy, count_questions(pairs))
    return RuleScore(rule, float(accuracy), low, high, int(ties), rule in READS_THE_QUESTION)


def count_questions(pairs: Sequence[PreferencePair]) -> int:
    """Count the questions that differ by more than case and spaces."""
    return len({normalise(prompt_text(pair)) for pair in pairs})


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of `count` trials.

    >>> [round(x, 3) for x in wilson_interval(0.5, 100)]
    [0.404, 0.596]

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953
    """
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    spread = math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    half = _Z * spread / (1 + _Z**2 / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def _difference(pairs: Sequence[PreferencePair], of: Callable[[list[str]], Any]) -> Any:
    """Take what `of` returns of the rejected answers from what it returns of the chosen ones."""
    return of([pair.chosen for pair in pairs]) - of([pair.rejected for pair in pairs])


def _format_counts(texts: Sequence[str]) -> NDArray[np.float64]:
    counts = [
        [len(text), len(text.split()), *(len(one.findall(text)) for one in _COUNTED.values())]
        for text in texts
    ]
    return np.array(counts, dtype=np.float64)


def _character_ngrams(texts: Sequence[str]) -> Features:
    from sklearn.preprocessing import normalize

    indices = []
    for text in texts:
        padded = f" {normalise(text[:_MAX_CHARACTERS])} ".encode("utf-32-le")
        codes, hashed = np.frombuffer(padded, np.uint32), []
        value = codes.astype(np.uint64)
        for n in range(2, _LONGEST + 1):
            # A polynomial of the characters; the multiplier spreads it over the buckets.
            value = value[:-1] * np.uint64(1_000_003) + codes[n - 1 :]
            hashed.append((value * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(46))
        indices.append(np.concatenate(hashed))
    flat = np.concatenate(indices).astype(np.int32)
    starts = np.cumsum([0, *map(len, indices)]).astype(np.int32)
    matrix = sparse.csr_array((np.ones(len(flat)), flat, starts), shape=(len(texts), _BUCKETS))
    matrix.sum_duplicates()
    matrix.data = 1 + np.log(matrix.data)
    return normalize(matrix, copy=False)
