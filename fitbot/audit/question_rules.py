"""Rules that pick the chosen answer by words of question and answers, learned on the training file.

They read the question as a bag of words and know no word order. What they reach, a model may have
learned without understanding more than that. N pairs, Q words of questions, A words of answers.

Texts are tf-idf vectors, of length 1. Both rules see answers only as differences, chosen minus
rejected, and are linear in them: swapping a pair flips the preference.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fitbot.audit.records import prompt_text
from fitbot.audit.rules import BILINEAR, NEAREST, Features, RulePreferences
from fitbot.audit.text import words
from fitbot.pairs.formats import PreferencePair

MAX_LEARNED = 8000  # pairs that are learned from; more cost seconds and change little
_TEXTS_OF_A_WORD = 2  # that it must stand in; what was seen once teaches nothing of other pairs
_NEIGHBOURS = 20  # nearest training questions
_QUESTION_WORDS, _ANSWER_WORDS = 30, 40  # the weightiest of a text, whose products are taken
_ANY_QUESTION = 0.5  # weight of the answer words alone, beside a question of length 1
_BUCKETS = 2**18  # 64 - 46 bits of a hash, which products of words fall into
_STRENGTH = 10.0  # of learning; the penalty on squared weights is 1 / (strength x pairs)
_EPOCHS = 10
_ROWS = 500  # at a time, so that memory does not grow with the file


@dataclass(frozen=True)
class Texts:
    """Questions and answers of N pairs as words; see `reader`."""

    questions: Features  # (N, Q) sparse
    answers: Features  # (N, A) sparse; chosen minus rejected

    def __len__(self) -> int:
        """Count the pairs."""
        return int(self.questions.shape[0])

    def take(self, rows: NDArray[np.intp]) -> "Texts":
        """Take some of the pairs."""
        return Texts(self.questions[rows], self.answers[rows])

    def parts(self) -> Iterator["Texts"]:
        """Yield the pairs in order, _ROWS at a time."""
        for start in range(0, len(self), _ROWS):
            yield self.take(np.arange(start, min(start + _ROWS, len(self))))


def question_rules(
    train: Sequence[PreferencePair], pairs: Sequence[PreferencePair]
) -> dict[str, RulePreferences]:
    """Learn both rules from TRAIN, at least one pair, and apply them to pairs.

    Returns:
        By rule (N,) preferences: above 0 picks the chosen answer, below 0 the rejected one.
    """
    read = reader(train)
    texts = read(train)
    return apply(texts, texts if pairs is train else read(pairs))


def cross_validate(
    pairs: Sequence[PreferencePair], folds: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]
) -> dict[str, RulePreferences]:
    """Apply both rules to pairs, each time to those of one fold after learning from the others.

    Args:
        pairs: N, whose words and their rarity are known to all folds; labels are not.
        folds: Indices of the pairs to learn from, and of those held out.
    """
    texts = reader(pairs)(pairs)
    found = {name: np.zeros(len(pairs)) for name in (NEAREST, BILINEAR)}
    for kept, held_out in folds:
        for name, values in apply(texts.take(kept), texts.take(held_out)).items():
            found[name][held_out] = values
    return found


def reader(train: Sequence[PreferencePair]) -> Callable[[Sequence[PreferencePair]], Texts]:
    """Learn which words there are, and how rare they are; → what turns pairs into Texts."""
    questions = _vectorizer([prompt_text(pair) for pair in train], binary=True)
    answers = _vectorizer([text for pair in train for text in (pair.chosen, pair.rejected)])

    def read(pairs: Sequence[PreferencePair]) -> Texts:
        chosen, rejected = ([getattr(p, side) for p in pairs] for side in ("chosen", "rejected"))
        difference = answers(chosen) - answers(rejected)
        difference.eliminate_zeros()
        return Texts(questions([prompt_text(pair) for pair in pairs]), difference)

    return read


def apply(train: Texts, asked: Texts) -> dict[str, RulePreferences]:
    """Learn both rules from some texts and apply them to others."""
    if len(train) > MAX_LEARNED:
        train = train.take(np.random.default_rng(0).permutation(len(train))[:MAX_LEARNED])
    weights = _learn_products(train)
    rules = {
        NEAREST: [_nearest(train, part) for part in asked.parts()],
        BILINEAR: [_products(part) @ weights for part in asked.parts()],
    }
    # Rounding may leave a sum that should be 0 beside it.
    return {name: np.round(np.concatenate([*v, np.zeros(0)]), 9) for name, v in rules.items()}


def _vectorizer(texts: Sequence[str], *, binary: bool = False) -> Callable[[list[str]], Features]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        analyzer=words, sublinear_tf=True, binary=binary, min_df=_TEXTS_OF_A_WORD
    )
    try:
        vectorizer.fit(texts)
    except ValueError:  # no word stands in so many texts
        return lambda some: sparse.csr_array((len(some), 1))
    return lambda some: sparse.csr_array(vectorizer.transform(some))


def _nearest(train: Texts, asked: Texts) -> RulePreferences:
    """Compare the answers with those of the nearest training questions.

    A neighbour counts by the square of its question's cosine. It prefers the answer that shares
    more with its own chosen answer than with its rejected one.
    """
    cosines = (asked.questions @ train.questions.T).toarray()
    count = min(_NEIGHBOURS, len(train))
    near = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
    weights = np.take_along_axis(cosines, near, axis=1) ** 2
    starts = np.arange(len(asked) + 1) * count
    mixed = sparse.csr_array((weights.ravel(), near.ravel(), starts), shape=cosines.shape)
    preferences: RulePreferences = (asked.answers * (mixed @ train.answers)).sum(axis=1)
    return preferences


def _learn_products(train: Texts) -> RulePreferences:
    """Fit a pairwise logistic regression without intercept on products of words; → weights.

    It is a bilinear model of question and answer, by stochastic gradient descent.
    """
    from sklearn.linear_model import SGDClassifier

    # Half are shown the other way round: the regression wants two classes.
    signs = np.where(np.arange(len(train)) % 2 == 0, 1.0, -1.0)
    features = sparse.vstack([_products(part) for part in train.parts()])
    model = SGDClassifier(
        loss="log_loss",
        alpha=1 / (_STRENGTH * len(train)),
        fit_intercept=False,
        max_iter=_EPOCHS,
        tol=None,
        random_state=0,
    )
    model.fit(sparse.diags_array(signs) @ features, signs)
    weights: RulePreferences = model.coef_[0]
    return weights


def _products(texts: Texts) -> Features:
    """Multiply each word of a question with each of its answers' words; → (N, _BUCKETS), hashed."""
    questions = _weightiest(texts.questions, _QUESTION_WORDS)
    always = sparse.csr_array(np.full((len(texts), 1), _ANY_QUESTION))
    questions = sparse.csr_array(sparse.hstack([questions, always]))
    answers = _weightiest(texts.answers, _ANSWER_WORDS)
    across, down = np.diff(answers.indptr), np.diff(questions.indptr)
    starts = np.cumsum([0, *(across * down)])
    row = np.repeat(np.arange(len(texts)), across * down)
    place = np.arange(starts[-1]) - starts[row]  # within the row's table of products
    one = questions.indptr[row] + place // across[row]
    other = answers.indptr[row] + place % across[row]
    # A pair of numbers is mixed into one; the multiplier spreads it over the buckets.
    mixed = questions.indices[one].astype(np.uint64) * np.uint64(1_000_003)
    mixed = (mixed + answers.indices[other].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    values = questions.data[one] * answers.data[other]
    bucket = (mixed >> np.uint64(46)).astype(np.int32)
    shape = len(texts), _BUCKETS
    return sparse.csr_array((values, bucket, starts.astype(np.int32)), shape=shape)


def _weightiest(matrix: Features, most: int) -> Features:
    """Keep the entries of each row that are farthest from 0, at most so many; the first of equals.

    >>> _weightiest(sparse.csr_array([[1.0, -3.0, 2.0], [0.0, 4.0, 0.0]]), 2).toarray().tolist()
    [[0.0, -3.0, 2.0], [0.0, 4.0, 0.0]]
    """
    counts = np.diff(matrix.indptr)
    if not len(counts) or counts.max() <= most:
        return matrix
    row = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((-np.abs(matrix.data), row))  # stable
    kept = np.sort(order[np.arange(len(order)) - matrix.indptr[row] < most])
    starts = np.concatenate([[0], np.cumsum(np.minimum(counts, most))])
    return sparse.csr_array((matrix.data[kept], matrix.indices[kept], starts), shape=matrix.shape)
