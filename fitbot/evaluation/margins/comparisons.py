"""A few questions → what base and adapter answer, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from fitbot.audit.records import prompt_text
from fitbot.evaluation.answering import GREEDY, Answer, Answers
from fitbot.evaluation.cases import Case
from fitbot.evaluation.judging import passed
from fitbot.evaluation.margins.display import Markup, table_markup
from fitbot.evaluation.margins.margins import Margins, Subject
from fitbot.generation.messages import BASE, Sampling


@dataclass(frozen=True)
class BothAnswers:
    """One question, answered by the likeliest tokens of both."""

    case: Case
    base: Answer
    tuned: Answer


def spread_questions(cases: Sequence[Case], count: int) -> list[int]:
    """Choose questions evenly over a file, each once; → indices of their first pairs.

    Args:
        cases: At least one pair.
        count: How many at most.
    """
    first: dict[object, int] = {}
    for index, case in enumerate(cases):
        first.setdefault(case.pair.prompt, index)
    places = list(first.values())
    count = min(count, len(places))
    return [places[number * len(places) // count] for number in range(count)]


def ask_both(
    subject: Subject, found: Margins, where: Sequence[int], *, max_new_tokens: int
) -> list[BothAnswers]:
    """Ask base and adapter the questions of some pairs.

    Args:
        subject: The adapter.
        found: Pairs, encoded for it.
        where: Indices of the pairs whose questions are asked.
        max_new_tokens: Tokens of an answer at most.

    Raises:
        ConfigError: The base is of a kind that the engine does not know, or too short for this.
        EngineError: An answer failed.
    """
    prompts = [found.encoded[i].prompt for i in where]
    with Answers(
        subject.lineup, subject.chat, device=subject.device, max_new_tokens=max_new_tokens
    ) as engine:
        base, tuned = (
            engine.ask(name, GREEDY, prompts, Sampling(), seed=0)
            for name in (BASE, subject.model.name)
        )
    return [BothAnswers(found.cases[i], *both) for i, *both in zip(where, base, tuned, strict=True)]


def show_exchanges(exchanges: Sequence[BothAnswers]) -> Markup:
    """Write them as a table; ✓ and ✗ say whether an answer passes its question's check."""
    rows = [
        (
            escape(prompt_text(one.case.pair)),
            _answer_markup(one.base, one.case),
            _answer_markup(one.tuned, one.case),
            escape(one.case.pair.chosen),
        )
        for one in exchanges
    ]
    checked = [one for one in exchanges if one.case.check is not None]
    base = sum(passed(one.base, one.case) is True for one in checked)
    tuned = sum(passed(one.tuned, one.case) is True for one in checked)
    text = f"answers that pass their check, of {len(checked)}: base {base}, tuned {tuned}"
    html = table_markup(("question", "base", "tuned", "chosen"), rows)
    return Markup(f"{html}<div>{text}</div>", text)


def _answer_markup(answer: Answer, case: Case) -> str:
    mark = {True: "✓ ", False: "✗ ", None: ""}[passed(answer, case)]
    faults = f" <i>({', '.join(answer.faults)})</i>" if answer.faults else ""
    return f"{mark}{escape(answer.text)}{faults}"
