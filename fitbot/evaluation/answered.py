"""Greedy answers by category: how many are right, against the base and trivial answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fitbot.evaluation.answer_rates import PASSES, AnswerReport
from fitbot.evaluation.cases import Case, groups_of
from fitbot.evaluation.intervals import Comparison, Estimate, compare, estimate_rate
from fitbot.evaluation.preference import ALL
from fitbot.evaluation.trivial import trivial_rates


@dataclass(frozen=True)
class AnsweredGroup:
    """The questions of one category that have a check, or all of them."""

    value: str  # the category, or ALL
    questions: int
    passes: dict[str, Estimate]  # by model
    changes: list[Comparison]  # of each adapter against the base
    trivial: dict[str, float]  # share that an answer passes which needs no question; highest first

    @property
    def best_trivial(self) -> tuple[str, float]:
        """The trivial answer that passes most, and its share."""
        return next(iter(self.trivial.items()))

    def is_trivial(self, model: str) -> bool:
        """Whether the best trivial answer is as good as a model's interval allows it to be."""
        return not self.passes[model].lies_above(self.best_trivial[1])


def answered_groups(
    judged: Mapping[str, Sequence[AnswerReport]], cases: Sequence[Case], group_ids: Sequence[int]
) -> list[AnsweredGroup]:
    """Sort judged answers by category.

    Args:
        judged: By model, the base first: one answer a question.
        cases: N questions.
        group_ids: (N,) the group that each belongs to.

    Returns:
        All questions that have a check, then each category; nothing where none has one.
    """
    checked = [i for i, case in enumerate(cases) if case.check is not None]
    categories = groups_of([cases[i] for i in checked]).get("category", {})
    places = {ALL: checked} | {
        value: [checked[i] for i in where] for value, where in categories.items()
    }
    return [
        _group(value, where, judged, cases, group_ids) for value, where in places.items() if where
    ]


def _group(
    value: str,
    where: Sequence[int],
    judged: Mapping[str, Sequence[AnswerReport]],
    cases: Sequence[Case],
    group_ids: Sequence[int],
) -> AnsweredGroup:
    ids = [group_ids[i] for i in where]
    right = {name: [own[i].has(PASSES) for i in where] for name, own in judged.items()}
    base, *adapters = right
    return AnsweredGroup(
        value,
        len(where),
        passes={name: estimate_rate(own, ids) for name, own in right.items()},
        changes=[
            compare(PASSES, (base, name), (right[base], right[name]), ids) for name in adapters
        ],
        trivial=trivial_rates([cases[i] for i in where]),
    )
