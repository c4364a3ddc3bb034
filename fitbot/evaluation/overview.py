"""An Evaluation → the table of all models that both terminal and page show, as texts."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fitbot.evaluation.answer_errors import ANSWER_ERRORS
from fitbot.evaluation.intervals import Estimate
from fitbot.evaluation.preference import (
    ACCURACY,
    ACCURACY_LIKE_LENGTH,
    ACCURACY_PER_TOKEN,
    CHOSEN_CHANGE,
    LIKELIER,
    LIKELIER_LIKE_LENGTH,
    LIKELIER_PER_TOKEN,
    REJECTED_CHANGE,
)
from fitbot.evaluation.report import RATED, Evaluation

# figure → what a row is called
_ON_PAIRS = {
    ACCURACY: "reward accuracy",
    ACCURACY_PER_TOKEN: "  per token",
    ACCURACY_LIKE_LENGTH: "  answers of like length",
    "rewards/margins": "margin",
    "loss": "loss of its objective",
    LIKELIER: "chosen answer likelier",
    LIKELIER_PER_TOKEN: "  per token",
    LIKELIER_LIKE_LENGTH: "  answers of like length",
    "logps/chosen": "chosen: log-prob, nats",
    "logps/rejected": "rejected: log-prob, nats",
    CHOSEN_CHANGE: "chosen: change, nats",
    REJECTED_CHANGE: "rejected: change, nats",
}


class Row(NamedTuple):
    """One figure of every model; an empty text where a model has none."""

    label: str
    cells: dict[str, str]  # by model


def overview(evaluation: Evaluation) -> Iterator[Row]:
    """List the rows."""
    for figure, label in _ON_PAIRS.items():
        yield _row(label, {n: own.get(figure) for n, own in evaluation.whole.figures.items()})
    drifts = {report.model.name: report.drift for report in evaluation.models}
    yield _row("KL, nats a token", {name: drift.divergence for name, drift in drifts.items()})
    yield _row("entropy, nats a token", {name: drift.entropy for name, drift in drifts.items()})
    yield Row("perplexity, neutral text", {n: f"{x.perplexity:,.1f}" for n, x in drifts.items()})
    for kind in RATED if evaluation.pairs.asked else ():
        rates = {report.model.name: report.answers[kind] for report in evaluation.models}
        yield _row(f"{kind} answers pass", {name: own.passes for name, own in rates.items()})
        for error in ANSWER_ERRORS:
            if any(own.faults[error].value for own in rates.values()):
                yield _row(f"  {error}", {name: own.faults[error] for name, own in rates.items()})
        yield _row("  tokens", {name: own.tokens for name, own in rates.items()})


def measure_label(measure: str) -> str:
    """Return the name of a comparison's measure."""
    return _ON_PAIRS.get(measure, measure)


def _row(label: str, found: Mapping[str, Estimate | None]) -> Row:
    return Row(label, {name: "" if x is None else str(x) for name, x in found.items()})
