"""A fit's figures → what came of it, in one word and the reasons: the end of every fit."""

import math
from dataclasses import dataclass
from typing import Literal

from fitbot.audit.rules import RuleScore, wilson_interval

Word = Literal[
    "learned",
    "not shown to beat the rule",
    "memorised a shortcut",
    "saturated",
    "overfitted",
    "did not move",
    "not learned",
    "too few to say",
    "not measured",
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
    train_loss: float | None = None  # since the log point before the last
    untrained_loss: float | None = math.log(2)  # where training began; None if that is not known
    equal_pairs: int = 0  # training pairs whose answers are the same tokens
    # Different ones in the validation pairs, as pairs of one question are not independent; None if
    # every pair has its own.
    num_questions: int | None = None


def verdict_on(figures: Figures) -> str:
    """Say in one word what came of it, and why; of several the one by which others mean least."""
    reasons = _also(figures)
    accuracy = figures.val_accuracy
    if accuracy is None or not figures.num_val:
        return _on_training_pairs(figures, reasons)
    questions = figures.num_questions or figures.num_val
    low, high = wilson_interval(accuracy, questions)
    summary = (
        f"reward accuracy {accuracy:.3f} [{low:.3f}, {high:.3f}] on {figures.num_val:,} validation "
        "pairs" + f" of {questions:,} questions" * (questions < figures.num_val)
    )
    loss = figures.val_losses[-1] if figures.val_losses else None
    margin, rule = figures.val_margin or 0.0, figures.shortcut
    risen = _above_start(loss, figures)
    if abs(margin) < _MOVED and low < 0.5 < high and risen < _MOVED:
        return _say("did not move", f"{summary}, margin {margin:.4f}", *reasons)
    if low > 0.5 and (memorised := _memorised(accuracy, rule)):
        return _say("memorised a shortcut", summary + memorised, *reasons)
    if high - low > _WIDEST:
        wide = f"their interval is wider than {_WIDEST}; 40 different questions are always enough"
        return _say("too few to say", summary, wide, *reasons)
    wrong = _wrong(low, high, loss, figures)
    if rise := _rise(figures):
        rose = f"validation loss rose by {rise:.0%} from its lowest; best.ckpt has that"
        return _say("overfitted", summary, *wrong, *reasons, rose)
    if wrong:
        return _say("not learned", summary, *wrong, *reasons)
    if rule.accuracy >= low:
        reached = (
            f"a rule that never reads the question ({rule.rule}) reaches {rule.accuracy:.3f}, "
            "which is not below that interval"
        )
        return _say("not shown to beat the rule", summary, reached, *reasons)
    if figures.saturated_at is not None:
        return _say("saturated", summary, *reasons)
    best = f"best rule that never reads the question {rule.accuracy:.3f}"
    return _say("learned", f"{summary}, {best}", *reasons)


def _also(figures: Figures) -> list[str]:
    """Say what is to be known whatever the verdict is."""
    found = []
    if figures.equal_pairs:
        found.append(
            f"in {figures.equal_pairs:,} training pairs both answers are the same tokens, from "
            "which nothing is learned"
        )
    if figures.saturated_at is not None:
        found.append(
            f"saturated at step {figures.saturated_at:,} of {figures.steps:,}, nothing was left to "
            "learn from then on"
        )
    return found


def _on_training_pairs(figures: Figures, reasons: list[str]) -> str:
    """Judge a run without validation pairs: whatever it has learned, that it carries over is open.

    Its figures are of the pairs since the last log point but one, too few for an interval.
    """
    accuracy, margin, loss = figures.train_accuracy, figures.train_margin, figures.train_loss
    summary = f"reward accuracy {accuracy:.3f}, margin {margin:.4f} on the latest training pairs"
    reasons = ["there were no validation pairs, so this is of the training pairs only", *reasons]
    if abs(margin) < _MOVED and _above_start(loss, figures) < _MOVED:
        return _say("did not move", summary, *reasons)
    if wrong := _wrong(accuracy, accuracy, loss, figures):
        return _say("not learned", summary, *wrong, *reasons)
    if memorised := _memorised(accuracy, figures.shortcut):
        return _say("memorised a shortcut", summary + memorised, *reasons)
    if figures.saturated_at is not None:
        return _say("saturated", summary, *reasons)
    return _say("not measured", summary, *reasons, "set data.val_path to know more")


def _say(word: Word, *reasons: str) -> str:
    return f"{word}: {'; '.join(reasons)}"


def _memorised(accuracy: float, rule: RuleScore) -> str:
    """Say which rule tells the pairs apart as well as the model; "" if none does."""
    if not (rule.is_shortcut and rule.accuracy >= accuracy - _REACHED):
        return ""
    return (
        f" is no more than a rule reaches that never reads the question ({rule.rule}: "
        f"{rule.accuracy:.3f})"
    )


def _wrong(low: float, high: float, loss: float | None, figures: Figures) -> list[str]:
    """Say by which figures nothing good was learned: an accuracy's interval, and the loss."""
    found = []
    if low <= 0.5:
        found.append("worse than chance" if high < 0.5 else "no better than chance")
    if _above_start(loss, figures) > 0:
        start = figures.untrained_loss
        found.append(f"the loss, {loss:.3f}, is above the {start:.3f} it began with")
    return found


def _above_start(loss: float | None, figures: Figures) -> float:
    """Return by how much a loss lies above that of the untrained model; 0 if one is not known."""
    start = figures.untrained_loss
    return 0.0 if loss is None or start is None else loss - start


def _rise(figures: Figures) -> float | None:
    """Return by which share the last loss lies above the lowest, if that is much.

    A loss that was never clearly below the start's has not risen from anything that was learned.
    """
    losses, start = figures.val_losses, figures.untrained_loss
    if len(losses) < 2 or min(losses) <= 0:
        return None
    if start is not None and min(losses) > start - _MOVED:
        return None
    rise = losses[-1] / min(losses) - 1
    return rise if rise > _RISEN else None
