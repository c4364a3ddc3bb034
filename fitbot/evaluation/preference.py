"""Log-probs of pairs → what a model prefers: accuracy, margin, loss, and how likely answers became.

By label, too, beside rules that never read the question, and two that read it as a bag of words. A
rule that is useless over all pairs can be right in every pair of one kind: where an explanation is
asked for, the longer answer is the right one. So rules are measured in every group.

The figures of a pair are those of the objective, `dpo.metrics.pair_figures`: what fit, validate and
test show are their means. N pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fitbot.audit.rules import RulePreferences, RuleScore
from fitbot.audit.shortcuts import score_rules
from fitbot.dpo.losses import CHOSEN_CHANGE as CHOSEN_CHANGE
from fitbot.dpo.losses import LOSSES
from fitbot.dpo.metrics import NAMES, pair_figures
from fitbot.evaluation.cases import Case, groups_of
from fitbot.evaluation.intervals import Estimate, Floats, estimate_mean, estimate_rate
from fitbot.evaluation.models import Model

ALL = "all"
LIKE_LENGTH = 0.1  # share of the longer answer's tokens that the shorter one may lack

# What is measured of the log-probs alone, and so of the base, too: the share of pairs in which the
# chosen answer has the higher log-prob; a token; where both are of like length.
LIKELIER = "logps/accuracies"
LIKELIER_PER_TOKEN = "logps/accuracies_per_token"
LIKELIER_LIKE_LENGTH = "logps/accuracies_like_length"
# The same of the rewards: log-probs less those of the reference.
ACCURACY = "rewards/accuracies"
ACCURACY_PER_TOKEN = "rewards/accuracies_per_token"
ACCURACY_LIKE_LENGTH = "rewards/accuracies_like_length"
MARGIN = "rewards/margins"
# The change against the reference in nats, whatever beta is.
REJECTED_CHANGE = "logratios/rejected"

# What a model's accuracy is to chance and to rules, the worst first.
Standing = Literal[
    "worse than chance",
    "not clearly better than chance",
    "no better than a rule",
    "no better than a bag of words",
    "better than chance",
    "better than every rule",
]
ENOUGH = 30  # groups of dependent pairs, of which a model that has learned is above chance

RATES = (LIKELIER, LIKELIER_PER_TOKEN, ACCURACY, ACCURACY_PER_TOKEN)

# What reports show of pairs: figure → what it is called.
FIGURES = {
    ACCURACY: "reward accuracy",
    ACCURACY_PER_TOKEN: "  per token",
    ACCURACY_LIKE_LENGTH: "  answers of like length",
    MARGIN: "margin",
    "loss": "loss of its objective",
    LIKELIER: "chosen answer likelier",
    LIKELIER_PER_TOKEN: "  per token",
    LIKELIER_LIKE_LENGTH: "  answers of like length",
    "logps/chosen": "chosen: log-prob, nats",
    "logps/rejected": "rejected: log-prob, nats",
    CHOSEN_CHANGE: "chosen: change, nats",
    REJECTED_CHANGE: "rejected: change, nats",
}


class PairFigures:
    """One model's figures, pair by pair."""

    def __init__(self, model: Model, logps: Tensor, reference: Tensor, lengths: NDArray[np.int64]):
        """Work them out.

        Args:
            model: Whose they are; the base has no rewards.
            logps: (N, 2) float64 nats: chosen, rejected.
            reference: (N, 2) the same under its reference.
            lengths: (N, 2) scored tokens of each answer.
        """
        self.model = model
        scores: Floats = logps.numpy()
        self.like_length = is_like_length(lengths)
        self.columns: dict[str, Floats] = {
            "logps/chosen": scores[:, 0],
            "logps/rejected": scores[:, 1],
            LIKELIER: _is_higher(scores),
            LIKELIER_PER_TOKEN: _is_higher(scores / lengths),
        }
        if model.objective is not None:
            owner = torch.from_numpy(np.repeat(np.arange(lengths.size), lengths.flatten()))
            terms = model.objective.terms(logps, reference, owner)
            # Without a reference of its own, a model's rewards are against the base all the same.
            rewards = model.objective.with_reference().terms(logps, reference, owner)
            terms = rewards._replace(losses=terms.losses)
            self.columns |= dict(zip(NAMES, pair_figures(terms, logps).numpy(), strict=True))
            if model.objective.loss not in LOSSES:
                del self.columns["loss"]  # an own loss is a program, which no adapter may start
            change: Floats = (logps - reference).numpy()
            self.columns[CHOSEN_CHANGE], self.columns[REJECTED_CHANGE] = change.T
            self.columns[ACCURACY_PER_TOKEN] = _is_higher(change / lengths)

    def estimates(self, groups: Sequence[int], where: Sequence[int]) -> dict[str, Estimate]:
        """Estimate the mean of every figure.

        Args:
            groups: (N,) the group of each pair; see cases.dependent_groups.
            where: Indices of the pairs that count, at least one.
        """
        own = [groups[i] for i in where]
        found = {
            name: (estimate_rate if name in RATES else estimate_mean)(column[where], own)
            for name, column in self.columns.items()
        }
        alike = [i for i in where if self.like_length[i]]
        for name, of in ((LIKELIER_LIKE_LENGTH, LIKELIER), (ACCURACY_LIKE_LENGTH, ACCURACY)):
            if of in self.columns and alike:
                found[name] = estimate_rate(self.columns[of][alike], [groups[i] for i in alike])
        return found


@dataclass(frozen=True)
class Group:
    """Some of the pairs, and what was measured on them."""

    label: str  # ALL, or a label of the file: category, flaw, split
    value: str
    pairs: int
    independent: int  # groups of pairs that depend on each other
    like_length: int  # pairs whose answers are of like length
    rules: list[RuleScore]  # that never read the question; the best first
    question_rules: list[RuleScore]  # that read it as a bag of words; likewise, or none
    figures: dict[str, dict[str, Estimate]]  # by model, by figure
    # Model → rules above chance that are as accurate as its interval allows it to be; none if the
    # model is not above chance.
    reached_by: dict[str, list[str]]
    # Model → rule that reads the question → the model's main figure less the rule's accuracy. The
    # difference is paired: that of each pair.
    beyond: dict[str, dict[str, Estimate]]

    def main_figure(self, model: str) -> Estimate:
        """Return reward accuracy; of the base, which has none, how often chosen is likelier."""
        return self.figures[model].get(ACCURACY) or self.figures[model][LIKELIER]

    def beyond_best(self, model: str) -> Estimate | None:
        """Return by how much a model beats the better rule that reads the question."""
        return self.beyond[model][self.question_rules[0].rule] if self.question_rules else None

    def standing(self, model: str) -> Standing:
        """Say what a model's main figure is to chance and to rules."""
        figure, beyond = self.main_figure(model), self.beyond_best(model)
        if figure.lies_below(0.5):
            return "worse than chance"
        if not figure.lies_above(0.5):
            return "not clearly better than chance"
        if self.reached_by[model]:
            return "no better than a rule"
        if beyond is not None and not beyond.lies_above(0):
            return "no better than a bag of words"
        if not figure.lies_above(self.rules[0].accuracy):
            return "better than chance"  # which that rule is not known to be
        return "better than every rule"

    def mark(self, model: str) -> Standing | None:
        """Return a standing that asks for something to be done, of enough pairs to say so.

        That a rule does as well in one group does not: with one kind of mistake the longer answer
        may be right throughout, and over all pairs in half of them.
        """
        standing = self.standing(model)
        unclear = standing == "not clearly better than chance" and self.independent >= ENOUGH
        return standing if unclear or standing == "worse than chance" else None

    def reaching(self, rule: str) -> list[str]:
        """Return the models that a rule is as good as."""
        return [model for model, rules in self.reached_by.items() if rule in rules]


def measure_groups(
    cases: Sequence[Case],
    group_ids: Sequence[int],
    models: Sequence[PairFigures],
    preferences: Mapping[str, RulePreferences],
    reading: Mapping[str, RulePreferences],
) -> list[Group]:
    """Measure models and rules on all pairs, and on those of every label.

    Args:
        cases: N pairs.
        group_ids: (N,) number of the group that each belongs to.
        models: What they prefer.
        preferences: What rules prefer that never read the question.
        reading: What rules prefer that read it as a bag of words; may be empty.
    """
    parts = {ALL: {ALL: list(range(len(cases)))}} | groups_of(cases)
    found = []
    for label, values in parts.items():
        for value, where in values.items():
            pairs = [cases[i].pair for i in where]
            rules, question_rules = (
                score_rules({name: own[where] for name, own in both.items()}, pairs)
                for both in (preferences, reading)
            )
            figures = {one.model.name: one.estimates(group_ids, where) for one in models}
            main = {name: own.get(ACCURACY) or own[LIKELIER] for name, own in figures.items()}
            group = Group(
                label=label,
                value=value,
                pairs=len(where),
                independent=len({group_ids[i] for i in where}),
                like_length=int(models[0].like_length[where].sum()),
                rules=rules,
                question_rules=question_rules,
                figures=figures,
                reached_by={name: reaching(rules, own) for name, own in main.items()},
                beyond={
                    one.model.name: _beyond(one, reading, [group_ids[i] for i in where], where)
                    for one in models
                },
            )
            found.append(group)
    return found


def reaching(rules: Sequence[RuleScore], accuracy: Estimate) -> list[str]:
    """Name the rules that a model's accuracy is not clearly better than.

    Only where both are clearly above chance: of many rules the best has more than half by luck.
    """
    above = accuracy.lies_above(0.5)
    return [x.rule for x in rules if above and x.low > 0.5 and not accuracy.lies_above(x.accuracy)]


def _beyond(
    model: PairFigures,
    reading: Mapping[str, RulePreferences],
    groups: Sequence[int],
    where: Sequence[int],
) -> dict[str, Estimate]:
    """Estimate by how much a model's main figure exceeds each rule's accuracy, pair by pair."""
    column = model.columns.get(ACCURACY, model.columns[LIKELIER])[where]
    return {rule: estimate_mean(column - wins(own[where]), groups) for rule, own in reading.items()}


@dataclass(frozen=True)
class Displacement:
    """Whether learning to prefer made chosen answers likelier, or rejected ones less likely only.

    Shares of pairs by what became of their two log-probs; they add up to 1.

    Source: Razin et al. 2024, https://arxiv.org/abs/2410.08847
    """

    both_up: float
    chosen_up_only: float
    rejected_up_only: float
    neither_up: float
    verdict: str


def displacement_of(figures: PairFigures, groups: Sequence[int]) -> Displacement | None:
    """Say what became of the log-probs; None for the base."""
    if CHOSEN_CHANGE not in figures.columns:
        return None
    chosen, rejected = figures.columns[CHOSEN_CHANGE], figures.columns[REJECTED_CHANGE]
    up, also = chosen > 0, rejected > 0
    return Displacement(
        both_up=float(np.mean(up & also)),
        chosen_up_only=float(np.mean(up & ~also)),
        rejected_up_only=float(np.mean(~up & also)),
        neither_up=float(np.mean(~up & ~also)),
        verdict=_displaced(estimate_mean(chosen, groups), estimate_mean(rejected, groups)),
    )


def _displaced(chosen: Estimate, rejected: Estimate) -> str:
    """Say which of both clearly moved, and which way; figures with their intervals."""
    moved = f"{chosen} nats for chosen answers, {rejected} for rejected ones"
    return f"{_MOVES[_direction(chosen), _direction(rejected)]}: {moved}"


def _direction(change: Estimate) -> int:
    return int(change.lies_above(0)) - int(change.lies_below(0))


# What became of chosen and of rejected answers → the sentence. 1: likelier, -1: less likely.
_MOVES = {
    (1, -1): "chosen answers became likelier and rejected ones less likely",
    (1, 0): "chosen answers became likelier, rejected ones did not clearly move",
    (1, 1): "chosen answers became likelier, and rejected ones, too",
    (0, -1): "only rejected answers clearly moved, they became less likely",
    (0, 0): "neither clearly became likelier or less likely",
    (0, 1): "only rejected answers clearly moved, they became likelier",
    (-1, -1): "chosen answers became less likely, too (displacement)",
    (-1, 0): "chosen answers became less likely, rejected ones did not clearly move",
    (-1, 1): "chosen answers became less likely and rejected ones likelier, the wrong way round",
}


def is_like_length(lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which pairs' answers differ by at most LIKE_LENGTH of the longer: (N, 2) tokens → (N,).

    >>> is_like_length(np.array([[10, 11], [10, 9], [10, 12]])).tolist()
    [True, True, False]
    """
    found: NDArray[np.bool_] = np.ptp(lengths, axis=1) <= LIKE_LENGTH * lengths.max(axis=1)
    return found


def _is_higher(both: Floats) -> Floats:
    return wins(both[:, 0] - both[:, 1])


def wins(differences: Floats) -> Floats:
    """Say where a difference is above 0: (N,) → (N,) 1 or 0; a tie is a guess, one half."""
    return (1 + np.sign(differences)) / 2
