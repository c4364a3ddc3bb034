"""Models and pairs → their Evaluation; all of it that takes time is here."""

import time

from fitbot.audit.shortcuts import preferences_after, preferences_alone
from fitbot.evaluation.inputs import EvaluationInputs
from fitbot.evaluation.measure import measure
from fitbot.evaluation.report import Evaluation
from fitbot.evaluation.report_data import build_evaluation


def evaluate(inputs: EvaluationInputs) -> Evaluation:
    """Let the rules choose, load and measure every model, and draw up the report.

    Raises:
        AdapterError: An adapter does not fit its base, or gives no finite log-probs.
        ConfigError: The base is of a kind that cannot answer, or too short for the questions.
        EngineError: An answer failed.
    """
    pairs = [case.pair for case in inputs.cases]
    if inputs.train is None:
        preferences = preferences_alone(pairs)
    else:
        preferences = preferences_after(inputs.train, pairs)
    read = time.perf_counter()
    found, machine = measure(inputs.lineup, inputs.chat, inputs.pairs, inputs.questions)
    measured = time.perf_counter()
    seconds = {"reading": round(read - inputs.started, 1), "measuring": round(measured - read, 1)}
    return build_evaluation(found, inputs, machine, preferences, seconds)
