"""An Audit → text for a terminal of 100 columns."""

from collections.abc import Iterable, Iterator, Mapping

from fitbot.audit.leaks import LeakReport
from fitbot.audit.report import Audit, FileReport
from fitbot.audit.rules import RuleScore
from fitbot.audit.shortcuts import ShortcutReport
from fitbot.base_model.embedded import EMBEDDED
from fitbot.report.terminal import WIDTH, shorten, sparkline, wrap

_LABEL = 20


def show_audit(audit: Audit) -> str:
    """Write the report, the findings last, where a terminal leaves off."""
    lines: list[str] = []
    for file in audit.files:
        lines += ["", *_file(file)]
    for report in audit.leaks:
        lines += ["", *_leaks(report, audit.files[0].path)]
    for shortcuts in audit.shortcuts:
        lines += ["", *_shortcuts(shortcuts)]
    lines += ["", *_cost(audit), "", *_findings(audit), ""]
    return "\n".join(lines)


def rule_line(score: RuleScore) -> str:
    """Write a rule's accuracy with its interval."""
    return f"  {score.rule:<28}{score.accuracy:>6.3f}  [{score.low:.3f}, {score.high:.3f}]"


def unmeasured_lines(rules: Mapping[str, str]) -> Iterator[str]:
    """Say why each of some rules could not be measured."""
    for rule, why in rules.items():
        yield from wrap(f"{rule:<28}     -  {why}", "  ", " " * 38)


def _file(file: FileReport) -> Iterator[str]:
    records, diversity, tokens = file.records, file.diversity, file.tokens
    yield f"{file.path}: {records.pairs:,} pairs, {records.prompts:,} distinct prompts"
    if records.refused:
        yield from _row("refused", [f"{len(records.refused):,} records"])
    exact, near = records.duplicates.pairs, records.near_duplicates.pairs
    yield from _row("duplicates", [f"{exact:,} exact", f"{near:,} near"])
    yield from _row(
        "contradictions",
        [
            f"{records.conflicts.pairs:,} conflicting pairs",
            f"{records.mirrors.pairs:,} mirrored over other prompts",
            f"{records.identical.pairs:,} identical answers",
        ],
    )
    odd = {**records.characters, **records.control_strings}
    odd |= {"no letter or digit": records.wordless} if records.wordless.pairs else {}
    yield from _row("odd characters", [f"{name} {found.pairs:,}" for name, found in odd.items()])
    scripts = [f"{name.capitalize()} {share:.1%}" for name, share in records.scripts.items()]
    yield from _row("letters", scripts[:5])
    yield from _row(
        "distinct answers", [f"{diversity.chosen:,} chosen", f"{diversity.rejected:,} rejected"]
    )
    for label, repeated in (
        ("most frequent", diversity.answers[:3]),
        ("in most pairs", diversity.sentences[:3]),
    ):
        for i, most in enumerate(repeated):
            text = f"{most.share:.1%} of pairs, chosen in {most.chosen:.0%}: {most.text}"
            yield from _row(label if i == 0 else "", [shorten(text, WIDTH - _LABEL - 2)])
    yield f"  {'tokens':<{_LABEL}}{'shortest':>8}{'median':>8}{'95 %':>8}{'longest':>8}"
    for name, lengths in tokens.lengths.items():
        marks = (lengths.shortest, lengths.median, lengths.p95, lengths.longest)
        figures = "".join(f"{mark:>8,}" for mark in marks)
        yield f"  {'  ' + name:<{_LABEL}}{figures}  {sparkline(lengths.counts)}"
    cut = tokens.cut | {"pairs that cannot be encoded": len(tokens.refused)}
    cut |= {"pairs with the same tokens in both answers": tokens.equal}
    yield from _row("  cut", [f"{count:,} {name}" for name, count in cut.items() if count])
    yield from _row(
        "  an epoch",
        [
            f"{tokens.shared:,} in the shared layout ({tokens.shared_padding:.1%} padding)",
            f"{tokens.rows:,} in two padded rows ({tokens.rows_padding:.1%} padding)",
        ],
    )


def _leaks(report: LeakReport, train: str) -> Iterator[str]:
    yield f"{report.path} in {train}"
    yield f"  {'':<{_LABEL}}{'exact':>10}{'near':>10}{'template':>10}{'of':>10}"
    for name, part in report.parts.items():
        counts = (part.exact, part.near, part.template, part.texts)
        yield f"  {name:<{_LABEL}}" + "".join(f"{count:>10,}" for count in counts)
    yield from _row(
        "whole pairs",
        [f"{report.pairs:,}", f"chosen, there rejected: {report.chosen_as_rejected:,}"],
    )
    for name, part in report.parts.items():
        for kind, match in ((kind, found[0]) for kind, found in part.examples.items() if found):
            yield shorten(f"    {name}, {kind}, record {match.record}: {match.text}", WIDTH)
            if match.seen:
                yield shorten(f"      in TRAIN: {match.seen}", WIDTH)


def _shortcuts(report: ShortcutReport) -> Iterator[str]:
    where = f"the {report.pairs:,} pairs of {report.path}"
    where += ", by cross-validation" if report.is_train else ""
    yield f"rules that do not read the question, on {where}"
    for score in report.rules:
        mark = "  shortcut" if score.is_shortcut else ""
        yield f"{rule_line(score)}{mark}{_ties(score)}"
    yield from wrap(report.summary, "  ", "  ")
    if report.question_rules:
        yield "rules that read it as a bag of words"
        yield from (f"{rule_line(score)}{_ties(score)}" for score in report.question_rules)
        yield from wrap(report.bar, "  ", "  ")
    yield from unmeasured_lines(report.unmeasured)


def _ties(score: RuleScore) -> str:
    return f"  {score.ties:,} ties" if score.ties else ""


def _cost(audit: Audit) -> Iterator[str]:
    cost, settings = audit.cost, audit.settings
    yield (
        f"a run of {cost.epochs} epochs, {settings.pairs_per_step} pairs a step, "
        f"with the tokenizer of {settings.base_model}"
    )
    yield from _row(
        "tokens trained on", [f"{cost.trained:,}", f"in two padded rows {cost.trained_rows:,}"]
    )
    yield from _row("forward only", [f"{cost.forward_only:,} (reference, validation)"])
    if settings.base_model == EMBEDDED:
        yield "  which knows few words besides ours; --base_model names the run's own"


def _findings(audit: Audit) -> Iterator[str]:
    if not audit.findings:
        yield "nothing found"
        return
    yield f"{len(audit.findings)} findings" if len(audit.findings) > 1 else "1 finding"
    for finding in audit.findings:
        yield from wrap(f"{finding.kind:<11}{finding.path}: {finding.text}", "  ", " " * 13)
        for example in finding.examples[:1]:
            yield shorten(f"{'':13}record {example.record}: {example.text}", WIDTH)


def _row(label: str, values: Iterable[str]) -> Iterator[str]:
    text = ", ".join(values) or "none"
    yield from wrap(f"{label:<{_LABEL}}{text}", "  ", " " * (_LABEL + 2))
