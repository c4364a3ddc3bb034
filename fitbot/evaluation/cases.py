"""A preference file → its pairs with their labels and checks.

Both are optional; fitbot's own files have them, see data/README.md:

    category, flaw, split   strings that pairs are grouped by
    check                   an object that tells right answers from wrong ones, see checks.py
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from fitbot.audit.records import prompt_text
from fitbot.audit.shortcuts import connected_groups
from fitbot.audit.text import normalise
from fitbot.errors import DataError
from fitbot.evaluation.checks import passes
from fitbot.pairs.formats import PreferencePair
from fitbot.pairs.preferences import Check, load_pairs
from fitbot.pairs.sources import read_records

INDEPENDENT = "independent"  # the questions that come with fitbot, made by data/independent
LABELS = ("category", "flaw", "split")


class Case(NamedTuple):
    """One pair and what its record says of it."""

    pair: PreferencePair
    labels: dict[str, str]  # some of LABELS, or none
    check: dict[str, Any] | None


def questions_file(name: str) -> str:
    """Return the file of a name of questions: INDEPENDENT, where there is no such file here."""
    if name != INDEPENDENT or Path(name).exists():
        return name
    return str(Path(__file__).with_name("independent.json"))


def load_cases(source: str, *, limit: int | None = None, check: Check | None = None) -> list[Case]:
    """Read pairs with their labels and checks.

    Args:
        source: As `load_pairs` takes it.
        limit: Read only the first so many records.
        check: Refuses further pairs, as in `load_pairs`.

    Raises:
        DataError: A record is no pair, or its check cannot be used.
    """
    pairs = load_pairs(source, limit=limit, check=check).pairs
    records = [record for _, record in islice(read_records(source), limit)]
    return [_case(pair, records[pair.record], source) for pair in pairs]


def label_fault(pair: PreferencePair, record: Any) -> str | None:
    """Say what a record's own check says against its labels; None if nothing.

    A check that cannot be used says nothing: it may be of another program.
    """
    check = _check_of(record)
    if not isinstance(check, dict) or not check:
        return None
    try:
        right, wrong = (passes(answer, check) for answer in (pair.chosen, pair.rejected))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    if right and not wrong:
        return None
    return "a chosen answer fails its check" if not right else "a rejected answer passes its check"


def groups_of(cases: Sequence[Case]) -> dict[str, dict[str, list[int]]]:
    """Sort cases by label: label → its value → indices of the cases; the largest group first."""
    found: dict[str, dict[str, list[int]]] = {}
    for label in LABELS:
        for index, case in enumerate(cases):
            if label in case.labels:
                found.setdefault(label, {}).setdefault(case.labels[label], []).append(index)
    return {
        label: dict(sorted(values.items(), key=lambda item: -len(item[1])))
        for label, values in found.items()
    }


def first_of_each_question(cases: Sequence[Case]) -> list[int]:
    """Return the index of each question's first case, in the file's order."""
    first: dict[object, int] = {}
    for index, case in enumerate(cases):
        first.setdefault(case.pair.prompt, index)
    return list(first.values())


def dependent_groups(pairs: Sequence[PreferencePair]) -> list[int]:
    """Number pairs by group: two are in one if they have the same question or the same two answers.

    So a pair and its mirror, in which the other answer is the right one, are one group.
    """
    keys = [
        (normalise(prompt_text(pair)), frozenset(map(normalise, (pair.chosen, pair.rejected))))
        for pair in pairs
    ]
    return connected_groups(keys)


def _case(pair: PreferencePair, record: Any, source: str) -> Case:
    labels = {key: str(record[key]) for key in LABELS if record.get(key)}
    check = _check_of(record)
    if check is not None:
        _try_check(check, pair, f"{source}: record {pair.record}: 'check'")
    return Case(pair, labels, check)


def _check_of(record: Any) -> Any:
    check = record.get("check")
    if isinstance(check, dict):  # a table holds None where a check lacks a key that others have
        check = {key: value for key, value in check.items() if value is not None}
    return check


def _try_check(check: Any, pair: PreferencePair, where: str) -> None:
    try:
        right, wrong = (passes(answer, check) for answer in (pair.chosen, pair.rejected))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{where} cannot be used, {type(error).__name__}: {error}. fitbot/evaluation/checks.py "
            "says what may stand in a check; mend it or leave it out."
        ) from error
    if not right or wrong:
        what = "'chosen' fails it" if not right else "'rejected' passes it"
        raise DataError(f"{where} does not tell right from wrong: {what}. Mend it or leave it out.")
