"""Pairs → how accurate rules are that never read the question, and what that means."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from fitbot.audit.records import prompt_text
from fitbot.audit.rules import (
    LEARNED,
    Features,
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


def audit_shortcuts(
    train: Sequence[PreferencePair] | None, val: Sequence[PreferencePair], path: str
) -> ShortcutReport:
    """Measure the fixed rules, and those learned from TRAIN, on VAL.

    Args:
        train: Pairs of TRAIN; None: rules are learned from VAL, by cross-validation.
        val: Pairs of VAL.
        path: VAL's, for the report.
    """
    preferences, unmeasured = rule_preferences(train, val)
    return ShortcutReport(path, len(val), score_rules(preferences, val), unmeasured)


def rule_preferences(
    train: Sequence[PreferencePair] | None, val: Sequence[PreferencePair]
) -> tuple[dict[str, RulePreferences], dict[str, str]]:
    """Apply the fixed rules, and rules learned from TRAIN or else by cross-validation, to VAL.

    Folds are grouped: pairs that share a question or an answer's text, or are linked by others that
    do, are in one fold. Vocabulary and scales are those of the whole file; labels are not seen.

    Returns:
        What every rule prefers, and why each of the other rules could not be measured.
    """
    preferences = length_rules(val) | overlap_rules(val)
    unmeasured, too_few = {}, ""
    if train is not None:
        preferences["answer seen as chosen"] = seen_rule(train, val)
        too_few = "one pair is too few to learn from" if len(train) < 2 else ""
    else:
        groups = linked_groups(val)
        unmeasured["answer seen as chosen"] = (
            "needs a second file: within one, no answer stands in two folds"
        )
        if len(set(groups)) < _FOLDS:
            too_few = (
                f"all pairs hang together through shared questions and answers in "
                f"{len(set(groups))} group(s), too few for {_FOLDS} folds; give a validation file"
            )
    for name, features in LEARNED.items():
        if too_few:
            unmeasured[name] = too_few
        elif train is None:
            preferences[name] = _cross_validate(features(val, val), groups)
        else:
            preferences[name] = features(train, val) @ learn(features(train, train))
    # Rounding may leave a sum that should be 0 beside it.
    return {name: np.round(values, 9) for name, values in preferences.items()}, unmeasured


def score_rules(
    preferences: Mapping[str, RulePreferences], pairs: Sequence[PreferencePair]
) -> list[RuleScore]:
    """Score every rule on the pairs that it chose in, the best first."""
    scores = [score_rule(name, values.tolist(), pairs) for name, values in preferences.items()]
    return sorted(scores, key=lambda score: -score.accuracy)


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


def _cross_validate(features: Features, groups: Sequence[int]) -> RulePreferences:
    from sklearn.model_selection import GroupKFold

    preferences = np.empty(len(groups))
    for kept, held_out in GroupKFold(_FOLDS).split(features, groups=groups):
        preferences[held_out] = features[held_out] @ learn(features[kept])
    return preferences
