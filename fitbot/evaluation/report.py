"""The report: everything that an evaluation found, as plain values."""

import json
from dataclasses import asdict, dataclass

from fitbot.evaluation.answer_rates import AnswerRates, AnswerReport
from fitbot.evaluation.answering import GREEDY, SAMPLED
from fitbot.evaluation.comparison import Comparison
from fitbot.evaluation.drift import DriftReport
from fitbot.evaluation.groups import Group
from fitbot.evaluation.measure import ComputeInfo, QuestionSettings
from fitbot.evaluation.models import Lineup, Model
from fitbot.evaluation.preference import Displacement
from fitbot.pairs.chat import CutReport

RATED = (GREEDY, SAMPLED)  # kinds of answers that are rated and shown


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
    asked: int  # questions that were answered, all of them different


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
