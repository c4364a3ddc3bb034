"""TRAIN and a VAL file → the prompts and answers of VAL that TRAIN holds already."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from fitbot.audit.near import NearIndex, word_set
from fitbot.audit.records import MAX_EXAMPLES, prompt_text, texts_of
from fitbot.audit.text import excerpt, mask_template, normalise
from fitbot.pairs.formats import PreferencePair


@dataclass(frozen=True)
class Match:
    """One text of VAL and the text of TRAIN that it repeats."""

    record: int  # in VAL, from 0
    text: str
    seen: str  # the text of TRAIN; "" if the two are equal


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
class LeakReport:
    """What a VAL file shares with TRAIN."""

    path: str  # of VAL
    pairs: int  # of VAL that are also in TRAIN: prompt, chosen and rejected
    prompts: Overlap
    chosen: Overlap  # VAL's chosen answers among any answers of TRAIN
    rejected: Overlap
    chosen_as_rejected: int  # chosen answers of VAL that TRAIN holds as rejected only

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
    return LeakReport(
        path=path,
        pairs=sum(tuple(map(normalise, texts_of(pair))) in whole for pair in val),
        prompts=_overlap([(pair.record, prompt_text(pair)) for pair in val], prompts),
        chosen=_overlap([(pair.record, pair.chosen) for pair in val], answers),
        rejected=_overlap([(pair.record, pair.rejected) for pair in val], answers),
        chosen_as_rejected=sum(normalise(pair.chosen) in rejected_only for pair in val),
    )


def _overlap(texts: Sequence[tuple[int, str]], train: _TrainTexts) -> Overlap:
    found: dict[str, list[Match]] = {"exact": [], "near": [], "template": []}
    look_up = cache(train.look_up)
    for record, text in texts:
        if hit := look_up(text):
            kind, seen = hit
            found[kind].append(Match(record, excerpt(text), excerpt(seen)))
    counts = {kind: len(matches) for kind, matches in found.items()}
    examples = {kind: matches[:MAX_EXAMPLES] for kind, matches in found.items()}
    return Overlap(len(texts), **counts, examples=examples)
