"""Twelve faults in clean files: each is found with its kind and records, and nothing else is."""

from collections.abc import Callable

import pytest

from fitbot.audit.diversity import audit_diversity
from fitbot.audit.findings import diversity_findings, leak_findings, record_findings
from fitbot.audit.kinds import KINDS, SEVERITIES
from fitbot.audit.leaks import audit_leaks
from fitbot.audit.records import audit_records
from fitbot.evaluation.cases import label_fault
from fitbot.pairs.preferences import LoadedPairs
from tests.audit.planted import Record, pairs_of, realistic_records, turned

Records = list[Record]
Found = dict[tuple[str, str], set[int]]  # file and kind → records


def leak(train: Records, val: Records) -> Found:
    val[2] = {key: text.upper() for key, text in train[0].items()}
    return {("val", "leak"): {2}}


def near_leak(train: Records, val: Records) -> Found:
    val[3]["question"] = f"Please, {train[16]['question']}"
    return {("val", "near-leak"): {3}}


def reversed_labels(train: Records, val: Records) -> Found:
    val[4] = turned(train[8])
    return {("val", "reversed"): {4}, ("val", "leak"): {4}}  # its prompt is in both


def conflict(train: Records, val: Records) -> Found:
    train.append(turned(train[10]))
    return {("train", "conflict"): {10, len(train) - 1}}


def label(train: Records, val: Records) -> Found:
    train[1]["check"] = {"number": 12}
    return {("train", "label"): {1}}


def truncated(train: Records, val: Records) -> Found:
    train[7]["chosen"] = train[7]["chosen"].partition("ing at a time")[0]
    return {("train", "truncated"): {7}}


def loop(train: Records, val: Records) -> Found:
    train[9]["rejected"] = " ".join([train[9]["rejected"]] * 2)
    return {("train", "loop"): {9}}


def contact(train: Records, val: Records) -> Found:
    val[5]["chosen"] += " Call +49 170 1234567 or write to coach@fit-club.org."
    return {("val", "contact"): {5}}


def language(train: Records, val: Records) -> Found:
    train[13]["chosen"] = "No hace falta: lo que cuenta es la suma del día, y comer sin prisa."
    return {("train", "language"): {13}}


def identical(train: Records, val: Records) -> Found:
    train[19] |= {"chosen": "Sleep well.", "rejected": "sleep well."}
    return {("train", "identical"): {19}}


def duplicate(train: Records, val: Records) -> Found:
    train.append({key: f"  {text}\n" for key, text in train[6].items()})
    return {("train", "duplicate"): {len(train) - 1}}


def character(train: Records, val: Records) -> Found:
    val[6]["question"] = val[6]["question"].replace("iron", "ir\u200bon")
    return {("val", "character"): {6}}


FAULTS: list[Callable[[Records, Records], Found]] = [
    *(leak, near_leak, reversed_labels, conflict, label, truncated),
    *(loop, contact, language, identical, duplicate, character),
]


def found_in(train: Records, val: Records) -> Found:
    """Audit two files but for tokens and rules; a finding has as many examples as pairs here."""
    findings = [
        ("val", one) for one in leak_findings(audit_leaks(pairs_of(train), pairs_of(val), ""))
    ]
    for name, records in (("train", train), ("val", val)):
        pairs = pairs_of(records)
        faults: dict[str, set[int]] = {}
        for pair, record in zip(pairs, records, strict=True):
            if fault := label_fault(pair, record):
                faults.setdefault(fault, set()).add(pair.record)
        report = audit_records(LoadedPairs(pairs, []), faults)
        findings += [(name, one) for one in record_findings(report, "")]
        findings += [(name, one) for one in diversity_findings(audit_diversity(pairs), "")]
    found: Found = {}
    for name, finding in findings:
        assert finding.pairs == len(finding.examples)
        found.setdefault((name, finding.kind), set()).update(e.record for e in finding.examples)
    return found


def test_realistic_files_have_no_finding() -> None:
    assert found_in(*realistic_records()) == {}


@pytest.mark.parametrize("plant", FAULTS)
def test_a_planted_fault_is_found_and_nothing_else(
    plant: Callable[[Records, Records], Found],
) -> None:
    train, val = realistic_records()

    expected = plant(train, val)

    assert found_in(train, val) == expected


def test_twelve_faults_together_are_found_and_nothing_else() -> None:
    train, val = realistic_records()
    expected: Found = {}
    for plant in FAULTS:
        for key, records in plant(train, val).items():
            expected.setdefault(key, set()).update(records)

    assert len(FAULTS) == 12
    assert found_in(train, val) == expected


def test_every_kind_has_a_severity() -> None:
    assert list(SEVERITIES) == list(KINDS)
    assert set(SEVERITIES.values()) == {"error", "warning", "note"}
