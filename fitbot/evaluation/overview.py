"""An Evaluation → the table of all models that both terminal and page show, as texts."""

from collections.abc import Iterator, Sequence
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
from fitbot.evaluation.report import RATED, Evaluation, ModelReport

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


def overview(evaluation: Evaluation) -> list[Row]:
    """List the rows."""
    figures = evaluation.whole.figures
    rows = [
        Row(label, {name: _text(own.get(figure)) for name, own in figures.items()})
        for figure, label in _ON_PAIRS.items()
    ]
    return [*rows, *_drift(evaluation.models), *_answers(evaluation.models)]


def measure_label(measure: str) -> str:
    """Return the name of a comparison's measure."""
    return _ON_PAIRS.get(measure, measure)


def _drift(models: Sequence[ModelReport]) -> Iterator[Row]:
    drifts = {report.model.name: report.drift for report in models}
    rows = {
        "KL, nats a token": {n: _text(x.divergence) for n, x in drifts.items()},
        "entropy, nats a token": {n: _text(x.entropy) for n, x in drifts.items()},
        "perplexity, neutral text": {n: f"{x.perplexity:,.1f}" for n, x in drifts.items()},
    }
    return (Row(label, cells) for label, cells in rows.items())


def _answers(models: Sequence[ModelReport]) -> Iterator[Row]:
    for kind in RATED:
        rates = {r.model.name: r.answers[kind] for r in models if r.answers}
        if not rates:
            continue
        yield Row(f"{kind} answers pass", {n: _text(x.passes) for n, x in rates.items()})
        for error in ANSWER_ERRORS:
            if any(x.faults[error].value for x in rates.values()):
                yield Row(f"  {error}", {n: _text(x.faults[error]) for n, x in rates.items()})
        yield Row("  tokens", {n: _text(x.tokens) for n, x in rates.items()})


def _text(estimate: Estimate | None) -> str:
    return "" if estimate is None else str(estimate)
