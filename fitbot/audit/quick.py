"""The part of the audit that every fit starts with: length, and what VAL shares with TRAIN."""

from collections.abc import Sequence

from fitbot.audit.records import prompt_text
from fitbot.audit.rules import seen_rule
from fitbot.audit.score import RuleScore, score_rule
from fitbot.audit.text import normalise
from fitbot.pairs.formats import PreferencePair

_SEEN_SHARE = 0.01  # of VAL's prompts that may be in TRAIN without a warning


def quick_audit(train: Sequence[PreferencePair], val: Sequence[PreferencePair]) -> list[str]:
    """Say what a run's accuracy will not mean; one line when nothing is wrong.

    Args:
        train: Pairs of the run's training file.
        val: Pairs of its validation file; may be empty.
    """
    measured, name = (val, "validation") if val else (train, "training")
    best = length_rule(measured)
    found = []
    if best.is_shortcut:
        found.append(
            f"a rule that looks only at length scores {best.accuracy:.2f} on {name} pairs "
            f"({best.rule}): reward accuracy means little below that"
        )
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
    return [f"audit: length tells {best.accuracy:.2f} of {name} pairs{shared}; nothing stands out"]


def best_quick_rule(train: Sequence[PreferencePair], val: Sequence[PreferencePair]) -> RuleScore:
    """Score the rules that take no time on VAL, on TRAIN where there is none; return the best."""
    found = [length_rule(val or train)]
    if val:
        found.append(score_rule("answer seen as chosen", seen_rule(train, val).tolist(), val))
    return max(found, key=lambda score: score.accuracy)


def length_rule(pairs: Sequence[PreferencePair]) -> RuleScore:
    """Score the better of two rules: the longer answer, or the shorter one, in characters."""
    longer = [len(pair.chosen) - len(pair.rejected) for pair in pairs]
    scores = (
        score_rule("the longer answer", longer, pairs),
        score_rule("the shorter answer", [-value for value in longer], pairs),
    )
    return max(scores, key=lambda score: score.accuracy)


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
