"""Who answers, said to people: a demonstration, or a base and its adapter; and what to ask it.

Nothing here imports torch.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from fitbot.base_model.embedded import EMBEDDED, embedded_model
from fitbot.base_model.provenance import provenance_of

# Beside a base that is there to be looked at: what it knows, and questions that it can answer.
DEMONSTRATION_FILE = "demonstration.json"

_GENERAL = (
    "How do I start strength training?",
    "What should I eat before a workout?",
    "Give me a 20-minute workout without equipment.",
    "How do I warm up for squats?",
    "Which vegetarian foods have a lot of protein?",
    "How many rest days do I need in a week?",
)


@dataclass(frozen=True)
class Introduction:
    """What a model is, and what to ask it.

    Args:
        kind: In a few words; "" where nothing is known.
        details: More of it: when it was trained and what came of it, as far as its files say.
        questions: Six that it can answer.
        is_demonstration: Whether it is there to be looked at, and is no assistant: it is shown each
            question by itself.
    """

    kind: str = ""
    details: str = ""
    questions: tuple[str, ...] = _GENERAL
    is_demonstration: bool = False


def introduce(adapter: Path | None, *, tuned: bool = True) -> Introduction:
    """Introduce an adapter, or with `tuned` off its base; None stands for the embedded model.

    Raises:
        AdapterError: The folder holds no adapter of fitbot's.
    """
    metadata = provenance_of(adapter, "base_model")
    base_model, trained = metadata["base_model"], adapter if tuned else None
    folder = embedded_model() if base_model == EMBEDDED else Path(base_model)
    name, details = folder.name, "Without an adapter."
    if trained is not None:
        run = trained.absolute()
        run = run.parent if run.name == "adapter" else run
        name += f" with the adapter {run.name}"
        details = f"Adapter {run.name}"
        details += f", trained on {metadata['trained']}." if "trained" in metadata else "."
        if verdict := metadata.get("metrics", {}).get("verdict"):
            word, _, why = verdict.partition(";")[0].partition(": ")
            details += f" Verdict of its training: {word}, {why}."
    file = folder / DEMONSTRATION_FILE
    if not file.is_file():
        return Introduction(name, details)
    known = json.loads(file.read_text(encoding="utf-8"))
    kind = f"A demonstration: knows {known['foods']} foods and {known['exercises']} exercises"
    details = details if trained else known["untrained"]
    details += " It answers each question by itself."
    return Introduction(kind, details, tuple(known["questions"]), is_demonstration=True)
