"""Write fitbot/evaluation/independent.json: `python data/independent`.

Every right answer must pass its check; every wrong one must fail it, and the question itself. A wrong
answer's result becomes a trap: an answer that gives it beside the right one fails.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import diets
import energy
import maxima
import paces
import plates
import programmes
import triage
from question import Question

from fitbot.evaluation.checks import passes
from fitbot.evaluation.figures import figures, times

ROOT = Path(__file__).parents[2]
_OUT = ROOT / "fitbot" / "evaluation" / "independent.json"
_CATEGORIES = {
    "loadable weights": plates,
    "pace": paces,
    "one-rep maximum": maxima,
    "energy, heart and units": energy,
    "programme constraints": programmes,
    "triage": triage,
    "diet rules": diets,
}


def records() -> list[dict[str, Any]]:
    """Return the questions as records of preference pairs.

    Raises:
        ValueError: A question is faulty; the message says which and why.
    """
    found = [
        _record(category, question)
        for category, module in _CATEGORIES.items()
        for question in module.questions()
    ]
    twice = [text for text, n in Counter(x["question"].lower() for x in found).items() if n > 1]
    if twice:
        raise ValueError(f"asked twice: {twice}")
    _compare_with_table(found)
    return found


def _record(category: str, asked: Question) -> dict[str, Any]:
    check = dict(asked.check)
    if traps := _traps(asked):
        check["traps"] = traps
    for answer, wanted in ((asked.right, True), (asked.wrong, False), (asked.question, False)):
        if passes(answer, check) != wanted:
            verb = "fails" if wanted else "passes"
            raise ValueError(f"{asked.question!r}: {answer!r} {verb} {check}")
    return {
        "question": asked.question,
        "chosen": asked.right,
        "rejected": asked.wrong,
        "category": category,
        "check": check,
        "facts": [asked.source],
        "split": "template" if asked.template else "by hand",
    }


def _traps(asked: Question) -> list[float]:
    """Return what the wrong answer gives as its result, and neither question nor right answer."""
    if "figure" in asked.check:
        unit = asked.check.get("unit")
        wrong, right, question = (
            [value for value, _, _ in figures(text, unit)]
            for text in (asked.wrong, asked.right, asked.question)
        )
    elif "time" in asked.check:
        wrong, right, question = map(times, (asked.wrong, asked.right, asked.question))
    else:
        return []
    return sorted(set(wrong) - set(right) - set(question))


def _compare_with_table(found: list[dict[str, Any]]) -> None:
    """Compare levels of urgency with the health layer's table of signs."""
    text = (ROOT / "data" / "health" / "signs.json").read_text(encoding="utf-8")
    levels = {row["sign"]: triage.level_of(row) for row in json.loads(text)}
    for record in found:
        place, _, row = record["facts"][0].partition(".json: ")
        if row and levels[row] != record["check"]["urgency"]:
            raise ValueError(f"{place}: {row!r} means {levels[row]}: {record['question']!r}")


if __name__ == "__main__":
    made = records()
    _OUT.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    counts = Counter(record["category"] for record in made)
    templates = sum(record["split"] == "template" for record in made)
    sys.stdout.write(f"wrote {_OUT}: {len(made)} questions, {templates} by template; {counts}\n")
