"""A fit's figures → what came of it, in one word and the reasons: the end of every fit."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fitbot.audit.rules import RuleScore, wilson_interval

# The one by which others mean least is said first. docs/reference/run-folder.md says when.
Word = Literal[
    "worse than chance",
    "did not move",
    "memorised a shortcut",
    "too few to say",
    "overfitted",
    "not learned",
    "not shown to beat the rule",
    "no more than a bag of words",
    "not measured",
    "learned",
]

_MOVED = 0.02  # nats: mean margin below which, and accuracy not above chance, nothing has happened
_RISEN = 0.05  # share by which validation loss must rise from its lowest to tell of overfitting
_REACHED = 0.02  # a rule so close to the model's accuracy has reached it
# An accuracy with a wider interval says too little. 8 pairs are always too few, 39 always enough.
_WIDEST = 0.3


@dataclass(frozen=True)
class Figures:
    """What a verdict is drawn from. Of validation pairs, or None where there are none."""

    train_accuracy: float  # since the log point before the last
    train_margin: float  # likewise, nats
    val_accuracy: float | None  # at the end
    val_margin: float | None  # at the end, nats
    val_losses: list[float]  # of every validation, in order
    num_val: int  # validation pairs that were measured
    saturated_at: int | None  # optimizer step
    steps: int  # optimizer steps that were done
    # The best that does not read the question, on validation pairs (or else on training pairs).
    shortcut: RuleScore
    num_train: int  # training pairs since the log point before the last, at least 1
    train_loss: float | None = None  # of these
    untrained_loss: float | None = math.log(2)  # where training began; None if that is not known
    equal_pairs: int = 0  # training pairs whose answers are the same tokens
    # Different ones in the validation pairs, as pairs of one question are not independent; None if
    # every pair has its own.
    num_questions: int | None = None
    question_rule: RuleScore | None = None  # the best that reads it, on validation pairs
    train_shortcut: RuleScore | None = None  # the best that does not read it, on training pairs
    chosen_change: float | None = None  # of the chosen answers' log-probs, nats; None if not known
    has_reference: bool = True  # whether rewards are against one


@dataclass(frozen=True)
class _Measured:
    """What a fit is judged by: figures of its validation pairs, or of its training pairs."""

    accuracy: float
    low: float  # 95 % interval
    high: float
    margin: float  # nats
    loss: float | None
    pairs: str  # which
    validated: bool

    def __str__(self) -> str:
        return f"reward accuracy {self.accuracy:.3f} [{self.low:.3f}, {self.high:.3f}] {self.pairs}"


def verdict_on(figures: Figures) -> str:
    """Say in one word what came of it, and why; all else that holds is among the reasons."""
    it = _measured(figures)
    found = list(_holding(it, figures)) or [_nothing_wrong(it, figures)]
    word = found[0][0]
    return f"{word}: {'; '.join([str(it), *(why for _, why in found), *_also(it, figures)])}"


def _measured(figures: Figures) -> _Measured:
    accuracy, num_val = figures.val_accuracy, figures.num_val
    if accuracy is None or not num_val:
        accuracy, count = figures.train_accuracy, figures.num_train
        ends = wilson_interval(accuracy, count)
        margin, loss = figures.train_margin, figures.train_loss
        pairs = f"on the latest {count:,} training pairs"
        return _Measured(accuracy, *ends, margin, loss, pairs, validated=False)
    questions = figures.num_questions or num_val
    loss = figures.val_losses[-1] if figures.val_losses else None
    pairs = f"on {num_val:,} validation pairs"
    pairs += f" of {questions:,} questions" * (questions < num_val)
    ends = wilson_interval(accuracy, questions)
    return _Measured(accuracy, *ends, figures.val_margin or 0.0, loss, pairs, validated=True)


def _holding(it: _Measured, figures: Figures) -> Iterator[tuple[Word, str]]:
    """Yield every word that holds but the best two, and why; in the order of `Word`."""
    if it.high < 0.5:
        yield "worse than chance", "the whole interval is below 0.5"
    elif it.low <= 0.5 and _stands_still(it, figures):
        yield "did not move", f"margin {it.margin:.4f}"
    rule = figures.shortcut
    memorised = it.low > 0.5 and rule.is_shortcut and rule.accuracy >= it.accuracy - _REACHED
    if memorised:
        yield "memorised a shortcut", f"{_named(rule)} reaches {rule.accuracy:.3f}"
    if it.validated and it.high - it.low > _WIDEST:
        wide = f"the interval is wider than {_WIDEST}; 40 different questions are always enough"
        yield "too few to say", wide
    rise = _rise(figures) if it.validated else None
    if rise is not None:
        rose = f"validation loss rose by {rise:.0%} from its lowest; best.ckpt has that"
        yield "overfitted", rose
    # Of a few training pairs an interval that holds 0.5 says nothing.
    if it.low <= 0.5 <= it.high and (it.validated or it.high - it.low <= _WIDEST):
        yield "not learned", "not clearly better than chance"
    if it.margin <= -_MOVED:
        yield "not learned", f"the mean margin, {it.margin:.3f}, is below 0"
    if it.loss is not None and (above := _above_start(it.loss, figures)) > 0:
        start = it.loss - above
        yield "not learned", f"the loss, {it.loss:.3f}, is above the {start:.3f} it began with"
    if it.validated and not memorised and it.low > 0.5:
        yield from _rules_reaching(it.low, figures)


def _rules_reaching(low: float, figures: Figures) -> Iterator[tuple[Word, str]]:
    """Yield the rules that an accuracy above chance is not clearly better than.

    The better of "longer" and "shorter" has 0.5 or more of any pairs. So it is named only where it
    is clearly better than chance itself.
    """
    not_below = "which is not below that interval"
    if (rule := figures.shortcut).accuracy >= low and rule.low > 0.5:
        reached = f"{_named(rule)} reaches {rule.accuracy:.3f}, {not_below}"
        yield "not shown to beat the rule", reached
    if (bag := figures.question_rule) is not None and bag.accuracy >= low:
        reached = f"a bag of words that reads the question reaches {bag.accuracy:.3f}, {not_below}"
        yield "no more than a bag of words", reached


def _nothing_wrong(it: _Measured, figures: Figures) -> tuple[Word, str]:
    if not it.validated:
        return "not measured", "set data.val_path to know what it has learned"
    bag, rule = figures.question_rule, figures.shortcut
    beyond = f"beyond rules that never read the question (best {rule.accuracy:.3f})"
    if rule.accuracy >= it.low:
        beyond = (
            "above chance, as no rule that never reads the question clearly is "
            f"(best {rule.accuracy:.3f} [{rule.low:.3f}, {rule.high:.3f}])"
        )
    beyond += "" if bag is None else f" and beyond what a bag of words learns ({bag.accuracy:.3f})"
    return "learned", beyond


def _also(it: _Measured, figures: Figures) -> Iterator[str]:
    """Say what is to be known whatever the verdict is."""
    if not it.validated:
        yield "there were no validation pairs, so this is of the training pairs only"
    elif it.low <= 0.5 and wilson_interval(figures.train_accuracy, figures.num_train)[0] > 0.5:
        yield f"of the latest training pairs it has {figures.train_accuracy:.3f}"
    known = figures.train_shortcut
    if it.validated and it.low <= 0.5 and known is not None and known.is_shortcut:
        yield f"{_named(known)} reaches {known.accuracy:.3f} on the training pairs"
    if figures.chosen_change is not None and figures.chosen_change <= -_MOVED:
        yield (
            "chosen answers became less likely, too, by "
            f"{-figures.chosen_change:.3g} nats (displacement); a larger model.nll_weight keeps "
            "them likely"
        )
    if not figures.has_reference:
        yield "the loss has no reference, so fitbot evaluate says what the base preferred before"
    if figures.equal_pairs:
        yield (
            f"in {figures.equal_pairs:,} training pairs both answers are the same tokens, from "
            "which nothing is learned"
        )
    if figures.saturated_at is not None:
        yield (
            f"saturated at step {figures.saturated_at:,} of {figures.steps:,}, the training pairs "
            "had nothing left to teach from then on"
        )


def _named(rule: RuleScore) -> str:
    return f"a rule that never reads the question ({rule.rule})"


def _stands_still(it: _Measured, figures: Figures) -> bool:
    """Say whether neither margin nor loss is clearly another than where training began."""
    margins = (it.margin, figures.train_margin)
    still = all(abs(margin) < _MOVED for margin in margins)
    return still and (it.loss is None or _above_start(it.loss, figures) < _MOVED)


def _above_start(loss: float, figures: Figures) -> float:
    """Return by how much a loss is above that of the untrained model; 0 if that is not known."""
    start = figures.untrained_loss
    return 0.0 if start is None else loss - start


def _rise(figures: Figures) -> float | None:
    """Return by which share the last loss is above the lowest, if that is much.

    A loss that was never clearly below the start's has not risen from anything that was learned.
    """
    losses, start = figures.val_losses, figures.untrained_loss
    if len(losses) < 2 or min(losses) <= 0:
        return None
    if start is not None and min(losses) > start - _MOVED:
        return None
    rise = losses[-1] / min(losses) - 1
    return rise if rise > _RISEN else None
