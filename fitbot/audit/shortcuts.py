"""Pairs → how accurate rules are that know no language, and what that means.

Most never read the question; two read it as a bag of words. Also the part of the audit that every
fit starts with: length, punctuation, words, and what VAL shares with TRAIN.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from fitbot.audit.question_rules import cross_validate, question_rules
from fitbot.audit.records import control_strings, prompt_text
from fitbot.audit.rules import (
    BILINEAR,
    LEARNED,
    NEAREST,
    SHORTCUT_ABOVE,
    Features,
    RulePreferences,
    RuleScore,
    learn,
    length_rules,
    overlap_rules,
    score_rule,
    seen_rule,
)
from fitbot.audit.text import normalise
from fitbot.pairs.formats import PreferencePair
from fitbot.pairs.store import some_of

_FOLDS = 5
_QUICK = ("punctuation and format", "bag of words")  # rules that every fit begins with
_QUICK_PAIRS = 2000  # of TRAIN, that they are learned from and measured on
_QUICK_CHARACTERS = 800_000  # of their answers; of long ones there are fewer pairs, but some:
_LEAST_QUICK = 300
_LEAST_LEARNED = 20  # pairs that rules which read the question learn from
_SEEN_SHARE = 0.01  # of VAL's prompts that may be in TRAIN without a warning in a fit
_LISTED = 5  # control strings that are named
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
    rules: list[RuleScore]  # that do not read the question
    unmeasured: dict[str, str]  # rule → why it could not be measured
    question_rules: list[RuleScore]  # that read it as a bag of words; none if too few learn
    is_train: bool  # the file is TRAIN; rules were learned from it, by cross-validation

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
        if self.is_train:
            what += "; a run may learn only that from it"
        return f"a rule that looks {_LOOKS_AT[best.rule]} scores {best.accuracy:.2f} here; {what}"

    @property
    def bar(self) -> str:
        """What the better rule that reads the question means; "" without one."""
        if not self.question_rules:
            return ""
        best = self.question_rules[0]
        if best.low <= SHORTCUT_ABOVE:
            return f"a bag of words learns little or nothing here ({best.accuracy:.2f})"
        return (
            f"accuracy up to {best.accuracy:.2f} is what a bag of words learns here; this is no "
            "fault, but the bar for a model"
        )


def audit_shortcuts(
    train: Sequence[PreferencePair] | None, val: Sequence[PreferencePair], path: str
) -> ShortcutReport:
    """Measure the fixed rules, and those learned from TRAIN, on VAL.

    Args:
        train: Pairs of TRAIN; None: `val` is TRAIN, and rules are learned by cross-validation.
        val: Pairs of VAL.
        path: VAL's, for the report.
    """
    preferences, unmeasured = rule_preferences(train, val)
    reading, why = question_preferences(train, val)
    if why:
        unmeasured |= dict.fromkeys((NEAREST, BILINEAR), why)
    return ShortcutReport(
        path=path,
        pairs=len(val),
        rules=score_rules(preferences, val),
        unmeasured=unmeasured,
        question_rules=score_rules(reading, val),
        is_train=train is None,
    )


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
        too_few = _too_few(groups)
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
    preferences = np.empty(len(groups))
    for kept, held_out in _folds(groups):
        preferences[held_out] = features[held_out] @ learn(features[kept])
    return preferences


def _folds(groups: Sequence[int]) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Part the indices of pairs, no group twice; → those to learn from, those held out."""
    from sklearn.model_selection import GroupKFold

    return list(GroupKFold(_FOLDS).split(groups, groups=groups))


def _too_few(groups: Sequence[int]) -> str:
    """Say why there cannot be folds; "" if there can."""
    if len(set(groups)) >= _FOLDS:
        return ""
    return (
        f"all pairs hang together through shared questions and answers in "
        f"{len(set(groups))} group(s), too few for {_FOLDS} folds; a validation file would show it"
    )


def quick_audit(train: Sequence[PreferencePair], val: Sequence[PreferencePair]) -> list[str]:
    """Say what a run's accuracy will not mean; one line when nothing is wrong. VAL may be empty."""
    files = {name: own for name, own in (("validation", val), ("training", train)) if own}
    lengths = {name: length_rule(own) for name, own in files.items()}
    found = _quick_shortcuts(train, lengths)
    found += _control_lines(train, "training") + _control_lines(val, "validation")
    seen = _seen_shares(train, val)
    shares = ", ".join(f"{share:.0%} of {what}" for what, share in seen.items())
    if val:
        # Answers that TRAIN chose as often as it rejected them do not help.
        liked = score_rule("answer seen as chosen", seen_rule(train, val).tolist(), val)
        if liked.is_shortcut or seen["prompts"] > _SEEN_SHARE:
            found.append(
                f"of the validation file, {shares} stand in the training file; picking the answer "
                f"that was chosen there scores {liked.accuracy:.2f}"
            )
    if found:
        return [f"audit: {line}" for line in found]
    shared = f"; {shares} of validation stand in training" if seen else ""
    tells = " and ".join(f"{best.accuracy:.2f} of {name}" for name, best in lengths.items())
    return [f"audit: length tells {tells} pairs{shared}; nothing stands out"]


def _quick_shortcuts(
    train: Sequence[PreferencePair], lengths: Mapping[str, RuleScore]
) -> list[str]:
    """Say which file's better answers length gives away; if not TRAIN's, what else gives them away.

    Args:
        train: Pairs of TRAIN.
        lengths: The better rule on length by file, VAL first.
    """
    found = []
    telling = {name: best for name, best in lengths.items() if best.is_shortcut}
    if telling:
        name, best = next(iter(telling.items()))
        means = "reward accuracy means little below that"
        if name == "training" and "validation" in lengths:
            means = (
                f"the run may learn that first; on validation pairs it is worth "
                f"{lengths['validation'].accuracy:.2f}"
            )
        found.append(
            f"a rule that looks only at length scores {best.accuracy:.2f} on {name} pairs "
            f"({best.rule}): {means}"
        )
    if "training" not in telling and (other := _quick_learned(train)) is not None:
        found.append(
            f"a rule that looks {_LOOKS_AT[other.rule]} scores {other.accuracy:.2f} on training "
            "pairs that it did not learn from: the run may learn no more than that"
        )
    return found


def _quick_learned(train: Sequence[PreferencePair]) -> RuleScore | None:
    """Learn two rules from some of TRAIN, by cross-validation; return the better, if a shortcut."""
    size = sum(len(pair.chosen) + len(pair.rejected) for pair in train) / len(train)
    count = min(_QUICK_PAIRS, max(_LEAST_QUICK, int(_QUICK_CHARACTERS / size)))
    some = some_of(train, count)
    groups = linked_groups(some)
    if _too_few(groups):
        return None
    scores = score_rules(
        {name: _cross_validate(LEARNED[name](some, some), groups) for name in _QUICK}, some
    )
    return scores[0] if scores[0].is_shortcut else None


def _control_lines(pairs: Sequence[PreferencePair], name: str) -> list[str]:
    """Say which control strings stand in texts; nothing if none does."""
    strings = control_strings(pairs)
    if not strings:
        return []
    named = ", ".join(
        f"{string} in {found.pairs:,} (first in record {found.examples[0].record})"
        for string, found in list(strings.items())[:_LISTED]
    )
    more = f" and {len(strings) - _LISTED:,} others" if len(strings) > _LISTED else ""
    return [
        f"texts of {name} pairs hold control strings of chat templates: {named}{more}; the model "
        "sees plain characters there, and tokens only for a thought that begins an answer"
    ]


def best_quick_rule(train: Sequence[PreferencePair], val: Sequence[PreferencePair]) -> RuleScore:
    """Score the rules that take no time on VAL, on TRAIN where there is none; return the best."""
    found = [length_rule(val or train)]
    if val:
        found.append(score_rule("answer seen as chosen", seen_rule(train, val).tolist(), val))
    return max(found, key=lambda score: score.accuracy)


def best_question_rule(
    train: Sequence[PreferencePair], val: Sequence[PreferencePair]
) -> RuleScore | None:
    """Score the rules that read the question on VAL, learned from TRAIN; return the better one.

    Without VAL they are measured on TRAIN, by cross-validation over groups of questions.

    Returns:
        None where too few pairs are there to learn from.
    """
    preferences, _ = question_preferences(train, val) if val else question_preferences(None, train)
    scores = score_rules(preferences, val or train)
    return scores[0] if scores else None


def question_preferences(
    train: Sequence[PreferencePair] | None, val: Sequence[PreferencePair]
) -> tuple[dict[str, RulePreferences], str]:
    """Apply rules that read the question, learned from TRAIN or else by cross-validation, to VAL.

    Returns:
        What both rules prefer, or nothing and why not.
    """
    if train is not None:
        if len(train) < _LEAST_LEARNED:
            return {}, f"{len(train)} pairs are too few to learn from, of {_LEAST_LEARNED} needed"
        return question_rules(train, val), ""
    groups = linked_groups(val)
    if why := _too_few(groups):
        return {}, why
    return cross_validate(val, _folds(groups)), ""


def length_rule(pairs: Sequence[PreferencePair]) -> RuleScore:
    """Score the better of two rules: the longer answer, or the shorter one, in characters."""
    longer = length_rules(pairs)["longer, characters"]
    return score_rules({"the longer answer": longer, "the shorter answer": -longer}, pairs)[0]


def _seen_shares(
    train: Sequence[PreferencePair], val: Sequence[PreferencePair]
) -> dict[str, float]:
    prompts = {normalise(prompt_text(pair)) for pair in train}
    answers = {normalise(text) for pair in train for text in (pair.chosen, pair.rejected)}
    hits = {
        "prompts": [normalise(prompt_text(pair)) in prompts for pair in val],
        "chosen answers": [normalise(pair.chosen) in answers for pair in val],
        "rejected answers": [normalise(pair.rejected) in answers for pair in val],
    }
    return {what: sum(found) / len(val) for what, found in hits.items() if val}
