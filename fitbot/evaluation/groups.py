"""Pairs by label → every model's figures there, beside rules that never read the question.

A rule that is useless over all pairs can be right in every pair of one kind: where an explanation
is asked for, the longer answer is the right one. So rules are measured in every group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fitbot.audit.rules import RulePreferences
from fitbot.audit.score import RuleScore
from fitbot.audit.shortcuts import score_rules
from fitbot.evaluation.cases import Case, groups_of
from fitbot.evaluation.intervals import Estimate
from fitbot.evaluation.preference import ACCURACY, LIKELIER, PairFigures

ALL = "all"


@dataclass(frozen=True)
class Group:
    """Some of the pairs, and what was measured on them."""

    label: str  # ALL, or a label of the file: category, flaw, split
    value: str
    pairs: int
    independent: int  # groups of pairs that depend on each other
    like_length: int  # pairs whose answers are of like length
    rules: list[RuleScore]  # the best first
    figures: dict[str, dict[str, Estimate]]  # by model, by figure
    reached_by: dict[str, list[str]]  # model → rules as accurate as its interval allows it to be

    def main_figure(self, model: str) -> Estimate:
        """Return reward accuracy; of the base, which has none, how often chosen is likelier."""
        return _main(self.figures[model])

    def reaching(self, rule: str) -> list[str]:
        """Return the models that a rule is as good as."""
        return [model for model, rules in self.reached_by.items() if rule in rules]


def measure_groups(
    cases: Sequence[Case],
    group_ids: Sequence[int],
    models: Sequence[PairFigures],
    preferences: Mapping[str, RulePreferences],
) -> list[Group]:
    """Measure models and rules on all pairs, and on those of every label.

    Args:
        cases: N pairs.
        group_ids: (N,) number of the group that each belongs to.
        models: What they prefer.
        preferences: What rules prefer.
    """
    parts = {ALL: {ALL: list(range(len(cases)))}} | groups_of(cases)
    found = []
    for label, values in parts.items():
        for value, where in values.items():
            chosen = {name: own[where] for name, own in preferences.items()}
            rules = score_rules(chosen, [cases[i].pair for i in where])
            figures = {one.model.name: one.estimates(group_ids, where) for one in models}
            group = Group(
                label=label,
                value=value,
                pairs=len(where),
                independent=len({group_ids[i] for i in where}),
                like_length=int(models[0].like_length[where].sum()),
                rules=rules,
                figures=figures,
                reached_by={
                    name: [x.rule for x in rules if not _main(own).lies_above(x.accuracy)]
                    for name, own in figures.items()
                },
            )
            found.append(group)
    return found


def _main(figures: Mapping[str, Estimate]) -> Estimate:
    return figures.get(ACCURACY) or figures[LIKELIER]
