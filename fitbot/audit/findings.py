"""Reports → findings: what a person should know or a CI job should stop for, by kind."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fitbot.audit.diversity import DiversityReport
from fitbot.audit.leaks import LeakReport, Match
from fitbot.audit.records import MAX_EXAMPLES, Example, RecordReport
from fitbot.audit.shortcuts import ShortcutReport
from fitbot.audit.tokens import TokenReport

TEMPLATE_SHARE = 0.05  # of a validation file's prompts, or answers, from which templates count
SHARED_SHARE = 0.05  # of its answers to new prompts, from which short ones in TRAIN count
REPEATED_SHARE = 0.1  # of pairs that one answer or sentence may occur in
REPEATED_PAIRS = 10  # below so many, repetition is chance


@dataclass(frozen=True)
class Finding:
    """One thing found in one file."""

    kind: str  # a key of kinds.KINDS
    path: str
    pairs: int  # that it concerns
    text: str
    examples: list[Example]


def record_findings(report: RecordReport, path: str) -> Iterator[Finding]:
    """Yield what is wrong with a file's records."""
    if report.refused:
        text = f"the reader refuses {len(report.refused):,} of the records; first "
        yield Finding("refused", path, len(report.refused), text + report.refused[0], [])
    repeated = report.duplicates.pairs + report.near_duplicates.pairs
    if repeated:
        exact, near = report.duplicates.pairs, report.near_duplicates.pairs
        text = f"an earlier pair repeated in {_pairs(exact)}"
        text += f", nearly in {near:,} more" if near else ""
        examples = report.duplicates.examples or report.near_duplicates.examples
        yield Finding("duplicate", path, repeated, text, examples)
    for kind, found, what in (
        ("conflict", report.conflicts, "the same two answers preferred both ways for one prompt"),
        ("identical", report.identical, "the same answer twice but for case or punctuation"),
        ("empty", report.wordless, "a text without letter or digit"),
        *(("label", found, fault) for fault, found in report.labels.items()),
        ("loop", report.loops, "an answer repeats itself"),
        ("truncated", report.truncated, "an answer was cut off"),
        ("contact", report.contacts, "an e-mail address or a phone number"),
        ("language", report.mixed_scripts, "an answer in another script than its prompt"),
        *(
            ("language", found, f"an answer in another language than the file, {name}")
            for name, found in report.languages.items()
        ),
        *(("character", found, name) for name, found in report.characters.items()),
        *(
            ("control", found, f"the control string {name}")
            for name, found in report.control_strings.items()
        ),
    ):
        if found.pairs:
            text = f"{what}, in {_pairs(found.pairs)}"
            yield Finding(kind, path, found.pairs, text, found.examples)


def diversity_findings(report: DiversityReport, path: str) -> Iterator[Finding]:
    """Yield the answer and the sentence that occur in too many pairs."""
    for name, repeated in (("answer", report.answers), ("sentence", report.sentences)):
        most = repeated[0] if repeated else None
        if most and most.share > REPEATED_SHARE and most.pairs >= REPEATED_PAIRS:
            side = f"chosen in {most.chosen:.0%} of its answers" if 0 < most.chosen < 1 else ""
            side = side or ("always chosen" if most.chosen else "always rejected")
            text = f"one {name} stands in {most.share:.0%} of the pairs, {side}: {most.text}"
            yield Finding("repetition", path, most.pairs, text, [])


def token_findings(report: TokenReport, path: str) -> Iterator[Finding]:
    """Yield what the length limits cut or make equal, and what cannot be encoded."""
    if report.equal:
        text = f"both answers are the same tokens in {_pairs(report.equal)}, which a run leaves out"
        yield Finding("equal", path, report.equal, text, [])
    if report.refused:
        text = f"{_pairs(len(report.refused))} cannot be encoded, and a run stops there; first "
        yield Finding("cut", path, len(report.refused), text + report.refused[0], [])
    cut = report.cut
    if any(cut.values()):
        text = ", ".join(f"{count:,} {name}" for name, count in cut.items() if count)
        text = f"the limits cut {text} of {report.pairs:,} pairs, {report.tokens_cut:,} tokens"
        yield Finding("cut", path, max(cut.values()), text, [])


def leak_findings(report: LeakReport) -> Iterator[Finding]:
    """Yield what a validation file shares with the training file."""
    prompts, count = report.prompts, len(report.reversed)
    if count:
        text = f"the training file prefers the same answers the other way round in {_pairs(count)}"
        yield Finding("reversed", report.path, count, text, _examples(report.reversed))
    if prompts.exact:
        text = f"{_part(prompts.exact, prompts.texts)} prompts stand in the training file"
        text += f", {report.pairs:,} with both answers" if report.pairs else ""
        yield Finding(
            "leak", report.path, prompts.exact, text, _examples(prompts.examples["exact"])
        )
    if prompts.near:
        text = f"{_part(prompts.near, prompts.texts)} prompts stand nearly in the training file"
        yield Finding(
            "near-leak", report.path, prompts.near, text, _examples(prompts.examples["near"])
        )
    yield from _shared_findings(report)
    parts = {
        name if name == "prompts" else f"{name} answers": part
        for name, part in report.parts.items()
    }
    masked = {
        name: part for name, part in parts.items() if part.template / part.texts >= TEMPLATE_SHARE
    }
    if masked:
        text = ", ".join(f"{part.template / part.texts:.1%} of {n}" for n, part in masked.items())
        text = f"stand in the training file but for numbers and names: {text}"
        most = max(part.template for part in masked.values())
        first = next(iter(masked.values()))
        yield Finding("template", report.path, most, text, _examples(first.examples["template"]))


def _shared_findings(report: LeakReport) -> Iterator[Finding]:
    """Yield the answers that stand in the training file for other prompts."""
    shared = report.shared
    count = shared.exact + shared.near
    sides = f"{shared.same_side:,} on the same side and {shared.other_side:,} on the other"
    if shared.tell_labels:
        text = (
            f"{_part(shared.exact, shared.answers)} answers to new prompts stand in the training "
            f"file, of the distinct ones {sides}: it tells their labels"
        )
        yield Finding("leak", report.path, shared.exact, text, _examples(shared.examples))
    elif count and (count >= SHARED_SHARE * shared.answers or shared.long):
        text = (
            f"{_part(count, shared.answers)} answers to new prompts stand in the training file "
            f"({shared.exact:,} exactly, {shared.near:,} nearly), of the distinct ones {sides}"
        )
        yield Finding("shared", report.path, count, text, _examples(shared.examples))


def shortcut_findings(report: ShortcutReport) -> Iterator[Finding]:
    """Yield what shortcuts mean for a file."""
    if report.shortcuts:
        yield Finding("shortcut", report.path, report.pairs, report.summary, [])


def _examples(matches: Sequence[Match]) -> list[Example]:
    return [
        Example(match.record, f"{match.text} ~ {match.seen}" if match.seen else match.text)
        for match in matches[:MAX_EXAMPLES]
    ]


def _part(count: int, of: int) -> str:
    return f"{count:,} of {of:,} ({count / of:.1%})"


def _pairs(count: int) -> str:
    return f"{count:,} pair" + "s" * (count != 1)
