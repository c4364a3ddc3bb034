"""Where the health layer meets the server; the layer itself knows nothing of HTTP."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from fitbot.pairs.formats import Message


class Verdict(Protocol):
    """What is to happen with a question."""

    @property
    def kind(self) -> str:
        """One of a few words, such as "ok" or "emergency"; a metric's label."""

    @property
    def message(self) -> str:
        """For the user; the whole answer, unless the model answers."""

    @property
    def model_answers(self) -> bool:
        """Whether the model may be asked."""


class Filter(Protocol):
    """Lets an answer through as far as it may be shown."""

    intervened: str | None

    def feed(self, text: str) -> str:
        """Take text and return what may be shown by now."""

    def finish(self) -> str:
        """Return the rest."""


class Safety(NamedTuple):
    """A health layer: a judgement of the question, and filters for its answer and its thoughts."""

    judge: Callable[[Sequence[Message]], Verdict]
    filter: Callable[[Verdict], Filter]
    filter_reasoning: Callable[[], Filter]


def health_layer() -> Safety:
    """Return fitbot's own."""
    from fitbot.health import layer

    def filter_reasoning() -> Filter:
        # What a verdict puts in front of an answer does not belong in front of a thought as well.
        return layer.AnswerFilter(layer.Verdict("ok"))

    layer.load_rules()
    # Its filter takes its own verdicts.
    return Safety(layer.judge, layer.AnswerFilter, filter_reasoning)  # type: ignore[arg-type]
