"""Figures → what they mean, in sentences."""

from collections.abc import Iterator, Sequence

from fitbot.evaluation.answer_rates import PASSES
from fitbot.evaluation.comparison import Comparison
from fitbot.evaluation.groups import Group
from fitbot.evaluation.preference import ACCURACY, LIKELIER
from fitbot.evaluation.report import ModelReport
from fitbot.generation.messages import BASE


def draw_conclusions(
    report: ModelReport, base: ModelReport, whole: Group, comparisons: Sequence[Comparison]
) -> Iterator[str]:
    """Say what the figures of a model mean, in a few sentences without capitals and full stops.

    Args:
        report: Of the model.
        base: The base's.
        whole: What was measured on all pairs.
        comparisons: Of any two models.
    """
    name, best = report.model.name, whole.rules[0]
    is_base = report is base
    if is_base:
        yield f"the chosen answer has the higher log-prob in {_percent(whole, name, LIKELIER)}"
    else:
        rule = f"no rule that never reads the question gets there (best {best.accuracy:.3f})"
        if whole.reached_by[name]:
            rule = "that is what a rule reaches that never reads the question "
            rule += f"({best.rule}: {best.accuracy:.3f})"
        yield f"reward accuracy {_percent(whole, name, ACCURACY)}; {rule}"
    if report.displacement is not None:
        yield report.displacement.verdict
    if not is_base:
        yield _moved(report, base)
    against = {
        found.measure: found for found in comparisons if (found.one, found.other) == (BASE, name)
    }
    for kind, rates in report.answers.items():
        if rates.passes is not None:
            change = "" if is_base else f", {_change(against[f'{kind}: {PASSES}'])}"
            yield f"{kind} answers pass {rates.passes.value:.1%} of the checks{change}"
        faults = [f"{rate.value:.1%} {fault}" for fault, rate in rates.faults.items() if rate.value]
        if faults:
            yield f"faults of {kind} answers: {', '.join(faults)}"


def _percent(group: Group, name: str, figure: str) -> str:
    found = group.figures[name][figure]
    return f"{found.value:.1%} of {group.pairs:,} pairs [{found.low:.3f}, {found.high:.3f}]"


def _moved(report: ModelReport, base: ModelReport) -> str:
    before, after = base.drift.perplexity, report.drift.perplexity
    text = f"perplexity of neutral text {before:,.1f} to {after:,.1f} ({after / before - 1:+.1%})"
    if report.drift.divergence is None:
        return text
    return f"{report.drift.divergence} nats a token away from its reference; {text}"


def _change(found: Comparison) -> str:
    if not found.gained and not found.lost:
        return "none more and none fewer than the base's"
    words = f"{100 * found.difference.value:+.1f} points against the base"
    low, high = found.difference.low, found.difference.high
    if low is None or high is None:
        return words
    words += f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"no clear change: {words}" if low <= 0 <= high else words
