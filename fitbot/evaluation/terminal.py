"""An Evaluation → text for a terminal of 100 columns."""

from collections.abc import Iterator, Sequence

from fitbot.audit.terminal import rule_line, unmeasured_lines
from fitbot.evaluation.answer_rates import PASSES
from fitbot.evaluation.answered import AnsweredGroup
from fitbot.evaluation.intervals import Comparison
from fitbot.evaluation.preference import ALL, ENOUGH, FIGURES, Group
from fitbot.evaluation.report import Evaluation, overview, points
from fitbot.report.terminal import WIDTH, shorten, wrap

_LABEL = 28
_CELL = 24
_MODELS = (WIDTH - _LABEL) // _CELL  # beside each other
_CHANCE = 0.05  # p below which a difference of faults is shown
_MARKS = {None: " ", "worse than chance": "!", "not clearly better than chance": "~"}
_WORST, _ENOUGH = 8, 10  # flaws that are shown, each with at least so many pairs; the page has all


def show_evaluation(evaluation: Evaluation) -> str:
    """Write the report, what it means last, where a terminal leaves off."""
    names = [report.model.name for report in evaluation.models]
    lines = ["", *(line for text in _what(evaluation) for line in wrap(text, "", "    "))]
    for start in range(0, len(names), _MODELS):
        lines += ["", *_overview(evaluation, names[start : start + _MODELS])]
    lines += ["", *_groups(evaluation), "", *_rules(evaluation)]
    if evaluation.whole.question_rules:
        lines += ["", *_beyond(evaluation)]
    if evaluation.answered:
        lines += ["", *_answered(evaluation.answered)]
    if evaluation.comparisons:
        lines += ["", *_comparisons(evaluation.comparisons)]
    lines.append("")
    for name, verdicts in evaluation.verdicts.items():
        lines += [name, *(line for text in verdicts for line in wrap(text, "  ", "    "))]
    return "\n".join([*lines, ""])


def _what(evaluation: Evaluation) -> Iterator[str]:
    pairs, machine, asked = evaluation.pairs, evaluation.machine, evaluation.asked
    yield f"{pairs.path}: {pairs.pairs:,} pairs in {pairs.independent:,} independent groups"
    if not pairs.labels:
        yield "  no category, flaw or split in its records: no figures by group"
    if not pairs.checked and not evaluation.answered:
        yield "  no checks in its records: answers are judged for faults only"
    if pairs.cut.prompts_cut or pairs.cut.completions_cut or pairs.cut.equal:
        yield f"  {pairs.cut}"
    base = evaluation.lineup.base_model
    yield f"base {base}, scored in {machine.scored_in} on {machine.device}"
    if pairs.asked:
        of = "" if asked.path == pairs.path else f"of {asked.path} "
        draws = f"temperature {asked.sampling.temperature:g}, top_p {asked.sampling.top_p:g}"
        yield (
            f"{pairs.asked:,} questions {of}answered, sampled at {draws}, at most "
            f"{asked.max_new_tokens} tokens, in {machine.answered_in}"
        )


def _overview(evaluation: Evaluation, names: Sequence[str]) -> Iterator[str]:
    yield " " * _LABEL + "".join(f"{_short(name):<{_CELL}}" for name in names).rstrip()
    for label, texts in overview(evaluation):
        if any(texts[name] for name in names):
            cells = "".join(f"{texts[name]:<{_CELL}}" for name in names)
            yield f"  {label:<{_LABEL - 2}}{cells}".rstrip()


def _groups(evaluation: Evaluation) -> Iterator[str]:
    names = [report.model.name for report in evaluation.models]
    shown = names[1:_MODELS] or names
    figure = "reward accuracy" if len(names) > 1 else "chosen answer likelier"
    yield f"{figure} by group; ! worse than chance, ~ not clearly better in {ENOUGH} groups or more"
    head = "".join(f"{_short(name):<{_CELL}}" for name in shown)
    yield f"{'':<{_LABEL}}pairs  {head}best rule"
    for label in dict.fromkeys(group.label for group in evaluation.groups):
        groups = [group for group in evaluation.groups if group.label == label]
        if label == "flaw" and len(groups) > _WORST:
            groups = [group for group in groups if group.pairs >= _ENOUGH]
            groups.sort(key=lambda group: group.main_figure(shown[0]).value)
            groups = groups[:_WORST]
            yield f"  flaws of {_ENOUGH} pairs or more, the {len(groups)} hardest"
        elif label != ALL:
            yield f"  {label}"
        yield from (_group(group, shown) for group in groups)


def _group(group: Group, names: Sequence[str]) -> str:
    value = group.value if group.label == ALL else f"  {group.value}"
    cells = "".join(
        f"{_MARKS[group.mark(name)]}{group.main_figure(name)!s:<{_CELL - 1}}" for name in names
    )
    best = group.rules[0]
    start = f"  {shorten(value, _LABEL - 3):<{_LABEL - 2}}{group.pairs:>5} {cells}"
    return shorten(f"{start} {best.accuracy:.2f} {best.rule}", WIDTH).rstrip()


def _rules(evaluation: Evaluation) -> Iterator[str]:
    whole, learned = evaluation.whole, evaluation.pairs.rules_records
    how = f"learned from {learned}" if learned else "learned ones by cross-validation"
    yield from wrap(f"rules that never read the question, on the same pairs ({how})", "", "  ")
    yield from wrap(evaluation.pairs.training_file_missing, "  ", "  ")
    for score in whole.rules:
        reaching = whole.reaching(score.rule)
        reached = f"  as good as {', '.join(reaching)}" if reaching else ""
        yield shorten(f"{rule_line(score)}{reached}", WIDTH)
    yield from unmeasured_lines(evaluation.rules_unmeasured)


def _beyond(evaluation: Evaluation) -> Iterator[str]:
    names = [report.model.name for report in evaluation.models]
    shown = names[1:_MODELS] or names
    yield "beyond rules that read the question as a bag of words: points against the better one"
    head = "".join(f"{_short(name):<{_CELL}}" for name in shown)
    yield f"{'':<{_LABEL}}pairs  {head}the better rule".rstrip()
    for label in dict.fromkeys(group.label for group in evaluation.groups):
        if label == "flaw":
            continue  # too many; the page has them
        if label != ALL:
            yield f"  {label}"
        for group in (group for group in evaluation.groups if group.label == label):
            value = group.value if label == ALL else f"  {group.value}"
            cells = "".join(f"{_points(group, name):<{_CELL}}" for name in shown)
            best = group.question_rules[0]
            start = f"  {shorten(value, _LABEL - 3):<{_LABEL - 2}}{group.pairs:>5}  {cells}"
            yield shorten(f"{start}{best.accuracy:.2f} {best.rule}", WIDTH).rstrip()


def _points(group: Group, name: str) -> str:
    difference = group.beyond_best(name)
    return "" if difference is None else points(difference).replace(" points", "")


def _answered(groups: Sequence[AnsweredGroup]) -> Iterator[str]:
    yield "greedy answers that pass; > where an answer that needs no question does as well"
    names, beside = list(groups[0].passes), _MODELS - 1  # the last columns are the trivial answer's
    for start in range(0, len(names), beside):
        yield from _answered_by(names[start : start + beside], groups)
    for group in groups:
        for found in group.changes:
            versus = shorten(f"{_short(found.one)} → {_short(found.other)}", 25)
            yield (
                f"  {shorten(_named(group), 24):<25}{versus:<26}{found.difference!s:<24}"
                f"+{found.gained} -{found.lost}  p {found.p:.2g}"
            )


def _answered_by(names: Sequence[str], groups: Sequence[AnsweredGroup]) -> Iterator[str]:
    head = "".join(f"{_short(name):<{_CELL}}" for name in names)
    yield f"{'':<{_LABEL - 1}}asked  {head}best such answer"
    for group in groups:
        cells = "".join(
            f"{'>' if group.is_trivial(name) else ' '}{group.passes[name]!s:<{_CELL - 1}}"
            for name in names
        )
        text, rate = group.best_trivial
        start = f"  {shorten(_named(group), _LABEL - 3):<{_LABEL - 2}}{group.questions:>4} {cells}"
        yield shorten(f"{start} {rate:.2f} {text}", WIDTH).rstrip()


def _named(group: AnsweredGroup) -> str:
    return group.value if group.value == ALL else f"  {group.value}"


def _comparisons(comparisons: Sequence[Comparison]) -> Iterator[str]:
    yield "difference on the same pairs and questions; how many changed; p of a sign-flip test"
    for found in comparisons:
        is_error = ":" in found.measure and not found.measure.endswith(PASSES)
        if not is_error or found.p < _CHANCE:
            versus = shorten(f"{_short(found.one)} → {_short(found.other)}", 25)
            label = FIGURES.get(found.measure, found.measure)
            yield (
                f"  {label:<24}{versus:<26}{found.difference!s:<24}"
                f"+{found.gained} -{found.lost}  p {found.p:.2g}"
            )


def _short(name: str) -> str:
    return name if len(name) < _CELL else f"…{name[2 - _CELL :]}"
