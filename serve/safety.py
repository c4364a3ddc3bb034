"""Where the health layer meets the server; the layer itself knows nothing of HTTP."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from fitbot.pairs.preferences import Message


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
    """A health layer: a judgement of the question, and a filter for its answer."""

    judge: Callable[[Sequence[Message]], Verdict]
    filter: Callable[[Verdict], Filter]


def health_layer() -> Safety:
    """Return fitbot's own."""
    from fitbot.answers.health.layer import AnswerFilter, judge, load_rules

    load_rules()
    return Safety(judge, AnswerFilter)  # type: ignore[arg-type]  # its filter takes its verdicts
