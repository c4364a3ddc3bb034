"""TRAIN and a VAL file → the prompts and answers of VAL that TRAIN holds already."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from fitbot.audit.near import NearIndex, word_set
from fitbot.audit.records import MAX_EXAMPLES, is_identical, prompt_text, texts_of
from fitbot.audit.rules import SHORTCUT_ABOVE, wilson_interval
from fitbot.audit.text import excerpt, mask_template, normalise, words
from fitbot.pairs.formats import PreferencePair

LONG_ANSWER = 8  # words from which on an answer does not recur by chance


@dataclass(frozen=True)
class Match:
    """One text of VAL and the text of TRAIN that it repeats."""

    record: int  # in VAL, from 0
    text: str
    seen: str  # the text of TRAIN; "" if the two are equal


_Hit = tuple[str, Match]  # exact, near or template; and what was found


@dataclass(frozen=True)
class Overlap:
    """Texts of VAL found in TRAIN; each counts in the first kind that holds, in this order."""

    texts: int  # of VAL, one a pair for prompts and for each answer
    exact: int  # equal up to case and spacing
    near: int  # sharing most of their words
    template: int  # equal once numbers and capitalised names are masked
    examples: dict[str, list[Match]]  # by exact, near, template

    @property
    def share(self) -> float:
        """Share of VAL's texts that are exact or near."""
        return (self.exact + self.near) / self.texts


@dataclass(frozen=True)
class SharedAnswers:
    """Answers of VAL that stand in TRAIN though their prompt, or one near it, does not."""

    answers: int  # of pairs with such prompts, two a pair
    exact: int
    near: int
    long: int  # exact ones of LONG_ANSWER words or more
    same_side: int  # distinct exact ones that TRAIN holds on the same side more often
    other_side: int  # distinct exact ones that it holds on the other side more often
    examples: list[Match]

    @property
    def tell_labels(self) -> bool:
        """Whether the side in TRAIN gives away the side in VAL, by more than chance."""
        sided = self.same_side + self.other_side
        return sided > 0 and wilson_interval(self.same_side / sided, sided)[0] > SHORTCUT_ABOVE


@dataclass(frozen=True)
class LeakReport:
    """What a VAL file shares with TRAIN."""

    path: str  # of VAL
    pairs: int  # of VAL that are also in TRAIN: prompt, chosen and rejected
    prompts: Overlap
    chosen: Overlap  # VAL's chosen answers among any answers of TRAIN
    rejected: Overlap
    chosen_as_rejected: int  # chosen answers of VAL that TRAIN holds as rejected only
    reversed: list[Match]  # pairs of VAL that TRAIN holds with the answers the other way round
    shared: SharedAnswers

    @property
    def parts(self) -> dict[str, Overlap]:
        """Prompts, chosen and rejected, by name."""
        return {"prompts": self.prompts, "chosen": self.chosen, "rejected": self.rejected}


class _TrainTexts:
    """Distinct texts of TRAIN, to look up others in."""

    def __init__(self, texts: Sequence[str]):
        self.texts = list(dict.fromkeys(texts))
        self.exact = {normalise(text) for text in self.texts}
        self.templates = {mask_template(text): text for text in self.texts}
        bags = [word_set(text) for text in self.texts]
        self.index = NearIndex(bags)
        for bag in bags:
            self.index.add(bag)

    def look_up(self, text: str) -> tuple[str, str] | None:
        """Return the kind of overlap and the text of TRAIN."""
        if normalise(text) in self.exact:
            return "exact", ""
        near = self.index.find(word_set(text))
        if near is not None:
            return "near", self.texts[near]
        template = self.templates.get(mask_template(text))
        return None if template is None else ("template", template)


def audit_leaks(
    train: Sequence[PreferencePair], val: Sequence[PreferencePair], path: str
) -> LeakReport:
    """Look every prompt and answer of VAL up in TRAIN; `path` is VAL's, for the report."""
    prompts = _TrainTexts([prompt_text(pair) for pair in train])
    answers = _TrainTexts([answer for pair in train for answer in (pair.chosen, pair.rejected)])
    whole = {tuple(map(normalise, texts_of(pair))) for pair in train}
    rejected_only = {one[2] for one in whole} - {one[1] for one in whole}
    seen = {
        "prompts": _look_up([(pair.record, prompt_text(pair)) for pair in val], prompts),
        "chosen": _look_up([(pair.record, pair.chosen) for pair in val], answers),
        "rejected": _look_up([(pair.record, pair.rejected) for pair in val], answers),
    }
    return LeakReport(
        path=path,
        pairs=sum(tuple(map(normalise, texts_of(pair))) in whole for pair in val),
        **{name: _overlap(hits) for name, hits in seen.items()},
        chosen_as_rejected=sum(normalise(pair.chosen) in rejected_only for pair in val),
        reversed=[
            Match(pair.record, excerpt(prompt_text(pair)), "")
            for pair in val
            if not is_identical(pair) and _turned(pair) in whole
        ],
        shared=_shared(train, val, seen),
    )


def _turned(pair: PreferencePair) -> tuple[str, ...]:
    prompt, chosen, rejected = map(normalise, texts_of(pair))
    return prompt, rejected, chosen


def _look_up(texts: Sequence[tuple[int, str]], train: _TrainTexts) -> list[_Hit | None]:
    look_up = cache(train.look_up)
    return [
        (hit[0], Match(record, excerpt(text), excerpt(hit[1]))) if (hit := look_up(text)) else None
        for record, text in texts
    ]


def _overlap(hits: Sequence[_Hit | None]) -> Overlap:
    found: dict[str, list[Match]] = {"exact": [], "near": [], "template": []}
    for hit in hits:
        if hit is not None:
            found[hit[0]].append(hit[1])
    counts = {kind: len(matches) for kind, matches in found.items()}
    examples = {kind: matches[:MAX_EXAMPLES] for kind, matches in found.items()}
    return Overlap(len(hits), **counts, examples=examples)


def _shared(
    train: Sequence[PreferencePair],
    val: Sequence[PreferencePair],
    seen: Mapping[str, Sequence[_Hit | None]],
) -> SharedAnswers:
    """Count what VAL shares with TRAIN beyond its prompts."""
    liked = Counter(normalise(pair.chosen) for pair in train)
    liked.subtract(normalise(pair.rejected) for pair in train)
    found: dict[str, list[Match]] = {"exact": [], "near": []}
    long = answers = 0
    sides: dict[str, int] = {}  # distinct answer → 1: TRAIN has it on the same side, -1: the other
    for pair, prompt, *both in zip(
        val, seen["prompts"], seen["chosen"], seen["rejected"], strict=True
    ):
        if prompt is not None and prompt[0] in found:
            continue
        answers += 2
        for sign, text, hit in zip((1, -1), (pair.chosen, pair.rejected), both, strict=True):
            if hit is None or hit[0] not in found:
                continue
            found[hit[0]].append(hit[1])
            if hit[0] == "exact":
                long += len(words(text)) >= LONG_ANSWER
                sides[normalise(text)] = sign * liked[normalise(text)]
    return SharedAnswers(
        answers=answers,
        exact=len(found["exact"]),
        near=len(found["near"]),
        long=long,
        same_side=sum(side > 0 for side in sides.values()),
        other_side=sum(side < 0 for side in sides.values()),
        examples=[*found["exact"], *found["near"]][:MAX_EXAMPLES],
    )
