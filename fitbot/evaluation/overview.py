"""An Evaluation → the table of all models that both terminal and page show, as texts."""

from collections.abc import Iterator, Mapping

from fitbot.evaluation.answer_errors import ANSWER_ERRORS
from fitbot.evaluation.intervals import Estimate
from fitbot.evaluation.preference import FIGURES
from fitbot.evaluation.report import RATED, Evaluation

Row = tuple[str, dict[str, str]]  # label, and by model


def overview(evaluation: Evaluation) -> Iterator[Row]:
    """List the rows: a figure's label, and its text for every model, empty where it has none."""
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
