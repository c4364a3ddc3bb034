"""A few questions → what base and adapter answer, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from fitbot.audit.records import prompt_text
from fitbot.evaluation.answer_rates import PASSES, judge
from fitbot.evaluation.answering import GREEDY, LineupEngine, ModelAnswer
from fitbot.evaluation.cases import Case, first_of_each_question
from fitbot.evaluation.margins.contributions import Fragment
from fitbot.evaluation.margins.margins import Margins, Subject
from fitbot.evaluation.measure import answering_device
from fitbot.generation.messages import BASE, Sampling
from fitbot.report.page import render


@dataclass(frozen=True)
class BothAnswers:
    """One question, answered by the likeliest tokens of both."""

    case: Case
    base: ModelAnswer
    tuned: ModelAnswer


def spread_questions(cases: Sequence[Case], count: int) -> list[int]:
    """Choose questions evenly over a file, each once; → indices of their first pairs.

    Args:
        cases: At least one pair.
        count: How many at most.
    """
    places = first_of_each_question(cases)
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
    device = answering_device(subject.device)
    with LineupEngine(
        subject.lineup, subject.chat, device=device, max_new_tokens=max_new_tokens
    ) as engine:
        base, tuned = (
            engine.ask(name, GREEDY, prompts, Sampling(), seed=0)
            for name in (BASE, subject.model.name)
        )
    return [BothAnswers(found.cases[i], *both) for i, *both in zip(where, base, tuned, strict=True)]


def show_answers(asked: Sequence[BothAnswers]) -> Fragment:
    """Write them as a table; ✓ and ✗ say whether an answer passes its question's check."""
    rows = [(one.case.pair, judge(one.base, one.case), judge(one.tuned, one.case)) for one in asked]
    checked = sum(base.passes is not None for _, base, _ in rows)
    base = sum(answer.has(PASSES) for _, answer, _ in rows)
    tuned = sum(answer.has(PASSES) for _, _, answer in rows)
    summary = f"answers that pass their check, of {checked}: base {base}, tuned {tuned}"
    values = {"rows": rows, "question": prompt_text, "summary": summary}
    html = render("evaluation/margins/comparisons.html.j2", **values)
    return Fragment(html, summary)
