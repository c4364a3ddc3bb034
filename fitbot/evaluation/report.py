"""The report: all that an evaluation found, as plain values; its table of models, its sentences."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from fitbot.evaluation.answer_rates import ANSWER_ERRORS, PASSES, AnswerRates, AnswerReport
from fitbot.evaluation.answered import AnsweredGroup
from fitbot.evaluation.answering import GREEDY, SAMPLED
from fitbot.evaluation.intervals import Comparison, Estimate
from fitbot.evaluation.measure import ComputeInfo, DriftReport, QuestionSettings
from fitbot.evaluation.models import Lineup, Model
from fitbot.evaluation.preference import ACCURACY, FIGURES, LIKELIER, Displacement, Group
from fitbot.generation.messages import BASE
from fitbot.pairs.chat import CutReport

RATED = (GREEDY, SAMPLED)  # kinds of answers that are rated and shown
Row = tuple[str, dict[str, str]]  # of the table: label, and by model


@dataclass(frozen=True)
class PairsReport:
    """Which pairs were used."""

    path: str
    pairs: int
    independent: int  # groups of pairs that share a question or both answers
    labels: list[str]  # that the file has, of category, flaw and split
    checked: int  # pairs with a check
    cut: CutReport
    rules_learned_from: str | None  # a file; None: from the same pairs, by cross-validation
    rules_limit: int | None  # of that file the first so many records; None: all
    training_file_missing: str  # why rules do not learn from the adapters' own training file; or ""
    asked: int  # questions that were answered, all of them different

    @property
    def rules_records(self) -> str:
        """Name the records that rules learn from; "" if those are the pairs themselves."""
        if self.rules_learned_from is None or self.rules_limit is None:
            return self.rules_learned_from or ""
        return f"the first {self.rules_limit:,} records of {self.rules_learned_from}"


@dataclass(frozen=True)
class ModelReport:
    """What was found of one model; its figures on pairs are in the groups."""

    model: Model
    displacement: Displacement | None
    drift: DriftReport
    answers: dict[str, AnswerRates]  # by kind; empty if nothing was asked
    logps: list[tuple[float, float]]  # of every pair, nats: chosen, rejected
    reference_logps: list[tuple[float, float]]


@dataclass(frozen=True)
class QuestionReport:
    """One question and the answers to it."""

    record: int
    question: str
    chosen: str
    labels: dict[str, str]
    answers: dict[str, dict[str, AnswerReport]]  # by model, by kind


@dataclass(frozen=True)
class Evaluation:
    """Everything that was found; plain values throughout."""

    version: str  # of fitbot
    lineup: Lineup
    asked: QuestionSettings
    machine: ComputeInfo
    pairs: PairsReport
    models: list[ModelReport]
    groups: list[Group]  # all pairs first
    rules_unmeasured: dict[str, str]
    comparisons: list[Comparison]
    answered: list[AnsweredGroup]  # of greedy answers; all questions with a check first
    verdicts: dict[str, list[str]]  # by model
    exchanges: list[QuestionReport]  # one a question asked
    seconds: dict[str, float]  # the only part that differs between two runs

    @property
    def whole(self) -> Group:
        """What was measured on all pairs."""
        return self.groups[0]

    def to_json(self) -> str:
        """Write it as JSON, ASCII only."""
        return json.dumps(asdict(self), indent=1) + "\n"


def overview(evaluation: Evaluation) -> Iterator[Row]:
    """List what all models are shown side by side by: a label, and every model's figure or ""."""
    for figure, label in FIGURES.items():
        yield _row(label, {n: own.get(figure) for n, own in evaluation.whole.figures.items()})
    drifts = {report.model.name: report.drift for report in evaluation.models}
    yield _row("KL, nats a token", {name: drift.divergence for name, drift in drifts.items()})
    yield _row("entropy, nats a token", {name: drift.entropy for name, drift in drifts.items()})
    yield "perplexity, neutral text", {n: f"{x.perplexity:,.1f}" for n, x in drifts.items()}
    for kind in RATED if evaluation.pairs.asked else ():
        rates = {report.model.name: report.answers[kind] for report in evaluation.models}
        yield _row(f"{kind} answers pass", {name: own.passes for name, own in rates.items()})
        for error in ANSWER_ERRORS:
            if any(own.faults[error].value for own in rates.values()):
                yield _row(f"  {error}", {name: own.faults[error] for name, own in rates.items()})
        yield _row("  tokens", {name: own.tokens for name, own in rates.items()})


def _row(label: str, found: Mapping[str, Estimate | None]) -> Row:
    return label, {name: "" if x is None else str(x) for name, x in found.items()}


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
    name, is_base = report.model.name, report is base
    if is_base:
        yield f"the chosen answer has the higher log-prob in {_percent(whole, name, LIKELIER)}"
    else:
        yield _standing(whole, name)
        yield from beyond_sentence(whole, name)
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


def headline(evaluation: Evaluation) -> str:
    """Say the result in one sentence."""
    whole, (base, *adapters) = evaluation.whole, evaluation.models
    if not adapters:
        text = "the base alone gives the chosen answer the higher log-prob in "
        text += _percent(whole, base.model.name, LIKELIER)
    elif len(adapters) > 1:
        standings = [f"{x.model.name} is {whole.standing(x.model.name)}" for x in adapters]
        return f"of {len(adapters)} adapters on {whole.pairs:,} pairs {', '.join(standings)}"
    else:
        name = adapters[0].model.name
        text = f"{name} is {whole.standing(name)}: it prefers the chosen answer in "
        text += _percent(whole, name, ACCURACY)
    passes = [own.answers[GREEDY].passes for own in evaluation.models if own.answers]
    if passes and passes[-1] is not None:
        text += f", and {passes[-1].value:.1%} of its greedy answers pass their checks"
    if len(passes) > 1 and passes[0] is not None:
        text += f" (of the base's {passes[0].value:.1%})"
    return text


def _standing(whole: Group, name: str) -> str:
    """Say what an adapter's accuracy is to chance, and to rules that never read the question."""
    standing, best = whole.standing(name), whole.rules[0]
    text = f"reward accuracy {_percent(whole, name, ACCURACY)}"
    if whole.reached_by[name]:
        rule = f"a rule that never reads the question ({best.rule}) reaches {best.accuracy:.3f}"
        return f"{standing}: {text}; {rule}"
    figure = whole.main_figure(name)
    if figure.lies_above(best.accuracy) and figure.lies_above(0.5):
        rule = f"no rule that never reads the question gets there (best {best.accuracy:.3f})"
        return f"{text}; {rule}"
    if figure.lies_above(0.5):
        rule = "no rule that never reads the question is clearly above chance"
        return f"{text}; {rule} (best {best.accuracy:.3f} [{best.low:.3f}, {best.high:.3f}])"
    return f"{standing}: {text}"


def beyond_sentence(whole: Group, name: str) -> Iterator[str]:
    """Say whether an adapter has learned more than a bag of words that reads the question.

    An accuracy that is not above chance is explained by no rule; one can still be better.
    """
    difference = whole.beyond_best(name)
    if difference is None:
        return
    best, accuracy = whole.question_rules[0], whole.main_figure(name)
    what = "not shown to be beyond what a bag of words learns"
    if difference.lies_below(0):
        what = "less than what a bag of words learns"
    elif difference.lies_above(0) and accuracy.lies_above(0.5):
        what = "beyond what a bag of words learns"
    elif difference.lies_above(0) or accuracy.lies_below(0.5):
        return
    yield f"{what}: {points(difference)} against {best.rule} ({best.accuracy:.3f})"


def points(difference: Estimate) -> str:
    """Write a difference of two rates, in points of a hundred.

    >>> points(Estimate(-0.034, -0.061, -0.008))
    '-3.4 points [-6.1, -0.8]'
    """
    words, low, high = f"{100 * difference.value:+.1f} points", difference.low, difference.high
    return (
        words if low is None or high is None else f"{words} [{100 * low:+.1f}, {100 * high:+.1f}]"
    )


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
    words = f"{points(found.difference)} against the base"
    return words if found.is_clear else f"no clear change: {words}"
