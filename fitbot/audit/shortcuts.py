"""Pairs → how accurate rules are that never read the question, and what that means."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from fitbot.audit.records import prompt_text
from fitbot.audit.rules import (
    LEARNED,
    RulePreferences,
    learn,
    length_rules,
    overlap_rules,
    seen_rule,
)
from fitbot.audit.score import SHORTCUT_ABOVE, RuleScore, score_rule
from fitbot.audit.text import normalise
from fitbot.pairs.formats import PreferencePair

_FOLDS = 5
_WHOLE = 0.95  # accuracy from which a rule leaves nothing to measure

# What a rule looks at, for the summary.
_LOOKS_AT = {
    "longer, characters": "only at length",
    "shorter, characters": "only at length",
    "longer, words": "only at length",
    "shorter, words": "only at length",
    "answer seen as chosen": "only at which answers were chosen in the training file",
    "punctuation and format": "only at punctuation and format",
    "bag of words": "only at the answer's words",
    "character n-grams": "only at the answer's letters",
    "repeats the question": "only at which words of the question come back",
    "avoids the question's words": "only at which words of the question come back",
}


@dataclass(frozen=True)
class ShortcutReport:
    """Rules measured on one file, best first."""

    path: str
    pairs: int
    rules: list[RuleScore]
    unmeasured: dict[str, str]  # rule → why it could not be measured

    @property
    def shortcuts(self) -> list[RuleScore]:
        """The rules that count as shortcuts, best first."""
        return [score for score in self.rules if score.is_shortcut]

    @property
    def summary(self) -> str:
        """What the best rule means for reward accuracy on this file."""
        if not self.shortcuts:
            return (
                f"no rule's interval lies above {SHORTCUT_ABOVE}: none of these shortcuts pays here"
            )
        best = self.shortcuts[0]
        what = "reward accuracy on this file measures nothing beyond it"
        if best.accuracy < _WHOLE:
            what = (
                f"of reward accuracy on this file, what lies below {best.accuracy:.2f} "
                "may be no more than that"
            )
        return f"a rule that looks {_LOOKS_AT[best.rule]} scores {best.accuracy:.2f} here; {what}"


class Preferences(NamedTuple):
    """What every rule prefers, pair by pair."""

    by_rule: dict[str, RulePreferences]  # each (N,): above 0 chosen, below 0 rejected
    unmeasured: dict[str, str]  # rule → why it could not be measured


def audit_shortcuts(
    train: Sequence[PreferencePair], val: Sequence[PreferencePair], path: str
) -> ShortcutReport:
    """Learn rules from TRAIN and measure them, and the fixed ones, on VAL.

    Args:
        train: Pairs of TRAIN.
        val: Pairs of VAL.
        path: VAL's, for the report.
    """
    return _report(path, val, preferences_after(train, val))


def audit_alone(pairs: Sequence[PreferencePair], path: str) -> ShortcutReport:
    """Measure the fixed rules on a file, and the learned ones by cross-validation in it."""
    return _report(path, pairs, preferences_alone(pairs))


def preferences_after(
    train: Sequence[PreferencePair], val: Sequence[PreferencePair]
) -> Preferences:
    """Apply the fixed rules, and rules learned from TRAIN, to VAL."""
    preferences = fixed_rules(val) | {"answer seen as chosen": seen_rule(train, val)}
    unmeasured = {}
    for name, features in LEARNED.items():
        if len(train) < 2:
            unmeasured[name] = "one pair is too few to learn from"
            continue
        preferences[name] = features(train, val) @ learn(features(train, train))
    return _rounded(preferences, unmeasured)


def preferences_alone(pairs: Sequence[PreferencePair]) -> Preferences:
    """Apply the fixed rules, and learned ones by cross-validation.

    Folds are grouped: pairs that share a question or an answer's text, or are linked by others that
    do, are in one fold. Vocabulary and scales are those of the whole file; labels are not seen.
    """
    from sklearn.model_selection import GroupKFold

    groups = linked_groups(pairs)
    folds = min(_FOLDS, len(set(groups)))
    preferences = fixed_rules(pairs)
    unmeasured = {
        "answer seen as chosen": "needs a second file: within one, no answer stands in two folds"
    }
    for name, features in LEARNED.items():
        if folds < _FOLDS:
            unmeasured[name] = (
                f"all pairs hang together through shared questions and answers in {folds} "
                f"group(s), too few for {_FOLDS} folds; give a validation file"
            )
            continue
        matrix = features(pairs, pairs)
        preferences[name] = np.empty(len(pairs))
        for kept, held_out in GroupKFold(folds).split(matrix, groups=groups):
            preferences[name][held_out] = matrix[held_out] @ learn(matrix[kept])
    return _rounded(preferences, unmeasured)


def score_rules(preferences: Preferences, pairs: Sequence[PreferencePair]) -> list[RuleScore]:
    """Score every rule on the pairs that it chose in, the best first."""
    scores = [
        score_rule(name, values.tolist(), pairs) for name, values in preferences.by_rule.items()
    ]
    return sorted(scores, key=lambda score: -score.accuracy)


def fixed_rules(pairs: Sequence[PreferencePair]) -> dict[str, RulePreferences]:
    """Return the rules that learn nothing, by name."""
    return length_rules(pairs) | overlap_rules(pairs)


def linked_groups(pairs: Sequence[PreferencePair]) -> list[int]:
    """Number pairs by group: two are in one if shared questions or answers link them.

    >>> from fitbot.pairs.formats import Message
    >>> asked = [("a", "x", "y"), ("b", "z", "u"), ("c", "y", "v")]
    >>> linked_groups(
    ...     [PreferencePair((Message("user", q),), c, r, 0) for q, c, r in asked]
    ... )
    [0, 1, 0]
    """
    return connected_groups(
        [
            [(True, normalise(prompt_text(pair)))]
            + [(False, normalise(answer)) for answer in (pair.chosen, pair.rejected)]
            for pair in pairs
        ]
    )


def connected_groups(keys: Sequence[Sequence[Hashable]]) -> list[int]:
    """Number things by group: two are in one if they share a key, or are linked by others.

    Groups are numbered in the order of their first things.

    >>> connected_groups([["a", "b"], ["c"], ["b", "d"], ["d"]])
    [0, 1, 0, 0]
    """
    first: dict[Hashable, int] = {}
    links = [(i, first.setdefault(key, i)) for i, own in enumerate(keys) for key in own]
    rows, columns = zip(*links, strict=True) if links else ((), ())
    graph = sparse.coo_array((np.ones(len(links)), (rows, columns)), shape=(len(keys), len(keys)))
    _, labels = connected_components(graph, directed=False)
    numbers: dict[int, int] = {}  # label → number
    return [numbers.setdefault(label, len(numbers)) for label in labels.tolist()]


def _rounded(preferences: dict[str, RulePreferences], unmeasured: dict[str, str]) -> Preferences:
    # Rounding may leave a sum that should be 0 beside it.
    return Preferences(
        {name: np.round(values, 9) for name, values in preferences.items()}, unmeasured
    )


def _report(path: str, pairs: Sequence[PreferencePair], preferences: Preferences) -> ShortcutReport:
    scores = score_rules(preferences, pairs)
    return ShortcutReport(path, len(pairs), scores, preferences.unmeasured)
