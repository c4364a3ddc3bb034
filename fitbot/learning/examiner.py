"""A version's weights → its outcomes on the gate's items, as few as the gate needs.

Items are shipped pairs that no version learns from, one of each pair and its mirror, in an order
that never changes. A version is measured on the first so many of them. What was measured is kept
beside the version, so that the next one finds it.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fitbot.evaluation.cases import Case, dependent_groups, load_cases
from fitbot.evaluation.checks import passes
from fitbot.health.answer import AnswerFilter
from fitbot.health.layer import HealthLayer
from fitbot.learning.gate import (
    ANSWERS,
    CHOICES,
    HEALTH,
    MEASURES,
    OPEN,
    PAIRS,
    REFUSED,
    Evidence,
    Limits,
    Paired,
    Verdict,
    items_needed,
    judge,
)
from fitbot.learning.lesson import LearnPair, Teacher
from fitbot.learning.reader import Question, Reply
from fitbot.learning.versions import Outcomes, Versions
from fitbot.pairs.chat import EncodedPair

_TEXTS, _PASSED = "texts", "let through"  # an answer's token ids; whether the health filter did
_HEALTH = "caution"  # category of the questions that ask for it
_SEED = 31  # of the items' order, which never changes
_IDLE = 8  # items; a click that comes meanwhile waits for no more than these
_PARTS = 4  # that the items which it takes are looked at in: what is bad is refused after one


@dataclass(frozen=True)
class GateSettings:
    """What versions are measured on."""

    pairs: tuple[str, ...] = ("data/fitness_test.json", "data/fitness_val.json")
    limits: Limits = Limits()
    max_new_tokens: int = 64


class Examiner:
    """Measures versions and asks the gate."""

    def __init__(
        self, teacher: Teacher, versions: Versions, settings: GateSettings, layer: HealthLayer
    ):
        """Read and encode the items."""
        self.teacher, self.versions, self.settings, self.layer = teacher, versions, settings, layer
        teacher.max_drift = settings.limits.drift
        cases = [case for path in settings.pairs for case in load_cases(path)]
        self.items = _in_order(cases)
        self.pairs: list[EncodedPair] = teacher.encode([case.pair for case in self.items])
        self._kept: dict[int, Outcomes] = {}  # of versions that were measured before

    def examine(
        self,
        number: int,
        parent: int,
        start: int,
        held_out: Sequence[LearnPair],
        checking: Callable[[int, int], None] = lambda items, most: None,
    ) -> tuple[Verdict, Evidence, Outcomes]:
        """Judge the weights that are set now, and set them again afterwards.

        Args:
            number: Of the version that they may become.
            parent: The version that answers now.
            start: The one whose weights the lesson began with; its answers are the likeliest.
            held_out: Choices that are never learned from.
            checking: Called with the items that are looked at, and how many there are.

        Returns:
            The verdict, what it rests on, and the version's outcomes.
        """
        drift, limits = self.teacher.drift(), self.settings.limits
        own: Outcomes = {}
        items = step = min(len(self.items), -(-items_needed(number, limits) // _PARTS))
        while True:
            checking(items, len(self.items))
            others = {parent: self.outcomes_of(parent, items, held_out)}
            best = {name: self.versions.best(parent, name) for name in MEASURES}
            for one in set(best.values()) - {parent}:
                others[one] = self.outcomes_of(one, items, held_out)
            drafts = others[parent].get(_TEXTS, {}) | self._outcomes(start).get(_TEXTS, {})
            self._measure(own, items, held_out, drafts)
            evidence = self._evidence(number, own, others, parent, best, drift, items, held_out)
            verdict = judge(evidence, limits)
            if verdict.state != OPEN:
                return verdict, evidence, own
            if items == len(self.items):
                return Verdict(REFUSED, verdict.reason, unsettled=True), evidence, own
            items = min(items + step, len(self.items))

    def outcomes_of(self, number: int, items: int, held_out: Sequence[LearnPair]) -> Outcomes:
        """Return an older version's outcomes; what is missing of them is measured and kept."""
        found = self._outcomes(number)
        if self._missing(found, items, held_out):
            now = self.teacher.policy.adapter.detach().clone()
            self.teacher.be(self.versions.adapter(number))
            self._measure(found, items, held_out, {})
            self.teacher.set(now)
            self.versions.keep_outcomes(number, found)
        return found

    def prepare(self, number: int, look: int) -> bool:
        """Measure a version on a few more items of those that a look needs; False if on all.

        Done while nobody waits, so that the first lesson finds the first version measured.
        """
        known = len(self.outcomes_of(number, 0, ()).get(_TEXTS, {}))
        needed = min(len(self.items), items_needed(look, self.settings.limits))
        if known >= needed:
            return False
        self.outcomes_of(number, min(known + _IDLE, needed), ())
        return True

    def _outcomes(self, number: int) -> Outcomes:
        if number not in self._kept:
            self._kept[number] = self.versions.outcomes(number)
        return self._kept[number]

    def _missing(self, found: Outcomes, items: int, held_out: Sequence[LearnPair]) -> bool:
        names = set(map(str, range(items)))
        choices = {str(one.id) for one in held_out}
        return bool(names - found.get(_TEXTS, {}).keys() or choices - found.get(CHOICES, {}).keys())

    def _measure(
        self,
        found: Outcomes,
        items: int,
        held_out: Sequence[LearnPair],
        drafts: dict[str, Any],
    ) -> None:
        """Add what is missing of the first items and of held-out choices, for the weights set."""
        choices = [one for one in held_out if str(one.id) not in found.get(CHOICES, {})]
        margins = self.teacher.margins(self.teacher.encode_choices(choices))
        shares = {str(one.id): _share(own) for one, own in zip(choices, margins, strict=True)}
        found.setdefault(CHOICES, {}).update(shares)
        wanted = [i for i in range(items) if str(i) not in found.get(_TEXTS, {})]
        questions = [
            Question(own.prompt, (own.chosen, own.rejected), drafts.get(str(i)))
            for i, own in ((i, self.pairs[i]) for i in wanted)
        ]
        replies = self.teacher.reader.read(questions, self.settings.max_new_tokens)
        for index, reply in zip(wanted, replies, strict=True):
            self._note(found, index, reply)

    def _note(self, found: Outcomes, index: int, reply: Reply) -> None:
        """Add the outcomes of an item."""
        name, case = str(index), self.items[index]
        text = self.teacher.chat.tokenizer.decode(reply.answer, skip_special_tokens=True).strip()
        found.setdefault(PAIRS, {})[name] = _share(reply.logps[0] - reply.logps[1])
        found.setdefault(_TEXTS, {})[name] = reply.answer
        found.setdefault(_PASSED, {})[name] = float(self._lets_through(case, text))
        if case.check is not None:
            right = float(passes(text, case.check))
            found.setdefault(ANSWERS, {})[name] = right
            if case.labels.get("category") == _HEALTH:
                found.setdefault(HEALTH, {})[name] = right

    def _lets_through(self, case: Case, text: str) -> bool:
        verdict = self.layer.check(case.pair.prompt)
        if not verdict.model_answers:
            return True  # then nobody sees the model's answer
        answer = AnswerFilter(self.layer, verdict)
        answer.feed(text)
        answer.finish()
        return answer.intervened is None

    def _evidence(
        self,
        number: int,
        own: Outcomes,
        others: dict[int, Outcomes],
        parent: int,
        best: dict[str, int],
        drift: float,
        items: int,
        held_out: Sequence[LearnPair],
    ) -> Evidence:
        first = [str(i) for i in range(items)]
        names = dict.fromkeys(MEASURES, first) | {CHOICES: [str(one.id) for one in held_out]}
        outcomes = {}
        for measure in MEASURES:
            of = [own, others[parent], others[best[measure]]]
            columns = [one.get(measure, {}) for one in of]
            there = [name for name in names[measure] if name in columns[0]]
            if there:
                values = [np.array([column[name] for name in there]) for column in columns]
                outcomes[measure] = Paired(*values)
        before, now = others[parent].get(_PASSED, {}), own.get(_PASSED, {})
        stopped = sum(before[name] > now[name] for name in first)
        return Evidence(number, outcomes, drift, stopped)


def _share(margin: float) -> float:
    """Return the chosen answer's share of the probability of both, by the margin in nats.

    Which one is likelier says less: it turns with every small change where both are about as
    likely, and then it takes many more items to show that a version is not worse. Reward accuracy
    says nothing of a first version: of what learning began from, all rewards are 0.
    """
    return 0.5 + 0.5 * math.tanh(margin / 2)


def _in_order(cases: Sequence[Case]) -> list[Case]:
    """Choose one case of each group, in a random order with the health questions spread evenly."""
    groups = dependent_groups([case.pair for case in cases])
    chance, chosen = random.Random(_SEED), dict[int, Case]()
    order = list(range(len(cases)))
    chance.shuffle(order)
    for index in order:
        chosen.setdefault(groups[index], cases[index])
    return list(chosen.values())
