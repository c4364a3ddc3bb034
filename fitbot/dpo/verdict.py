"""A fit's figures → what came of it, in one word and the reasons: the end of every fit."""

from dataclasses import dataclass
from typing import Literal

from fitbot.audit.rules import RuleScore, wilson_interval

Word = Literal["learned", "memorised a shortcut", "saturated", "overfitted", "did not move"]

_MOVED = 0.02  # nats: mean margin below which, and accuracy not above chance, nothing has happened
_RISEN = 0.05  # share by which validation loss must rise from its lowest to tell of overfitting
_REACHED = 0.02  # a rule so close to the model's accuracy has reached it


@dataclass(frozen=True)
class Figures:
    """What a verdict is drawn from. Of validation pairs, or None where there are none."""

    train_accuracy: float  # since the log point before the last
    train_margin: float  # likewise, nats
    val_accuracy: float | None  # at the end
    val_margin: float | None  # at the end, nats
    val_losses: list[float]  # of every validation, in order
    num_val: int  # validation pairs
    saturated_at: int | None  # optimizer step
    steps: int  # optimizer steps that were done
    # The best that does not read the question, on validation pairs (or else on training pairs).
    shortcut: RuleScore
    equal_pairs: int = 0  # training pairs whose answers are the same tokens


def verdict_on(figures: Figures) -> str:
    """Say in one word what came of it, and why; of several the one by which others mean least."""
    accuracy = figures.val_accuracy
    reasons = []
    if accuracy is None:
        reasons.append("there were no validation pairs, so this is of the training pairs only")
        accuracy = figures.train_accuracy
    if figures.equal_pairs:
        reasons.append(
            f"in {figures.equal_pairs:,} training pairs both answers are the same tokens, from "
            "which nothing is learned"
        )
    margin = figures.train_margin if figures.val_margin is None else figures.val_margin
    low, high, summary = 0.0, 1.0, f"reward accuracy {accuracy:.3f}"
    if figures.num_val:
        low, high = wilson_interval(accuracy, figures.num_val)
        summary += f" [{low:.3f}, {high:.3f}] on {figures.num_val:,} validation pairs"
    shortcut = figures.shortcut
    if figures.saturated_at is not None:
        reasons.append(
            f"saturated at step {figures.saturated_at:,} of {figures.steps:,}, nothing was left to "
            "learn from then on"
        )
    if abs(margin) < _MOVED and low < 0.5:
        return _say("did not move", f"{summary}, margin {margin:.4f}", *reasons)
    if shortcut.is_shortcut and shortcut.accuracy >= accuracy - _REACHED:
        summary += (
            f" is no more than a rule reaches that never reads the question ({shortcut.rule}: "
            f"{shortcut.accuracy:.3f})"
        )
        return _say("memorised a shortcut", summary, *reasons)
    if rise := _rise(figures.val_losses):
        reasons.append(f"validation loss rose by {rise:.0%} from its lowest; best.ckpt has that")
        return _say("overfitted", summary, *reasons)
    if figures.saturated_at is not None:
        return _say("saturated", summary, *reasons)
    if low < 0.5 and figures.num_val:
        return _say("did not move", f"{summary}: no better than chance", *reasons)
    best = f"best rule that never reads the question {shortcut.accuracy:.3f}"
    return _say("learned", f"{summary}, {best}", *reasons)


def _say(word: Word, *reasons: str) -> str:
    return f"{word}: {'; '.join(reasons)}"


def _rise(losses: list[float]) -> float | None:
    """Return by which share the last loss lies above the lowest, if that is much."""
    if len(losses) < 2 or min(losses) <= 0:
        return None
    rise = losses[-1] / min(losses) - 1
    return rise if rise > _RISEN else None
