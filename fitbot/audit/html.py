"""An Audit → one HTML page that needs nothing else: styles and plots inside, no script.

Every text that comes from a file passes through `escape`.
"""

from collections.abc import Iterator, Sequence
from html import escape

from fitbot.audit.diversity import Repeated
from fitbot.audit.kinds import KINDS
from fitbot.audit.leaks import LeakReport
from fitbot.audit.plots import plot_leaks, plot_lengths, plot_rules
from fitbot.audit.report import Audit, FileReport
from fitbot.audit.shortcuts import ShortcutReport
from fitbot.report.page import sentence, table, whole_page


def html_page(audit: Audit) -> str:
    """Write the whole page."""
    train, *val = [file.path for file in audit.files]
    against = f" against {', '.join(val)}" if val else ""
    parts = [
        f"<h1>Audit of {escape(train + against)}</h1>",
        *_findings(audit),
        *(part for shortcuts in audit.shortcuts for part in _shortcuts(shortcuts)),
        *(part for leaks in audit.leaks for part in _leaks(leaks, train)),
        *(part for file in audit.files for part in _file(file)),
        *_cost(audit),
    ]
    return whole_page(f"fitbot audit: {train}", parts)


def _findings(audit: Audit) -> Iterator[str]:
    if not audit.findings:
        yield "<p>Nothing found.</p>"
    for finding in audit.findings:
        yield (
            f'<div class="finding"><span class="kind" title="{escape(KINDS[finding.kind])}">'
            f'{escape(finding.kind)}</span> <span class="soft">{escape(finding.path)}</span><br>'
            f"{escape(finding.text)}"
        )
        for example in finding.examples:
            yield f'<p class="example">record {example.record}: {escape(example.text)}</p>'
        yield "</div>"


def _shortcuts(report: ShortcutReport) -> Iterator[str]:
    yield f"<h2>Rules that do not read the question: {escape(report.path)}</h2>"
    yield f"<p>{escape(sentence(report.verdict))}</p>"
    yield plot_rules(report.rules)
    yield table(
        ["rule", "#accuracy", "#95 % interval", "#ties"],
        [
            [s.rule, f"{s.accuracy:.3f}", f"{s.low:.3f} to {s.high:.3f}", f"{s.ties:,}"]
            for s in report.rules
        ],
    )
    for rule, why in report.unmeasured.items():
        yield f'<p class="example">{escape(rule)}: not measured; {escape(why)}</p>'


def _leaks(report: LeakReport, train: str) -> Iterator[str]:
    yield f"<h2>What {escape(report.path)} shares with {escape(train)}</h2>"
    yield plot_leaks(report)
    parts = {"prompts": report.prompts, "chosen": report.chosen, "rejected": report.rejected}
    yield table(
        ["", "#exact", "#near", "#template", "#of"],
        [
            [name, *(f"{n:,}" for n in (part.exact, part.near, part.template, part.texts))]
            for name, part in parts.items()
        ],
    )
    yield (
        f"<p>Whole pairs: {report.pairs:,}. Chosen answers that {escape(train)} holds as rejected "
        f"only: {report.chosen_as_rejected:,}.</p>"
    )
    for name, part in parts.items():
        for kind, examples in part.examples.items():
            for seen in examples:
                other = f"<br>there: {escape(seen.seen)}" if seen.seen else ""
                yield (
                    f'<p class="example">{name}, {kind}, record {seen.record}: '
                    f"{escape(seen.text)}{other}</p>"
                )


def _file(file: FileReport) -> Iterator[str]:
    records, tokens = file.records, file.tokens
    yield f"<h2>{escape(file.path)}</h2>"
    counts = {
        "pairs": records.pairs,
        "distinct prompts": records.prompts,
        "records refused": len(records.refused),
        "duplicates": records.duplicates.pairs,
        "near duplicates": records.near_duplicates.pairs,
        "conflicting pairs": records.conflicts.pairs,
        "mirrored over other prompts": records.mirrors.pairs,
        "identical answers but for case or punctuation": records.identical.pairs,
        "without letter or digit": records.wordless.pairs,
        **{name: found.pairs for name, found in records.characters.items()},
        **{name: found.pairs for name, found in records.control_strings.items()},
        "answered in another script": records.mixed_scripts.pairs,
        "distinct chosen": file.diversity.chosen,
        "distinct rejected": file.diversity.rejected,
    }
    yield table(["records", "#"], [[name, f"{count:,}"] for name, count in counts.items()])
    scripts = ", ".join(f"{name.capitalize()} {x:.1%}" for name, x in records.scripts.items())
    yield f"<p>Letters: {escape(scripts or 'none')}</p>"
    yield "<h3>Tokens</h3>"
    yield plot_lengths(tokens)
    yield table(
        ["", "#shortest", "#median", "#95 %", "#longest", "#cut"],
        [
            [name, *(f"{n:,}" for n in (x.shortest, x.median, x.p95, x.longest, cut))]
            for name, x, cut in (
                ("prompt", tokens.prompt, tokens.prompts_cut),
                ("chosen", tokens.chosen, tokens.chosen_cut),
                ("rejected", tokens.rejected, tokens.rejected_cut),
            )
        ],
    )
    yield (
        f"<p>An epoch computes {tokens.shared:,} tokens in the shared layout "
        f"({tokens.shared_padding:.1%} padding), {tokens.rows:,} in two padded rows a pair "
        f"({tokens.rows_padding:.1%}).</p>"
    )
    yield from _repeated("Most frequent answers", file.diversity.answers)
    yield from _repeated("Sentences in most pairs", file.diversity.sentences)


def _repeated(title: str, texts: Sequence[Repeated]) -> Iterator[str]:
    if texts:
        yield f"<h3>{title}</h3>"
        rows = [[f"{most.share:.1%}", f"{most.chosen:.0%}", most.text] for most in texts]
        yield table(["#pairs", "#chosen", "text"], rows)


def _cost(audit: Audit) -> Iterator[str]:
    cost, settings = audit.cost, audit.settings
    yield "<h2>What a run costs</h2>"
    yield (
        f"<p>{cost.epochs} epochs, {settings.pairs_per_step} pairs a step: {cost.trained:,} tokens "
        f"trained on, {cost.forward_only:,} forward only (reference, validation); in two padded "
        f"rows a pair, {cost.trained_rows:,} trained on.</p>"
    )
    prompt = settings.system_prompt or "none"
    yield (
        f'<p class="soft">Tokenizer of {escape(settings.base_model)}, system prompt '
        f"{escape(prompt)}, at most {settings.max_prompt_length:,} tokens a prompt and "
        f"{settings.max_length:,} with its completion. fitbot {escape(audit.version)}.</p>"
    )
