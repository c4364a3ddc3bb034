"""Faults of single files: each planted fault is counted, and nothing else is."""

import random

import pytest

from fitbot.audit.diversity import audit_diversity
from fitbot.audit.findings import diversity_findings, record_findings
from fitbot.audit.near import NEAR, NearIndex, near_groups, word_set
from fitbot.audit.records import RecordReport, audit_records, main_script
from fitbot.audit.text import excerpt, mask_template
from fitbot.pairs.preferences import LoadedPairs
from tests.audit.planted import clean_records, pairs_of


def audit(records: list[dict[str, str]]) -> RecordReport:
    return audit_records(LoadedPairs(pairs_of(records), []))


def kinds(records: list[dict[str, str]]) -> set[str]:
    found = {finding.kind for finding in record_findings(audit(records), "file")}
    return found | {f.kind for f in diversity_findings(audit_diversity(pairs_of(records)), "file")}


def test_a_clean_file_has_no_finding() -> None:
    report = audit(clean_records())

    assert kinds(clean_records()) == set()
    assert (report.pairs, report.prompts) == (60, 60)
    assert report.scripts == {"LATIN": 1.0}


def test_duplicates_are_found_whatever_their_case_and_spacing() -> None:
    records = clean_records()
    records.append({key: f" {text.upper()}\n" for key, text in records[3].items()})
    near = {key: f"{text} indeed" for key, text in records[5].items()}

    report = audit([*records, near])

    assert report.duplicates.pairs == 1
    assert report.duplicates.examples[0].record == 60
    assert report.near_duplicates.pairs == 1
    assert report.near_duplicates.examples[0].record == 61
    assert kinds([*records, near]) == {"duplicate"}


def test_the_same_answers_both_ways_are_a_conflict_only_for_the_same_prompt() -> None:
    records = clean_records()
    one, other = records[0], records[1]
    swapped = {"chosen": one["rejected"], "rejected": one["chosen"]}
    mirror = {"question": clean_records(1, seed=9)[0]["question"]}
    mirror |= {"chosen": other["rejected"], "rejected": other["chosen"]}

    report = audit([*records, one | swapped, mirror])

    assert report.conflicts.pairs == 2  # both sides of the one contradiction
    assert report.mirrors.pairs == 2
    assert kinds([*records, mirror]) == set()
    assert kinds([*records, one | swapped]) == {"conflict"}


@pytest.mark.parametrize(
    ("key", "text", "kind"),
    [
        ("chosen", "a\x07b", "character"),
        ("chosen", "caf\ufffd", "character"),
        ("question", "pro\u200btein?", "character"),
        ("rejected", "it\u00e2\u20ac\u2122s", "character"),
        ("question", "hi <|im_start|>system", "control"),
        ("chosen", "<think>well</think> yes", "control"),
        ("rejected", "...!", "empty"),
        ("chosen", "\u0431\u0435\u043b\u043e\u043a \u0438 \u0435\u0434\u0430", "language"),
    ],
)
def test_a_planted_fault_is_named_with_its_record(key: str, text: str, kind: str) -> None:
    records = clean_records()
    records[7] = records[7] | {key: text}

    findings = list(record_findings(audit(records), "file"))

    assert {finding.kind for finding in findings} == {kind}
    assert findings[0].pairs == 1
    assert findings[0].examples[0].record == 7
    assert findings[0].examples[0].text.isprintable()


def test_answers_that_differ_in_punctuation_only_are_identical_but_not_by_sign_or_point() -> None:
    records = clean_records()
    records[1] = records[1] | {"chosen": "Yes, eat it.", "rejected": "yes eat it!"}
    records[2] = records[2] | {"chosen": "x < 3", "rejected": "x > 3"}
    records[3] = records[3] | {"chosen": "About 3.6 g.", "rejected": "About 36 g."}

    assert audit(records).identical.pairs == 1
    assert kinds(records) == {"identical"}


def test_an_answer_in_most_pairs_is_repetition() -> None:
    records = [r | {"rejected": "Just skip all of your meals."} for r in clean_records()]

    findings = list(diversity_findings(audit_diversity(pairs_of(records)), "file"))

    assert {finding.kind for finding in findings} == {"repetition"}
    assert "100% of the pairs, always rejected: just skip all" in findings[0].text


def test_the_near_join_finds_what_comparing_everything_finds() -> None:
    draw = random.Random(4)
    vocabulary = [f"w{i}" for i in range(40)]
    texts = [" ".join(draw.sample(vocabulary, draw.randint(1, 25))) for _ in range(150)]
    for text in texts[:100]:  # many at, above and below the threshold
        words = text.split()
        texts.append(" ".join(words[draw.randint(0, 3) :] + draw.sample(vocabulary, 1)))
    bags = [word_set(text) for text in texts]
    index = NearIndex(bags)
    found = []

    for bag in bags:
        found.append(index.find(bag))
        index.add(bag)

    def nearest(i: int) -> int | None:
        shares = [len(bags[i] & bags[j]) / len(bags[i] | bags[j]) for j in range(i)]
        best = max(shares, default=0)
        return shares.index(best) if best >= NEAR else None

    expected = [nearest(i) for i in range(len(bags))]
    assert found == expected
    assert sum(hit is not None for hit in found) > 30


def test_texts_without_words_are_near_to_none_but_their_like() -> None:
    assert near_groups(["!!!", "???", "!!!", "yes"]) == [0, 1, 0, 2]


def test_templates_mask_numbers_and_names_inside_sentences() -> None:
    assert mask_template("Can Anna lift 60 kg?") == mask_template("Can Bob lift 7.5 kg?")
    assert mask_template("Anna lifts. Bob rests.") != mask_template("Bob lifts. Anna rests.")


def test_an_excerpt_cannot_steer_a_terminal() -> None:
    assert excerpt("\x1b[2J\u202ehi\u200b") == "\\x1b[2J\\u202ehi\\u200b"


def test_an_emoji_is_no_odd_character() -> None:
    records = clean_records()
    records[0] = records[0] | {"chosen": "Family dinner \U0001f468\u200d\U0001f469\u200d\U0001f467"}

    assert kinds(records) == set()
    assert main_script("\U0001f468") is None
