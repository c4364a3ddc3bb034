"""An Audit → one HTML page that needs nothing else: styles and plots inside, no script.

Every text that comes from a file passes through `escape`.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from fitbot.audit.diversity import Repeated
from fitbot.audit.kinds import KINDS
from fitbot.audit.leaks import LeakReport
from fitbot.audit.plots import plot_leaks, plot_lengths, plot_rules
from fitbot.audit.report import Audit, FileReport
from fitbot.audit.shortcuts import ShortcutReport

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2026; --soft: #5c6570; --line: #d9dde3;
  --page: #ffffff; --card: #f5f6f8; --bad: #b4531a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #9aa3ad; --line: #363c44;
  --page: #15181c; --card: #1e2227; --bad: #f0a068; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 52rem; padding: 1rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
h3 { font-size: 1rem; margin-bottom: .3rem; }
.soft { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0;
  border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
.finding { background: var(--card); border-left: 4px solid var(--bad); padding: .6rem .8rem;
  margin: .6rem 0; }
.kind { color: var(--bad); font-weight: 600; }
.example { color: var(--soft); font-size: .88rem; margin: .2rem 0 0; }
svg { display: block; width: 100%; max-width: 38rem; height: auto; margin: .8rem 0;
  color: var(--ink); }
svg text { font-family: inherit !important; }
"""


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
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>fitbot audit: {escape(train)}</title>",
            f"<style>{_STYLE}</style></head><body>",
            *parts,
            "</body></html>",
            "",
        ]
    )


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
    yield f"<p>{escape(_sentence(report.verdict))}</p>"
    yield plot_rules(report.rules)
    yield _table(
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
    yield _table(
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
    yield _table(["records", "#"], [[name, f"{count:,}"] for name, count in counts.items()])
    scripts = ", ".join(f"{name.capitalize()} {x:.1%}" for name, x in records.scripts.items())
    yield f"<p>Letters: {escape(scripts or 'none')}</p>"
    yield "<h3>Tokens</h3>"
    yield plot_lengths(tokens)
    yield _table(
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
        yield _table(["#pairs", "#chosen", "text"], rows)


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


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table of texts; a heading that starts with # stands over figures."""
    marks = [' class="n"' if name.startswith("#") else "" for name in head]

    def row(tag: str, cells: Sequence[str]) -> str:
        written = (
            f"<{tag}{mark}>{escape(cell)}</{tag}>" for mark, cell in zip(marks, cells, strict=True)
        )
        return f"<tr>{''.join(written)}</tr>"

    lines = [row("th", [name.removeprefix("#") for name in head])]
    lines += [row("td", cells) for cells in rows]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
