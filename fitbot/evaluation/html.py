"""An Evaluation → one HTML page that needs nothing else: styles and plots inside, no script.

Every text that comes from a file or a model passes through `escape`.
"""

from collections.abc import Iterator, Sequence
from html import escape

from fitbot.evaluation.answering import GREEDY
from fitbot.evaluation.groups import ALL, Group
from fitbot.evaluation.overview import main_figure, measure_label, overview
from fitbot.evaluation.plots import Line, plot_changes, plot_rates
from fitbot.evaluation.preference import LIKELIER
from fitbot.evaluation.report import JUDGED, Evaluation, Exchange, ModelReport, Shown
from fitbot.report.page import sentence, table, whole_page

_SHOWN = 40  # exchanges of each outcome
_STYLE = """<style>
td.n { white-space: nowrap; }
details { margin: .4rem 0; } summary { cursor: pointer; font-weight: 600; }
.exchange { padding: .6rem 0; }
.exchange table { margin-top: .2rem; } .exchange td { white-space: pre-wrap; }
.who { width: 11rem; color: var(--soft); } .good { color: #2f8f63; } .bad { color: var(--bad); }
</style>"""


def html_page(evaluation: Evaluation) -> str:
    """Write the whole page."""
    names = [report.model.name for report in evaluation.models]
    title = f"{', '.join(names[1:]) or evaluation.lineup.base_model} on {evaluation.pairs.path}"
    parts = [
        _STYLE,
        f"<h1>Evaluation of {escape(title)}</h1>",
        *_verdicts(evaluation),
        *_overview(evaluation, names),
        *_comparisons(evaluation),
        *_groups(evaluation, names),
        *_rules(evaluation),
        *_changes(evaluation),
        *_answers(evaluation, names),
        *_how(evaluation),
    ]
    return whole_page(f"fitbot evaluate: {title}", parts)


def _verdicts(evaluation: Evaluation) -> Iterator[str]:
    for name, texts in evaluation.verdicts.items():
        lines = "<br>".join(escape(sentence(text)) for text in texts)
        yield f'<div class="finding"><span class="kind">{escape(name)}</span><br>{lines}</div>'


def _overview(evaluation: Evaluation, names: Sequence[str]) -> Iterator[str]:
    yield "<h2>All models</h2>"
    yield table(
        ["", *(f"#{name}" for name in names)],
        [
            [row.label.replace("  ", "\u2003"), *(row.cells[name] for name in names)]
            for row in overview(evaluation)
        ],
    )
    yield (
        '<p class="soft">In brackets 95 % intervals (bootstrap, BCa; pairs that share a question '
        "or both answers are drawn together). A reward is beta times what a log-prob gained "
        "against the reference; the base has none. Of like length: the shorter answer has at least "
        "90 % of the longer one's tokens.</p>"
    )


def _comparisons(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.comparisons:
        return
    yield "<h2>Differences</h2>"
    yield table(
        ["", "from", "to", "#difference", "#gained", "#lost", "#p"],
        [
            [
                measure_label(found.measure),
                found.one,
                found.other,
                str(found.difference),
                f"{found.gained:,}",
                f"{found.lost:,}",
                f"{found.p:.2g}",
            ]
            for found in evaluation.comparisons
            if found.gained + found.lost
        ],
    )
    yield (
        '<p class="soft">On the same pairs and questions; the interval is of the paired '
        "difference, p is McNemar's, exact. Measures in which nothing differs are left out.</p>"
    )


def _groups(evaluation: Evaluation, names: Sequence[str]) -> Iterator[str]:
    labels = dict.fromkeys(group.label for group in evaluation.groups if group.label != ALL)
    if not labels:
        yield "<p>The records have no category, flaw or split: no figures by group.</p>"
    for label in labels:
        groups = [group for group in evaluation.groups if group.label == label]
        yield f"<h2>By {escape(label)}</h2>"
        if label != "flaw":
            yield plot_rates(_lines(groups), names, "share with the chosen answer likelier")
        yield table(
            [label, "#pairs", *(f"#{name}" for name in names[1:] or names), "#rule", "best rule"],
            [_group_row(group, names[1:] or names) for group in groups],
        )
    if labels:
        figure = "Reward accuracy" if names[1:] else "Share with the chosen answer likelier"
        yield (
            f'<p class="soft">{figure}. &gt;: a rule that never reads the question is right as '
            "often as the interval allows the model to be.</p>"
        )


def _lines(groups: Sequence[Group]) -> list[Line]:
    return [
        Line(
            group.value,
            {name: own[LIKELIER] for name, own in group.figures.items()},
            group.rules[0].accuracy,
        )
        for group in groups
    ]


def _group_row(group: Group, names: Sequence[str]) -> list[str]:
    figures = [
        f"{'> ' if group.reached_by[name] else ''}{main_figure(group, name)}" for name in names
    ]
    best = group.rules[0]
    return [group.value, f"{group.pairs:,}", *figures, f"{best.accuracy:.3f}", best.rule]


def _rules(evaluation: Evaluation) -> Iterator[str]:
    learned = evaluation.pairs.rules_learned_from
    how = f"learned from {learned}" if learned else "learned ones by cross-validation"
    yield "<h2>Rules that never read the question</h2>"
    yield f"<p>On the same pairs; {escape(how)}.</p>"
    whole = evaluation.whole
    yield table(
        ["rule", "#accuracy", "#95 % interval", "as good as"],
        [
            [
                score.rule,
                f"{score.accuracy:.3f}",
                f"{score.low:.3f} to {score.high:.3f}",
                ", ".join(n for n, rules in whole.reached_by.items() if score.rule in rules),
            ]
            for score in whole.rules
        ],
    )
    for rule, why in evaluation.rules_unmeasured.items():
        yield f'<p class="example">{escape(rule)}: not measured; {escape(why)}</p>'


def _changes(evaluation: Evaluation) -> Iterator[str]:
    for report in evaluation.models[1:]:
        found = report.displacement
        assert found is not None  # only the base has none
        pairs = list(zip(report.logps, report.reference_logps, strict=True))
        chosen, rejected = (
            [ours[side] - theirs[side] for ours, theirs in pairs] for side in range(2)
        )
        yield f"<h2>What became of the answers' log-probs: {escape(report.model.name)}</h2>"
        yield plot_changes(chosen, rejected)
        yield table(
            ["became likelier", "#share of pairs"],
            [
                ["only the chosen answer", f"{found.chosen_up_only:.1%}"],
                ["both", f"{found.both_up:.1%}"],
                ["neither", f"{found.neither_up:.1%}"],
                ["only the rejected answer", f"{found.rejected_up_only:.1%}"],
            ],
        )


def _answers(evaluation: Evaluation, names: Sequence[str]) -> Iterator[str]:
    if not evaluation.exchanges:
        return
    yield "<h2>What they say</h2>"
    for kind in JUDGED:
        yield from _pass_rates(evaluation.models, names, kind)
    outcomes: dict[str, list[Exchange]] = {}
    for exchange in evaluation.exchanges:
        outcomes.setdefault(_outcome(exchange, names), []).append(exchange)
    for outcome, exchanges in sorted(outcomes.items(), key=lambda item: len(item[1])):
        more = f", the first {_SHOWN}" if len(exchanges) > _SHOWN else ""
        yield f"<details><summary>{escape(outcome)}: {len(exchanges):,}{more}</summary>"
        for exchange in exchanges[:_SHOWN]:
            yield from _exchange(exchange)
        yield "</details>"


def _outcome(exchange: Exchange, names: Sequence[str]) -> str:
    """Say whose greedy answers pass, of all models."""
    passing = [name for name in names if exchange.answers[name][GREEDY].passes]
    if exchange.answers[names[0]][GREEDY].passes is None:
        return "Questions without a check"
    return f"Greedy answers that pass: {', '.join(passing) or 'none'}"


def _pass_rates(models: Sequence[ModelReport], names: Sequence[str], kind: str) -> Iterator[str]:
    rates = {report.model.name: report.answers[kind].passes_by for report in models}
    for label, values in rates[names[0]].items():
        lines = [
            Line(value, {name: rates[name][label][value] for name in names}, None)
            for value in values
        ]
        if label != "flaw" and lines:
            yield f"<h3>{kind.capitalize()} answers that pass their check, by {escape(label)}</h3>"
            yield plot_rates(lines, names, "share that passes")


def _exchange(exchange: Exchange) -> Iterator[str]:
    about = ", ".join([f"record {exchange.record}", *exchange.labels.values()])
    yield '<div class="exchange">'
    yield f'{escape(exchange.question)}<br><span class="example">{escape(about)}</span>'
    rows = [("chosen", escape(exchange.chosen))]
    rows += [
        (f"{name}, {kind}", _marked(shown))
        for name, kinds in exchange.answers.items()
        for kind, shown in kinds.items()
    ]
    cells = "".join(f'<tr><td class="who">{escape(who)}</td><td>{x}</td></tr>' for who, x in rows)
    yield f'<div class="scroll"><table>{cells}</table></div></div>'


def _marked(shown: Shown) -> str:
    mark = ""
    if shown.passes is not None:
        sign, kind = ("\u2713", "good") if shown.passes else ("\u2717", "bad")
        mark = f'<span class="{kind}">{sign}</span> '
    faults = f' <span class="bad">({", ".join(shown.faults)})</span>' if shown.faults else ""
    return f"{mark}{escape(shown.text)}{faults}"


def _how(evaluation: Evaluation) -> Iterator[str]:
    lineup, asked, machine = evaluation.lineup, evaluation.asked, evaluation.machine
    prompt = lineup.system_prompt or "none"
    base = f"{lineup.base_model}{' in 4 bits' if lineup.load_in_4bit else ''}"
    yield "<h2>How it was measured</h2>"
    yield (
        f"<p>{evaluation.pairs.pairs:,} pairs in {evaluation.pairs.independent:,} "
        f"independent groups; {escape(str(evaluation.pairs.cut))}. Base {escape(base)}, scored in "
        f"{escape(machine.scored_in)} on {escape(machine.device)}. System prompt: "
        f"{escape(prompt)}</p>"
    )
    if evaluation.pairs.asked:
        draws = f"temperature {asked.sampling.temperature:g}, top_p {asked.sampling.top_p:g}"
        yield (
            f"<p>{evaluation.pairs.asked:,} questions chosen with seed {asked.seed}, each answered "
            f"greedily, sampled ({draws}) and, for drift and entropy, drawn from the model's own "
            f"distribution; at most {asked.max_new_tokens:,} tokens, in "
            f"{escape(str(machine.answered_in))}. The divergence is exact at every position of "
            "those answers; its mean over them is an estimate of KL(policy || reference).</p>"
        )
    yield f'<p class="soft">fitbot {escape(evaluation.version)}</p>'
